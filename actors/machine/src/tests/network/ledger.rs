//! What must be true of the effects, whoever computed them: a naive account in plain maps of who was accepted, who waits
//! for which object, what every counter is and which message comes after which.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use abide_model::command::{Body, Form, Invoke, Outcome, OutcomeKind, StateEdit, Target};
use abide_model::effect::Effect;
use abide_model::id::{InvocationId, ObjectId};
use abide_model::protocol::{Code, Notification, RawMessage, SetState};
use abide_model::table::{Completions, Invocations};

use prost::Message;

use super::host::counter;
use super::{home, home_of};
use crate::testing::World;

#[derive(Default)]
pub(super) struct Ledger {
    /// What every id is for.
    targets: BTreeMap<InvocationId, Target>,
    /// Accepted and not ended.
    open: BTreeSet<InvocationId>,
    /// Ended, with a kept result.
    ended: BTreeMap<InvocationId, Outcome>,
    /// Who has an object, and then who waits for it: by class, and in the order of acceptance.
    lines: BTreeMap<ObjectId, VecDeque<InvocationId>>,
    counters: BTreeMap<ObjectId, u64>,
    /// To what an operator sets a counter.
    edits: BTreeMap<InvocationId, u64>,
    journals: BTreeMap<InvocationId, Vec<RawMessage>>,
    /// What one partition sent to another, and what arrived there.
    sent: BTreeMap<(u32, u32), Vec<InvocationId>>,
    arrived: BTreeMap<(u32, u32), Vec<InvocationId>>,
}

impl Ledger {
    /// An id that may come.
    pub(super) fn expect(&mut self, invoke: &Invoke) {
        let (id, target) = (invoke.id().unwrap(), invoke.target.clone().unwrap());
        if target.form() == Form::Edit {
            let edit = StateEdit::decode(invoke.input.clone()).unwrap();
            let n = std::str::from_utf8(edit.changes[0].value.as_ref().unwrap()).unwrap().parse().unwrap();
            self.edits.insert(id, n);
        }
        self.targets.insert(id, target);
    }

    /// Some id that was heard of.
    pub(super) fn pick(&self, which: usize) -> Option<InvocationId> {
        let open: Vec<_> =
            if which.is_multiple_of(4) { self.targets.keys().collect() } else { self.open.iter().collect() };
        open.get(which.checked_rem(open.len())?).copied().copied()
    }

    /// Takes in one applied command.
    pub(super) fn check(&mut self, at: u32, world: &World, request: u64, body: &Body, effects: &[Effect]) {
        self.sends(at, body, effects);
        let mut answers = 0;
        for effect in effects {
            match effect {
                Effect::Accepted { request: of, invocation, known, .. } => {
                    answers += u32::from(*of == request);
                    self.accepted(at, *invocation, *known, *of);
                }
                Effect::Answered { request: of, .. } => answers += u32::from(*of == request),
                Effect::Enqueued { object, work } => {
                    self.line_up(object.clone(), work.id);
                }
                // I7: one at a time, in order.
                Effect::Start { invocation } => {
                    let object = self.targets[invocation].exclusive_object().unwrap();
                    assert_eq!(self.lines[&object].front(), Some(invocation), "started out of order");
                }
                Effect::Completed { invocation, outcome, expires_at: Some(_), .. } => {
                    assert_eq!(self.ended.get(invocation), Some(outcome), "I3: another result than before");
                }
                Effect::Completed { invocation, outcome, expires_at: None, .. } => {
                    self.completed(world, *invocation, outcome, body);
                }
                Effect::StateChanged { object } => self.written_by_flow(object, body),
                _ => {}
            }
        }
        assert!(request == 0 || answers == 1, "request {request} has {answers} answers");
        for (object, n) in self.counters.iter().filter(|(object, _)| home_of(object) == at) {
            assert_eq!(counter(world, object), *n, "I4: {object}");
        }
        self.journals(at, world);
    }

    fn accepted(&mut self, at: u32, id: InvocationId, known: bool, request: u64) {
        if known {
            assert!(self.open.contains(&id) || self.ended.contains_key(&id), "{id} is not known");
            return;
        }
        assert!(!self.ended.contains_key(&id), "I3: {id} ended and is accepted again");
        assert!(self.open.insert(id), "I3: {id} is accepted twice");
        // Nobody is told of its place; it has one as the others do.
        if self.edits.contains_key(&id) {
            self.line_up(self.targets[&id].exclusive_object().unwrap(), id);
        }
        assert_eq!(home(id), at);
        if request == 0 {
            let from = self.sent.iter().find(|((_, to), ids)| *to == at && ids.contains(&id));
            let (pair, _) = from.unwrap_or_else(|| panic!("I16: {id} was never sent"));
            self.arrived.entry(*pair).or_default().push(id);
        }
    }

