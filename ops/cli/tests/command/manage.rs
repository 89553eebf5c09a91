//! Schedules, state and dead letters.

use serde_json::{Value, json};

use crate::fake::{Fake, Ran};

const SCHEDULE: &str = r#"{"name":"nightly","status":"waiting","cron":"0 3 * * *","zone":"UTC","service":"Report",
    "handler":"make","input":1,"headers":{},"catch_up":"skip","overlap":"allow","runs":0}"#;

#[test]
fn a_schedule_is_made_changed_and_removed() {
    let fake = Fake::start(&[
        ("PATCH /schedules/nightly/trigger", 200, r#"{"invocation_id":"inv_1a"}"#),
        ("DELETE /schedules/nightly", 204, ""),
        ("", 200, SCHEDULE),
    ]);
    let made = fake.run(&[
        "schedules",
        "create",
        "nightly",
        "Report/a/b/make",
        "--cron",
        "0 3 * * *",
        "--zone",
        "Europe/Berlin",
        "--input",
        "{\"n\":1}",
        "--header",
        "x=a=b",
        "--catch-up",
        "one",
        "--overlap",
        "cancel-other",
        "--paused",
    ]);
    assert!(made.code == 0 && made.out.contains("Report/make"), "{made:?}");
    assert_eq!(
        fake.run(&["schedules", "create", "n/m", "S/h", "--every", "90s", "--replace", "--input", "-5"]).code,
        0
    );
    assert_eq!(fake.run(&["schedules", "edit", "nightly", "--at", "2026-12-24T18:00:00Z", "--target", "S/h"]).code, 0);
    assert_eq!(fake.run(&["schedules", "pause", "nightly"]).out, "nightly paused\n");
    assert_eq!(fake.run(&["schedules", "resume", "nightly"]).out, "nightly resumed\n");
    assert_eq!(fake.run(&["schedules", "trigger", "nightly"]).out, "nightly runs now as inv_1a\n");
    assert_eq!(fake.run(&["schedules", "delete", "nightly"]).code, 2);
    assert_eq!(fake.run(&["schedules", "delete", "nightly", "-y", "--json"]).json(), json!({"deleted": "nightly"}));

    let asked = fake.asked();
    let lines: Vec<_> = asked.iter().map(|asked| asked.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "PUT /schedules/nightly?create_only=true",
            "PUT /schedules/n%2Fm",
            "PATCH /schedules/nightly",
            "PATCH /schedules/nightly/pause",
            "PATCH /schedules/nightly/resume",
            "PATCH /schedules/nightly/trigger",
            "DELETE /schedules/nightly",
        ]
    );
    assert_eq!(
        asked[0].body,
        json!({
            "cron": "0 3 * * *", "zone": "Europe/Berlin", "service": "Report", "key": "a/b", "handler": "make",
            "input": {"n": 1}, "headers": {"x": "a=b"}, "catch_up": "one", "overlap": "cancel-other", "paused": true,
        })
    );
    assert_eq!(asked[1].body, json!({"every": "90s", "service": "S", "key": null, "handler": "h", "input": -5}));
    assert_eq!(asked[2].body, json!({"at": "2026-12-24T18:00:00Z", "service": "S", "key": null, "handler": "h"}));
}

