//! The actor of a handler thread: it finds the object, flow or service that an input is for.
//!
//! One channel carries direct calls and events, so that a call sees every event that was delivered before it was made.
//! It is read in batches; what has no object to wait for is done at once.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use abide_model::command::{Access, AttemptFailed, Body, Form, Target};
use abide_model::effect::Work;
use abide_model::id::{ObjectId, PartitionId};
use abide_model::protocol::Failure;
use actix::{Actor, ActorContext, Addr, AsyncContext, Context, StreamHandler};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use crate::activation::{Input, Snapshot};
use crate::env::{Env, Service, not_registered};
use crate::event::{Fields, HostEvent, StartAttempt};
use crate::flow::{Flows, submit_in_background};
use crate::object::{Inbox, ObjectActor, Wake};
use crate::port::{DirectCall, Order, Port, Refusal};
use crate::service;
use crate::turn::Fault;

/// Most inputs that are taken before objects and flows get their turn.
const BATCH: usize = 256;

/// How long no object is asked to go after nearly all of them had something to do.
const CROWDED_TIME: Duration = Duration::from_millis(100);

/// What a handler thread is told.
pub(crate) enum Inbound {
    Call(Box<DirectCall>),
    Events(Vec<HostEvent>),
    /// Drop everything and end.
    Stop,
}

/// The actor.
pub(crate) struct Shard<P: Port> {
    env: Rc<Env<P>>,
    inputs: Option<UnboundedReceiver<Inbound>>,
    /// Direct calls in the channel; admission is decided by who sends.
    queued: Arc<AtomicUsize>,
    /// By service, then by key.
    objects: HashMap<String, HashMap<String, Object<P>>>,
    live: usize,
    /// Until then it is of no use to look for objects that may go.
    crowded_until: Option<Instant>,
    /// Whether the next sweep is planned: only while an object is in memory, so that an idle shard sleeps.
    sweeping: bool,
    flows: Flows<P>,
    /// Closed when the shard has stopped.
    _running: tokio::sync::oneshot::Sender<()>,
}

/// An object in memory; what it holds is released with it.
struct Object<P: Port> {
    addr: Addr<ObjectActor<P>>,
    inbox: Rc<Inbox>,
}

impl<P: Port> Shard<P> {
    pub(crate) fn new(
        env: Env<P>,
        inputs: UnboundedReceiver<Inbound>,
        queued: Arc<AtomicUsize>,
        running: tokio::sync::oneshot::Sender<()>,
    ) -> Self {
        let env = Rc::new(env);
        let flows = Flows::new(Rc::clone(&env));
        let (inputs, objects) = (Some(inputs), HashMap::new());
        Self { env, inputs, queued, objects, live: 0, crowded_until: None, sweeping: false, flows, _running: running }
    }

    fn call(&mut self, call: Box<DirectCall>) {
        let Some(id) = call.invoke.id() else {
            return self.refuse(call, Refusal::Invalid(Failure::new(400, "the invocation id is malformed")));
        };
        if self.env.draining.get() {
            return self.refuse(call, Refusal::ShuttingDown);
        }
        let Some(target) = &call.invoke.target else { return self.refuse(call, Refusal::NotFound) };
        let Some(service) = self.env.service(&target.service).cloned() else {
            return self.refuse(call, Refusal::NotFound);
        };
        if !service.is_keyed() {
            return service::call(&self.env, &service, id, *call);
        }
        let Some(key) = &target.key else {
            let text = format!("{} has keys: name one", target.service);
            return self.refuse(call, Refusal::Invalid(Failure::new(400, text)));
        };
        if let Some(object) = self.find(&target.service, key) {
            if object.inbox.calls() >= self.env.settings.local_queue {
                self.env.metrics.overloaded_object.increment(1);
                return self.refuse(call, Refusal::Overloaded);
            }
            if object.tell(Input::Call(call)) {
                return;
            }
            tracing::error!("an object's actor is gone; its calls are dropped");
            return;
        }
        let object = ObjectId { service: target.service.clone(), key: key.clone() };
        self.activate(object, &service, Input::Call(call));
    }

    fn refuse(&self, call: Box<DirectCall>, refusal: Refusal) {
        self.env.metrics.calls_refused.increment(1);
        call.refuse(refusal);
    }

