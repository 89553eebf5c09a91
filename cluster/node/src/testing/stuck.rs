//! What is blocked when a test waits for something that does not come.

use std::fmt::Write as _;

use abide_model::id::InvocationId;
use abide_storage::{LogStore, StateStore};

use crate::driver::Driver;
use crate::engine::InvocationDetails;
use crate::{clock, testing::trace};

/// Most invocations that are described.
const DESCRIBED_MAX: usize = 20;

pub(super) enum Cause {
    /// No timer is set, and nothing can run.
    Still,
    /// The driver made this many turns, and the test did not go on.
    Busy(u64),
}

pub(super) fn report<L: LogStore, S: StateStore>(driver: &Driver<L, S>, cause: &Cause) -> String {
    let mut text = match cause {
        Cause::Still => "the test waits for something that never comes: nothing can happen any more".to_owned(),
        Cause::Busy(turns) => format!(
            "the test waits and does not go on, while the engine made {turns} turns: something is repeated without end, \
             or `WorldBuilder::patience` is too small"
        ),
    };
    let unfinished = match driver.unfinished() {
        Ok(unfinished) => unfinished,
        Err(error) => return format!("{text}\n  (what is blocked cannot be read: {error})"),
    };
    if unfinished.is_empty() {
        text.push_str("\n  no invocation is unfinished: what the test awaits is not in the world");
    }
    for id in unfinished.iter().take(DESCRIBED_MAX) {
        describe(&mut text, *id, driver.invocation(*id).ok().flatten());
    }
    if unfinished.len() > DESCRIBED_MAX {
        let _ = write!(text, "\n  … and {} more", unfinished.len() - DESCRIBED_MAX);
    }
    text
}

fn describe(text: &mut String, id: InvocationId, details: Option<InvocationDetails>) {
    let Some(details) = details else { return };
    let _ = write!(text, "\n  {} {id} is {}, attempt {}", details.target, details.status, details.attempt);
    if let Some(at) = details.next_retry_at.or(details.scheduled_at) {
        let _ = write!(text, ", due in {}", trace::elapsed(at.0.saturating_sub(clock::now().0)).trim_start());
    }
    let journal: Vec<_> = details.journal.iter().map(|entry| entry.message().code.name()).collect();
    let _ = write!(text, "; journal: {}", journal.join(", "));
    if let Some(failure) = details.last_failure {
        let _ = write!(text, "; failed {} times, last: {} [{}]", details.failures, failure.message, failure.code);
    }
}
