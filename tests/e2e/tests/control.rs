//! Every order of an operator, given by the real command to a real node, in every state of an invocation.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use e2e::look::{becomes, lines};
use e2e::{Cli, Process, Program};
use serde_json::{Value, json};

fn life() -> (Program, Process, Cli) {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-life"));
    let program = program.env("ABIDE_HANDLERS__SUSPEND_AFTER", "20ms").env("ABIDE_RETENTION__JOURNAL", "1h");
    let process = program.start();
    let cli = Cli::new(env!("CARGO_BIN_EXE_e2e-abide"), &process);
    (program, process, cli)
}

async fn send(process: &Process, key: &str, rest: &str) -> String {
    process.ingress.post(&format!("/Job/{key}/{rest}")).expect().await.invocation()
}

/// Makes an invocation of the key that is in this state.
async fn place(program: &Program, process: &Process, cli: &Cli, state: &str, key: &str) -> String {
    let id = match state {
        "scheduled" => send(process, key, "finish/send?delay=1h").await,
        "pending" => {
            let ahead = send(process, key, "wait/send").await;
            becomes(process, &ahead, "suspended").await;
            send(process, key, "finish/send").await
        }
        "running" => {
            let id = send(process, key, "work/send").await;
            lines(program, key, 1).await;
            id
        }
        "suspended" => send(process, key, "wait/send").await,
        "backing-off" => send(process, key, "stumble/send").await,
        "paused" => {
            let id = send(process, key, "wait/send").await;
            becomes(process, &id, "suspended").await;
            cli.ok(&format!("invocations pause {id}"));
            id
        }
        "completed" => send(process, key, "finish/send").await,
        other => panic!("{other} is not a state"),
    };
    becomes(process, &id, state).await;
    id
}

const VERBS: [&str; 8] = ["cancel", "kill", "pause", "resume", "purge", "purge-journal", "restart", "reschedule"];

/// The status of each verb's answer; 200 stands for all that succeed.
const TABLE: [(&str, [u16; 8]); 7] = [
    ("scheduled", [200, 200, 409, 425, 409, 409, 425, 200]),
    ("pending", [200, 200, 409, 425, 409, 409, 425, 409]),
    ("running", [200, 200, 200, 200, 409, 409, 409, 409]),
    ("suspended", [200, 200, 200, 200, 409, 409, 409, 409]),
    ("backing-off", [200, 200, 200, 200, 409, 409, 409, 409]),
    ("paused", [200, 200, 200, 200, 409, 409, 409, 409]),
    ("completed", [409, 409, 409, 409, 200, 200, 200, 409]),
];

fn line(verb: &str, id: &str) -> String {
    let details = if verb == "reschedule" { " --delay 2h" } else { "" };
    format!("invocations {verb} {id} -y{details}")
}

/// What the state of an invocation is after an order that was carried out, where that is told at once.
async fn check(process: &Process, cli: &Cli, cell: &str, (verb, state): (&str, &str), id: &str, document: &Value) {
    let describe = || cli.run(&format!("invocations describe {id}"));
    match (verb, state) {
        ("cancel" | "kill", "scheduled" | "pending") | ("purge", _) => assert_eq!(describe().code, 3, "{cell}"),
        ("cancel", "suspended" | "paused") | ("kill", _) => {
            let ended = becomes(process, id, "completed").await;
            assert_eq!(ended["outcome"]["failure"]["code"], 409, "{cell}: {ended}");
        }
        ("pause", _) => drop(becomes(process, id, "paused").await),
        ("resume", "backing-off") => {
            let again = becomes(process, id, "backing-off").await;
            assert!(again["attempt"].as_u64() > Some(1), "{cell}: {again}");
        }
        ("resume", "paused") => drop(becomes(process, id, "suspended").await),
        ("purge-journal", _) => {
            assert_eq!(cli.ok(&format!("invocations output {id}"))["value"], 1, "{cell}");
            let told = cli.run(&line("restart", id));
            assert_eq!((told.code, &told.document["error"]["status"]), (4, &json!(410)), "{cell}: {told:?}");
        }
        ("restart", _) => {
            let new = document["new_invocation_ids"][id].as_str().unwrap();
            assert_eq!(cli.ok(&format!("invocations attach {new}"))["value"], 2, "{cell}");
        }
        ("reschedule", _) => {
            let now = becomes(process, id, "scheduled").await;
            let created = now["created_at"].as_str().unwrap();
            assert!(now["scheduled_start_at"].as_str() > Some(created), "{cell}: {now}");
        }
        _ => {}
    }
}

