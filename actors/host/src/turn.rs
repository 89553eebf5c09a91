//! Runs one turn or read of user code, and says what came of it.

use std::time::Instant;

use abide_model::command::{FieldChange, Invoke};
use abide_model::effect::Work;
use abide_model::error::{HANDLER_PANIC, NO_CODE, STATE_MISMATCH};
use abide_model::id::InvocationId;
use abide_model::limits;
use abide_model::protocol::{Failure, Header};
use abide_sdk::service::{Fields, Instance, StateError};
use abide_sdk::turn::{Read, Turn, TurnStart};
use bytes::Bytes;

use crate::env::{Env, Service};
use crate::guard::{Guarded, catch};
use crate::metrics::FailureKind;
use crate::outgoing;
use crate::port::Port;

/// A request as user code sees it.
pub(crate) struct Request<'a> {
    pub(crate) id: InvocationId,
    pub(crate) key: Option<&'a str>,
    pub(crate) input: &'a Bytes,
    pub(crate) headers: &'a [Header],
}

impl<'a> Request<'a> {
    pub(crate) fn of_work(work: &'a Work) -> Self {
        Self { id: work.id, key: work.target.key.as_deref(), input: &work.input, headers: &work.headers }
    }

    pub(crate) fn of_invoke(id: InvocationId, invoke: &'a Invoke) -> Self {
        let key = invoke.target.as_ref().and_then(|target| target.key.as_deref());
        Self { id, key, input: &invoke.input, headers: &invoke.headers }
    }
}

/// What a turn did when it ended with a value.
pub(crate) struct Done {
    pub(crate) value: Bytes,
    /// The state after it.
    pub(crate) fields: Fields,
    /// How that differs from the state before it.
    pub(crate) changes: Vec<FieldChange>,
    pub(crate) sends: Vec<Invoke>,
}

/// Why a turn has no value.
pub(crate) enum Stop {
    /// Its own failure, or a broken rule: the caller's answer.
    Failed(Failure),
    /// It did not end: the attempt failed.
    Broken(Fault),
}

/// Why an attempt did not end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FailureKind,
    pub(crate) failure: Failure,
}

impl Fault {
    pub(crate) fn panic(message: &str) -> Self {
        let failure = coded(HANDLER_PANIC, format!("handler panicked: {message}"));
        Self { kind: FailureKind::Panic, failure }
    }

    pub(crate) fn state(error: &StateError) -> Self {
        Self { kind: FailureKind::Mismatch, failure: coded(STATE_MISMATCH, format!("{STATE_MISMATCH}: {error}")) }
    }

    /// The code that an invocation is pinned to is not in this build.
    pub(crate) fn no_code(service: &str, version: &str, current: Option<&str>) -> Self {
        let there = current.map_or_else(
            || format!("{service} is not registered"),
            |current| format!("the current one is `{current}`"),
        );
        let text = format!(
            "{NO_CODE}: no code of version `{version}` of {service} in this build, {there}: keep the old handlers \
             beside the new ones, or move the invocation with `resume` to another version"
        );
        Self { kind: FailureKind::NoCode, failure: coded(NO_CODE, text) }
    }

    /// What is to run is not bound in this build, or is of another kind than when it was accepted.
    pub(crate) fn missing(failure: Failure) -> Self {
        Self { kind: FailureKind::NoCode, failure }
    }

    /// Whether no code ran: such an attempt says nothing about the handler.
    pub(crate) fn is_uncounted(&self) -> bool {
        self.kind == FailureKind::NoCode
    }

    pub(crate) fn mismatch(failure: Failure) -> Self {
        Self { kind: FailureKind::Mismatch, failure }
    }

    pub(crate) fn error(failure: Failure) -> Self {
        Self { kind: FailureKind::Error, failure }
    }
}

fn coded(code: abide_model::error::ErrorCode, message: String) -> Failure {
    Failure::coded(500, code, truncated(message))
}

