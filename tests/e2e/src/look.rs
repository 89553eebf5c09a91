//! Waiting for what can be seen from outside: the state of invocations, and the ledger.

use serde_json::Value;

use crate::program::{Process, Program};
use crate::{ledger, wait};

/// Waits until the invocation is in this state; what is known of it then.
///
/// # Panics
/// When that takes too long, or there is no such invocation.
pub async fn becomes(process: &Process, id: &str, status: &str) -> Value {
    wait::until(&format!("{id} is {status}"), || async {
        let invocation: Value = process.admin.get(&format!("/invocations/{id}")).ok().await;
        if invocation["status"] == status { Ok(invocation) } else { Err(invocation) }
    })
    .await
}

/// Waits until the ledger has so many lines that begin with `prefix`; the lines without it.
///
/// # Panics
/// When that takes too long.
pub async fn lines(program: &Program, prefix: &str, count: usize) -> Vec<String> {
    wait::until(&format!("there are {count} lines about {prefix}"), || async {
        let lines = ledger::read(&program.ledger(), prefix);
        if lines.len() >= count { Ok(lines) } else { Err(lines) }
    })
    .await
}
