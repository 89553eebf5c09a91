//! Activated objects: turns run on state that is not committed yet.

use std::collections::VecDeque;

use abide_model::command::{AttemptFailed, Body, Form, Invoke, StateVersion, Turn};
use abide_model::effect::Work;
use abide_model::id::{ActivationId, InvocationId, ObjectId};
use abide_model::protocol::Failure;
use bytes::Bytes;

use super::{Ask, Cx, Host, Snapshot, Start, Timer};
use crate::app::{self, Fields};

/// An object in memory, or on its way there.
#[derive(Default)]
pub(super) struct Activation {
    ready: Option<Ready>,
    /// Loadings under way; only what the last of them brings counts.
    loading: u32,
    /// Calls that wait for the state.
    waiting: VecDeque<(u64, Invoke)>,
    /// A turn that failed before and is due again.
    due: Option<Due>,
}

struct Ready {
    id: ActivationId,
    version: StateVersion,
    fields: Fields,
    queue: VecDeque<Item>,
}

struct Item {
    work: Work,
    held: bool,
}

#[derive(Clone, Copy)]
struct Due {
    id: InvocationId,
    term: u64,
    attempt: u32,
    failures: u32,
}

impl Host {
    pub(super) fn activated(&mut self, snapshot: Snapshot, cx: &mut Cx<'_>) {
        let Some(activation) = self.objects.get_mut(&snapshot.object) else { return };
        activation.loading = activation.loading.saturating_sub(1);
        if activation.loading > 0 {
            return;
        }
        let queue = snapshot.queue.into_iter().map(|(work, held)| Item { work, held }).collect();
        activation.ready = Some(Ready {
            id: ActivationId(snapshot.activation),
            version: snapshot.version,
            fields: snapshot.fields,
            queue,
        });
        self.pump(&snapshot.object, cx);
        let waiting = self.objects.get_mut(&snapshot.object).map(|it| std::mem::take(&mut it.waiting));
        for (request, invoke) in waiting.unwrap_or_default() {
            self.call(request, invoke, cx);
        }
    }

    pub(super) fn enqueued(&mut self, object: ObjectId, work: Work, cx: &mut Cx<'_>) {
        if self.unconfirmed.remove(&work.id) {
            // Whether its failure counted depends on what came before it: only the tables know.
            return self.load(object, cx);
        }
        let Some(activation) = self.objects.get_mut(&object) else { return self.load(object, cx) };
        let Some(ready) = &mut activation.ready else { return };
        if ready.queue.iter().all(|item| item.work.id != work.id) {
            let held = work.target.form() != Form::Turn;
            ready.queue.push_back(Item { work, held });
        }
        self.pump(&object, cx);
    }

    pub(super) fn due(&mut self, object: ObjectId, start: &Start, cx: &mut Cx<'_>) {
        let due = Due { id: start.work.id, term: start.term, attempt: start.attempt, failures: start.work.failures };
        if !self.objects.contains_key(&object) {
            self.load(object.clone(), cx);
        }
        if let Some(activation) = self.objects.get_mut(&object) {
            activation.due = Some(due);
        }
        self.pump(&object, cx);
    }

    pub(super) fn ended(&mut self, object: &ObjectId, id: InvocationId, cx: &mut Cx<'_>) {
        if let Some(activation) = self.objects.get_mut(object) {
            activation.due.take_if(|due| due.id == id);
        }
        self.reload(object, cx);
    }

    /// A turn that is due again is not to be run now.
    pub(super) fn held(&mut self, id: InvocationId) {
        for activation in self.objects.values_mut() {
            activation.due.take_if(|due| due.id == id);
        }
    }

    pub(super) fn rejected(&mut self, object: ObjectId, activation: u64, cx: &mut Cx<'_>) {
        match self.objects.get(&object) {
            Some(Activation { ready: Some(ready), .. }) if ready.id.0 != activation => {}
            Some(Activation { ready: None, .. }) => {}
            Some(_) | None => self.load(object, cx),
        }
    }

    /// Loads an object that is in memory again.
    pub(super) fn reload(&mut self, object: &ObjectId, cx: &mut Cx<'_>) {
        if self.objects.contains_key(object) {
            self.load(object.clone(), cx);
        }
    }

    fn load(&mut self, object: ObjectId, cx: &mut Cx<'_>) {
        let activation = self.objects.entry(object.clone()).or_default();
        activation.ready = None;
        activation.loading += 1;
        cx.asks.push(Ask::Load(object));
    }

