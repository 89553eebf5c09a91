//! What the code written by the macros refers to. Not part of the public interface.

use std::future::Future;
use std::pin::Pin;

pub use abide_model::command::{Access, Form, Priority};
use abide_model::protocol::Failure;
pub use bytes::Bytes;
pub use serde;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::attempt::scope::at_await;
pub use crate::client::{Callable, Caller, InsideCaller, Request};
pub use crate::entity::{Entity, Handlers, KeptHandlers, Keyed, Object, Service, Workflow};
use crate::error::HandlerError;
pub use crate::error::NoError;
pub use crate::flow::Flow;
pub use crate::retry::{Exhausted, RetryPolicy};
pub use crate::service::{Fields, HandlerDescriptor, HandlerResult, Kind, Options, Rate};
use crate::state::State;
pub use crate::state::StateError;
pub use crate::turn::{Read, Turn};
use crate::wire;

/// Result of [`Handlers::flow`].
pub type LocalFuture<'a> = Pin<Box<dyn Future<Output = HandlerResult> + 'a>>;

/// The two sides of a result type, for aliases that hide one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Result`",
    note = "a handler whose return type is called `…Result` is taken to be fallible; rename the type, or return `Result<T, E>`"
)]
pub trait Fallible {
    /// Of success.
    type Value;
    /// Of failure.
    type Error;
}

impl<T, E> Fallible for Result<T, E> {
    type Value = T;
    type Error = E;
}

/// The state of an object, read.
///
/// # Errors
/// [`StateError`] when the stored fields do not fit.
pub fn load<T: Entity + State>(fields: &Fields) -> Result<T, StateError> {
    crate::state::decode_fields(fields).map_err(|error| error.of(T::NAME))
}

/// The state of an object, to be stored.
///
/// # Errors
/// [`StateError`] when a field does not serialize.
pub fn save<T: Entity + State>(entity: &T) -> Result<Fields, StateError> {
    crate::state::encode_fields(entity).map_err(|error| error.of(T::NAME))
}

/// The answer of a service that was bound without the function it needs.
///
/// # Errors
/// Always.
pub fn not_bound_with<T: Entity>() -> Result<T, StateError> {
    let reason = "`#[service(bound_with)]` leaves making instances to you: bind it with `bind_with`".to_owned();
    Err(StateError { object: T::NAME.to_owned(), field: None, found: None, reason })
}

/// Compiles for objects only.
pub fn requires_object<T: Object>() {}

/// Compiles for objects and workflows only.
pub fn requires_keyed<T: Keyed>() {}

/// Compiles for services only.
pub fn requires_service<T: Service>() {}

/// Access of the exclusive flow `run`: in a workflow it is what runs once per key.
#[must_use]
pub const fn access_of_run(kind: Kind) -> Access {
    match kind {
        Kind::Workflow => Access::Workflow,
        Kind::Object | Kind::Service => Access::Exclusive,
    }
}

/// Whether two texts are equal, for constants.
#[must_use]
pub const fn same_text(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut place = 0;
    while place < one.len() {
        if one[place] != other[place] {
            return false;
        }
        place += 1;
    }
    true
}

/// Doc comments, if there are any.
#[must_use]
pub fn documentation(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The argument of a request, where it is encoded.
pub fn reference<T: Serialize>(argument: &T) -> &T {
    argument
}

/// The argument in `input`.
///
/// # Errors
/// A 400 that names the handler.
pub fn argument<T: DeserializeOwned + 'static>(handler: &str, input: &Bytes) -> Result<T, Failure> {
    wire::decode(input).map_err(|reason| {
        let found = if input.is_empty() { " (the body is empty)" } else { "" };
        Failure::new(400, format!("argument of `{handler}`: {reason}{found}"))
    })
}

/// Checks that a handler without argument gets none.
///
/// # Errors
/// A 400 that names the handler.
pub fn no_argument(handler: &str, input: &Bytes) -> Result<(), Failure> {
    let nothing = input.is_empty() || input.trim_ascii() == b"null";
    let refused = || Failure::new(400, format!("`{handler}` takes no argument: send an empty body"));
    nothing.then_some(()).ok_or_else(refused)
}

/// The answer of a handler that cannot fail.
///
/// # Errors
/// A 500 when the value does not encode.
pub fn answer<T: Serialize + 'static>(handler: &str, value: T) -> HandlerResult {
    wire::encode_result(&value).map_err(|reason| Failure::new(500, format!("result of `{handler}`: {reason}")))
}

/// The answer of a handler that can fail; `failure` is [`failure_of`].
///
/// # Errors
/// The handler's own failure; a 500 when the value does not encode.
pub fn answer_result<T: Serialize + 'static, E>(
    handler: &str,
    result: Result<T, E>,
    failure: fn(E) -> Failure,
) -> HandlerResult {
    answer(handler, result.map_err(failure)?)
}

/// The failure by which a handler's own error travels.
pub fn failure_of<E: HandlerError>(error: E) -> Failure {
    crate::error::encode_error(&error)
}

/// The answer to a handler number that does not fit.
///
/// # Errors
/// Always.
pub fn misdirected<T: Entity>(handler: usize) -> HandlerResult {
    Err(crate::entity::misdirected::<T>(handler))
}
