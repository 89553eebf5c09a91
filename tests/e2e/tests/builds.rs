//! One data directory, several builds of the program: what flows, state and dead letters of the earlier ones become.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use e2e::look::{becomes, lines};
use e2e::{Cli, Process, Program, wait};
use serde_json::{Value, json};

const FIRST: &str = env!("CARGO_BIN_EXE_e2e-build-1");
const SECOND: &str = env!("CARGO_BIN_EXE_e2e-build-2");

fn cli(process: &Process) -> Cli {
    Cli::new(env!("CARGO_BIN_EXE_e2e-abide"), process)
}

fn application() -> (Program, Process) {
    let program = Program::new(FIRST).env("ABIDE_HANDLERS__SUSPEND_AFTER", "20ms");
    let process = program.start();
    (program, process)
}

/// Begins a flow of the first build that waits in the middle; its id and that of its awakeable.
async fn begin(program: &Program, process: &Process, key: &str, handler: &str) -> (String, String) {
    let id = process.ingress.post(&format!("/Order/{key}/{handler}/send")).expect().await.invocation();
    let awakeable = lines(program, key, 1).await.remove(0);
    becomes(process, &id, "suspended").await;
    (id, awakeable)
}

async fn resolve(process: &Process, awakeable: &str, value: &str) {
    let answer = process.ingress.json(&format!("/restate/a/{awakeable}/resolve"), value).expect().await;
    assert_eq!(answer.status, 202, "{}", answer.text());
}

/// Waits until the flow is seen to have no code.
async fn waits_for_code(process: &Process, id: &str) -> Value {
    let known = becomes(process, id, "backing-off").await;
    assert!(known["last_failure"]["message"].as_str().unwrap().contains("AB0572"), "{known}");
    assert_eq!((&known["failures"], &known["version"]), (&json!(0), &json!("1")), "{known}");
    known
}

#[tokio::test]
async fn a_flow_finishes_on_the_code_that_it_began_with() {
    let (mut program, process) = application();
    let (id, awakeable) = begin(&program, &process, "o", "ship").await;
    process.stop();
    // The second build has not kept it: the flow waits visibly, also across a restart.
    program.set_exe(SECOND);
    let process = program.start();
    resolve(&process, &awakeable, "parcel-7").await;
    waits_for_code(&process, &id).await;
    process.kill();
    let process = program.start();
    waits_for_code(&process, &id).await;
    let shown = cli(&process).ok("invocations list --filter version=1");
    assert_eq!(shown["invocations"][0]["id"], id.as_str(), "{shown}");
    assert_eq!(cli(&process).run(&format!("invocations output {id}")).code, 4);
    // New flows run on the new code meanwhile, on other keys.
    let (new, handle) = {
        let id = process.ingress.post("/Order/n/ship/send").expect().await.invocation();
        (id, lines(&program, "n", 1).await.remove(0))
    };
    resolve(&process, &handle, "parcel-8").await;
    let answer: String = process.ingress.get(&format!("/restate/invocation/{new}/attach")).ok().await;
    assert_eq!(answer, "new code, parcel-8");
    process.stop();
    // The third build has kept it. Flows look for their code now and then; an operator need not wait.
    program.set_env("E2E_KEEP", "1");
    let process = program.start();
    cli(&process).ok(&format!("invocations resume {id}"));
    let answer: String = process.ingress.get(&format!("/restate/invocation/{id}/attach")).ok().await;
    assert_eq!(answer, "old code, parcel-7");
    assert_eq!(lines(&program, "o", 1).await.len(), 1, "the step ran again");
    process.stop();
}

