//! Attempts of flows: the messages a native flow would send, from the interpreter of `program`.

use abide_model::command::{Append, AttemptFailed, Body, FlowMessage};
use abide_model::id::{InvocationId, ObjectId};
use abide_model::protocol::{
    Code, End, Failure, Notification, NotificationId, NotificationResult, ProposeRunCompletion, RawMessage, RunResult,
    SIGNAL_CANCEL, SignalId, Suspension, Value,
};
use abide_model::table::JournalRow;
use bytes::Bytes;

use super::{Ask, Cx, Host, Start, Timer};
use crate::app::Fields;
use crate::ledger::Life;
use crate::program::{AWAKEABLE, Known, Program, Replay, Stop};
use crate::violation::{Check, Invariant, Violation, check};

/// The version of the code that the simulated host has.
const VERSION: &str = "v1";

/// An attempt under way.
pub(super) struct Flow {
    life: Life,
    service: String,
    object: Option<ObjectId>,
    term: u64,
    attempt: u32,
    failures: u32,
    program: Program,
    known: Known,
    fields: Fields,
    /// Journal entries below this are known.
    seen: u32,
    /// Messages that were not proposed yet.
    outgoing: Vec<FlowMessage>,
    /// Proposals that are not durable yet.
    unacknowledged: usize,
    /// Whether user code is about to run, and for which completion.
    running: bool,
    step: u32,
}

/// What follows a step.
enum Next {
    Stay,
    Over,
}

impl Host {
    pub(super) fn start_flow(&mut self, start: Start, cx: &mut Cx<'_>) -> Check {
        let id = start.work.id;
        if self.flows.get(&id).is_some_and(|flow| (flow.life.1, flow.attempt) >= (start.work.life, start.attempt)) {
            return Ok(());
        }
        let object = start.work.target.exclusive_object();
        if let Some(object) = &object {
            let other = self.flows.iter().find(|(other, flow)| **other != id && flow.object.as_ref() == Some(object));
            check(other.is_none(), Invariant::I7Fifo, || {
                format!("{id} starts on {object} while {:?} runs there", other.map(|(id, _)| id))
            })?;
        }
        cx.ledger.begins(cx.node, id);
        cx.ledger.journal(cx.node, start.term, (id, start.work.life), &start.journal)?;
        let target = &start.work.target;
        let flow = Flow {
            life: (id, start.work.life),
            service: target.service.clone(),
            object,
            term: start.term,
            attempt: start.attempt,
            failures: start.work.failures,
            program: Program::of(target, &start.work.input),
            known: known(&start.journal),
            fields: start.fields,
            seen: u32::try_from(start.journal.len()).unwrap_or(u32::MAX),
            outgoing: Vec::new(),
            unacknowledged: 0,
            running: false,
            step: 0,
        };
        self.flows.insert(id, flow);
        self.advance(id, cx)
    }

    pub(super) fn notify(
        &mut self,
        id: InvocationId,
        attempt: u32,
        index: u32,
        entry: &JournalRow,
        cx: &mut Cx<'_>,
    ) -> Check {
        let Some(flow) = self.flows.get_mut(&id).filter(|flow| flow.attempt == attempt) else { return Ok(()) };
        if index < flow.seen {
            return Ok(());
        }
        flow.seen = index + 1;
        let signal = entry.message().code == Code::SIGNAL;
        let fresh = learn(&mut flow.known, index, entry);
        check(fresh || signal, Invariant::I4EffectOnce, || {
            format!("{id}: entry {index} is a second result: {entry:?}")
        })?;
        self.advance(id, cx)
    }

    pub(super) fn appended(&mut self, id: InvocationId, attempt: u32, cx: &mut Cx<'_>) -> Check {
        let Some(flow) = self.flows.get_mut(&id).filter(|flow| flow.attempt == attempt) else { return Ok(()) };
        flow.unacknowledged = flow.unacknowledged.saturating_sub(1);
        self.advance(id, cx)
    }

