//! Workflows: what their handlers are, and promises against a small machine.

#![allow(clippy::unwrap_used)]

extern crate abide_sdk as abide;

mod machine;

use abide::Registry;
use abide::prelude::*;
use abide::service::Kind;
use abide_model::command::{Access, Form};
use abide_model::protocol::Failure;
use bytes::Bytes;
use machine::{Ended, World, json};

/// Signs somebody up.
#[workflow(retention = "7d")]
struct Signup {
    state: String,
}

#[handlers]
impl Signup {
    async fn run(&mut self, cx: &mut Flow, email: String) -> Result<String, Terminal> {
        self.state = format!("mailed {email}");
        cx.run("mail", || async { Ok(()) }).await?;
        let secret: u32 = cx.promise("clicked").await?;
        self.state = format!("clicked {secret}");
        cx.promise("welcome").resolve(&email).await?;
        Ok(self.state.clone())
    }

    fn state(&self, _cx: &Read) -> String {
        self.state.clone()
    }

    async fn click(&self, cx: &mut Flow, secret: u32) -> Result<(), Terminal> {
        cx.promise("clicked").resolve(&secret).await
    }

    async fn give_up(&self, cx: &mut Flow, _: u32) -> Result<(), Terminal> {
        cx.promise::<u32>("clicked").reject(410, "no such address").await
    }

    async fn look(&self, cx: &mut Flow, _: u32) -> Result<(Option<u32>, Option<()>), Terminal> {
        Ok((cx.promise("clicked").peek().await?, cx.promise("nothing").peek().await?))
    }
}

#[object]
struct Plain {
    value: u32,
}

#[handlers]
impl Plain {
    /// Of an object, `run` is a handler like any other.
    async fn run(&mut self, cx: &mut Flow) -> Result<u32, Terminal> {
        cx.promise::<u32>("clicked").peek().await?;
        cx.promise("clicked").await
    }

    async fn callers(&self, cx: &mut Flow) -> Result<String, Terminal> {
        cx.workflow::<Signup>("a").run("a@b.c".to_owned()).send();
        let handle = cx.workflow_handle::<Signup>("a");
        let later = cx.workflow::<Signup>("b").click(7).send_at(Millis(9_000));
        later.cancel().await?;
        handle.signal("hurry", &1)?;
        handle.attach().await
    }
}

fn shared(handler: &str, input: Bytes) -> World {
    World::new::<Signup>(handler, input)
}

#[test]
fn run_is_executed_once_per_key_and_the_others_are_shared() {
    let registry = Registry::builder().bind::<Signup>().bind::<Plain>().build();
    let signup = registry.get("Signup").unwrap().descriptor();
    assert_eq!((signup.kind, signup.options.retention), (Kind::Workflow, Some(Duration::from_secs(7 * 86_400))));
    let handlers: Vec<_> =
        signup.handlers.iter().map(|known| (known.name.as_str(), known.access, known.form)).collect();
    assert_eq!(
        handlers,
        [
            ("run", Access::Workflow, Form::Flow),
            ("state", Access::Shared, Form::Turn),
            ("click", Access::Shared, Form::Flow),
            ("give_up", Access::Shared, Form::Flow),
            ("look", Access::Shared, Form::Flow),
        ]
    );
    let plain = registry.get("Plain").unwrap().descriptor();
    assert_eq!((plain.kind, plain.handlers[0].access), (Kind::Object, Access::Exclusive));
}