#[tokio::test]
async fn every_order_in_every_state() {
    let (program, process, cli) = life();
    for (state, statuses) in TABLE {
        for (verb, status) in VERBS.into_iter().zip(statuses) {
            let key = format!("{state}-{verb}");
            let cell = format!("{verb} of a {state} one");
            let id = place(&program, &process, &cli, state, &key).await;
            let told = cli.run(&line(verb, &id));
            if status == 200 {
                assert_eq!((told.code, &told.document["succeeded"]), (0, &json!([id])), "{cell}: {told:?}");
                check(&process, &cli, &cell, (verb, state), &id, &told.document).await;
            } else {
                let error = &told.document["error"];
                assert_eq!((told.code, &error["exit_code"]), (4, &json!(4)), "{cell}: {told:?}");
                assert_eq!(error["status"], status, "{cell}: {told:?}");
                assert!(error["message"].as_str().unwrap().contains(&id), "{cell}: {told:?}");
                becomes(&process, &id, state).await;
            }
            // A blocked key can always be freed.
            if !matches!(state, "scheduled" | "pending" | "completed") {
                let freed = cli.run(&line("kill", &id));
                assert!(matches!(freed.code, 0 | 4), "{cell}: {freed:?}");
                assert_eq!(process.ingress.post(&format!("/Job/{key}/finish")).ok::<u64>().await, 1, "{cell}");
            }
        }
    }
    for verb in VERBS {
        let told = cli.run(&line(verb, "inv_1foAirY4KKzi66hZ0W3CZSmjggN04feGoK"));
        assert_eq!((told.code, &told.document["error"]["status"]), (3, &json!(404)), "{verb}: {told:?}");
        let told = cli.run(&line(verb, "inv_nonsense"));
        assert_eq!((told.code, &told.document["error"]["status"]), (2, &json!(400)), "{verb}: {told:?}");
    }
}

#[tokio::test]
async fn many_at_once_by_a_filter() {
    let (program, process, cli) = life();
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(place(&program, &process, &cli, "suspended", &format!("many-{number}")).await);
    }
    let other = place(&program, &process, &cli, "backing-off", "other").await;
    let chosen = "--service Job --filter status=suspended";
    let sorted = |list: &Value| {
        let mut list: Vec<String> = serde_json::from_value(list.clone()).unwrap();
        list.sort();
        list
    };
    ids.sort();
    let dry = cli.ok(&format!("invocations kill {chosen} --dry-run"));
    assert_eq!((&dry["matched"], &dry["dry_run"]), (&json!(5), &json!(true)), "{dry}");
    assert_eq!(sorted(&dry["invocation_ids"]), ids);
    // Nobody can be asked, so nothing is done.
    assert_eq!(cli.run(&format!("invocations kill {chosen}")).code, 2);
    for id in &ids {
        becomes(&process, id, "suspended").await;
    }
    let some = cli.ok(&format!("invocations pause {chosen} --limit 2 -y"));
    assert_eq!((some["succeeded"].as_array().unwrap().len(), &some["more"]), (2, &json!(true)), "{some}");
    let rest = cli.ok("invocations kill --service Job --status suspended,paused -y");
    assert_eq!(sorted(&rest["succeeded"]), ids);
    for id in &ids {
        becomes(&process, id, "completed").await;
    }
    becomes(&process, &other, "backing-off").await;
    let none = cli.ok(&format!("invocations kill {chosen} -y"));
    assert_eq!((&none["matched"], &none["succeeded"]), (&json!(0), &json!([])), "{none}");
    // Of several named ones, those that can be are.
    let partly = cli.run(&format!("invocations kill {other} {} -y", ids[0]));
    assert_eq!((partly.code, &partly.document["succeeded"]), (1, &json!([other])), "{partly:?}");
    assert_eq!(partly.document["failed"][0]["invocation_id"], ids[0].as_str(), "{partly:?}");
    let wrong = cli.run("invocations kill --filter status=tired -y");
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.stderr.contains("`tired` is not a status"), "{wrong:?}");
}

