//! What needs no record of its own but depends on records before it: results of reads, and loadings of objects.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use abide_host::DirectCall;
use abide_model::command::Outcome;
use abide_model::id::{ActivationId, ObjectId, PartitionId};

use super::Query;

/// Void activations and disturbed objects that are remembered; older ones have no results under way any more.
const VOID_MAX: usize = 65_536;

#[derive(Default)]
pub(super) struct Answers {
    held: BTreeMap<PartitionId, VecDeque<Held>>,
    void: BTreeSet<ActivationId>,
    /// Objects of which an invocation was ended from outside: their activations up to this one may have run it already,
    /// and gone on from a result that does not count.
    disturbed: HashMap<ObjectId, ActivationId>,
    disturbed_order: VecDeque<(ObjectId, ActivationId)>,
}

/// Something that waits for records before it.
pub(super) struct Held {
    /// What has to be applied before.
    pub(super) ticket: u64,
    /// The round that has to be confirmed before.
    pub(super) round: u64,
    pub(super) what: What,
}

pub(super) enum What {
    /// A result on its way.
    Answer { activation: ActivationId, outcome: Outcome, call: Box<DirectCall> },
    /// An object to be loaded: before that, its state would miss what its last activation has under way.
    Activate(ObjectId),
    /// A question to the tables.
    Query(Box<Query>),
}

impl Answers {
    pub(super) fn hold(&mut self, partition: PartitionId, held: Held) {
        self.held.entry(partition).or_default().push_back(held);
    }

    /// Everything the activation made is void.
    pub(super) fn void(&mut self, activation: ActivationId) {
        self.void.insert(activation);
        if self.void.len() > VOID_MAX {
            self.void.pop_first();
        }
    }

    /// Everything that activations of `object` up to `last` made and that is not applied is void.
    pub(super) fn disturb(&mut self, object: ObjectId, last: ActivationId) {
        self.disturbed.insert(object.clone(), last);
        self.disturbed_order.push_back((object, last));
        if self.disturbed_order.len() > VOID_MAX
            && let Some((oldest, last)) = self.disturbed_order.pop_front()
            && self.disturbed.get(&oldest) == Some(&last)
        {
            self.disturbed.remove(&oldest);
        }
    }

    /// Whether a result of `activation` does not count.
    pub(super) fn is_void(&self, activation: ActivationId, object: Option<&ObjectId>) -> bool {
        self.void.contains(&activation)
            || object.and_then(|object| self.disturbed.get(object)).is_some_and(|last| activation <= *last)
    }

    /// The next one of a partition whose records are applied up to `ticket`, and whose round is confirmed.
    pub(super) fn take(
        &mut self,
        partition: PartitionId,
        ticket: u64,
        confirmed: impl Fn(u64) -> bool,
    ) -> Option<Held> {
        self.held.get_mut(&partition)?.pop_front_if(|held| held.ticket <= ticket && confirmed(held.round))
    }

    /// Everything that waits in a partition that was lost.
    pub(super) fn lose(&mut self, partition: PartitionId) -> VecDeque<Held> {
        self.held.remove(&partition).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disturbed_object_voids_its_activations_so_far() {
        let object = |key: &str| ObjectId { service: "Account".into(), key: key.into() };
        let mut answers = Answers::default();
        answers.disturb(object("a"), ActivationId(5));
        assert!(answers.is_void(ActivationId(5), Some(&object("a"))));
        assert!(!answers.is_void(ActivationId(6), Some(&object("a"))));
        assert!(!answers.is_void(ActivationId(5), Some(&object("b"))));
        answers.void(ActivationId(9));
        assert!(answers.is_void(ActivationId(9), None));
    }
}
