//! Objects whose every effect can be counted afterwards: registers, ledgers, journals, and the accounts of the samples.
//!
//! Every request carries the number of the client's operation, and every object keeps the numbers of those that changed
//! it. Nothing here is idempotent: what runs twice and is committed twice is there twice.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use abide::prelude::*;
use e2e::ledger;
use samples::bank::Account;

/// A number that is set and counted up.
#[object]
struct Register {
    value: u64,
    /// Operations that changed it, in order; their count is its version.
    changes: Vec<u64>,
}

/// A value to set.
#[derive(Debug, Serialize, Deserialize)]
struct Write {
    operation: u64,
    value: u64,
}

/// A value and how many changes made it.
#[derive(Debug, Serialize, Deserialize)]
struct Versioned {
    value: u64,
    version: usize,
}

/// All there is to know of a register.
#[derive(Debug, Serialize, Deserialize)]
struct Whole {
    value: u64,
    changes: Vec<u64>,
}

#[handlers]
impl Register {
    fn write(&mut self, _cx: &mut Turn, write: Write) -> Versioned {
        self.value = write.value;
        self.changed(write.operation)
    }

    fn increment(&mut self, _cx: &mut Turn, operation: u64) -> Versioned {
        self.value += 1;
        self.changed(operation)
    }

    fn read(&self, _cx: &Read) -> Versioned {
        Versioned { value: self.value, version: self.changes.len() }
    }

    fn whole(&self, _cx: &Read) -> Whole {
        Whole { value: self.value, changes: self.changes.clone() }
    }
}

impl Register {
    fn changed(&mut self, operation: u64) -> Versioned {
        self.changes.push(operation);
        Versioned { value: self.value, version: self.changes.len() }
    }
}

/// Entries in the order of their arrival. Each execution also writes a line outside of the cluster.
#[object]
struct Ledger {
    entries: Vec<Entry>,
}

/// An entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    operation: u64,
    value: u64,
}

#[handlers]
impl Ledger {
    /// Answers which entry it is.
    fn append(&mut self, cx: &mut Turn, entry: Entry) -> usize {
        let line = format!("append {} {} {} {}", cx.key(), entry.operation, self.entries.len(), entry.value);
        ledger::note(&line).expect("the ledger can be written");
        self.entries.push(entry);
        self.entries.len() - 1
    }

    fn entries(&self, _cx: &Read) -> Vec<Entry> {
        self.entries.clone()
    }
}

/// Runs of a flow, with what its steps gave.
#[object]
struct Journal {
    runs: Vec<Run>,
}

/// A run. Each execution of a step gives another text.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Run {
    operation: u64,
    first: String,
    second: String,
}

#[handlers]
impl Journal {
    async fn record(&mut self, cx: &mut Flow, operation: u64) -> Result<Run, Terminal> {
        let first = cx.run("first", || async move { Ok(execute(operation, "first")?) }).await?;
        let second = cx.run("second", || async move { Ok(execute(operation, "second")?) }).await?;
        let run = Run { operation, first, second };
        self.runs.push(run.clone());
        Ok(run)
    }

    fn runs(&self, _cx: &Read) -> Vec<Run> {
        self.runs.clone()
    }
}

static EXECUTIONS: AtomicU64 = AtomicU64::new(0);

fn execute(operation: u64, step: &str) -> std::io::Result<String> {
    let unique = format!("{}-{}", std::process::id(), EXECUTIONS.fetch_add(1, Ordering::Relaxed));
    ledger::note(&format!("step {operation} {step} {unique}"))?;
    Ok(unique)
}

/// Runs the node.
pub fn main() -> ExitCode {
    abide::Server::builder().bind::<Register>().bind::<Ledger>().bind::<Journal>().bind::<Account>().serve()
}