#[tokio::test]
async fn state_is_read_and_set_unless_it_has_changed() {
    let (program, process, cli) = life();
    let http = &process.ingress;
    assert_eq!(http.post("/Job/s/finish").ok::<u64>().await, 1);
    let read = cli.ok("state get Job s");
    assert_eq!(read["fields"], json!({ "done": 1 }), "{read}");
    let version = read["version"].as_str().unwrap().to_owned();
    cli.ok(&format!("state set Job s done=40 --if-version {version}"));
    assert_eq!(http.get("/Job/s/done").ok::<u64>().await, 40);
    let conflict = cli.run(&format!("state set Job s done=7 --if-version {version}"));
    assert_eq!((conflict.code, &conflict.document["error"]["status"]), (4, &json!(409)), "{conflict:?}");
    assert_eq!(http.post("/Job/s/finish").ok::<u64>().await, 41);
    // An edit queues like an exclusive invocation.
    let ahead = place(&program, &process, &cli, "backing-off", "s").await;
    let edit = tokio::task::spawn_blocking({
        let exe = Cli::new(env!("CARGO_BIN_EXE_e2e-abide"), &process);
        move || exe.ok("state set Job s done=0")
    });
    e2e::wait::until("the edit is queued", || async {
        let state = cli.ok("state get Job s");
        if state["queued"] == 2 { Ok(()) } else { Err(state) }
    })
    .await;
    assert_eq!(http.get("/Job/s/done").ok::<u64>().await, 41);
    cli.ok(&format!("invocations kill {ahead} -y"));
    assert_eq!(edit.await.unwrap()["applied"], true);
    assert_eq!(http.get("/Job/s/done").ok::<u64>().await, 0);
    assert_eq!(cli.ok("state keys Job")["keys"], json!(["s"]));
    cli.ok("state clear Job s --all -y");
    assert_eq!(cli.ok("state get Job s")["fields"], json!({}));
    assert_eq!(cli.run("state get Nobody s").code, 3);
    process.stop();
}

#[tokio::test]
async fn a_poisonous_handler_blocks_its_own_key_only() {
    let (program, process, cli) = life();
    let http = &process.ingress;
    let poison = http.post("/Poison/p/swallow/send").expect().await.invocation();
    let behind = http.json("/Poison/p/add/send", 1).expect().await.invocation();
    lines(&program, "p", 5).await;
    for key in ["q", "r"] {
        assert_eq!(http.json(&format!("/Poison/{key}/add"), 3).ok::<u64>().await, 3);
    }
    assert_eq!(http.get("/Poison/p/get").ok::<u64>().await, 0);
    // The command says who is in the way, and why.
    let list = cli.ok("invocations list --service Poison --key p");
    assert_eq!(list["invocations"].as_array().unwrap().len(), 2, "{list}");
    assert_eq!(cli.ok(&format!("invocations describe {behind}"))["status"], "pending");
    let known = cli.ok(&format!("invocations describe {poison}"));
    assert!(known["last_failure"]["message"].as_str().unwrap().contains("poison"), "{known}");
    assert_eq!(cli.run(&format!("invocations output {behind}")).code, 4);
    process.kill();
    let process = program.start();
    let cli = Cli::new(env!("CARGO_BIN_EXE_e2e-abide"), &process);
    cli.ok(&format!("invocations kill {poison} -y"));
    assert_eq!(cli.ok(&format!("invocations attach {behind}"))["value"], 1);
    assert_eq!(process.ingress.json("/Poison/p/add", 1).ok::<u64>().await, 2);
    process.stop();
}
