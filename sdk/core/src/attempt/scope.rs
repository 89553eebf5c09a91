//! Which attempt is being polled on this thread: how the code that `#[handlers]` writes at every `.await` finds it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use abide_model::error::STATE_MISMATCH;
use abide_model::protocol::Failure;

use super::engine::Engine;
use crate::entity::Entity;

thread_local! {
    static CURRENT: RefCell<Option<Rc<RefCell<Engine>>>> = const { RefCell::new(None) };
    /// Place, in the order of reveals, of the result that was taken last.
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

/// Restores the previous attempt when dropped, also while a panic unwinds.
pub(crate) struct Scope {
    previous: Option<Rc<RefCell<Engine>>>,
}

/// Makes `engine` the current one until the guard is dropped.
pub(crate) fn enter(engine: &Rc<RefCell<Engine>>) -> Scope {
    Scope { previous: CURRENT.replace(Some(Rc::clone(engine))) }
}

impl Drop for Scope {
    fn drop(&mut self) {
        CURRENT.set(self.previous.take());
    }
}

/// Journals the changes of `entity` since the last call, before the operation that is about to be awaited.
///
/// `#[handlers]` calls it at every `.await` in the body of an `async fn (&mut self, …)`. Outside of an attempt it does
/// nothing.
pub fn at_await<T: Entity>(entity: &T) {
    let Some(engine) = CURRENT.with_borrow(Clone::clone) else { return };
    let fields = entity.save();
    let mut engine = engine.borrow_mut();
    match fields {
        Ok(fields) => {
            engine.stage_state(fields);
            engine.settle();
        }
        Err(error) => engine.fail(Failure::new(u32::from(STATE_MISMATCH.0), error.to_string()), None),
    }
}

/// A result was handed to the code; `order` is its place in the order of reveals.
pub(crate) fn took(order: u64) {
    TAKEN.set(order);
}

/// The place of the result that was taken last: what decides a race.
pub(crate) fn last_taken() -> u64 {
    TAKEN.get()
}