    fn event(&mut self, event: HostEvent) {
        match event {
            HostEvent::Activated { object, activation, version, fields, queue, more } => {
                let snapshot = Snapshot { activation, version, fields, queue, more };
                self.tell_active(&object, Input::Activated(Box::new(snapshot)));
            }
            HostEvent::Enqueued { object, work } => self.enqueued(object, work),
            HostEvent::Start(start) => self.start(start),
            HostEvent::Notify { invocation, attempt, index, entry } => {
                self.flows.notify(invocation, attempt, index, entry);
            }
            HostEvent::Appended { invocation, attempt } => self.flows.appended(invocation, attempt),
            HostEvent::Abort { invocation, object } => {
                self.flows.abort(invocation);
                if let Some(object) = object {
                    self.tell_active(&object, Input::Ended(invocation));
                }
            }
            HostEvent::Rejected { object, activation } => {
                if let Some(service) = self.env.service(&object.service).cloned() {
                    self.tell(object, &service, Input::Rejected(activation));
                }
            }
            HostEvent::StateChanged { object } => self.tell_active(&object, Input::StateChanged),
            HostEvent::Again(call) => self.call(call),
            HostEvent::Read { call, fields } => self.read(*call, &fields),
            HostEvent::Lost { partition } => self.lost(partition),
            HostEvent::NotLeading { object } => self.tell_active(&object, Input::Lost),
            HostEvent::Drain => {
                self.env.draining.set(true);
                for object in self.objects.values().flat_map(HashMap::values) {
                    object.tell(Input::Tick);
                }
            }
        }
    }

    /// Runs a shared turn on the state that came with it.
    fn read(&self, call: DirectCall, fields: &Fields) {
        let service = call.invoke.target.as_ref().and_then(|target| self.env.service(&target.service)).cloned();
        match (service, call.invoke.id()) {
            (Some(service), Some(id)) => service::read(&self.env, &service, id, call, fields),
            _ => call.refuse(Refusal::NotFound),
        }
    }

    /// Another node leads the partition: nothing of it in memory counts.
    fn lost(&self, partition: PartitionId) {
        self.flows.abort_where(|id| PartitionId::of(id.partition_key, self.env.settings.partitions) == partition);
        for objects in self.objects.values() {
            for (_, object) in objects.iter().filter(|(key, _)| self.env.partition_of(key) == partition) {
                object.tell(Input::Lost);
            }
        }
    }

    fn enqueued(&mut self, object: ObjectId, work: Work) {
        let Some(service) = self.env.service(&object.service).cloned() else {
            // A flow's own start reports this.
            if work.target.form() == Form::Turn {
                self.fail_unregistered(&work, None);
            }
            return;
        };
        if work.target.form() == Form::Flow {
            // It runs without the object; only an object that is in memory has to know that the place is taken.
            self.tell_active(&object, Input::Enqueued(work));
        } else {
            self.tell(object, &service, Input::Enqueued(work));
        }
    }

    fn start(&mut self, start: Box<StartAttempt>) {
        if self.env.draining.get() {
            return;
        }
        let target: &Target = &start.work.target;
        match (target.form(), target.access(), &start.object) {
            (Form::Flow, _, _) => self.flows.start(*start),
            (Form::Turn, Access::Exclusive, Some(object)) => match self.env.service(&object.service).cloned() {
                Some(service) => self.tell(object.clone(), &service, Input::Start(start)),
                None => self.fail_unregistered(&start.work, Some(&start)),
            },
            (Form::Turn, _, _) => service::start(&self.env, *start),
            // The machine carries edits out itself.
            (Form::Edit, _, _) => tracing::error!(invocation = %start.work.id, "an edit of a state was started"),
        }
    }

    /// Reports an attempt of a turn whose object is not bound on this node.
    fn fail_unregistered(&self, work: &Work, start: Option<&StartAttempt>) {
        let fault = Fault::missing(not_registered(&work.target.service, &work.target.handler));
        self.env.metrics.attempt_failed(fault.kind);
        let failures = start.map_or(work.failures, |start| start.failures) + 1;
        let body = Body::AttemptFailed(AttemptFailed {
            id: Bytes::copy_from_slice(&work.id.to_bytes()),
            accept: None,
            term: start.map_or(0, |start| start.term),
            attempt: start.map_or(0, |start| start.attempt),
            next: Some(self.env.next_after(&fault, None, failures)),
            uncounted: fault.is_uncounted(),
            failure: Some(fault.failure),
            life: work.life,
        });
        let key = work.target.key.as_deref().unwrap_or_default();
        let partition = self.env.partition_of(key);
        submit_in_background(&self.env, Order::Propose { partition, body, waiter: None });
    }

    fn find(&self, service: &str, key: &str) -> Option<&Object<P>> {
        self.objects.get(service)?.get(key)
    }

    /// Tells an object that is in memory.
    fn tell_active(&self, object: &ObjectId, input: Input) {
        if let Some(found) = self.find(&object.service, &object.key) {
            found.tell(input);
        }
    }

    /// Tells an object, and brings it into memory for that.
    fn tell(&mut self, object: ObjectId, service: &Rc<Service>, input: Input) {
        match self.find(&object.service, &object.key) {
            Some(found) => {
                found.tell(input);
            }
            None => self.activate(object, service, input),
        }
    }

