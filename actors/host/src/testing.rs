//! What the tests of this crate share: services written by hand, and a port behind which a small model of the machine
//! decides.

mod services;
mod world;

pub(crate) use services::{COUNTER, GREETER, plant, registry, runs};
pub(crate) use world::{Status, WorldPort};

use abide_model::command::{Access, Form, Invoke, OutcomeKind, Target};
use abide_model::id::{InvocationId, Millis, ObjectId, PartitionId, PartitionKey};
use abide_model::protocol::Failure;
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::port::{Completion, DirectCall, Refusal};

pub(crate) const PARTITIONS: u32 = 8;

pub(crate) fn object(key: &str) -> ObjectId {
    ObjectId { service: COUNTER.into(), key: key.into() }
}

/// Fresh ids that count, so that failures are readable.
pub(crate) fn id(key: &str, number: u64) -> InvocationId {
    InvocationId::fresh(PartitionKey::of(key), Millis(number), u128::from(number))
}

/// An invocation of a handler of the test services.
pub(crate) fn invoke(id: InvocationId, service: &str, key: Option<&str>, handler: &str, input: &str) -> Invoke {
    let registry = registry();
    let (executable, number) = registry.handler(service, handler).expect("a test handler");
    let descriptor = &executable.descriptor().handlers[number];
    Invoke {
        id: Bytes::copy_from_slice(&id.to_bytes()),
        target: Some(target(service, key, handler, descriptor.access, descriptor.form)),
        input: Bytes::copy_from_slice(input.as_bytes()),
        ..Invoke::default()
    }
}

fn target(service: &str, key: Option<&str>, handler: &str, access: Access, form: Form) -> Target {
    Target {
        service: service.into(),
        handler: handler.into(),
        key: key.map(str::to_owned),
        access: access.into(),
        form: form.into(),
        ..Target::default()
    }
}

/// Someone who waits for a result.
pub(crate) struct Caller(oneshot::Receiver<Result<Completion, Refusal>>);

/// What they heard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Nothing,
    Value(String),
    Failure(u32, String),
    Refused(Refusal),
    /// Nobody will ever answer.
    Gone,
}

impl Caller {
    pub(crate) fn hear(&mut self) -> Heard {
        match self.0.try_recv() {
            Ok(result) => heard(result),
            Err(oneshot::error::TryRecvError::Empty) => Heard::Nothing,
            Err(oneshot::error::TryRecvError::Closed) => Heard::Gone,
        }
    }

    pub(crate) fn wait(self) -> Heard {
        self.0.blocking_recv().map_or(Heard::Gone, heard)
    }
}

fn heard(result: Result<Completion, Refusal>) -> Heard {
    match result.map(|completion| completion.outcome.kind) {
        Ok(Some(OutcomeKind::Success(value))) => Heard::Value(String::from_utf8(value.into()).expect("text")),
        Ok(Some(OutcomeKind::Failure(Failure { code, message, .. }))) => Heard::Failure(code, message),
        Ok(None) => panic!("an outcome says success or failure"),
        Err(refusal) => Heard::Refused(refusal),
    }
}

pub(crate) fn value(text: &str) -> Heard {
    Heard::Value(text.into())
}

/// A direct call and who waits for it.
pub(crate) fn direct(invoke: Invoke) -> (DirectCall, Caller) {
    let (responder, receiver) = oneshot::channel();
    let id = invoke.id().expect("a well-formed id");
    let partition = PartitionId::of(id.partition_key, PARTITIONS);
    (DirectCall { partition, invoke, responder }, Caller(receiver))
}
