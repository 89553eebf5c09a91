//! What the world outside the node saw: kept in memory that no fault reaches.

use std::collections::{BTreeMap, BTreeSet};

use abide_model::command::{Outcome, OutcomeKind};
use abide_model::id::InvocationId;
use abide_model::protocol::{Code, Notification, NotificationId};
use abide_model::table::JournalRow;
use bytes::Bytes;

use crate::names;
use crate::violation::{Check, Invariant, check};

/// One life of an invocation id, by its number: an id that derives from a key may be accepted again after its result is
/// forgotten.
pub(crate) type Life = (InvocationId, u64);

/// The ledger.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The longest journal seen of each life, and the last term in which one was handed out.
    journals: BTreeMap<Life, (u64, Vec<(u32, Bytes)>)>,
    /// Results of user code that were seen in a journal.
    runs: BTreeMap<(Life, u32), Bytes>,
    /// Those that a node's host was told.
    told: BTreeSet<(usize, Life, u32)>,
    /// How often user code ran.
    pub(crate) executions: u64,
    /// Results of idempotent requests, each between two purges, with the log time until which they hold.
    kept: BTreeMap<(InvocationId, u64), (Outcome, u64)>,
    /// Sums that counters answered, by counter.
    sums: BTreeMap<String, BTreeMap<String, InvocationId>>,
    /// Invocations whose last attempt on a node was told to stop.
    stopped: BTreeSet<(usize, InvocationId)>,
    /// Requests that were acknowledged.
    pub(crate) acknowledged: BTreeSet<InvocationId>,
}

impl Ledger {
    /// An attempt was handed this journal by the leader of a term (I4, I5).
    pub(crate) fn journal(&mut self, node: usize, term: u64, life: Life, journal: &[JournalRow]) -> Check {
        let (last_term, known) = self.journals.entry(life).or_default();
        let mut notes = BTreeSet::new();
        for (index, row) in journal.iter().enumerate() {
            let code = row.message().code;
            if code.is_notification() && code != Code::SIGNAL {
                let note: Notification = row.message().decode().unwrap_or_default();
                if let Some(NotificationId::Completion(completion)) = note.id {
                    check(notes.insert(completion), Invariant::I4EffectOnce, || {
                        format!("{}: completion {completion} has two results in the journal", life.0)
                    })?;
                    if code == Code::RUN_DONE {
                        self.told.insert((node, life, completion));
                        let first = self.runs.entry((life, completion)).or_insert_with(|| row.payload.clone());
                        check(*first == row.payload, Invariant::I4EffectOnce, || {
                            format!("{}: the result of step {completion} changed", life.0)
                        })?;
                    }
                }
            }
            let entry = (row.code, row.payload.clone());
            match known.get(index) {
                Some(before) => check(*before == entry, Invariant::I5JournalAppendOnly, || {
                    format!("{}: entry {index} was {before:?} and is {entry:?}", life.0)
                })?,
                None => known.push(entry),
            }
        }
        // A leader that has been replaced without knowing may hand out what was true in its term.
        let behind = std::mem::replace(last_term, term.max(*last_term)) > term;
        check(known.len() == journal.len() || behind, Invariant::I5JournalAppendOnly, || {
            format!("{}: the journal had {} entries and has {}", life.0, known.len(), journal.len())
        })
    }

    /// The host begins an attempt.
    pub(crate) fn begins(&mut self, node: usize, id: InvocationId) {
        self.stopped.remove(&(node, id));
    }

    /// The host is told to stop the attempts of `id`.
    pub(crate) fn stops(&mut self, node: usize, id: InvocationId) {
        self.stopped.insert((node, id));
    }

    /// User code is about to run on a node for `completion` of `life` (I4, I22). A host that was not told a result may run
    /// it again: its leader was replaced, and what it records will not count.
    pub(crate) fn execute(&mut self, node: usize, life: Life, completion: u32) -> Check {
        self.executions += 1;
        check(!self.stopped.contains(&(node, life.0)), Invariant::I22Stopped, || {
            format!("{}: step {completion} runs although the attempt was stopped", life.0)
        })?;
        check(!self.told.contains(&(node, life, completion)), Invariant::I4EffectOnce, || {
            format!("{}: step {completion} runs again although its result is recorded", life.0)
        })
    }

    /// A client got a result (I2).
    pub(crate) fn answered(&mut self, id: InvocationId, service: &str, key: Option<&str>, outcome: &Outcome) -> Check {
        if let (names::COUNTER, Some(OutcomeKind::Success(sum)), Some(key)) = (service, &outcome.kind, key) {
            let sum = String::from_utf8_lossy(sum).into_owned();
            let owner = *self.sums.entry(key.to_owned()).or_default().entry(sum.clone()).or_insert(id);
            check(owner == id, Invariant::I2Linearizable, || {
                format!("counter {key} answered {sum} to both {owner} and {id}")
            })?;
        }
        Ok(())
    }

    /// A client got the result of an idempotent request that is kept until this log time (I3).
    pub(crate) fn keeps(
        &mut self,
        id: InvocationId,
        purges: u64,
        outcome: &Outcome,
        until: u64,
        retention: u64,
    ) -> Check {
        if let Some((first, known)) = self.kept.insert((id, purges), (outcome.clone(), until)) {
            let same = until == known && first == *outcome;
            // Two leaders may tell their clients in any order.
            let (early, late) = (until.min(known), until.max(known));
            check(same || late.saturating_sub(retention) >= early, Invariant::I3Idempotent, || {
                format!("{id}: {first:?}, kept until {known}, became {outcome:?}, kept until {until}")
            })?;
        }
        Ok(())
    }

    /// How many sums of counter `key` clients have seen.
    pub(crate) fn highest_sum(&self, key: &str) -> i64 {
        let sums = self.sums.get(key).into_iter().flat_map(BTreeMap::keys);
        sums.filter_map(|sum| sum.parse().ok()).max().unwrap_or(0)
    }
}
