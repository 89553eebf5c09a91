//! Steps: when their code may run, and how their results enter the journal.

use abide_model::protocol::{
    Code, Failure, NotificationId, NotificationResult, PlainCommand, ProposeRunCompletion, RawMessage, RunResult, Value,
};
use bytes::Bytes;

use super::{Engine, Event, LocalStep, OpId, OpKind};
use crate::attempt::compare;

impl Engine {
    /// Begins a step; its id in the journal, and the operation.
    pub(crate) fn begin_step(&mut self, name: &str) -> (u32, OpId) {
        let completion = self.allocate_completion();
        self.claim_step(completion, name);
        (completion, self.begin(NotificationId::Completion(completion), OpKind::Step))
    }

    /// Matches a step with its Run in the journal. Runs are journaled when they end, so they match by id, not by place.
    fn claim_step(&mut self, completion: u32, name: &str) {
        let issued = run_message(completion, name);
        let claims = |(_, recorded): &(u32, RawMessage)| compare::completion_ids(recorded).contains(&completion);
        let Some(place) = self.replay.iter().position(claims) else { return };
        if self.replay[place].1.code != Code::RUN {
            // Its place in the queue tells what the journal has instead.
            let (index, recorded) = &self.replay[place];
            if let Some(failure) = compare::difference(*index, recorded, &issued) {
                self.fail(failure, None);
            }
            return;
        }
        let Some((index, recorded)) = self.replay.remove(place) else { return };
        if let Some(failure) = compare::difference(index, &recorded, &issued) {
            self.fail(failure, None);
        }
    }

    /// Whether the closure of step `op` may run: everything before it is durable, its result is not in the journal, and
    /// the code can do nothing else. The last keeps a step from starting that is about to lose a race.
    pub(crate) fn may_run(&mut self, op: OpId) -> bool {
        if self.failure.is_some() || self.has_known_result(op) {
            return false;
        }
        let may = self.starting && self.is_quiet();
        self.step_blocked |= !may;
        self.steps_running += usize::from(may);
        may
    }

    /// A step that ran is not running any more, with or without a result.
    pub(crate) fn step_stopped(&mut self) {
        self.steps_running -= 1;
    }

    fn is_quiet(&self) -> bool {
        self.replay.is_empty()
            && self.staged.is_empty()
            && self.out.is_empty()
            && self.flushed == self.committed
            && self.next_event().is_none()
    }

    /// Lets steps start in the next poll, if any can.
    pub(in crate::attempt) fn start_steps(&mut self) -> bool {
        self.starting = self.step_blocked && self.is_quiet();
        self.step_blocked &= !self.starting;
        self.starting
    }

    /// A step ran to its end: journals it, and reveals its result in time.
    pub(crate) fn complete_step(&mut self, op: OpId, completion: u32, name: &str, result: Result<Bytes, Failure>) {
        self.stage(run_message(completion, name));
        self.stage(proposal(completion, result.clone()));
        let on = NotificationId::Completion(completion);
        let result = result.map(|content| NotificationResult::Value(Value { content }));
        let event = Event { on, code: Code::RUN_DONE, result };
        self.local.push_back(LocalStep { op, staged_at: self.staged_count, flush: None, event });
    }

    /// A step whose result is there at once: journaled without waiting for anything.
    pub(crate) fn instant_step(&mut self, name: &str, value: impl FnOnce(&Self) -> Bytes) -> Bytes {
        let completion = self.allocate_completion();
        let on = NotificationId::Completion(completion);
        self.claim_step(completion, name);
        let known = self.events.iter().position(|event| event.on == on && event.code == Code::RUN_DONE);
        if let Some(event) = known.and_then(|place| self.events.remove(place))
            && let Ok(NotificationResult::Value(value)) = event.result
        {
            return value.content;
        }
        let value = value(self);
        self.stage(run_message(completion, name));
        self.stage(proposal(completion, Ok(value.clone())));
        value
    }

    fn has_known_result(&self, id: OpId) -> bool {
        let Some(op) = self.ops.get(&id) else { return false };
        self.local.iter().any(|step| step.op == id) || self.events.iter().any(|event| event.on == op.on)
    }
}

fn run_message(completion: u32, name: &str) -> RawMessage {
    RawMessage::new(Code::RUN, &PlainCommand { result_completion_id: completion, name: name.to_owned() })
}

fn proposal(completion: u32, result: Result<Bytes, Failure>) -> RawMessage {
    let result = match result {
        Ok(value) => RunResult::Value(value),
        Err(failure) => RunResult::Failure(failure),
    };
    let proposal = ProposeRunCompletion { result_completion_id: completion, result: Some(result) };
    RawMessage::new(Code::PROPOSE_RUN_COMPLETION, &proposal)
}