#[tokio::test]
async fn a_flow_without_code_is_moved_by_an_operator() {
    let (mut program, process) = application();
    let (fits, payment) = begin(&program, &process, "fits", "settle").await;
    let (differs, parcel) = begin(&program, &process, "differs", "ship").await;
    process.stop();
    program.set_exe(SECOND);
    let process = program.start();
    let cli = cli(&process);
    resolve(&process, &payment, "42").await;
    resolve(&process, &parcel, "parcel-7").await;
    for id in [&fits, &differs] {
        waits_for_code(&process, id).await;
        let told = cli.run(&format!("invocations resume {id} --deployment 9"));
        assert_eq!((told.code, told.document["error"]["code"].as_str()), (2, Some("AB0400")), "{told:?}");
        cli.ok(&format!("invocations resume {id} --deployment latest"));
    }
    assert_eq!(cli.ok(&format!("invocations attach {fits}"))["value"], "new code, 42");
    // Code that does something else is not let loose on the journal.
    let known = wait::until("the mismatch is seen", || async {
        let known = cli.ok(&format!("invocations describe {differs}"));
        if known["last_failure"]["code"] == 570 { Ok(known) } else { Err(known) }
    })
    .await;
    let reason = known["last_failure"]["message"].as_str().unwrap();
    for word in ["journal mismatch", "ask the old warehouse", "ask the new warehouse"] {
        assert!(reason.contains(word), "{reason}");
    }
    assert_ne!(known["status"], "completed", "{known}");
    assert_eq!(lines(&program, "differs", 1).await.len(), 1, "the new step ran");
    cli.ok(&format!("invocations kill {differs} -y"));
    assert_eq!(process.ingress.json("/Order/differs/pay", 1).ok::<i64>().await, -1);
    process.stop();
}

#[tokio::test]
async fn state_is_read_by_the_struct_of_a_later_build() {
    let (mut program, process) = application();
    process.ingress.json("/Order/s/open", "alice").ok::<()>().await;
    assert!(process.ingress.get("/Order/s/audited").ok::<bool>().await);
    process.stop();
    program.set_exe(SECOND);
    let process = program.start();
    let renewed = |balance: i64| json!({ "balance": balance, "owner": "alice", "currency": null, "cents": 700 });
    assert_eq!(process.ingress.get("/Order/s/look").ok::<Value>().await, renewed(100));
    // Reading has not changed what is stored; the next change does, and all of it.
    let stored = || async { process.admin.get("/services/Order/state/s").expect().await.field("fields") };
    assert_eq!(stored().await, json!({ "total": 100, "owner": "alice", "audited": true, "price": 7 }));
    assert_eq!(process.ingress.json("/Order/s/pay", 30).ok::<i64>().await, 70);
    assert_eq!(stored().await, renewed(70));
    process.kill();
    let process = program.start();
    assert_eq!(process.ingress.get("/Order/s/look").ok::<Value>().await, renewed(70));
    process.stop();
}

#[tokio::test]
async fn dead_letters_are_sent_again_when_the_handler_is_mended() {
    let (mut program, process) = application();
    for letter in ["one", "two", "three"] {
        let path = "/Mail/deliver/send";
        assert_eq!(process.ingress.json(path, letter).expect().await.status, 202);
    }
    let found = wait::until("the letters are dead", || async {
        let list = cli(&process).ok("deadletters list --service Mail");
        let letters = list["deadletters"].as_array().unwrap().clone();
        if letters.len() == 3 { Ok(letters) } else { Err(list) }
    })
    .await;
    let name = |letter: &Value| {
        format!("{}/{}/{}", letter["service"].as_str().unwrap(), letter["partition"].as_str().unwrap(), letter["seq"])
    };
    assert_eq!(found[0]["failure"]["code"], 500, "{found:?}");
    // The handler is as it was: what is sent again dies again.
    let again = cli(&process).ok(&format!("deadletters redrive {}", name(&found[0])));
    wait::until("it is dead again", || async {
        let list = cli(&process).ok("deadletters list");
        if list["deadletters"].as_array().unwrap().len() == 3 { Ok(()) } else { Err((list, again.clone())) }
    })
    .await;
    process.stop();
    program.set_exe(SECOND);
    let process = program.start();
    let cli = cli(&process);
    let list = cli.ok("deadletters list");
    let dropped = list["deadletters"].as_array().unwrap().iter().map(name).next_back().unwrap();
    let input = cli.ok(&format!("deadletters describe {dropped}"))["input"].clone();
    cli.ok(&format!("deadletters drop {dropped} -y"));
    assert_eq!(cli.run(&format!("deadletters redrive {dropped}")).code, 3);
    let redriven = cli.ok("deadletters redrive --service Mail -y");
    assert_eq!(redriven["succeeded"].as_array().unwrap().len(), 2, "{redriven}");
    let mut delivered = lines(&program, "mail", 2).await;
    delivered.sort();
    let mut expected: Vec<_> =
        ["one", "three", "two"].into_iter().filter(|letter| input != format!("\"{letter}\"")).collect();
    expected.sort_unstable();
    assert_eq!(delivered, expected, "{input}");
    assert_eq!(cli.ok("deadletters list")["deadletters"], json!([]));
    process.stop();
}