#[test]
fn a_schedule_is_edited_as_a_text() {
    let fake = Fake::start(&[("", 200, SCHEDULE)]);
    let ran = Ran::of(fake.command(&["schedules", "edit", "nightly"]).env("EDITOR", "sed -i s/3/4/"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(fake.asked().pop().unwrap().body, json!({"cron": "0 4 * * *"}));
    let ran = Ran::of(fake.command(&["schedules", "edit", "nightly"]).env("EDITOR", "true"));
    assert_eq!((ran.code, ran.out.as_str()), (0, "nightly is as it was\n"));
}

const STATE: &str = r#"{"version":"e1.7","fields":{"balance":5,"owner":"alice"}}"#;

#[test]
fn state_is_set_and_cleared() {
    let fake = Fake::start(&[
        ("GET /services/Account/state/a%2Fb", 200, STATE),
        ("GET /services/Account/keys", 200, r#"{"keys":["a","b"]}"#),
        ("", 202, ""),
    ]);
    let ran = fake.run(&["state", "get", "Account", "a/b"]);
    assert!(ran.out.starts_with("Account/a/b\n  version  e1.7\n"), "{ran:?}");
    assert_eq!(fake.run(&["state", "keys", "Account", "--prefix", "a"]).out, "KEY\na\nb\n");
    let set = ["state", "set", "Account", "a/b", "balance=7", "tags=[1]", "--if-version", "e1.7"];
    assert_eq!(fake.run(&set).out, "Account/a/b: 2 fields set\n");
    assert_eq!(fake.run(&["state", "clear", "Account", "a/b", "owner"]).code, 2);
    assert_eq!(fake.run(&["state", "clear", "Account", "a/b", "owner", "-y"]).code, 0);
    assert_eq!(fake.run(&["state", "clear", "Account", "a/b", "--all", "-y", "--if-version", "e1.7"]).code, 0);
    let asked = fake.asked();
    let lines: Vec<_> = asked.iter().map(|asked| asked.line.as_str()).collect();
    assert_eq!(
        lines[1..],
        [
            "GET /services/Account/keys?prefix=a&limit=100",
            "PATCH /services/Account/state/a%2Fb",
            "PATCH /services/Account/state/a%2Fb",
            "DELETE /services/Account/state/a%2Fb?version=e1.7",
        ]
    );
    assert_eq!(asked[2].body, json!({"version": "e1.7", "set": {"balance": 7, "tags": [1]}, "clear": []}));
    assert_eq!(asked[3].body, json!({"set": {}, "clear": ["owner"]}));
}

#[test]
fn fields_come_from_a_file_too() {
    let fake = Fake::start(&[("", 200, "")]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fields.json");
    std::fs::write(&file, r#"{"a":1,"b":2}"#).unwrap();
    let ran = fake.run(&["state", "set", "A", "k", "b=3", "--from", file.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(fake.asked()[0].body["set"], json!({"a": 1, "b": 3}));
}

#[test]
fn an_edit_names_the_version_it_was_made_on() {
    let fake = Fake::start(&[("GET /services/A/state/k", 200, STATE), ("PATCH /services/A/state/k", 200, "")]);
    let ran = Ran::of(fake.command(&["state", "edit", "A", "k"]).env("EDITOR", "sed -i /balance/d"));
    assert_eq!((ran.code, ran.out.as_str()), (0, "A/k: 0 set, 1 cleared\n"), "{ran:?}");
    assert_eq!(fake.asked().pop().unwrap().body, json!({"version": "e1.7", "set": {}, "clear": ["balance"]}));
}

#[test]
fn an_edit_that_comes_too_late_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let kept = || std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>();
    let changed = r#"{"message":"the state has changed"}"#;
    let fake = Fake::start(&[("GET /services/A/state/k", 200, STATE), ("PATCH /services/A/state/k", 409, changed)]);
    let edit = |editor: &str| {
        let mut command = fake.command(&["state", "edit", "A", "k"]);
        Ran::of(command.env("EDITOR", editor).env("TMPDIR", folder.path()))
    };
    assert_eq!(edit("true").code, 0);
    assert_eq!(edit("false").code, 1);
    assert_eq!(edit("no-such-editor-anywhere").code, 1);
    assert!(kept().is_empty());

    let ran = edit("sed -i s/5/6/");
    assert!(
        ran.code == 4 && ran.err.contains("the state has changed") && ran.err.contains("Your text is in"),
        "{ran:?}"
    );
    let text = std::fs::read_to_string(&kept()[0]).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({"balance": 6, "owner": "alice"}));

    let ran = edit("sed -i s/5/five/");
    assert!(ran.code == 2 && ran.err.contains("not JSON any more"), "{ran:?}");
    assert_eq!(kept().len(), 2);
}

#[test]
fn dead_letters_are_sent_again_or_dropped() {
    let listed = r#"{"deadletters":[{"service":"Mail","partition":"p3","seq":12,"target":"Mail/send",
        "failure":{"code":500,"message":"no"}}]}"#;
    let fake = Fake::start(&[
        ("GET /deadletters?", 200, listed),
        ("POST /deadletters/Mail/redrive", 200, r#"{"matched":2,"succeeded":[{},{}],"failed":[],"more":true}"#),
        ("POST /deadletters/Mail/p3/12/redrive", 200, r#"{"new_invocation_id":"inv_1c"}"#),
        ("DELETE /deadletters/Mail/p3/12", 204, ""),
    ]);
    let ran = fake.run(&["dl", "list", "--service", "Mail"]);
    assert_eq!(ran.out.lines().nth(1).unwrap(), "Mail/p3/12   Mail/send        [500] no");
    assert_eq!(fake.run(&["dl", "redrive", "Mail/p3/12"]).out, "Mail/p3/12 sent again as inv_1c\n");
    assert_eq!(fake.run(&["dl", "redrive", "--service", "Mail"]).code, 2);
    assert_eq!(fake.run(&["dl", "redrive", "--service", "Mail", "-y"]).out, "2 sent again\n");
    assert_eq!(fake.run(&["dl", "drop", "Mail/p3/12"]).code, 2);
    let ran = fake.run(&["dl", "drop", "Mail/p3/12", "Mail/p3/13", "-y"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, "Mail/p3/12 done\n"), "{ran:?}");
    assert_eq!(
        fake.lines(),
        [
            "GET /deadletters?service=Mail&limit=100",
            "POST /deadletters/Mail/p3/12/redrive",
            "POST /deadletters/Mail/redrive?limit=1000",
            "DELETE /deadletters/Mail/p3/12",
            "DELETE /deadletters/Mail/p3/13",
        ]
    );
}