    /// Takes its place behind all of its class and of those before it, and behind who has the object.
    fn line_up(&mut self, object: ObjectId, id: InvocationId) {
        let class = |id: &InvocationId| match (self.edits.contains_key(id), self.targets[id].priority) {
            (false, 1) => 0,
            (false, 2) => 2,
            _ => 1,
        };
        let mut line = self.lines.remove(&object).unwrap_or_default();
        if !line.contains(&id) {
            let before = |(place, other): (usize, &InvocationId)| place == 0 || class(other) <= class(&id);
            let place = line.iter().enumerate().take_while(|&other| before(other)).count();
            line.insert(place, id);
        }
        self.lines.insert(object, line);
    }

    fn completed(&mut self, world: &World, id: InvocationId, outcome: &Outcome, body: &Body) {
        assert!(self.open.remove(&id), "I6: {id} ends without being open");
        if world.rows.row::<Completions>(&id).is_some() {
            self.ended.insert(id, outcome.clone());
        }
        let object = self.targets[&id].exclusive_object().unwrap();
        let line = self.lines.entry(object.clone()).or_default();
        let place = line.iter().position(|other| *other == id);
        let Some(OutcomeKind::Success(value)) = &outcome.kind else {
            if let Some(place) = place {
                line.remove(place);
            }
            return;
        };
        // I7: only the first can succeed, and what comes without a place only when nobody is before it.
        assert!(place == Some(0) || (place.is_none() && line.is_empty()), "{id} overtakes {line:?}");
        line.pop_front();
        let n = self.counters.entry(object).or_default();
        if let Some(edit) = self.edits.get(&id) {
            *n = *edit;
            return;
        }
        let text = std::str::from_utf8(value).unwrap();
        let (verb, result) = text.split_once(' ').unwrap();
        if verb == "wrote" {
            assert!(matches!(body, Body::Turn(_)));
            *n += 1;
        }
        assert_eq!(result.parse(), Ok(*n), "I4: {text} by {id}");
    }

    /// A flow's write to the counter took effect, or an edit, of which its end tells.
    fn written_by_flow(&mut self, object: &ObjectId, body: &Body) {
        let Body::Append(append) = body else { return };
        for message in append.messages.iter().filter(|message| message.raw().code == Code::SET_STATE) {
            let set: SetState = message.raw().decode().unwrap();
            let n = self.counters.entry(object.clone()).or_default();
            *n += 1;
            assert_eq!(set.value.unwrap().content, n.to_string(), "I4: a flow wrote on another state");
        }
    }

    /// Notes what a command sent, if it took effect.
    fn sends(&mut self, at: u32, body: &Body, effects: &[Effect]) {
        let ids: Vec<_> = match body {
            Body::Turn(turn) => {
                let ended = |effect: &Effect| {
                    matches!(effect, Effect::Completed { invocation, expires_at: None, .. }
                        if invocation.to_bytes() == *turn.id)
                };
                let counts = effects.iter().any(ended);
                turn.sends.iter().filter(|_| counts).map(|send| send.id().unwrap()).collect()
            }
            Body::Append(append) if !effects.is_empty() => append
                .messages
                .iter()
                .filter_map(|message| message.callee.as_ref())
                .map(|it| it.id().unwrap())
                .collect(),
            _ => Vec::new(),
        };
        for id in ids {
            self.sent.entry((at, home(id))).or_default().push(id);
        }
    }

    /// I4 and I5: journals only grow, and nothing is answered twice in them.
    fn journals(&mut self, at: u32, world: &World) {
        self.journals.retain(|id, _| home(*id) != at || world.rows.row::<Invocations>(id).is_some());
        for (id, _) in world.rows.all::<Invocations>() {
            let now = world.journal(id);
            let before = self.journals.insert(id, now.clone()).unwrap_or_default();
            assert!(now.starts_with(&before), "I5: the journal of {id} changed its past");
            let answers = now.iter().filter(|message| message.code.is_notification() && message.code != Code::SIGNAL);
            let mut seen = BTreeSet::new();
            for answer in answers {
                let notification: Notification = answer.decode().unwrap();
                assert!(seen.insert(notification.id), "I4: {id} is answered twice");
            }
        }
    }

    /// When all work is done.
    pub(super) fn close(&self) {
        assert_eq!(self.open, BTreeSet::new(), "accepted and never ended");
        assert_eq!(self.sent, self.arrived, "I16: messages arrived otherwise than they were sent");
        assert!(self.lines.values().all(VecDeque::is_empty));
    }
}