#[test]
fn run_waits_for_a_promise_and_changes_state() {
    let mut world = World::new::<Signup>("run", json("a@b.c"));
    assert!(matches!(world.run(), Ended::Waiting(_)));
    assert_eq!(world.field("state"), Some(r#""mailed a@b.c""#));
    world.complete_promise("clicked", Ok(json(17)));
    assert_eq!(world.run(), Ended::Done);
    assert_eq!(world.outcome, Some(Ok(r#""clicked 17""#.to_owned())));
    assert_eq!(world.field("state"), Some(r#""clicked 17""#));
    assert_eq!(world.promises["welcome"].as_ref().unwrap().content, json("a@b.c"));
    let entries = world.entries();
    assert!(entries.contains(&"GetPromise") && entries.contains(&"CompletePromiseCompletion"), "{entries:?}");
}

#[test]
fn a_crash_at_any_flush_changes_nothing() {
    for crash in 0..12 {
        let mut world = World::new::<Signup>("run", json("a@b.c"));
        world.suspend = crash % 2 == 0;
        world.complete_promise("clicked", Ok(json(17)));
        if world.run_crashing(crash) == Ended::Crashed {
            assert_eq!(world.run(), Ended::Done);
        }
        assert_eq!(world.outcome, Some(Ok(r#""clicked 17""#.to_owned())), "crash at {crash}");
    }
}

#[test]
fn the_first_completion_counts() {
    let mut world = shared("click", json(1));
    assert_eq!(world.run(), Ended::Done);
    assert_eq!(
        (&world.outcome, world.promises["clicked"].clone().unwrap().content),
        (&Some(Ok(String::new())), json(1))
    );
    let mut again = shared("click", json(2));
    again.promises = world.promises.clone();
    assert_eq!(again.run(), Ended::Done);
    let failure = again.outcome.unwrap().unwrap_err();
    assert_eq!((failure.code, failure.message.as_str()), (409, "promise was already completed"));
    assert_eq!(again.promises["clicked"].clone().unwrap().content, json(1));
}

#[test]
fn a_rejected_promise_fails_who_waits_for_it() {
    let mut world = shared("give_up", json(0));
    assert_eq!(world.run(), Ended::Done);
    let mut run = World::new::<Signup>("run", json("x"));
    run.promises = world.promises;
    assert_eq!(run.run(), Ended::Done);
    let failure = run.outcome.unwrap().unwrap_err();
    assert_eq!((failure.code, failure.message.as_str()), (410, "no such address"));
}

#[test]
fn a_peek_tells_nothing_from_a_value_that_is_nothing() {
    let mut world = shared("look", json(0));
    assert_eq!(world.run(), Ended::Done);
    assert_eq!(world.outcome, Some(Ok("[null,null]".to_owned())));
    let mut world = shared("look", json(0));
    world.complete_promise("clicked", Ok(json(5)));
    world.complete_promise("nothing", Ok(json(())));
    assert_eq!(world.run(), Ended::Done);
    // `Some(())` is `null` in JSON, but only a value is read as `Some`.
    assert_eq!(world.outcome, Some(Ok("[5,null]".to_owned())));
}

#[test]
fn only_workflows_have_promises() {
    let mut world = World::new::<Plain>("run", Bytes::new());
    assert_eq!(world.run(), Ended::Done);
    let failure = world.outcome.clone().unwrap().unwrap_err();
    assert_eq!(failure.code, 422);
    assert!(failure.message.contains("promise `clicked`: only workflows have promises"), "{}", failure.message);
    assert_eq!(world.entries(), ["Input", "Output"]);
}

#[test]
fn another_promise_than_the_journals_is_a_mismatch() {
    let mut world = shared("click", json(1));
    assert_eq!(world.run_crashing(1), Ended::Crashed);
    world.deploy::<Signup>("give_up");
    let Ended::Failed(Failure { code, message, .. }, _) = world.run() else { panic!() };
    assert_eq!(code, 570);
    assert!(message.contains("the journal says promise `clicked` resolved"), "{message}");
    assert!(message.contains("the code did promise `clicked` rejected"), "{message}");
    world.deploy::<Signup>("look");
    let Ended::Failed(Failure { message, .. }, _) = world.run() else { panic!() };
    assert!(message.contains("look at promise `clicked`"), "{message}");
}

#[test]
fn flows_submit_and_attach_to_workflows() {
    let mut world = World::new::<Plain>("callers", Bytes::new());
    assert!(matches!(world.run(), Ended::Waiting(_)));
    let sends: Vec<_> = world.sends.iter().map(|send| (send.handler_name.as_str(), send.invoke_time)).collect();
    assert_eq!(sends, [("run", 0), ("click", 9_000)]);
    let run = InvocationId::workflow("Signup", "a").to_string();
    let targets: Vec<_> = world.signals.iter().map(|signal| signal.target_invocation_id == run).collect();
    // The cancellation goes to what was sent later, the signal to the run.
    assert_eq!(targets, [false, true]);
    assert_eq!(world.entries().last(), Some(&"AttachInvocation"));
}
