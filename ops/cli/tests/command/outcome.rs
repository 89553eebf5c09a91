//! Exit codes, errors, documents.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::fake::{Fake, Ran, bare};

#[test]
fn statuses_become_exit_codes() {
    for (status, code) in
        [(400, 2), (404, 3), (409, 4), (410, 4), (422, 4), (425, 4), (403, 1), (429, 1), (500, 1), (503, 1)]
    {
        let body = r#"{"message":"the reason","restate_code":null,"abide_code":"AB0419"}"#;
        let fake = Fake::start(&[("GET /invocations/inv_1a", status, body)]);
        let ran = fake.run(&["invocations", "describe", "inv_1a"]);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{status}: {ran:?}");
        assert_eq!(ran.err, "abide: the reason [AB0419]\n");

        let ran = fake.run(&["inv", "describe", "inv_1a", "--json"]);
        let error = json!({"message": "the reason", "status": status, "code": "AB0419", "exit_code": code});
        assert_eq!((ran.code, ran.json()), (code, json!({ "error": error })));
    }
}

#[test]
fn errors_may_be_plain_text() {
    let fake = Fake::start(&[("PATCH /invocations/x/pause", 400, "Invalid URL: bad \u{1b}[31mid")]);
    let ran = fake.run(&["inv", "pause", "x"]);
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (2, "abide: the server answered with status 400: Invalid URL: bad %1B[31mid\n")
    );
}

#[test]
fn a_server_that_is_not_there_is_named_with_the_way_to_change_it() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ran = Ran::of(bare(&["services", "list"]).env("ABIDE_ADMIN", format!("http://{addr}")));
    assert_eq!(ran.code, 5, "{ran:?}");
    for word in [&format!("http://{addr}"), "--admin", "ABIDE_ADMIN", "refused"] {
        assert!(ran.err.contains(word), "{word}: {ran:?}");
    }
    let ran = Ran::of(&mut bare(&["inv", "attach", "inv_1a", "--ingress", &addr.to_string(), "--json"]));
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("--ingress") && ran.err.contains("ABIDE_INGRESS"), "{ran:?}");
    assert_eq!(ran.json()["error"]["exit_code"], 5);
}

#[test]
fn a_server_that_is_silent_is_not_waited_for_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let ran = Ran::of(&mut bare(&["status", "--admin", &addr, "--request-timeout", "200ms"]));
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("timeout"), "{ran:?}");
}

#[test]
fn a_server_of_another_kind_is_noticed() {
    let fake = Fake::start(&[("GET /services", 200, "<html>")]);
    let ran = fake.run(&["services", "list"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("is it an Abide node?"), "{ran:?}");
}

#[test]
fn wrong_usage_is_2() {
    for args in [
        &["nonsense"][..],
        &["inv", "cancel"],
        &["inv", "reschedule", "inv_1a"],
        &["inv", "reschedule", "inv_1a", "--at", "x", "--delay", "1s"],
        &["schedules", "create", "n", "no-target", "--every", "1s"],
        &["schedules", "create", "n", "S/h"],
        &["schedules", "create", "n", "S/h", "--every", "1s", "--at", "x"],
        &["schedules", "create", "n", "S/h", "--every", "1s", "--zone", "UTC"],
        &["schedules", "create", "n", "S/h", "--every", "1s", "--input", "text"],
        &["state", "set", "A", "k"],
        &["state", "set", "A", "k", "a=b"],
        &["state", "clear", "A", "k"],
        &["dl", "drop", "Mail/p1"],
        &["dl", "redrive"],
        &["status", "--admin", "https://example.test"],
        &["inv", "list", "--limit", "0"],
    ] {
        let ran = Ran::of(&mut bare(args));
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?}: {ran:?}");
    }
}

#[test]
fn help_tells_the_exit_codes_and_completions_are_scripts() {
    let ran = Ran::of(&mut bare(&["--help"]));
    assert_eq!(ran.code, 0);
    for word in ["130", "ABIDE_ADMIN", "deadletters", "cannot be reached"] {
        assert!(ran.out.contains(word), "{word}");
    }
    for (shell, word) in [("bash", "complete -F"), ("zsh", "#compdef abide"), ("fish", "complete -c abide")] {
        let ran = Ran::of(&mut bare(&["completions", shell]));
        assert!(ran.code == 0 && ran.out.contains(word) && ran.out.contains("restart"), "{shell}");
    }
}

const LIST: &str =
    r#"{"invocations":[{"id":"inv_1a","status":"paused","target":"Account/k\u001b[2J/h"}],"next":"p1.a"}"#;

#[test]
fn a_list_is_the_servers_document_or_a_table() {
    let fake = Fake::start(&[("GET /invocations?", 200, LIST)]);
    let ran = fake.run(&["inv", "list", "--status", "paused", "--key", "a b", "--after", "p0.x", "--json"]);
    assert_eq!(ran.json(), serde_json::from_str::<Value>(LIST).unwrap());
    let ran = fake.run(&["inv", "list", "--limit", "7"]);
    assert_eq!(
        ran.out,
        "ID      STATUS  TARGET\ninv_1a  paused  Account/k\\u{1b}[2J/h\nThere are more: --after p1.a\n"
    );
    assert_eq!(
        fake.lines(),
        [
            "GET /invocations?filter=status%3Dpaused%20key%3D%22a%20b%22&limit=100&after=p0.x",
            "GET /invocations?limit=7"
        ]
    );
}

#[test]
fn the_width_of_the_terminal_can_be_told() {
    let fake = Fake::start(&[("GET /invocations?", 200, LIST)]);
    let ran = Ran::of(fake.command(&["inv", "list"]).env("COLUMNS", "32"));
    assert_eq!(ran.out.lines().nth(1).unwrap(), "inv_1a  paused  Account/k\\u{1b}…");
}

#[test]
fn a_watched_list_is_a_line_each_time() {
    let fake = Fake::start(&[("GET /invocations?", 200, LIST)]);
    let mut child = fake.command(&["inv", "list", "--watch=10ms", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        let document: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(document["next"], "p1.a");
    }
    // Nobody reads any more: it ends by itself.
    drop(lines);
    assert!(child.wait().unwrap().success());
}

#[test]
fn status_counts_what_is_under_way() {
    let fake = Fake::start(&[
        ("GET /version", 200, r#"{"version":"0.1.0","ingress_endpoint":"http://127.0.0.1:8080/"}"#),
        ("GET /health", 200, ""),
        ("GET /services", 200, r#"{"services":[{},{}]}"#),
        ("GET /invocations?filter=status%3Dpaused", 200, r#"{"invocations":[{},{}],"next":"x"}"#),
        ("GET /invocations?", 200, r#"{"invocations":[]}"#),
    ]);
    let ran = fake.run(&["status"]);
    assert!(ran.code == 0 && ran.out.contains("healthy") && ran.out.contains("2+ paused\n"), "{ran:?}");
    assert_eq!(fake.run(&["status", "--json"]).json()["invocations"]["paused"], json!({"count": 2, "more": true}));

    let stopping = Fake::start(&[
        ("GET /version", 200, r#"{"version":"0.1.0"}"#),
        ("GET /health", 503, r#"{"message":"the node is stopping"}"#),
    ]);
    let ran = stopping.run(&["status"]);
    assert!(ran.code == 1 && ran.out.contains("not ready") && ran.err.contains("stopping"), "{ran:?}");
    assert_eq!(stopping.run(&["status", "--json"]).json()["error"]["status"], 503);
}
