//! What a flow's messages mean.

use abide_model::command::{Append, Holder, Invoke, Outcome, ParcelBody, Signal, Sink};
use abide_model::id::{AwakeableId, InvocationId, ObjectId};
use abide_model::limits::CALL_CHAIN_MAX;
use abide_model::protocol::{
    AwakeableResult, Call, Code, CompleteAwakeable, EagerStateResult, Failure, GetEagerState, InvocationTarget,
    Metadata, Notification, NotificationId, NotificationResult, OneWayCall, Output, OutputResult, PlainCommand,
    ProposeRunCompletion, RawMessage, RunResult, SendSignal, SetState, SignalId, SignalResult, Sleep, StateKeyCommand,
    StateKeys, Suspension, Value, Void,
};
use bytes::Bytes;
use prost::Message as _;

use super::end::By;
use super::{Inv, Part, Status, binary};
use crate::app::Fields;
use crate::names;
use crate::program::{Known, Program, Replay, Stop};
use crate::rng::Rng;
use crate::violation::{Check, Invariant, Violation, check};

fn text(field: &Bytes) -> String {
    String::from_utf8_lossy(field).into_owned()
}

pub(super) fn note(completion: u32, result: NotificationResult) -> Notification {
    Notification { id: Some(NotificationId::Completion(completion)), result: Some(result) }
}

impl Part {
    pub(super) fn append(&mut self, append: Append) -> Check {
        let Some(id) = InvocationId::from_bytes(&append.id) else { return Ok(()) };
        let current = self.invocations.get(&id).is_some_and(|inv| {
            inv.attempt == append.attempt
                && inv.life == append.life
                && self.term == append.term
                && inv.status == Status::Running
        });
        if !current {
            self.fenced += 1;
            return Ok(());
        }
        let Some(inv) = self.invocations.get_mut(&id) else { return Ok(()) };
        if inv.version.is_none() && !append.version.is_empty() {
            inv.version = Some(append.version);
        }
        let (object, ttl) = (inv.target.object(), inv.terms.ttl);
        let mut changed = None;
        let seen = append.seen as usize;
        for message in append.messages {
            let raw = message.raw();
            match raw.code {
                Code::END => {
                    self.published(changed, ttl);
                    return self.end(id);
                }
                Code::SUSPENSION => {
                    self.published(changed, ttl);
                    self.suspend(id, &decode(&raw)?, seen);
                    return Ok(());
                }
                Code::PROPOSE_RUN_COMPLETION => {
                    let run: ProposeRunCompletion = decode(&raw)?;
                    let result = match run.result {
                        Some(RunResult::Value(content)) => NotificationResult::Value(Value { content }),
                        Some(RunResult::Failure(failure)) => NotificationResult::Failure(failure),
                        None => NotificationResult::Void(Void {}),
                    };
                    self.write(id, Code::RUN_DONE, &note(run.result_completion_id, result));
                    continue;
                }
                _ => {}
            }
            if let Some(inv) = self.invocations.get_mut(&id) {
                inv.failures = 0;
                inv.journal.push((raw.code, raw.payload.clone()));
            }
            if matches!(raw.code, Code::SET_STATE | Code::CLEAR_STATE | Code::CLEAR_ALL_STATE) {
                changed = object.as_ref();
            }
            self.entry(id, object.as_ref(), &raw, message.callee)?;
        }
        self.published(changed, ttl);
        Ok(())
    }

