//! Signals, orders and timers: what reaches an invocation from outside.

use abide_model::command::{Control, Form, Outcome, ParcelBody, Signal, Verb};
use abide_model::id::InvocationId;
use abide_model::protocol::{
    Code, Failure, Notification, NotificationId, NotificationResult, SIGNAL_CANCEL, SignalId, SignalResult, Void,
};
use bytes::Bytes;
use prost::Message as _;

use super::{Part, Status, Timer};

impl Part {
    pub(super) fn signal(&mut self, signal: &Signal) {
        let Some(id) = InvocationId::from_bytes(&signal.target) else { return };
        let Some(inv) = self.invocations.get(&id) else { return };
        let note = Notification {
            id: match signal.signal.clone() {
                Some(SignalId::Index(index)) => Some(NotificationId::SignalIndex(index)),
                Some(SignalId::Name(name)) => Some(NotificationId::SignalName(name)),
                None => return,
            },
            result: Some(match signal.result.clone() {
                Some(SignalResult::Value(value)) => NotificationResult::Value(value),
                Some(SignalResult::Failure(failure)) => NotificationResult::Failure(failure),
                Some(SignalResult::Void(_)) | None => NotificationResult::Void(Void {}),
            }),
        };
        let cancel = signal.signal == Some(SignalId::Index(SIGNAL_CANCEL));
        let waiting = matches!(inv.status, Status::Scheduled(_) | Status::Queued);
        let (paused, flow) = (inv.status == Status::Paused, inv.target.form() == Form::Flow);
        if cancel && (waiting || !flow) {
            return self.complete(id, &Outcome::failure(Failure::new(409, "canceled")), !waiting);
        }
        self.note(id, Code::SIGNAL, &note);
        if cancel && paused {
            self.start(id);
        }
    }

    pub(super) fn control(&mut self, control: &Control) {
        let Some(id) = InvocationId::from_bytes(&control.target) else { return };
        match control.verb() {
            Verb::Cancel => self.signal(&Signal {
                target: control.target.clone(),
                signal: Some(SignalId::Index(SIGNAL_CANCEL)),
                result: None,
            }),
            Verb::Kill => {
                let Some(inv) = self.invocations.get(&id) else { return };
                let started = !matches!(inv.status, Status::Scheduled(_) | Status::Queued);
                let notes = inv.journal.iter().filter(|(code, _)| *code == Code::CALL_INVOCATION_ID);
                let children: Vec<_> = notes.filter_map(|(_, bytes)| callee(bytes)).collect();
                for child in children {
                    let target = Bytes::copy_from_slice(&child.to_bytes());
                    self.send(ParcelBody::Control(Control { target, verb: Verb::Kill as i32 }));
                }
                self.complete(id, &Outcome::failure(Failure::new(409, "killed")), started);
            }
            Verb::Resume => {
                let Some(inv) = self.invocations.get_mut(&id) else { return };
                match inv.status {
                    Status::Paused => {}
                    Status::BackingOff(due) => {
                        self.timers.remove(&(due, 3, id, 0));
                    }
                    _ => return,
                }
                inv.failures = 0;
                self.start(id);
            }
        }
    }

    pub(super) fn fire(&mut self) {
        let due: Vec<Timer> =
            self.timers.iter().take_while(|timer| timer.0 <= self.log_time).take(256).copied().collect();
        for timer in due {
            self.timers.remove(&timer);
            let (at, kind, id, completion) = timer;
            let status = self.invocations.get(&id).map(|inv| inv.status.clone());
            match (kind, status) {
                (1, Some(Status::Scheduled(due))) if due == at => self.admit(id),
                (3, Some(Status::BackingOff(due))) if due == at => self.start(id),
                (2, Some(_)) => {
                    let id_of_note = Some(NotificationId::Completion(completion));
                    let result = Some(NotificationResult::Void(Void {}));
                    self.note(id, Code::SLEEP_DONE, &Notification { id: id_of_note, result });
                }
                (4, _) if self.kept.get(&id).is_some_and(|(_, expires)| *expires == at) => {
                    self.kept.remove(&id);
                }
                _ => {}
            }
        }
    }
}

fn callee(bytes: &Bytes) -> Option<InvocationId> {
    match Notification::decode(bytes.clone()).ok()?.result {
        Some(NotificationResult::InvocationId(text)) => text.parse().ok(),
        _ => None,
    }
}
