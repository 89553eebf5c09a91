//! Schedules that are due.

use std::collections::VecDeque;

use abide_model::command::ScheduleAction;
use abide_model::id::{PartitionId, ScheduleId};
use abide_model::table::Schedules;
use abide_model::view::View as _;
use abide_storage::{LogStore, StateStore};

use super::{Driver, Fatal};
use crate::clock;
use crate::schedule::{Runner, order};

/// Schedules that are fired in one turn, so that a restart with many that are due answers others in between.
const FIRED_PER_TURN_MAX: usize = 16;
/// No further one is fired in a turn that has begun this many runs: each has its input.
const RUNS_PER_TURN_SOFT_MAX: usize = 100;

/// Schedules that are due, in the order in which they became so.
pub(super) struct DueSchedules {
    runner: Runner,
    due: VecDeque<ScheduleId>,
}

impl DueSchedules {
    pub(super) fn new(runner: Runner) -> Self {
        Self { runner, due: VecDeque::new() }
    }

    pub(super) fn push(&mut self, schedule: ScheduleId) {
        self.due.push_back(schedule);
    }
}

impl<L: LogStore, S: StateStore> Driver<L, S> {
    /// Answers the machine's question what to run. The row is read anew: it may have changed since it was asked, and then
    /// there is nothing to answer.
    pub(super) fn fire_schedules(&mut self) -> Result<(), Fatal> {
        if !self.can_fire() {
            return Ok(());
        }
        let mut runs = 0;
        for _ in 0..FIRED_PER_TURN_MAX {
            if runs >= RUNS_PER_TURN_SOFT_MAX {
                break;
            }
            let Some(id) = self.schedules.due.pop_front() else { break };
            let partition = PartitionId::of(id.partition_key(), self.settings.partitions);
            // Whoever leads now asks anew.
            if !self.leads(partition) {
                continue;
            }
            let row = self.read(partition, self.view(partition).get::<Schedules>(&id))?;
            if let Some(row) = row.filter(|row| row.firing) {
                let fire = self.schedules.runner.fire(&row, clock::now());
                runs += fire.runs.len();
                self.propose(partition, order(id, ScheduleAction::Fire(fire)))?;
            }
        }
        Ok(())
    }

    /// Whether a schedule is due, and its runs may enter the log: while checkpoints cannot keep up, they wait.
    pub(super) fn can_fire(&self) -> bool {
        !self.schedules.due.is_empty() && !self.is_choked()
    }
}
