//! Drives the attempts of flows: a local task each, which polls user code, proposes what it did, and passes on what it is
//! told.
//!
//! An attempt ends when its flow is finished, fails, is aborted, or has only waited for some time: then it is put away,
//! and the machine starts another one when what it waits for has happened.

mod drive;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use abide_model::command::Access;
use abide_model::id::InvocationId;
use abide_model::protocol::Failure;
use abide_model::table::JournalRow;
use abide_sdk::attempt::{Attempt, AttemptStart};

use crate::env::Env;
use crate::event::StartAttempt;
use crate::guard::{Guarded, catch};
use crate::port::{Order, Port, Refusal};
use crate::turn::Fault;
use drive::Driver;

/// First delay after a full queue of the partition; it doubles.
const RETRY_MIN: Duration = Duration::from_millis(5);
/// Longest delay after a full queue of the partition.
const RETRY_MAX: Duration = Duration::from_millis(250);

/// The attempts of one shard.
pub(crate) struct Flows<P> {
    env: Rc<Env<P>>,
    running: Rc<Running>,
}

/// Attempts in memory, at most one of an invocation.
type Running = RefCell<HashMap<InvocationId, Rc<Slot>>>;

/// What the shard and the task of an attempt share.
struct Slot {
    number: u32,
    /// Absent once the attempt is over.
    attempt: RefCell<Option<Guarded<Attempt>>>,
    /// Not passed on yet, in the order of the journal.
    told: RefCell<VecDeque<Told>>,
    /// Wakes the task.
    waker: RefCell<Option<Waker>>,
    /// Journal entries below this index are known to the attempt, or on their way to it.
    seen: Cell<u32>,
}

enum Told {
    Notified { index: u32, entry: JournalRow },
    Appended,
}

impl Slot {
    fn is_alive(&self) -> bool {
        self.attempt.borrow().is_some()
    }

    fn tell(&self, told: Told) {
        self.told.borrow_mut().push_back(told);
        self.wake();
    }

    fn wake(&self) {
        let waker = self.waker.borrow().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Drops the attempt now, and lets its task end.
    fn end(&self) {
        let attempt = self.attempt.borrow_mut().take();
        drop(attempt);
        self.wake();
    }
}

impl<P: Port> Flows<P> {
    pub(crate) fn new(env: Rc<Env<P>>) -> Self {
        Self { env, running: Rc::default() }
    }

    /// Starts an attempt; an older one of the same invocation ends.
    pub(crate) fn start(&self, start: StartAttempt) {
        let id = start.work.id;
        self.abort(id);
        self.env.metrics.flow_attempts.increment(1);
        let driver = Driver::new(Rc::clone(&self.env), &start);
        let seen = Cell::new(u32::try_from(start.journal.len()).unwrap_or(u32::MAX));
        let number = start.attempt;
        let attempt = match begin(&self.env, start) {
            Ok(attempt) => attempt,
            Err(fault) => {
                actix::spawn(driver.fail_at_start(fault));
                return;
            }
        };
        let slot = Rc::new(Slot {
            number,
            attempt: RefCell::new(Some(attempt)),
            told: RefCell::default(),
            waker: RefCell::default(),
            seen,
        });
        self.running.borrow_mut().insert(id, Rc::clone(&slot));
        self.count();
        let (running, env) = (Rc::clone(&self.running), Rc::clone(&self.env));
        actix::spawn(async move {
            driver.run(&slot).await;
            slot.end();
            forget(&running, id, &slot);
            set_active(&env, &running);
        });
    }

    /// Passes a journal entry on.
    pub(crate) fn notify(&self, id: InvocationId, attempt: u32, index: u32, entry: JournalRow) {
        if let Some(slot) = self.current(id, attempt) {
            slot.seen.set(slot.seen.get().max(index.saturating_add(1)));
            slot.tell(Told::Notified { index, entry });
        }
    }