    fn entry(
        &mut self,
        id: InvocationId,
        object: Option<&ObjectId>,
        raw: &RawMessage,
        callee: Option<Invoke>,
    ) -> Check {
        if matches!(raw.code, Code::GET_PROMISE | Code::PEEK_PROMISE | Code::COMPLETE_PROMISE) {
            return self.promise(id, raw);
        }
        let fields = object.map(|object| &mut self.objects.entry(object.clone()).or_default().fields);
        match (raw.code, fields) {
            (Code::SET_STATE, Some(fields)) => {
                let set: SetState = decode(raw)?;
                fields.insert(text(&set.key), set.value.unwrap_or_default().content);
            }
            (Code::CLEAR_STATE, Some(fields)) => {
                fields.remove(&text(&decode::<StateKeyCommand>(raw)?.key));
            }
            (Code::CLEAR_ALL_STATE, Some(fields)) => fields.clear(),
            (Code::GET_LAZY_STATE, Some(fields)) => {
                let get: StateKeyCommand = decode(raw)?;
                let result = match fields.get(&text(&get.key)) {
                    Some(value) => NotificationResult::Value(Value { content: value.clone() }),
                    None => NotificationResult::Void(Void {}),
                };
                self.write(id, Code::GET_LAZY_STATE_DONE, &note(get.result_completion_id, result));
            }
            (Code::GET_LAZY_STATE_KEYS, Some(fields)) => {
                let get: PlainCommand = decode(raw)?;
                let keys = fields.keys().map(|key| Bytes::from(key.clone())).collect();
                let result = NotificationResult::StateKeys(StateKeys { keys });
                self.write(id, Code::GET_LAZY_STATE_KEYS_DONE, &note(get.result_completion_id, result));
            }
            (Code::GET_EAGER_STATE, Some(fields)) => {
                let get: GetEagerState = decode(raw)?;
                let read = match get.result {
                    Some(EagerStateResult::Value(value)) => Some(value.content),
                    Some(EagerStateResult::Void(_)) | None => None,
                };
                let truth = fields.get(&text(&get.key)).cloned();
                check(read == truth, Invariant::I2Linearizable, || {
                    format!("{id} on {object:?} read field {:?} as {read:?}, it is {truth:?}", get.key)
                })?;
            }
            (Code::SLEEP, _) => {
                let sleep: Sleep = decode(raw)?;
                if sleep.wake_up_time > self.log_time {
                    self.timers.insert((sleep.wake_up_time, 2, id, sleep.result_completion_id));
                } else {
                    let note = note(sleep.result_completion_id, NotificationResult::Void(Void {}));
                    self.write(id, Code::SLEEP_DONE, &note);
                }
            }
            (Code::CALL | Code::ONE_WAY_CALL, _) => self.call(id, raw, callee)?,
            (Code::SEND_SIGNAL, _) => {
                let signal: SendSignal = decode(raw)?;
                let Ok(target) = signal.target_invocation_id.parse::<InvocationId>() else { return Ok(()) };
                let target = Bytes::copy_from_slice(&target.to_bytes());
                self.send(ParcelBody::Signal(Signal { target, signal: signal.signal_id, result: signal.result }));
            }
            (Code::COMPLETE_AWAKEABLE, _) => {
                let completion: CompleteAwakeable = decode(raw)?;
                let Ok(awakeable) = completion.awakeable_id.parse::<AwakeableId>() else { return Ok(()) };
                let result = completion.result.map(|result| match result {
                    AwakeableResult::Value(value) => SignalResult::Value(value),
                    AwakeableResult::Failure(failure) => SignalResult::Failure(failure),
                });
                let target = Bytes::copy_from_slice(&awakeable.invocation.to_bytes());
                let signal = Some(SignalId::Index(awakeable.signal));
                self.send(ParcelBody::Signal(Signal { target, signal, result }));
            }
            (Code::ATTACH_INVOCATION | Code::GET_INVOCATION_OUTPUT, _) => {
                let command: InvocationTarget = decode(raw)?;
                let Ok(target) = command.invocation_id.parse::<InvocationId>() else { return Ok(()) };
                let waits = raw.code == Code::ATTACH_INVOCATION;
                let code = if waits { Code::ATTACH_DONE } else { Code::OUTPUT_DONE };
                let sink = Some(Sink::new(id, self.life(id), command.result_completion_id, code));
                let attach = abide_model::command::Attach { target: Bytes::copy_from_slice(&target.to_bytes()), sink };
                self.send(if waits { ParcelBody::Attach(attach) } else { ParcelBody::Peek(attach) });
            }
            _ => {}
        }
        Ok(())
    }

    fn call(&mut self, id: InvocationId, raw: &RawMessage, callee: Option<Invoke>) -> Check {
        let Some((callee, callee_id)) = callee.and_then(|callee| callee.id().map(|id| (callee, id))) else {
            return Ok(());
        };
        let (id_completion, result_completion) = if raw.code == Code::CALL {
            let call: Call = decode(raw)?;
            (call.invocation_id_notification_idx, Some(call.result_completion_id))
        } else {
            (decode::<OneWayCall>(raw)?.invocation_id_notification_idx, None)
        };
        let told = NotificationResult::InvocationId(callee_id.to_string());
        self.write(id, Code::CALL_INVOCATION_ID, &note(id_completion, told));
        let Some(inv) = self.invocations.get(&id) else { return Ok(()) };
        let (life, invoked_by) = (inv.life, binary(id));
        let Some(completion) = result_completion else {
            self.send(ParcelBody::Invoke(Invoke {
                invoked_by,
                one_way: true,
                chain: Vec::new(),
                sink: None,
                ..callee
            }));
            return Ok(());
        };
        let chain = waiting(id, inv);
        if let Some(failure) = cycle(&chain, &callee) {
            self.deadlocks += 1;
            self.write(id, Code::CALL_DONE, &note(completion, NotificationResult::Failure(failure)));
            return Ok(());
        }
        let sink = Some(Sink::new(id, life, completion, Code::CALL_DONE));
        self.send(ParcelBody::Invoke(Invoke { sink, invoked_by, chain, one_way: false, ..callee }));
        Ok(())
    }

    /// The attempt changed the state of this.
    fn published(&mut self, changed: Option<&ObjectId>, ttl: u64) {
        if let Some(object) = changed {
            self.publish(object, ttl);
        }
    }

