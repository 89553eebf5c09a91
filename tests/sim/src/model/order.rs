//! Signals, orders and timers: what reaches an invocation from outside.

use abide_model::command::{Control, Form, Outcome, ParcelBody, Signal, Verb};
use abide_model::id::InvocationId;
use abide_model::limits::TIMERS_PER_COMMAND_MAX;
use abide_model::protocol::{
    Code, Failure, Notification, NotificationId, NotificationResult, SIGNAL_CANCEL, SignalId, SignalResult, Void,
};
use bytes::Bytes;
use prost::Message as _;

use super::end::By;
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
            let outcome = Outcome::failure(Failure::new(409, "canceled"));
            return self.complete(id, &outcome, By::Order, !waiting);
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
            Verb::Kill => self.kill(id),
            Verb::Pause => {
                let Some(inv) = self.invocations.get_mut(&id) else { return };
                match inv.status {
                    Status::Scheduled(_) | Status::Queued => return,
                    Status::BackingOff(due) => {
                        self.timers.remove(&(due, 3, id, 0));
                    }
                    Status::Running | Status::Suspended(_) | Status::Paused => {}
                }
                inv.status = Status::Paused;
            }
            Verb::Resume => self.resume(id, control.version.as_deref()),
            Verb::Reschedule => {
                let Some(inv) = self.invocations.get(&id) else { return };
                let Status::Scheduled(before) = inv.status else { return };
                if before == control.execute_at {
                    return;
                }
                self.timers.remove(&(before, 1, id, 0));
                if control.execute_at > self.log_time {
                    self.set(id, Status::Scheduled(control.execute_at));
                    self.timers.insert((control.execute_at, 1, id, 0));
                } else {
                    self.admit(id);
                }
            }
            Verb::Purge => {
                *self.purges.entry(id).or_default() += 1;
                self.forget(id);
            }
            Verb::PurgeJournal => self.forget_journal(id),
            Verb::Restart => {
                if let Some(kept) = self.kept.get(&id).cloned() {
                    self.restart(id, &kept, control);
                }
            }
        }
    }

    fn kill(&mut self, id: InvocationId) {
        let Some(inv) = self.invocations.get(&id) else { return };
        let started = !matches!(inv.status, Status::Scheduled(_) | Status::Queued);
        let notes = inv.journal.iter().filter(|(code, _)| *code == Code::CALL_INVOCATION_ID);
        let children: Vec<_> = notes.filter_map(|(_, bytes)| callee(bytes)).collect();
        for child in children {
            self.send(ParcelBody::Control(Control::new(child, Verb::Kill)));
        }
        self.complete(id, &Outcome::failure(Failure::new(409, "killed")), By::Order, started);
    }

    fn resume(&mut self, id: InvocationId, wish: Option<&str>) {
        let Some(inv) = self.invocations.get_mut(&id) else { return };
        match inv.status {
            Status::Paused | Status::Suspended(_) => {}
            Status::BackingOff(due) => {
                self.timers.remove(&(due, 3, id, 0));
            }
            Status::Scheduled(_) | Status::Queued | Status::Running => return,
        }
        if let Some(wish) = wish {
            inv.version = Some(wish.to_owned()).filter(|version| !version.is_empty());
        }
        inv.failures = 0;
        self.start(id);
    }

    pub(super) fn fire(&mut self) {
        let due: Vec<Timer> = self
            .timers
            .iter()
            .take_while(|timer| timer.0 <= self.log_time)
            .take(TIMERS_PER_COMMAND_MAX)
            .copied()
            .collect();
        let full = due.len() == TIMERS_PER_COMMAND_MAX;
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
                (5, _) => self.schedule_due(id, at),
                _ => {}
            }
        }
        if !full {
            self.forget_due();
        }
    }
}

fn callee(bytes: &Bytes) -> Option<InvocationId> {
    match Notification::decode(bytes.clone()).ok()?.result {
        Some(NotificationResult::InvocationId(text)) => text.parse().ok(),
        _ => None,
    }
}
