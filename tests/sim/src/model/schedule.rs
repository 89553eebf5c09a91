//! Schedules, and the account of their times.

use std::collections::BTreeSet;

use abide_model::command::{
    Control, Invoke, Outcome, OutcomeKind, Overlap, ParcelBody, ScheduleAction, ScheduleDefinition, ScheduleFire,
    ScheduleOrder, Sink, Verb,
};
use abide_model::id::{InvocationId, ScheduleId};
use abide_model::limits::SCHEDULE_ACTIVE_MAX;
use abide_model::protocol::Code;
use bytes::Bytes;

use super::Part;
use crate::timetable::{Spec, time_of};
use crate::violation::{Check, Invariant, check};

/// A schedule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sched {
    pub(crate) definition: ScheduleDefinition,
    pub(crate) due: u64,
    pub(super) firing: bool,
    pub(crate) paused: bool,
    pub(super) created_at: u64,
    pub(super) modified_at: u64,
    pub(super) runs: u64,
    pub(super) skipped: u64,
    pub(super) last_run_at: u64,
    pub(super) last_run: Bytes,
    pub(super) active: Vec<Bytes>,
    pub(super) failed: u64,
    pub(super) last_fault: String,
    pub(super) life: u64,
    /// Times that have come, and runs beside them.
    pub(crate) accounted: u64,
    /// Times that were run since the timetable was last set.
    ran: BTreeSet<u64>,
}

impl Part {
    pub(super) fn schedule_order(&mut self, order: ScheduleOrder) -> Check {
        let Some(id) = ScheduleId::from_bytes(&order.id) else { return Ok(()) };
        if let Some(ScheduleAction::Put(definition)) = order.action {
            self.put(id, definition);
            return Ok(());
        }
        let now = self.log_time;
        let Some(sched) = self.schedules.get_mut(&id) else { return Ok(()) };
        match order.action {
            Some(ScheduleAction::Pause(_)) if !sched.paused => {
                sched.paused = true;
                sched.modified_at = now;
                self.wait_for(id, 0);
            }
            Some(ScheduleAction::Resume(next)) if sched.paused => {
                sched.paused = false;
                sched.modified_at = now;
                sched.ran.clear();
                self.wait_for(id, next.due);
            }
            Some(ScheduleAction::Trigger(invoke)) => {
                sched.accounted += 1;
                self.run(id, invoke);
            }
            Some(ScheduleAction::Delete(_)) => {
                self.wait_for(id, 0);
                self.schedules.remove(&id);
            }
            Some(ScheduleAction::Fire(fire)) if sched.firing && sched.due == fire.due => {
                sched.account(&fire, now)?;
                sched.skipped += fire.skipped;
                if !fire.fault.is_empty() {
                    sched.last_fault.clone_from(&fire.fault);
                }
                let mut stopped = Vec::new();
                for invoke in fire.runs {
                    self.due_run(id, invoke, &mut stopped);
                }
                self.wait_for(id, fire.next);
            }
            _ => {}
        }
        Ok(())
    }

    fn put(&mut self, id: ScheduleId, definition: ScheduleDefinition) {
        let now = self.log_time;
        if definition.create_only && self.schedules.contains_key(&id) {
            return;
        }
        if !self.schedules.contains_key(&id) {
            self.lives += 1;
            let sched = Sched { paused: definition.paused, created_at: now, life: self.lives, ..Sched::default() };
            self.schedules.insert(id, sched);
        }
        let Some(sched) = self.schedules.get_mut(&id) else { return };
        let due = if sched.paused { 0 } else { definition.first_due };
        sched.modified_at = now;
        sched.ran.clear();
        sched.definition = definition;
        self.wait_for(id, due);
    }