    /// Puts a flow away that still waits.
    pub(super) fn suspend(&mut self, id: InvocationId, attempt: u32, cx: &mut Cx<'_>) -> Check {
        let Some(mut flow) = self.flows.remove(&id) else { return Ok(()) };
        if flow.attempt == attempt
            && let Stop::Wait(ids) = flow.interpret(cx)
            && flow.outgoing.is_empty()
        {
            flow.put_away(&ids);
            let records = flow.propose(cx);
            self.records.insert(id, records);
            return Ok(());
        }
        self.flows.insert(id, flow);
        Ok(())
    }

    /// Whether an attempt has come to user code.
    pub(crate) fn is_about_to_run(&self, life: Life, attempt: u32) -> bool {
        self.flows.get(&life.0).is_some_and(|flow| flow.life == life && flow.attempt == attempt && flow.running)
    }

    /// The user code that an attempt has come to runs, unless the attempt is over.
    pub(super) fn run(&mut self, life: Life, attempt: u32, cx: &mut Cx<'_>) -> Check {
        if !self.is_about_to_run(life, attempt) {
            return Ok(());
        }
        let Some(flow) = self.flows.get_mut(&life.0) else { return Ok(()) };
        flow.running = false;
        cx.ledger.execute(cx.node, life, flow.step)?;
        if cx.panics() {
            let records = flow.fail(cx);
            self.flows.remove(&life.0);
            self.records.insert(life.0, records);
            return Ok(());
        }
        flow.ran(flow.step, cx);
        self.advance(life.0, cx)
    }

    fn advance(&mut self, id: InvocationId, cx: &mut Cx<'_>) -> Check {
        let Some(mut flow) = self.flows.remove(&id) else { return Ok(()) };
        let (next, records) = flow.advance(cx)?;
        if !records.is_empty() {
            self.records.insert(id, records);
        }
        if matches!(next, Next::Stay) {
            self.flows.insert(id, flow);
        }
        Ok(())
    }
}

impl Flow {
    fn advance(&mut self, cx: &mut Cx<'_>) -> Check<(Next, Vec<Body>)> {
        match self.interpret(cx) {
            Stop::Mismatch(text) => {
                let text = format!("{} attempt {}: {text}", self.life.0, self.attempt);
                Err(Violation { invariant: Invariant::I5JournalAppendOnly, text })
            }
            Stop::End(_) => {
                self.outgoing.push(RawMessage::new(Code::END, &End {}).into());
                Ok((Next::Over, self.propose(cx)))
            }
            Stop::Run(completion) => {
                if !self.outgoing.is_empty() {
                    let records = self.propose(cx);
                    return Ok((Next::Stay, records));
                }
                if self.unacknowledged > 0 {
                    return Ok((Next::Stay, Vec::new()));
                }
                if !std::mem::replace(&mut self.running, true) {
                    cx.asks.push(Ask::After(cx.rng.range(0, 20), Timer::Run(self.life, self.attempt)));
                }
                self.step = completion;
                Ok((Next::Stay, Vec::new()))
            }
            Stop::Wait(ids) => {
                for id in &ids {
                    let signal = match id {
                        NotificationId::SignalIndex(signal) if *signal >= AWAKEABLE => SignalId::Index(*signal),
                        NotificationId::SignalName(name) => SignalId::Name(name.clone()),
                        _ => continue,
                    };
                    cx.asks.push(Ask::Awaits(self.life.0, self.life.1, signal));
                }
                if cx.panics() {
                    return Ok((Next::Over, self.fail(cx)));
                }
                if cx.rng.chance(3_000) {
                    self.put_away(&ids);
                    return Ok((Next::Over, self.propose(cx)));
                }
                let records = if self.outgoing.is_empty() { Vec::new() } else { self.propose(cx) };
                let timer = Timer::Suspend(self.life.0, self.attempt);
                cx.asks.push(Ask::After(cx.rng.range(1, 50), timer));
                Ok((Next::Stay, records))
            }
        }
    }

    /// Runs the program from the top; what is new goes into `outgoing`.
    fn interpret(&mut self, cx: &mut Cx<'_>) -> Stop {
        let mut replay = Replay::new(&self.known, &mut self.fields, cx.now, cx.rng);
        let stop = replay.run(&self.program);
        let fresh = std::mem::take(&mut replay.fresh);
        for message in fresh {
            self.known.commands.push((message.raw().code, message.payload.clone()));
            self.outgoing.push(message);
        }
        stop
    }