    fn activate(&mut self, id: ObjectId, service: &Rc<Service>, input: Input) {
        self.make_room();
        let inbox = Rc::new(Inbox::new(Instant::now(), Rc::clone(&self.env.memory)));
        let (env, service) = (Rc::clone(&self.env), Rc::clone(service));
        let addr = ObjectActor::new(env, id.clone(), service, Rc::clone(&inbox)).start();
        let object = Object { addr, inbox };
        object.tell(input);
        self.objects.entry(id.service).or_default().insert(id.key, object);
        self.live += 1;
    }

    /// Lets objects go before their time when there are as many, or as large ones, as there may be: a quarter of the
    /// idle ones at once, so that looking for them costs each new object little.
    fn make_room(&mut self) {
        let settings = &self.env.settings;
        if self.live < settings.objects && self.env.memory.get() < settings.object_bytes {
            return;
        }
        let now = Instant::now();
        if self.crowded_until.is_some_and(|until| now < until) {
            return;
        }
        let all = self.objects.values().flat_map(HashMap::values);
        let mut idle: Vec<_> = all.filter_map(|object| object.inbox.idle_since()).collect();
        if idle.len() < self.live / 8 {
            // Nearly all have something to do: looking again at once would find no more.
            self.crowded_until = Some(now + CROWDED_TIME);
        }
        if idle.is_empty() {
            return;
        }
        let quarter = idle.len() / 4;
        let limit = *idle.select_nth_unstable(quarter).1;
        let before = self.live;
        for objects in self.objects.values_mut() {
            objects.retain(|_, object| object.inbox.idle_since().is_none_or(|since| since > limit));
        }
        self.live = self.objects.values().map(HashMap::len).sum();
        self.env.metrics.evicted.increment((before - self.live) as u64);
    }

    /// Plans the next sweep, if one is needed.
    fn plan_sweep(&mut self, cx: &mut Context<Self>) {
        if self.live == 0 || self.sweeping {
            return;
        }
        self.sweeping = true;
        let every = (self.env.settings.idle / 4).clamp(Duration::from_millis(10), Duration::from_secs(5));
        cx.run_later(every, |shard, cx| {
            shard.sweeping = false;
            shard.sweep();
            shard.plan_sweep(cx);
        });
    }

    /// Lets idle objects go, and wakes those that may wait in vain.
    fn sweep(&mut self) {
        let now = Instant::now();
        let idle = self.env.settings.idle;
        let mut waiting = 0;
        let mut gone = 0;
        for objects in self.objects.values_mut() {
            objects.retain(|_, object| {
                if object.inbox.is_loading() {
                    waiting += object.inbox.waiting();
                    object.tell(Input::Tick);
                }
                let stays = object.inbox.idle_since().is_none_or(|since| now.duration_since(since) < idle);
                gone += usize::from(!stays);
                stays
            });
        }
        self.live -= gone;
        self.env.metrics.passivated.increment(gone as u64);
        set(&self.env.metrics.local_queue_depth, waiting);
        set(&self.env.metrics.activations, self.live);
    }

    fn stop(&mut self, cx: &mut Context<Self>) {
        self.env.draining.set(true);
        self.flows.abort_all();
        self.objects.clear();
        self.live = 0;
        set(&self.env.metrics.activations, 0);
        cx.stop();
    }
}

impl<P: Port> Object<P> {
    /// Puts an input into the object's inbox. `false` when its actor is gone, which only a panic of the host itself can
    /// bring about.
    fn tell(&self, input: Input) -> bool {
        !self.inbox.push(input) || self.addr.try_send(Wake).is_ok()
    }
}

impl<P: Port> Drop for Object<P> {
    fn drop(&mut self) {
        // Its actor ends a moment later, and has nothing to do any more.
        self.inbox.weigh(0);
    }
}

fn set(gauge: &metrics::Gauge, value: usize) {
    #[expect(clippy::cast_precision_loss, reason = "counts of things in memory")]
    gauge.set(value as f64);
}

impl<P: Port> Actor for Shard<P> {
    type Context = Context<Self>;

    fn started(&mut self, cx: &mut Context<Self>) {
        if let Some(mut inputs) = self.inputs.take() {
            cx.add_stream(stream::poll_fn(move |cx| {
                let mut batch = Vec::new();
                inputs.poll_recv_many(cx, &mut batch, BATCH).map(|count| (count > 0).then_some(batch))
            }));
        }
    }
}

impl<P: Port> StreamHandler<Vec<Inbound>> for Shard<P> {
    fn handle(&mut self, batch: Vec<Inbound>, cx: &mut Context<Self>) {
        let calls = batch.iter().filter(|inbound| matches!(inbound, Inbound::Call(_))).count();
        let before = self.queued.fetch_sub(calls, Ordering::Relaxed);
        set(&self.env.metrics.mailbox_depth, before.saturating_sub(calls));
        for inbound in batch {
            match inbound {
                Inbound::Call(call) => self.call(call),
                Inbound::Events(events) => events.into_iter().for_each(|event| self.event(event)),
                Inbound::Stop => return self.stop(cx),
            }
        }
        self.plan_sweep(cx);
    }
}

#[cfg(test)]
mod tests;