    /// The schedule waits for nothing but `due`; 0 is never.
    fn wait_for(&mut self, id: ScheduleId, due: u64) {
        self.timers.retain(|timer| timer.2 != id.as_invocation());
        if let Some(sched) = self.schedules.get_mut(&id) {
            (sched.due, sched.firing) = (due, false);
        }
        if due != 0 {
            self.timers.insert((due, 5, id.as_invocation(), 0));
        }
    }

    /// The timer of a schedule has fired.
    pub(super) fn schedule_due(&mut self, id: InvocationId, due: u64) {
        if let Some(sched) = self.schedules.get_mut(&ScheduleId::from_invocation(id)) {
            sched.firing |= sched.due == due && !sched.paused;
        }
    }

    /// A run that is due while others may be under way, of which some were `stopped` already.
    fn due_run(&mut self, id: ScheduleId, invoke: Invoke, stopped: &mut Vec<Bytes>) {
        let Some(sched) = self.schedules.get_mut(&id) else { return };
        match sched.definition.overlap() {
            Overlap::Skip if !sched.active.is_empty() => {
                sched.skipped += 1;
                return;
            }
            Overlap::CancelOther => {
                // Of several runs at once, each other one is cancelled once, by the first that finds it.
                let others: Vec<_> = sched.active.iter().filter(|other| !stopped.contains(other)).cloned().collect();
                stopped.clone_from(&sched.active);
                for target in others {
                    self.send(ParcelBody::Control(Control { target, verb: Verb::Cancel as i32, ..Control::default() }));
                }
            }
            Overlap::Skip | Overlap::Allow => {}
        }
        self.run(id, invoke);
    }

    fn run(&mut self, id: ScheduleId, invoke: Invoke) {
        let now = self.log_time;
        let Some(sched) = self.schedules.get_mut(&id) else { return };
        sched.runs += 1;
        sched.last_run_at = now;
        sched.last_run = invoke.id.clone();
        sched.active.push(invoke.id.clone());
        if sched.active.len() > SCHEDULE_ACTIVE_MAX {
            sched.active.remove(0);
        }
        let invoke = Invoke {
            sink: Some(Sink::new(id.as_invocation(), sched.life, 0, Code::SCHEDULED_RUN_DONE)),
            schedule: sched.definition.name.clone(),
            one_way: false,
            ..invoke
        };
        self.send(ParcelBody::Invoke(invoke));
    }

    /// A run has ended.
    pub(super) fn run_ended(&mut self, id: InvocationId, life: u64, run: &Bytes, outcome: Outcome) {
        let Some(sched) = self.schedules.get_mut(&ScheduleId::from_invocation(id)).filter(|it| it.life == life) else {
            return;
        };
        sched.active.retain(|active| active != run);
        if let Some(OutcomeKind::Failure(failure)) = outcome.kind {
            sched.failed += 1;
            let run = InvocationId::from_bytes(run).map_or_else(String::new, |run| run.to_string());
            sched.last_fault = format!("{run}: {} (code {})", failure.message, failure.code);
        }
    }
}

impl Sched {
    /// Each time from the one that was due to the next is run or skipped, none twice, none early.
    fn account(&mut self, fire: &ScheduleFire, now: u64) -> Check {
        let name = &self.definition.name;
        let wrong = |text: String| check(false, Invariant::I21Schedules, || format!("schedule {name}: {text}"));
        let times: Vec<u64> = match Spec::parse(&self.definition.spec) {
            Some(spec) => spec.times(fire.due, fire.next),
            None => return wrong("its spec cannot be read".into()),
        };
        if times.len() as u64 != fire.runs.len() as u64 + fire.skipped {
            let text = format!("of the times {times:?}, {} are run and {} skipped", fire.runs.len(), fire.skipped);
            return wrong(text);
        }
        for run in &fire.runs {
            let at = time_of(run);
            if at > now || !times.contains(&at) || !self.ran.insert(at) {
                return wrong(format!("a run for {at} at {now}, of the times {times:?}: {:?}", self.ran));
            }
        }
        self.accounted += times.len() as u64;
        Ok(())
    }
}