    /// User code ran: its result is believed at once, and proposed.
    fn ran(&mut self, completion: u32, cx: &mut Cx<'_>) {
        let (result, proposed) = if cx.rng.chance(1_500) {
            let failure = Failure::new(500, "the step failed");
            (NotificationResult::Failure(failure.clone()), RunResult::Failure(failure))
        } else {
            let value = Bytes::from(cx.rng.next().to_string());
            (NotificationResult::Value(Value { content: value.clone() }), RunResult::Value(value))
        };
        self.known.notes.insert(NotificationId::Completion(completion), (u32::MAX, result));
        let proposal = ProposeRunCompletion { result_completion_id: completion, result: Some(proposed) };
        self.outgoing.push(RawMessage::new(Code::PROPOSE_RUN_COMPLETION, &proposal).into());
    }

    fn put_away(&mut self, ids: &[NotificationId]) {
        let mut suspension = Suspension { waiting_signals: vec![SIGNAL_CANCEL], ..Suspension::default() };
        for id in ids {
            match id {
                NotificationId::Completion(completion) => suspension.waiting_completions.push(*completion),
                NotificationId::SignalIndex(signal) => suspension.waiting_signals.push(*signal),
                NotificationId::SignalName(name) => suspension.waiting_named_signals.push(name.clone()),
            }
        }
        self.outgoing.push(RawMessage::new(Code::SUSPENSION, &suspension).into());
    }

    /// Proposes all outgoing messages, in one record or several.
    fn propose(&mut self, cx: &mut Cx<'_>) -> Vec<Body> {
        let mut messages = std::mem::take(&mut self.outgoing);
        let mut records = Vec::new();
        while !messages.is_empty() {
            let count = if cx.rng.chance(3_000) { 1 } else { messages.len() };
            let rest = messages.split_off(count);
            let append = Append {
                id: Bytes::copy_from_slice(&self.life.0.to_bytes()),
                term: self.term,
                attempt: self.attempt,
                messages: std::mem::replace(&mut messages, rest),
                seen: self.seen,
                life: self.life.1,
                version: VERSION.into(),
            };
            self.unacknowledged += 1;
            cx.propose(self.life.0, 0, Body::Append(append.clone()));
            records.push(Body::Append(append));
        }
        records
    }

    fn fail(&mut self, cx: &mut Cx<'_>) -> Vec<Body> {
        // What the attempt did before is proposed, as a real one would have: it goes on from there.
        let mut records = self.propose(cx);
        let failed = AttemptFailed {
            id: Bytes::copy_from_slice(&self.life.0.to_bytes()),
            accept: None,
            term: self.term,
            attempt: self.attempt,
            failure: Some(Failure::new(501, "panicked")),
            next: Some(cx.next(&self.service, self.failures + 1)),
            life: self.life.1,
            uncounted: cx.rng.chance(1_000),
        };
        cx.propose(self.life.0, 0, Body::AttemptFailed(failed.clone()));
        records.push(Body::AttemptFailed(failed));
        records
    }
}

/// What a journal says.
pub(crate) fn known(journal: &[JournalRow]) -> Known {
    let mut known = Known::default();
    for (index, row) in (0..).zip(journal) {
        let message = row.message();
        if message.code.is_notification() {
            learn(&mut known, index, row);
        } else if message.code.is_command() && message.code != Code::INPUT {
            known.commands.push((message.code, message.payload));
        }
    }
    known
}

/// Adds a notification; `false` when there was one of its kind.
fn learn(known: &mut Known, index: u32, entry: &JournalRow) -> bool {
    let note: Notification = entry.message().decode().unwrap_or_default();
    let (Some(id), Some(result)) = (note.id, note.result) else { return true };
    match known.notes.entry(id) {
        std::collections::btree_map::Entry::Occupied(_) => false,
        std::collections::btree_map::Entry::Vacant(slot) => {
            slot.insert((index, result));
            true
        }
    }
}
