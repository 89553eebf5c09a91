//! Handlers whose work is under way for long, beside the bank: what a saved state has to hold.

use std::process::ExitCode;

use abide::prelude::*;
use e2e::ledger;
use samples::bank::Account;

/// An object that is held, so that others queue for it.
#[object]
struct Gate {
    passed: u64,
}

#[handlers]
impl Gate {
    /// Holds its key until somebody says that it may go.
    async fn hold(&mut self, cx: &mut Flow) -> Result<String, Terminal> {
        let (id, value) = cx.awakeable::<String>();
        let key = cx.key();
        cx.run("hand out", || async { Ok(ledger::write(&format!("gate-{key} {id}"))?) }).await?;
        value.await
    }

    fn pass(&mut self, _cx: &mut Turn) -> u64 {
        self.passed += 1;
        self.passed
    }

    fn passed(&self, _cx: &Read) -> u64 {
        self.passed
    }
}

/// What timers and schedules call.
#[service]
struct Clock;

#[handlers]
impl Clock {
    fn tick(&self, _cx: &mut Turn, word: String) {
        ledger::write(&format!("tick-{word} .")).expect("the ledger can be written");
    }
}

fn main() -> ExitCode {
    abide::Server::builder().bind::<Account>().bind::<Gate>().bind::<Clock>().serve()
}
