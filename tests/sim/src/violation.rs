//! What a run can be found guilty of.

use std::fmt;

/// The promises of `durability.md` that a run can keep or break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// Acknowledged work is never lost.
    I1NoLostWork,
    /// Reads and writes of an object behave as if one at a time.
    I2Linearizable,
    /// One idempotency key, one invocation, one result.
    I3Idempotent,
    /// A journal position takes effect once.
    I4EffectOnce,
    /// Journals only grow, and a replay meets what it wrote.
    I5JournalAppendOnly,
    /// One end per invocation, and it never changes.
    I6CompletedOnce,
    /// Order of acceptance is order of execution; one exclusive handler per key.
    I7Fifo,
    /// Equal log, equal state.
    I9Determinism,
    /// A committed entry never changes.
    I10LogAgreement,
    /// Nothing that an earlier process said counts.
    I11Transport,
    /// A replica that lost what it promised never counts again.
    I12Amnesia,
    /// Timers: not early, once, none lost.
    I13Timers,
    /// A snapshot is the state at its point; logs are cut only behind durable state.
    I14Snapshots,
    /// Messages between partitions arrive once and in order.
    I16Exchange,
    /// Money is neither made nor lost.
    I17Conservation,
    /// A promise is completed once, and everybody sees the same.
    I18Promises,
    /// A failure that nobody hears of leaves one letter, which stays until somebody takes it.
    I19Letters,
    /// What expires is gone, and nothing is forgotten early.
    I20Expiry,
    /// Each time of a schedule is run or counted as skipped, once, and not early.
    I21Schedules,
    /// No code runs of what is paused or over.
    I22Stopped,
    /// What the object store is said to have is whole and is the state at its index, and it never gets older.
    I23Bucket,
    /// What is lost can be had from the object store, as it was saved.
    I24Restored,
    /// Each partition is led soon after the faults stop.
    L1Leaders,
    /// Replicas that lag catch up, and equal the others.
    L4Converges,
    /// A change of members is finished.
    L5NotJoint,
    /// After the faults stop, everything ends.
    L6Progress,
    /// After the faults stop, every partition is saved.
    L7Saved,
    /// The node stopped although nothing was wrong with its disks.
    Stopped,
}

/// A broken promise.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What was seen.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.text)
    }
}

/// Ends the run unless `holds`.
pub(crate) fn check(holds: bool, invariant: Invariant, text: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(Violation { invariant, text: text() }) }
}

/// Nothing found, or the first thing that was.
pub(crate) type Check<T = ()> = Result<T, Violation>;