fn truncated(mut text: String) -> String {
    let mut end = limits::FAILURE_MESSAGE_BYTES_MAX.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// An object or service in memory.
pub(crate) type Loaded = Guarded<Box<dyn Instance>>;

/// Brings `fields` into memory.
///
/// # Errors
/// A fault when they do not fit the type, or its code panics.
pub(crate) fn instantiate(service: &Service, fields: &Fields) -> Result<Loaded, Fault> {
    match catch(|| service.executable.instantiate(fields)) {
        Ok(Ok(instance)) => Ok(Guarded::new(instance)),
        Ok(Err(error)) => Err(Fault::state(&error)),
        Err(panic) => Err(Fault::panic(&panic)),
    }
}

/// Runs an exclusive turn, or a turn of a service. Unless it is done, the instance must not be used again.
pub(crate) fn run<P: Port>(
    env: &Env<P>,
    service: &Service,
    instance: &mut Loaded,
    before: &Fields,
    handler: usize,
    request: &Request<'_>,
) -> Result<Done, Stop> {
    let begun = Instant::now();
    let ran = catch(|| {
        let mut cx = Turn::new(start(env, request));
        let result = instance.turn(handler, &mut cx, request.input.clone());
        result.map(|value| instance.fields().map(|fields| (value, fields, cx.into_sends())))
    });
    service.metrics.turn(handler, begun.elapsed());
    let (value, fields, sends) = match ran {
        Ok(Ok(Ok(done))) => done,
        Ok(Ok(Err(error))) => return Err(Stop::Broken(Fault::state(&error))),
        Ok(Err(failure)) => return Err(Stop::Failed(failure)),
        Err(panic) => return Err(Stop::Broken(Fault::panic(&panic))),
    };
    if sends.len() > limits::SENDS_PER_TURN_MAX {
        let text = format!("a turn may send at most {} messages, not {}", limits::SENDS_PER_TURN_MAX, sends.len());
        return Err(Stop::Failed(Failure::new(413, text)));
    }
    let changes = changes(before, &fields);
    if let Some(large) = changes.iter().find(|change| size(change) > limits::STATE_VALUE_BYTES_MAX) {
        let (field, size) = (&large.field, size(large));
        let text = format!("field `{field}` has {size} bytes, more than {}", limits::STATE_VALUE_BYTES_MAX);
        return Err(Stop::Failed(Failure::new(413, text)));
    }
    let sends = sends.into_iter().map(|send| outgoing::send(env, request.id, send));
    let sends = sends.collect::<Result<_, _>>().map_err(Stop::Failed)?;
    Ok(Done { value, fields, changes, sends })
}

/// Runs a read.
pub(crate) fn read<P: Port>(
    env: &Env<P>,
    service: &Service,
    instance: &Loaded,
    handler: usize,
    request: &Request<'_>,
) -> Result<Bytes, Stop> {
    let begun = Instant::now();
    let ran = catch(|| instance.read(handler, &Read::new(start(env, request)), request.input.clone()));
    service.metrics.turn(handler, begun.elapsed());
    match ran {
        Ok(result) => result.map_err(Stop::Failed),
        Err(panic) => Err(Stop::Broken(Fault::panic(&panic))),
    }
}

fn start<P: Port>(env: &Env<P>, request: &Request<'_>) -> TurnStart {
    TurnStart {
        id: request.id,
        key: request.key.map(str::to_owned),
        headers: request.headers.to_vec(),
        now: env.now(),
        seed: request.id.seed(),
    }
}

fn size(change: &FieldChange) -> usize {
    change.value.as_ref().map_or(0, Bytes::len)
}

/// What turns `before` into `after`, in the order of the field names.
fn changes(before: &Fields, after: &Fields) -> Vec<FieldChange> {
    let set = after.iter().filter(|(field, value)| before.get(*field) != Some(value));
    let removed = before.keys().filter(|field| !after.contains_key(*field));
    let mut changes: Vec<_> = set
        .map(|(field, value)| FieldChange { field: field.clone(), value: Some(value.clone()) })
        .chain(removed.map(|field| FieldChange { field: field.clone(), value: None }))
        .collect();
    changes.sort_unstable_by(|a, b| a.field.cmp(&b.field));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &'static str)]) -> Fields {
        pairs.iter().map(|(field, value)| ((*field).to_owned(), Bytes::from_static(value.as_bytes()))).collect()
    }

    #[test]
    fn changes_name_what_differs() {
        let before = fields(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let after = fields(&[("a", "1"), ("b", "9"), ("d", "4")]);
        let named: Vec<_> = changes(&before, &after).into_iter().map(|change| (change.field, change.value)).collect();
        let text = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        assert_eq!(named, [("b".into(), text("9")), ("c".into(), None), ("d".into(), text("4"))]);
        assert!(changes(&before, &before).is_empty());
    }

    #[test]
    fn long_panics_are_cut_between_characters() {
        let fault = Fault::panic(&"ä".repeat(limits::FAILURE_MESSAGE_BYTES_MAX));
        assert!(fault.failure.message.len() <= limits::FAILURE_MESSAGE_BYTES_MAX);
        assert_eq!(fault.failure.metadata[0].value, "AB0501");
    }
}