    fn life(&self, id: InvocationId) -> u64 {
        self.invocations.get(&id).map_or(0, |inv| inv.life)
    }

    pub(super) fn write(&mut self, id: InvocationId, code: Code, note: &Notification) {
        if let Some(inv) = self.invocations.get_mut(&id) {
            inv.journal.push((code, note.encode_to_vec().into()));
        }
    }

    fn suspend(&mut self, id: InvocationId, suspension: &Suspension, seen: usize) {
        let mut ids: Vec<NotificationId> = Vec::new();
        ids.extend(suspension.waiting_completions.iter().map(|id| NotificationId::Completion(*id)));
        ids.extend(suspension.waiting_signals.iter().map(|id| NotificationId::SignalIndex(*id)));
        ids.extend(suspension.waiting_named_signals.iter().map(|name| NotificationId::SignalName(name.clone())));
        let Some(inv) = self.invocations.get_mut(&id) else { return };
        let satisfied = inv.journal.iter().enumerate().any(|(index, (code, payload))| {
            let note = Notification::decode(payload.clone()).unwrap_or_default();
            let awaited = note.id.as_ref().is_some_and(|id| ids.contains(id));
            code.is_notification() && awaited && (*code != Code::SIGNAL || index >= seen)
        });
        if satisfied {
            self.start(id);
        } else {
            inv.failures = 0;
            inv.status = Status::Suspended(ids);
        }
    }

    /// The flow is over: its journal, run again, has to give what it gave (I4, I5).
    fn end(&mut self, id: InvocationId) -> Check {
        let Some(inv) = self.invocations.get(&id) else { return Ok(()) };
        let output = inv.journal.iter().rev().find(|(code, _)| *code == Code::OUTPUT);
        let output = output.and_then(|(_, payload)| Output::decode(payload.clone()).ok()).and_then(|it| it.result);
        let outcome = match output.clone() {
            Some(OutputResult::Value(value)) => Outcome::success(value.content),
            Some(OutputResult::Failure(failure)) => Outcome::failure(failure),
            None => Outcome::failure(Failure::new(500, "the handler ended without an output")),
        };
        let cancelled = matches!(&output, Some(OutputResult::Failure(it)) if it.message == names::CANCELLED);
        if !cancelled {
            let known = self.replayable(id);
            let program = Program::of(&inv.target, &inv.input());
            let (mut fields, mut rng) = (Fields::new(), Rng::stream(0, "replay"));
            let mut replay = Replay::new(&known, &mut fields, 0, &mut rng);
            let stop = replay.run(&program);
            let same = matches!(&stop, Stop::End(result) if Some(result) == output.as_ref());
            check(same, Invariant::I5JournalAppendOnly, || {
                format!("{id} ended with {output:?}, its journal gives {stop:?}")
            })?;
        }
        self.complete(id, &outcome, By::Itself, true);
        Ok(())
    }

    fn replayable(&self, id: InvocationId) -> Known {
        let mut known = Known::default();
        let journal = self.invocations.get(&id).map(|inv| inv.journal.as_slice()).unwrap_or_default();
        for (index, (code, payload)) in (0..).zip(journal) {
            if code.is_command() && *code != Code::INPUT {
                known.commands.push((*code, payload.clone()));
            } else if let Ok(Notification { id: Some(id), result: Some(result) }) =
                Notification::decode(payload.clone())
                && code.is_notification()
            {
                known.notes.entry(id).or_insert((index, result));
            }
        }
        known
    }
}

pub(super) fn decode<M: prost::Message + Default>(raw: &RawMessage) -> Check<M> {
    raw.decode().map_err(|error| Violation { invariant: Invariant::I5JournalAppendOnly, text: error.to_string() })
}

/// Who holds a key and waits for what `inv` calls, outermost first.
fn waiting(id: InvocationId, inv: &Inv) -> Vec<Holder> {
    let mut chain = inv.chain.clone();
    if let Some(object) = inv.target.exclusive_object() {
        chain.push(Holder { service: object.service, key: object.key, invocation: binary(id) });
    }
    chain
}

/// The answer to a call that would wait for itself.
fn cycle(chain: &[Holder], callee: &Invoke) -> Option<Failure> {
    let text = if chain.len() > CALL_CHAIN_MAX {
        format!("{} calls wait for one another, more than {CALL_CHAIN_MAX}", chain.len())
    } else {
        let wanted = callee.target.as_ref()?.exclusive_object()?;
        let keys: Vec<_> = chain.iter().map(|holder| format!("{}/{}", holder.service, holder.key)).collect();
        let from = keys.iter().position(|key| *key == wanted.to_string())?;
        format!("the call would wait for itself: {} → {wanted}", keys[from..].join(" → "))
    };
    let metadata = vec![Metadata { key: "abide-code".into(), value: "AB0508".into() }];
    Some(Failure { metadata, ..Failure::new(508, text) })
}