    /// Passes on that a proposal is durable.
    pub(crate) fn appended(&self, id: InvocationId, attempt: u32) {
        if let Some(slot) = self.current(id, attempt) {
            slot.tell(Told::Appended);
        }
    }

    /// Drops the attempt of `id`, if there is one.
    pub(crate) fn abort(&self, id: InvocationId) {
        let slot = self.running.borrow_mut().remove(&id);
        if let Some(slot) = slot {
            slot.end();
            self.count();
        }
    }

    /// Drops all attempts: the journal has what they did.
    pub(crate) fn abort_all(&self) {
        self.abort_where(|_| true);
    }

    /// Drops the attempts of some invocations: the journal has what they did.
    pub(crate) fn abort_where(&self, of: impl Fn(InvocationId) -> bool) {
        let slots: Vec<_> = self.running.borrow_mut().extract_if(|id, _| of(*id)).collect();
        for (_, slot) in slots {
            slot.end();
        }
        self.count();
    }

    fn current(&self, id: InvocationId, attempt: u32) -> Option<Rc<Slot>> {
        self.running.borrow().get(&id).filter(|slot| slot.number == attempt).map(Rc::clone)
    }

    fn count(&self) {
        set_active(&self.env, &self.running);
    }
}

/// Removes the slot, unless a newer attempt has taken its place.
fn forget(running: &Running, id: InvocationId, slot: &Rc<Slot>) {
    let mut running = running.borrow_mut();
    if running.get(&id).is_some_and(|known| Rc::ptr_eq(known, slot)) {
        running.remove(&id);
    }
}

fn set_active<P: Port>(env: &Env<P>, running: &Running) {
    #[expect(clippy::cast_precision_loss, reason = "a count of tasks in memory")]
    env.metrics.flows_active.set(running.borrow().len() as f64);
}

fn begin<P: Port>(env: &Env<P>, start: StartAttempt) -> Result<Guarded<Attempt>, Fault> {
    let StartAttempt { work, failures, journal, fields, version, .. } = start;
    let target = work.target;
    let service = env.code(&target.service, &target.handler, version.as_deref())?;
    let handler = service.resolve(&target).map_err(Fault::missing)?;
    let shared = target.access() == Access::Shared;
    let clock = Rc::clone(&env.clock);
    let start = AttemptStart { id: work.id, key: target.key, shared, fields, journal, failures, clock };
    match catch(|| Attempt::start(start, &service.executable, handler)) {
        Ok(Ok(attempt)) => Ok(Guarded::new(attempt)),
        Ok(Err(error)) => {
            let failure = error.failure();
            let failure = Failure { message: format!("AB{:04}: {}", failure.code, failure.message), ..failure };
            Err(Fault::mismatch(failure))
        }
        Err(panic) => Err(Fault::panic(&panic)),
    }
}

/// Hands an order over that must not be lost while this node has a say. Nobody waits for it.
pub(crate) fn submit_in_background<P: Port>(env: &Rc<Env<P>>, order: Order) {
    if let Err(refused) = env.submit(order) {
        if refused.refusal == Refusal::ShuttingDown {
            return;
        }
        let env = Rc::clone(env);
        actix::spawn(async move {
            tokio::time::sleep(RETRY_MIN).await;
            submit_patiently(&env, refused.order, || true).await;
        });
    }
}

/// Hands an order over, again and again while the partition's queue is full and `wanted` says so. `false` when it was
/// given up.
async fn submit_patiently<P: Port>(env: &Env<P>, mut order: Order, wanted: impl Fn() -> bool) -> bool {
    let mut delay = RETRY_MIN;
    loop {
        match env.submit(order) {
            Ok(()) => return true,
            // Whoever takes over starts again from the log.
            Err(refused) if refused.refusal == Refusal::ShuttingDown => return false,
            Err(refused) => order = refused.order,
        }
        tokio::time::sleep(delay).await;
        if !wanted() {
            return false;
        }
        delay = (delay * 2).min(RETRY_MAX);
    }
}
