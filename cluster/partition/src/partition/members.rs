//! Who belongs to the group, and how that changes: one step at a time, several members at once through a joint
//! configuration, and never away from the leader itself.

use std::collections::BTreeSet;

use abide_model::table::AppliedRow;
use abide_storage::StateStore;
use protobuf::Message as _;
use raft::StateRole;
use raft::eraftpb::{
    ConfChange, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, Entry, EntryType,
};

use super::Partition;
use crate::recent::RecentResults;
use crate::wire::Members;
use crate::{Output, PartitionError};

/// The members as of an applied index (rule P8).
pub(super) fn of(applied: &AppliedRow) -> Members {
    Members {
        voters: applied.voters.clone(),
        learners: applied.learners.clone(),
        voters_outgoing: applied.voters_outgoing.clone(),
        learners_next: applied.learners_next.clone(),
        auto_leave: applied.auto_leave,
    }
}

impl<S: StateStore> Partition<S> {
    /// Who belongs to the group as of the applied index.
    #[must_use]
    pub fn members(&self) -> Members {
        of(&self.applied)
    }

    /// Takes a step towards the given members, if one can be taken now.
    pub(super) fn change_members(&mut self, voters: &[u64], learners: &[u64]) -> Result<(), PartitionError> {
        let raft = &self.raft.raft;
        let started = self.leadership.as_ref().is_some_and(|leadership| leadership.started);
        // Row B.5: a change while one is pending would be replaced by an empty entry.
        if !started || raft.state != StateRole::Leader || raft.has_pending_conf() || voters.is_empty() {
            return Ok(());
        }
        let members = self.members();
        if members.is_joint() {
            return Ok(());
        }
        if !voters.contains(&self.settings.replica) {
            // Row B.8: a leader that is removed stays leader of nothing. Another one takes the step.
            let heirs: Vec<u64> = voters.iter().copied().filter(|id| members.voters.contains(id)).collect();
            self.hand_over(&heirs);
            return Ok(());
        }
        let changes = steps(&members, voters, learners);
        if changes.is_empty() {
            return Ok(());
        }
        let mut change = ConfChangeV2::default();
        if changes.len() > 1 {
            // The library would take the second step by itself, but forgets it with the leader (row B.9), and takes it
            // also if that leader is among those who leave, which makes it panic. So it is taken here.
            change.set_transition(ConfChangeTransition::Explicit);
        }
        change.changes = changes.into();
        self.propose_change(change)
    }

    fn propose_change(&mut self, change: ConfChangeV2) -> Result<(), PartitionError> {
        match self.raft.propose_conf_change(Vec::new(), change) {
            Ok(()) | Err(raft::Error::ProposalDropped) => Ok(()),
            Err(error) => Err(self.consensus(&error)),
        }
    }

    /// Hands leadership to one of `heirs` that has nearly everything.
    fn hand_over(&mut self, heirs: &[u64]) {
        if let Some(next) = heirs.iter().copied().find(|id| self.is_up_to_date(*id)) {
            self.raft.transfer_leader(next);
        }
    }

    /// Whether a replica has nearly everything that this leader has.
    fn is_up_to_date(&self, replica: u64) -> bool {
        let last = self.raft.raft.raft_log.last_index();
        let progress = self.raft.raft.prs().get(replica);
        progress.is_some_and(|progress| progress.recent_active && progress.matched + 256 > last)
    }

    pub(super) fn apply_change(&mut self, entry: &Entry) -> Result<(), PartitionError> {
        let malformed =
            |reason: String| PartitionError::Entry { partition: self.settings.partition, index: entry.index, reason };
        let state = if entry.get_entry_type() == EntryType::EntryConfChangeV2 {
            let change = ConfChangeV2::parse_from_bytes(&entry.data).map_err(|error| malformed(error.to_string()))?;
            self.raft.apply_conf_change(&change)
        } else {
            let change = ConfChange::parse_from_bytes(&entry.data).map_err(|error| malformed(error.to_string()))?;
            self.raft.apply_conf_change(&change)
        };
        let state = state.map_err(|error| self.consensus(&error))?;
        let members = Members::from_raft(&state);
        let raft = &mut self.raft.raft;
        if raft.state == StateRole::Leader && !members.contains(self.settings.replica) {
            // A change that an earlier leader proposed. The library would lead on without being a member, and panic.
            raft.become_follower(raft.term, raft::INVALID_ID);
            self.leave_office();
        }
        self.raft.mut_store().set_conf_state(state);
        self.members_unsaved = true;
        self.set_members(members);
        Ok(())
    }

    /// Takes note of the members as of the entry that is being applied.
    fn set_members(&mut self, members: Members) {
        // One that is being sent the log from its beginning sees changes from before its time.
        let belonged = self.members().contains(self.settings.replica);
        self.applied.voters.clone_from(&members.voters);
        self.applied.learners.clone_from(&members.learners);
        self.applied.voters_outgoing.clone_from(&members.voters_outgoing);
        self.applied.learners_next.clone_from(&members.learners_next);
        self.applied.auto_leave = members.auto_leave;
        self.remember_results();
        let removed = belonged && !members.contains(self.settings.replica);
        self.outputs.push_back(Output::MembersChanged(members));
        if removed {
            self.outputs.push_back(Output::Removed);
        }
    }

    /// Results of plain calls matter as soon as somebody else could take over.
    pub(super) fn remember_results(&mut self) {
        if !self.is_alone() || !self.applied.learners.is_empty() {
            self.remember();
        }
    }

    /// Remembers results of plain calls from now on, if it does not yet: somebody may ask for one again. A group of several
    /// begins by itself.
    pub fn remember(&mut self) {
        if self.recent.is_none() {
            self.recent = Some(RecentResults::since(self.applied.index));
        }
    }

    /// Takes the second step of a change, at every tick until it is taken.
    pub(super) fn finish_change(&mut self) -> Result<(), PartitionError> {
        let leads = self.leadership.as_ref().is_some_and(|leadership| leadership.started);
        if !leads || self.applied.voters_outgoing.is_empty() || self.raft.raft.has_pending_conf() {
            return Ok(());
        }
        if self.is_voter() {
            return self.propose_change(ConfChangeV2::default());
        }
        let heirs = self.applied.voters.clone();
        self.hand_over(&heirs);
        Ok(())
    }
}

/// What turns the members into the wished ones.
fn steps(members: &Members, voters: &[u64], learners: &[u64]) -> Vec<ConfChangeSingle> {
    let wished: BTreeSet<u64> = voters.iter().chain(learners).copied().collect();
    let mut changes = Vec::new();
    let mut change = |kind: ConfChangeType, node_id: u64| {
        let mut single = ConfChangeSingle { node_id, ..ConfChangeSingle::default() };
        single.set_change_type(kind);
        changes.push(single);
    };
    for voter in voters.iter().filter(|id| !members.voters.contains(id)) {
        change(ConfChangeType::AddNode, *voter);
    }
    for learner in learners.iter().filter(|id| !members.learners.contains(id) && !voters.contains(id)) {
        change(ConfChangeType::AddLearnerNode, *learner);
    }
    for gone in members.all().into_iter().filter(|id| !wished.contains(id)) {
        change(ConfChangeType::RemoveNode, gone);
    }
    changes
}
