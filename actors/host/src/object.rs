//! The actor of an activated object: a thin shell around [`Activation`].
//!
//! The shard puts inputs into the object's [`Inbox`] and wakes the actor with one message for all that is there, so a
//! busy object costs less than a message for each input, and the actor's own mailbox never holds more than one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use abide_model::id::ObjectId;
use actix::{Actor, AsyncContext, Context, Handler, Message, SpawnHandle};
use tokio::time::Instant;

use crate::activation::{Activation, Input};
use crate::env::{Env, Service};
use crate::port::Port;

/// What the shard and the actor of an object share; both live on one thread.
pub(crate) struct Inbox {
    inputs: RefCell<VecDeque<Input>>,
    /// Direct calls among them.
    calls: Cell<usize>,
    /// Whether a wake-up is on its way.
    waking: Cell<bool>,
    used_at: Cell<Instant>,
    /// As the activation said last.
    is_idle: Cell<bool>,
    is_loading: Cell<bool>,
    waiting: Cell<usize>,
    /// Bytes of state in memory, and those of all objects of the shard.
    bytes: Cell<usize>,
    memory: Rc<Cell<usize>>,
}

impl Inbox {
    pub(crate) fn new(now: Instant, memory: Rc<Cell<usize>>) -> Self {
        Self {
            bytes: Cell::new(0),
            memory,
            inputs: RefCell::default(),
            calls: Cell::new(0),
            waking: Cell::new(false),
            used_at: Cell::new(now),
            is_idle: Cell::new(true),
            is_loading: Cell::new(false),
            waiting: Cell::new(0),
        }
    }

    /// Adds an input. `true` when the actor has to be woken for it.
    #[must_use]
    pub(crate) fn push(&self, input: Input) -> bool {
        if matches!(input, Input::Call(_)) {
            self.calls.set(self.calls.get() + 1);
        }
        self.inputs.borrow_mut().push_back(input);
        !self.waking.replace(true)
    }

    /// Direct calls that the actor has not looked at.
    pub(crate) fn calls(&self) -> usize {
        self.calls.get()
    }

    /// Direct calls that wait for the object's state.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.get()
    }

    /// Whether the state is asked for, so that the time it takes has to be watched.
    pub(crate) fn is_loading(&self) -> bool {
        self.is_loading.get()
    }

    /// Since when the object may leave memory; `None` when it may not.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        (self.is_idle.get() && self.inputs.borrow().is_empty()).then(|| self.used_at.get())
    }

    /// Says how much state the object holds in memory now.
    pub(crate) fn weigh(&self, bytes: usize) {
        let before = self.bytes.replace(bytes);
        self.memory.set(self.memory.get() - before + bytes);
    }

    fn take(&self) -> VecDeque<Input> {
        self.waking.set(false);
        self.calls.set(0);
        std::mem::take(&mut *self.inputs.borrow_mut())
    }
}

/// The actor. It stops when the shard drops its address.
pub(crate) struct ObjectActor<P> {
    activation: Activation<P>,
    inbox: Rc<Inbox>,
    retry: Option<SpawnHandle>,
}

impl<P: Port> ObjectActor<P> {
    pub(crate) fn new(env: Rc<Env<P>>, object: ObjectId, service: Rc<Service>, inbox: Rc<Inbox>) -> Self {
        Self { activation: Activation::new(env, object, service), inbox, retry: None }
    }

    fn settle(&mut self, cx: &mut Context<Self>) {
        self.inbox.is_idle.set(self.activation.is_idle());
        self.inbox.is_loading.set(self.activation.is_loading());
        self.inbox.waiting.set(self.activation.waiting());
        self.inbox.weigh(self.activation.bytes());
        if self.retry.is_none()
            && let Some(delay) = self.activation.retry_after()
        {
            self.retry = Some(cx.run_later(delay, |object, cx| {
                object.retry = None;
                object.activation.handle(Input::Tick, Instant::now());
                object.settle(cx);
            }));
        }
    }
}

impl<P: Port> Actor for ObjectActor<P> {
    type Context = Context<Self>;
}

/// Something is in the inbox.
#[derive(Clone, Copy)]
pub(crate) struct Wake;

impl Message for Wake {
    type Result = ();
}

impl<P: Port> Handler<Wake> for ObjectActor<P> {
    type Result = ();

    fn handle(&mut self, _wake: Wake, cx: &mut Context<Self>) {
        let now = Instant::now();
        for input in self.inbox.take() {
            if !matches!(input, Input::Tick) {
                self.inbox.used_at.set(now);
            }
            self.activation.handle(input, now);
        }
        self.settle(cx);
    }
}