    /// A client wants an exclusive turn: it runs at once when nothing is ahead of it, or takes its place.
    pub(super) fn call(&mut self, request: u64, invoke: Invoke, cx: &mut Cx<'_>) {
        let (Some(id), Some(target)) = (invoke.id(), invoke.target.clone()) else { return };
        let Some(object) = target.exclusive_object() else { return };
        if !self.objects.contains_key(&object) {
            self.load(object.clone(), cx);
        }
        let Some(activation) = self.objects.get_mut(&object) else { return };
        let Some(ready) = &mut activation.ready else {
            activation.waiting.push_back((request, invoke));
            return;
        };
        // Now and then it overtakes what is ahead: the machine has to put it back.
        if !ready.queue.is_empty() && !cx.rng.chance(500) {
            return cx.propose(id, request, Body::Invoke(invoke));
        }
        if cx.panics() {
            self.unconfirmed.insert(id);
            let failed = AttemptFailed {
                id: invoke.id.clone(),
                term: 0,
                attempt: 0,
                failure: Some(Failure::new(501, "panicked")),
                next: Some(cx.next(&target.service, 1)),
                accept: Some(invoke),
                life: 0,
                uncounted: false,
            };
            return cx.propose(id, request, Body::AttemptFailed(failed));
        }
        let end = app::turn(&target, &invoke.input, &ready.fields, cx.rng, cx.now);
        let turn = ready.record(invoke.id.clone(), 0, Some(invoke), end);
        cx.propose(id, request, Body::Turn(turn));
        if cx.rng.chance(cx.faults.passivate) {
            self.passivate(&object);
        }
    }

    fn passivate(&mut self, object: &ObjectId) {
        let idle = self.objects.get(object).is_some_and(|activation| {
            activation.due.is_none()
                && activation.waiting.is_empty()
                && activation.ready.as_ref().is_some_and(|ready| ready.queue.is_empty())
        });
        if idle {
            self.objects.remove(object);
        }
    }

    /// Runs what is in the mailbox, until something holds the place.
    pub(super) fn pump(&mut self, object: &ObjectId, cx: &mut Cx<'_>) {
        for _ in 0..cx.speculation {
            let Some(activation) = self.objects.get_mut(object) else { return };
            let Some(ready) = &mut activation.ready else { return };
            let Some(head) = ready.queue.front() else { return };
            let due = activation.due.filter(|due| due.id == head.work.id);
            let holds = head.work.target.form() != Form::Turn || (head.held && due.is_none());
            let mut at = 0;
            if holds {
                // Now and then something overtakes what holds the place: the machine has to refuse it.
                let overtakes = ready.queue.get(1).is_some_and(|it| it.work.target.form() == Form::Turn && !it.held);
                if !overtakes || !cx.rng.chance(200) {
                    return;
                }
                at = 1;
            }
            let Some(mut item) = ready.queue.remove(at) else { return };
            let id = Bytes::copy_from_slice(&item.work.id.to_bytes());
            if at == 0 && cx.panics() {
                let failures = due.map_or(item.work.failures, |due| due.failures) + 1;
                let failed = AttemptFailed {
                    id,
                    accept: None,
                    term: due.map_or(0, |due| due.term),
                    attempt: due.map_or(0, |due| due.attempt),
                    failure: Some(Failure::new(501, "panicked")),
                    next: Some(cx.next(&item.work.target.service, failures)),
                    life: item.work.life,
                    uncounted: false,
                };
                cx.propose(item.work.id, 0, Body::AttemptFailed(failed));
                activation.due.take_if(|due| due.id == item.work.id);
                item.held = true;
                ready.queue.push_front(item);
                return;
            }
            let end = app::turn(&item.work.target, &item.work.input, &ready.fields, cx.rng, cx.now);
            let turn = ready.record(id, item.work.life, None, end);
            cx.propose(item.work.id, 0, Body::Turn(turn));
        }
        cx.asks.push(Ask::After(1, Timer::Pump(object.clone())));
    }
}

impl Ready {
    /// The record of a turn that ran here; goes on from its state.
    fn record(&mut self, id: Bytes, life: u64, accept: Option<Invoke>, end: app::End) -> Turn {
        let base = self.version;
        if !end.changes.is_empty() {
            self.version = self.version.next(self.id);
        }
        for change in &end.changes {
            match &change.value {
                Some(value) => self.fields.insert(change.field.clone(), value.clone()),
                None => self.fields.remove(&change.field),
            };
        }
        Turn {
            id,
            accept,
            activation: self.id.0,
            base: Some(base),
            changes: end.changes,
            sends: end.sends,
            outcome: Some(end.outcome),
            life,
        }
    }
}
