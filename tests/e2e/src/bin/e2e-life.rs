//! Handlers for the whole life of invocations: workflows, rings of calls, limits, and what goes wrong for good.

use std::process::ExitCode;

use abide::prelude::*;
use e2e::ledger;

/// A decision that somebody takes, once for each key.
#[workflow]
struct Approval {
    status: String,
}

/// What is decided.
const DECISION: &str = "decision";

#[handlers]
impl Approval {
    /// Waits for the decision and answers it.
    async fn run(&mut self, cx: &mut Flow, document: String) -> Result<String, Terminal> {
        let key = cx.key();
        cx.run("begin", || async { Ok(ledger::write(&format!("{key} begun"))?) }).await?;
        self.status = "waiting".to_owned();
        let decision = cx.promise::<String>(DECISION).await?;
        self.status.clone_from(&decision);
        cx.run("end", || async { Ok(ledger::write(&format!("{key} ended"))?) }).await?;
        Ok(format!("{document}: {decision}"))
    }

    /// Decides. Only the first decision counts.
    async fn decide(&self, cx: &mut Flow, decision: String) -> Result<(), Terminal> {
        cx.promise(DECISION).resolve(&decision).await
    }

    /// The decision, if it is taken.
    async fn decision(&self, cx: &mut Flow) -> Result<Option<String>, Terminal> {
        cx.promise::<String>(DECISION).peek().await
    }

    fn status(&self, _cx: &Read) -> String {
        self.status.clone()
    }
}

/// One invocation for each state that an operator can find it in.
#[object]
struct Job {
    done: u64,
}

#[handlers]
impl Job {
    fn finish(&mut self, _cx: &mut Turn) -> u64 {
        self.done += 1;
        self.done
    }

    /// Waits for an awakeable.
    async fn wait(&mut self, cx: &mut Flow) -> Result<String, Terminal> {
        let (id, value) = cx.awakeable::<String>();
        let key = cx.key();
        cx.run("hand out", || async { Ok(ledger::write(&format!("{key} {id}"))?) }).await?;
        value.await
    }

    /// Is busy in a step for ever, without occupying its thread.
    async fn work(&mut self, cx: &mut Flow) -> Result<(), Terminal> {
        let key = cx.key();
        let work = || async {
            ledger::write(&format!("{key} working"))?;
            std::future::pending::<()>().await;
            Ok(())
        };
        cx.run("work", work).await
    }

    /// Fails, and is tried again in an hour.
    #[handler(retry(initial = "1h", max_interval = "1h"))]
    async fn stumble(&mut self, cx: &mut Flow) -> Result<(), Terminal> {
        let key = cx.key();
        cx.run("stumble", || async { Ok(ledger::write(&format!("{key} stumbled"))?) }).await?;
        panic!("not today");
    }

    fn done(&self, _cx: &Read) -> u64 {
        self.done
    }
}

/// A handler that nobody can run.
#[object]
struct Poison {
    value: u64,
}

#[handlers]
impl Poison {
    #[handler(retry(initial = "10ms", factor = 1.0, max_interval = "10ms", max_attempts = 1000000))]
    fn swallow(&mut self, cx: &mut Turn) {
        ledger::write(&format!("{} swallowed", cx.key())).expect("the ledger can be written");
        panic!("poison");
    }

    fn add(&mut self, _cx: &mut Turn, amount: u64) -> u64 {
        self.value += amount;
        self.value
    }

    fn get(&self, _cx: &Read) -> u64 {
        self.value
    }
}

/// Objects that call each other.
#[object]
struct Ring;

#[handlers]
impl Ring {
    /// Calls the first of `path`, which calls the rest of it.
    async fn pass(&mut self, cx: &mut Flow, path: Vec<String>) -> Result<usize, Terminal> {
        let Some((next, rest)) = path.split_first() else { return Ok(0) };
        Ok(cx.object::<Ring>(next.as_str()).pass(rest.to_vec()).await.or_terminal()? + 1)
    }
}

/// Handlers that not everybody may use at once.
#[object]
struct Gate;

#[handlers]
impl Gate {
    #[handler(rate = "2/h")]
    fn rated(&mut self, cx: &mut Turn) {
        ledger::write(&format!("rated {}", cx.key())).expect("the ledger can be written");
    }

    #[handler(key_rate = "1/s")]
    fn rated_by_key(&mut self, cx: &mut Turn) {
        ledger::write(&format!("rated-by-key {}", cx.key())).expect("the ledger can be written");
    }

    /// One at a time, of all keys.
    #[handler(concurrency = 1)]
    async fn alone(&mut self, cx: &mut Flow) -> Result<(), Terminal> {
        let key = cx.key();
        let work = || async {
            ledger::write(&format!("alone enters {key}"))?;
            tokio::time::sleep(Duration::from_millis(30)).await;
            Ok(ledger::write(&format!("alone leaves {key}"))?)
        };
        cx.run("work", work).await
    }
}

/// What schedules call.
#[service]
struct Clock;

#[handlers]
impl Clock {
    /// Writes down for which schedule and time it was called.
    fn tick(&self, cx: &mut Turn) {
        let header = |name: &str| cx.headers().iter().find(|header| header.key == name).map(|header| &*header.value);
        let (schedule, at) = (header("x-abide-schedule"), header("x-abide-scheduled-at"));
        let line = format!("{} {} {}", schedule.unwrap_or("nobody"), at.unwrap_or("never"), cx.id());
        ledger::write(&line).expect("the ledger can be written");
    }
}

fn main() -> ExitCode {
    let server = abide::Server::builder().bind::<Approval>().bind::<Job>().bind::<Poison>();
    server.bind::<Ring>().bind::<Gate>().bind::<Clock>().serve()
}
