//! Other invocations, as a flow sees them.

use std::cell::RefCell;
use std::rc::Rc;

use abide_model::id::InvocationId;
use abide_model::protocol::{Code, InvocationTarget, RawMessage, SendSignal, SignalId, SignalResult, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::does_not_encode;
use super::operation::{Awaited, Operation};
use crate::attempt::engine::{self, Engine};
use crate::error::Terminal;
use crate::wire;

/// Another invocation, see [`crate::Flow::invocation`].
#[derive(Clone)]
pub struct InvocationHandle {
    engine: Rc<RefCell<Engine>>,
    id: InvocationId,
}

impl InvocationHandle {
    pub(super) fn new(engine: Rc<RefCell<Engine>>, id: InvocationId) -> Self {
        Self { engine, id }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> InvocationId {
        self.id
    }

    /// Waits for its result. An invocation that does not exist fails with code 404.
    pub fn attach<T: DeserializeOwned + 'static>(&self) -> Awaited<T> {
        self.target(Code::ATTACH_INVOCATION)
    }

    /// Its result; `None` while it is under way. An invocation that does not exist fails with code 404.
    pub fn output<T: DeserializeOwned + 'static>(&self) -> Awaited<Option<T>> {
        self.target::<()>(Code::GET_INVOCATION_OUTPUT).optional()
    }

    fn target<T: DeserializeOwned + 'static>(&self, code: Code) -> Operation<T> {
        let mut engine = self.engine.borrow_mut();
        let completion = engine.allocate_completion();
        let target = InvocationTarget {
            invocation_id: self.id.to_string(),
            result_completion_id: completion,
            name: String::new(),
        };
        engine.stage(RawMessage::new(code, &target));
        let op = engine.begin_completion(completion);
        drop(engine);
        Operation::new(&self.engine, op)
    }

    /// Signals it. An invocation that has ended, or has not begun, does not hear it.
    ///
    /// # Errors
    /// [`Terminal`] when `value` does not encode.
    pub fn signal(&self, name: impl Into<String>, value: &impl Serialize) -> Result<(), Terminal> {
        let content = wire::encode(value).map_err(does_not_encode)?;
        let signal = SendSignal {
            target_invocation_id: self.id.to_string(),
            signal_id: Some(SignalId::Name(name.into())),
            result: Some(SignalResult::Value(Value { content })),
            entry_name: String::new(),
        };
        self.engine.borrow_mut().stage(RawMessage::new(Code::SEND_SIGNAL, &signal));
        Ok(())
    }

    /// Asks it to stop.
    pub fn cancel(&self) {
        self.engine.borrow_mut().stage(engine::cancel_message(self.id.to_string()));
    }
}
