//! What needs no record of its own but depends on records before it: results of reads, and loadings of objects.

use std::collections::{BTreeSet, VecDeque};

use abide_host::DirectCall;
use abide_model::command::Outcome;
use abide_model::id::{ActivationId, ObjectId, PartitionId};

/// Void activations that are remembered; an older one has no results under way any more.
const VOID_MAX: usize = 65_536;

pub(super) struct Answers {
    held: Vec<VecDeque<Held>>,
    void: BTreeSet<ActivationId>,
}

/// Something that waits for records before it.
pub(super) struct Held {
    /// What has to be applied before.
    pub(super) ticket: u64,
    pub(super) what: What,
}

pub(super) enum What {
    /// A result on its way.
    Answer { activation: ActivationId, outcome: Outcome, call: Box<DirectCall> },
    /// An object to be loaded: before that, its state would miss what its last activation has under way.
    Activate(ObjectId),
}

impl Answers {
    pub(super) fn new(partitions: u32) -> Self {
        Self { held: (0..partitions).map(|_| VecDeque::new()).collect(), void: BTreeSet::new() }
    }

    pub(super) fn hold(&mut self, partition: PartitionId, held: Held) {
        self.held[partition.0 as usize].push_back(held);
    }

    /// Everything the activation made is void.
    pub(super) fn void(&mut self, activation: ActivationId) {
        self.void.insert(activation);
        if self.void.len() > VOID_MAX {
            self.void.pop_first();
        }
    }

    pub(super) fn is_void(&self, activation: ActivationId) -> bool {
        self.void.contains(&activation)
    }

    /// The next one of a partition whose records are applied up to `ticket`.
    pub(super) fn take(&mut self, index: usize, ticket: u64) -> Option<Held> {
        self.held[index].pop_front_if(|held| held.ticket <= ticket)
    }
}
