//! The loop of a world: test, handlers and driver in turn, on one thread.
//!
//! Time is tokio's, paused: it moves to the next timer when nothing can run.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use abide_model::id::Millis;
use tokio::task::LocalSet;
use tokio::time::{Instant, Sleep, sleep};

use super::machine::{Plan, Stepped};
use super::shared::Shared;
use super::{Crash, Inner, World, stuck};
use crate::clock;

/// After this long without anything to do, nothing will ever happen. Longer than any timer of the engine but those the
/// driver knows.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How a test in a world went.
pub(super) struct Ran<T> {
    pub(super) result: Result<T, Failed>,
    pub(super) trace: String,
    /// Synced batches of the log.
    pub(super) commits: u64,
}

/// Why there is no result.
pub(super) enum Failed {
    Panic(Box<dyn Any + Send>),
    /// It waits for something that does not come; the text says what is blocked.
    Stuck(String),
}

/// Runs `body` in a new world, on this thread.
pub(super) fn run<T>(
    plan: Plan,
    epoch: Millis,
    turns_max: u64,
    crashes: Vec<Crash>,
    body: impl AsyncFnOnce(World) -> T,
) -> Ran<T> {
    let shared = Shared::new(plan.seed, crashes);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing of the system");
    let result = {
        let shared = Arc::clone(&shared);
        // What the panic leaves behind is dropped with the world.
        catch_unwind(AssertUnwindSafe(move || {
            LocalSet::new().block_on(&runtime, async move {
                let _clock = clock::follow_tokio(epoch);
                let inner = Inner::new(shared, plan, epoch);
                inner.machine.borrow_mut().start();
                let body = body(World { inner: Rc::clone(&inner) });
                let result = live(&inner, turns_max, body).await;
                inner.machine.borrow_mut().end();
                result
            })
        }))
    };
    let result = match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(report)) => Err(Failed::Stuck(report)),
        Err(panic) => Err(Failed::Panic(panic)),
    };
    Ran { result, trace: shared.trace_text(), commits: shared.commits() }
}

/// Carries the test to its end, or to where nothing can happen any more.
async fn live<T>(inner: &Inner, turns_max: u64, body: impl Future<Output = T>) -> Result<T, String> {
    let mut body = pin!(body);
    let (for_body, for_handlers) = (Alarm::new(), Alarm::new());
    let mut timer = pin!(sleep(Duration::ZERO));
    let mut stillness = Stillness::new();
    // Polls in a row that found nothing to do.
    let mut idle = 0;
    poll_fn(|cx| {
        inner.shared.set_root(cx.waker());
        idle += 1;
        if let Some(waker) = for_body.take(cx) {
            idle = 0;
            stillness.restart();
            if let Poll::Ready(value) = body.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(Ok(value));
            }
        }
        let mut machine = inner.machine.borrow_mut();
        if let Some(span) = inner.crash.take() {
            machine.crash_for(span);
            for_handlers.ring();
        }
        if let Some(waker) = for_handlers.take(cx) {
            idle = 0;
            machine.run_handlers(&mut Context::from_waker(&waker));
        }
        let mut due = machine.time_to_step();
        if let Some(wait) = due.filter(|wait| !wait.is_zero()) {
            timer.as_mut().reset(Instant::now() + wait);
            if timer.as_mut().poll(cx).is_ready() {
                due = Some(Duration::ZERO);
            }
        }
        if due == Some(Duration::ZERO) {
            idle = 0;
            if machine.step() == Stepped::Crashed {
                for_handlers.ring();
            }
            stillness.turns += 1;
            if stillness.turns > turns_max && inner.advancing.get() == 0 {
                return Poll::Ready(Err(stuck::report(machine.driver(), &stuck::Cause::Busy(turns_max))));
            }
            // One thing at a time: whoever was woken by it comes first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if stillness.is_over(cx) {
            let nothing_due = due.is_none() && inner.advancing.get() == 0;
            if nothing_due && !stillness.was_disturbed() {
                return Poll::Ready(Err(stuck::report(machine.driver(), &stuck::Cause::Still)));
            }
            stillness.rearm();
            cx.waker().wake_by_ref();
        }
        if !inner.settling.borrow().is_empty() {
            // Tasks of the test have their turn between two polls, and may give the engine more to do.
            if idle >= 2 {
                inner.settling.take().into_iter().for_each(Waker::wake);
            } else {
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    })
    .await
}

/// Finds out that nothing happens any more.
struct Stillness {
    timer: Pin<Box<Sleep>>,
    /// Turns of the driver since the test was polled.
    turns: u64,
    /// The same when the timer was set.
    turns_before: u64,
}

impl Stillness {
    fn new() -> Self {
        Self { timer: Box::pin(sleep(FOREVER)), turns: 0, turns_before: 0 }
    }

    /// The test itself has gone on.
    fn restart(&mut self) {
        self.turns = 0;
        self.rearm();
    }

    fn rearm(&mut self) {
        self.turns_before = self.turns;
        self.timer.as_mut().reset(Instant::now() + FOREVER);
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.timer.as_mut().poll(cx).is_ready()
    }

    /// Whether the driver had something to do since the timer was set.
    fn was_disturbed(&self) -> bool {
        self.turns != self.turns_before
    }
}

/// A wake-up that is remembered, so that the loop polls only what was woken. Rings at the beginning.
struct Alarm {
    rung: AtomicBool,
    root: Mutex<Option<Waker>>,
}

impl Alarm {
    fn new() -> Arc<Self> {
        Arc::new(Self { rung: AtomicBool::new(true), root: Mutex::new(None) })
    }

    fn ring(&self) {
        self.rung.store(true, Ordering::Relaxed);
    }

    /// The waker to poll with, if it has rung since the last time.
    fn take(self: &Arc<Self>, cx: &Context<'_>) -> Option<Waker> {
        if !self.rung.swap(false, Ordering::Relaxed) {
            return None;
        }
        let mut root = self.root.lock().unwrap_or_else(PoisonError::into_inner);
        if !root.as_ref().is_some_and(|root| root.will_wake(cx.waker())) {
            *root = Some(cx.waker().clone());
        }
        Some(Waker::from(Arc::clone(self)))
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.ring();
        let root = self.root.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(root) = root {
            root.wake();
        }
    }
}
