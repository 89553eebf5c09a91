//! Results: in which order the code learns them.

use abide_model::protocol::{Code, NotificationId, NotificationResult, SIGNAL_CANCEL};
use abide_model::table::{Awaiting, JournalRow};

use super::Event;
use super::{Engine, OpId, OpKind, cancel_message};
use crate::attempt::compare;

impl Engine {
    /// A notification was appended to the journal.
    pub(in crate::attempt) fn notify(&mut self, index: u32, entry: &JournalRow) {
        let message = entry.message();
        if !message.code.is_notification() || message.code == Code::RUN_DONE {
            return;
        }
        match Event::decode(&message) {
            Ok(event) => self.events.push_back(event),
            Err(reason) => self.fail(compare::unreadable(index, &reason), None),
        }
    }

    /// The place of the event that is to be revealed next, if one can be.
    ///
    /// Events nobody has asked for yet are passed over. An event of an operation that was issued after a step whose own
    /// result has no place in the journal yet waits for that step.
    pub(super) fn next_event(&self) -> Option<usize> {
        let unplaced = self.local.front().map(|step| step.staged_at);
        for (place, event) in self.events.iter().enumerate() {
            if event.is_cancel() {
                if self.ops.values().any(|op| op.awaited && op.result.is_none()) {
                    return Some(place);
                }
            } else if let Some(at) = self.staged_at(&event.on) {
                return unplaced.is_none_or(|step| at <= step).then_some(place);
            }
        }
        None
    }

    /// Reveals one result to the code; `false` when there is none that can be.
    pub(in crate::attempt) fn reveal_next(&mut self) -> bool {
        self.reveals += 1;
        self.starting = false;
        if let Some(place) = self.next_event() {
            if !self.events[place].is_cancel() {
                self.reveal_event(place);
            } else if !self.reveal_finished_step() {
                self.events.remove(place);
                self.cancel();
            }
            return true;
        }
        self.outstanding == 0 && self.reveal_local(0)
    }

    fn reveal_event(&mut self, place: usize) {
        let Some(event) = self.events.remove(place) else { return };
        if let Some(op) = self.op_for(&event.on) {
            self.resolve(op, event.result);
        }
    }

    fn reveal_local(&mut self, place: usize) -> bool {
        let Some(step) = self.local.remove(place) else { return false };
        self.resolve(step.op, step.event.result);
        true
    }

    /// A step that has a result was not interrupted by the cancellation: otherwise it would have none.
    fn reveal_finished_step(&mut self) -> bool {
        let awaited = |engine: &Self, on: &NotificationId| {
            let op = engine.op_for(on).and_then(|id| engine.ops.get(&id));
            op.is_some_and(|op| op.kind == OpKind::Step && op.awaited)
        };
        if let Some(place) = self.events.iter().position(|event| awaited(self, &event.on)) {
            self.reveal_event(place);
            return true;
        }
        let place = self.local.iter().position(|step| awaited(self, &step.event.on));
        place.is_some_and(|place| self.reveal_local(place))
    }

    /// Passes the cancellation on to callees whose result is outstanding, and interrupts everything that is awaited.
    fn cancel(&mut self) {
        let ids: Vec<String> = self.children.values().filter_map(|id| self.callee(*id)).collect();
        for target_invocation_id in ids {
            self.stage(cancel_message(target_invocation_id));
        }
        self.settle();
        let awaited: Vec<OpId> =
            self.ops.iter().filter(|(_, op)| op.awaited && op.result.is_none()).map(|(id, _)| *id).collect();
        for op in awaited {
            self.resolve(op, Err(crate::Terminal::cancelled().failure()));
        }
    }

    fn callee(&self, id_op: OpId) -> Option<String> {
        match &self.ops.get(&id_op)?.result {
            Some((_, Ok(NotificationResult::InvocationId(id)))) => Some(id.clone()),
            _ => None,
        }
    }

    /// What the code waits for, when nothing else can wake it.
    pub(in crate::attempt) fn waiting(&self) -> Option<Awaiting> {
        if self.flushed != self.committed || self.steps_running > 0 {
            return None;
        }
        let mut awaiting = Awaiting { signals: vec![SIGNAL_CANCEL], ..Awaiting::default() };
        let mut any = false;
        for op in self.ops.values().filter(|op| op.awaited && op.result.is_none()) {
            any = true;
            match &op.on {
                NotificationId::Completion(id) => awaiting.completions.push(*id),
                NotificationId::SignalIndex(index) => awaiting.signals.push(*index),
                NotificationId::SignalName(name) => awaiting.names.push(name.clone()),
            }
        }
        any.then_some(awaiting)
    }
}
