//! Orders for invocations: who is asked, what is sent, what is told.

use serde_json::json;

use crate::fake::Fake;

#[test]
fn what_destroys_is_not_done_without_a_yes() {
    for verb in ["cancel", "kill", "purge", "purge-journal"] {
        let fake = Fake::start(&[("PATCH /invocations/inv_1a/", 200, "")]);
        let ran = fake.run(&["inv", verb, "inv_1a"]);
        assert_eq!(ran.code, 2, "{verb}: {ran:?}");
        assert!(ran.err.contains("--yes"), "{ran:?}");
        assert_eq!(fake.lines(), [""; 0], "{verb}");

        let ran = fake.run(&["inv", verb, "inv_1a", "-y"]);
        assert_eq!(ran.code, 0, "{verb}: {ran:?}");
        assert_eq!(fake.lines(), [format!("PATCH /invocations/inv_1a/{verb}")]);
    }
}

#[test]
fn what_can_be_taken_back_is_done_at_once() {
    let fake = Fake::start(&[
        ("PATCH /invocations/inv_1a/restart-as-new", 200, r#"{"new_invocation_id":"inv_1n"}"#),
        ("PATCH /invocations/inv_1a/pause", 202, ""),
        ("PATCH /invocations/inv_1a/", 200, ""),
    ]);
    assert_eq!(fake.run(&["inv", "pause", "inv_1a"]).out, "inv_1a requested to be paused\n");
    assert_eq!(fake.run(&["inv", "resume", "inv_1a", "--deployment", "latest"]).out, "inv_1a resumed\n");
    let ran = fake.run(&["inv", "restart", "inv_1a", "--from", "3", "--deployment", "v 2"]);
    assert_eq!(ran.out, "inv_1a restarted as inv_1n\n");
    assert_eq!(fake.run(&["inv", "reschedule", "inv_1a", "--delay", "10m"]).code, 0);
    assert_eq!(fake.run(&["inv", "reschedule", "inv_1a", "--at", "2026-12-24T18:00:00Z"]).code, 0);
    assert_eq!(
        fake.lines(),
        [
            "PATCH /invocations/inv_1a/pause",
            "PATCH /invocations/inv_1a/resume?deployment=latest",
            "PATCH /invocations/inv_1a/restart-as-new?from=3&deployment=v%202",
            "PATCH /invocations/inv_1a/reschedule?delay=10m",
            "PATCH /invocations/inv_1a/reschedule?at=2026-12-24T18%3A00%3A00Z",
        ]
    );
}

#[test]
fn one_of_several_that_fails_does_not_stop_the_others() {
    let fake = Fake::start(&[
        ("PATCH /invocations/inv_1a/kill", 409, r#"{"message":"already completed"}"#),
        ("PATCH /invocations/inv_1b/kill", 200, ""),
    ]);
    let ran = fake.run(&["inv", "kill", "-y", "inv_1a", "inv_1b"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, "inv_1b killed\n"));
    assert_eq!(ran.err, "inv_1a: already completed\nabide: 1 of 2 failed\n");

    let document = fake.run(&["inv", "kill", "-y", "--json", "inv_1a", "inv_1b"]).json();
    assert_eq!(document["succeeded"], json!(["inv_1b"]));
    assert_eq!(document["failed"], json!([{"invocation_id": "inv_1a", "error": "already completed"}]));
    // One alone ends as it failed.
    assert_eq!(fake.run(&["inv", "kill", "-y", "inv_1a"]).code, 4);
}

const BATCH: &str = "POST /internal/invocations_batch_operations/resume";
const MATCHED: &str =
    r#"{"matched":2,"succeeded":["inv_1a"],"failed":[{"invocation_id":"inv_1b","error":"gone"}],"more":true}"#;
const SAMPLE: &str = r#"{"invocations":[{"id":"inv_1a","status":"paused","target":"A/k/h"}]}"#;

#[test]
fn a_filter_is_shown_before_it_is_obeyed() {
    let fake = Fake::start(&[(BATCH, 200, MATCHED), ("GET /invocations?", 200, SAMPLE)]);
    let asked = |fake: &Fake| {
        let batches = fake.asked().into_iter().filter(|asked| asked.line.starts_with("POST"));
        batches.map(|asked| (asked.line, asked.body["dry_run"].as_bool().unwrap())).collect::<Vec<_>>()
    };

    let ran = fake.run(&["inv", "resume", "--filter", "status=paused"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    for word in ["2 invocations", "`status=paused`", "inv_1a", "… and 1 more", "--yes"] {
        assert!(ran.err.contains(word), "{word}: {ran:?}");
    }
    let ran = fake.run(&["inv", "resume", "--filter", "status=paused", "--dry-run", "-y"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "Dry run: 2 invocations would be resumed; nothing was changed.\n"));
    assert_eq!(asked(&fake), [(BATCH.to_owned(), true), (BATCH.to_owned(), true)]);

    let ran = fake.run(&["inv", "resume", "-f", "status=paused", "--limit", "2", "-y", "--deployment", "latest"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, "inv_1a resumed\n"));
    assert!(ran.err.contains("inv_1b: gone") && ran.err.contains("run the same command again"), "{ran:?}");
    let last = fake.asked().pop().unwrap();
    assert_eq!(last.line, BATCH);
    assert_eq!(last.body, json!({"filter": "status=paused", "dry_run": false, "limit": 2, "deployment": "latest"}));
}

#[test]
fn a_filter_gives_one_document() {
    let fake = Fake::start(&[(BATCH, 200, MATCHED)]);
    let ran = fake.run(&["inv", "resume", "--service", "A", "-y", "--json"]);
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.json(),
        json!({
            "verb": "resume", "dry_run": false, "matched": 2, "more": true, "succeeded": ["inv_1a"], "requested": [],
            "new_invocation_ids": {}, "failed": [{"invocation_id": "inv_1b", "error": "gone"}],
        })
    );
    assert_eq!(fake.run(&["inv", "resume", "--service", "A", "--dry-run", "--json"]).json()["dry_run"], true);
}

#[test]
fn a_filter_that_matches_nothing_asks_nothing() {
    let fake = Fake::start(&[("POST /internal", 200, r#"{"matched":0,"succeeded":[],"failed":[],"more":false}"#)]);
    let ran = fake.run(&["inv", "purge", "--filter", "older=30d"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "Nothing to do.\n"));
    assert_eq!(fake.lines().len(), 1);
}

#[test]
fn a_filter_that_is_wrong_is_refused_in_the_servers_words() {
    let fake = Fake::start(&[("POST /internal", 400, r#"{"message":"filter, at character 1: no such status"}"#)]);
    let ran = fake.run(&["inv", "kill", "--filter", "status=x", "-y"]);
    assert_eq!((ran.code, ran.err.as_str()), (2, "abide: filter, at character 1: no such status\n"));
}

#[test]
fn results_come_from_the_ingress() {
    let fake = Fake::start(&[
        ("GET /restate/invocation/inv_1a/attach", 200, r#"{"paid":true}"#),
        ("GET /restate/invocation/inv_1a/output", 470, r#"{"code":470,"message":"not ready","source":"ingress"}"#),
        ("GET /restate/invocation/inv_1b/output", 409, r#"{"code":409,"message":"too late","source":"invocation"}"#),
        (
            "GET /restate/invocation/inv_1c/output",
            404,
            r#"{"code":404,"message":"invocation not found","source":"ingress"}"#,
        ),
        ("GET /restate/invocation/inv_1d/output", 200, ""),
    ]);
    let ran = fake.run(&["inv", "attach", "inv_1a"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "{\"paid\":true}\n"));
    let document = fake.run(&["inv", "attach", "inv_1a", "--json"]).json();
    assert_eq!(document, json!({"invocation_id": "inv_1a", "value": {"paid": true}}));
    let ran = fake.run(&["inv", "output", "inv_1a"]);
    assert!(ran.code == 4 && ran.err.contains("attach inv_1a"), "{ran:?}");
    let ran = fake.run(&["inv", "output", "inv_1b"]);
    assert_eq!((ran.code, ran.err.as_str()), (1, "abide: the invocation failed with code 409: too late\n"));
    assert_eq!(fake.run(&["inv", "output", "inv_1c"]).code, 3);
    let ran = fake.run(&["inv", "output", "inv_1d"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
}
