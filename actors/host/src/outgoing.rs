//! What handlers send and call, resolved by the registry of this node into complete invocations.

use abide_model::command::{FlowMessage, Invoke, Target};
use abide_model::id::{InvocationId, Millis, PartitionKey};
use abide_model::protocol::{Call, Code, Failure, Header, OneWayCall, RawMessage};
use abide_sdk::service::Kind;
use abide_sdk::turn::OutgoingSend;
use bytes::Bytes;

use crate::env::{Env, not_registered};
use crate::port::Port;

/// An invocation of something, before its callee is known to exist.
struct Wish<'a> {
    service: &'a str,
    handler: &'a str,
    /// Of objects. Ignored when empty and the callee has no keys.
    key: Option<String>,
    input: Bytes,
    headers: Vec<Header>,
    execute_at: Millis,
    idempotency_key: Option<String>,
    /// Whether the result may be asked for later, by the id that a flow was told.
    attachable: bool,
    /// Whether nobody waits for the result.
    one_way: bool,
}

/// The invocation that a turn sends.
///
/// # Errors
/// The failure of the turn, when the callee is not registered or the wish is malformed.
pub(crate) fn send<P: Port>(env: &Env<P>, caller: InvocationId, send: OutgoingSend) -> Result<Invoke, Failure> {
    let wish = Wish {
        service: &send.service,
        handler: &send.handler,
        key: send.key,
        input: send.input,
        headers: send.headers,
        execute_at: send.execute_at.unwrap_or_default(),
        idempotency_key: send.idempotency_key,
        attachable: false,
        one_way: true,
    };
    resolve(env, caller, wish)
}

/// A message of a flow with its callee, if it is a call.
///
/// # Errors
/// The failure of the attempt, when the callee is not registered or the call is malformed.
pub(crate) fn message<P: Port>(
    env: &Env<P>,
    caller: InvocationId,
    message: RawMessage,
) -> Result<FlowMessage, Failure> {
    let callee = match message.code {
        Code::CALL => {
            let call: Call = message.decode().map_err(|error| Failure::new(500, error.to_string()))?;
            Some(Wish {
                service: &call.service_name.clone(),
                handler: &call.handler_name.clone(),
                key: Some(call.key),
                input: call.parameter,
                headers: call.headers,
                execute_at: Millis(0),
                idempotency_key: call.idempotency_key,
                attachable: false,
                one_way: false,
            })
            .map(|wish| resolve(env, caller, wish))
        }
        Code::ONE_WAY_CALL => {
            let call: OneWayCall = message.decode().map_err(|error| Failure::new(500, error.to_string()))?;
            Some(Wish {
                service: &call.service_name.clone(),
                handler: &call.handler_name.clone(),
                key: Some(call.key),
                input: call.parameter,
                headers: call.headers,
                execute_at: Millis(call.invoke_time),
                idempotency_key: call.idempotency_key,
                attachable: true,
                one_way: true,
            })
            .map(|wish| resolve(env, caller, wish))
        }
        _ => None,
    };
    Ok(FlowMessage { callee: callee.transpose()?, ..FlowMessage::from(message) })
}

fn resolve<P: Port>(env: &Env<P>, caller: InvocationId, wish: Wish<'_>) -> Result<Invoke, Failure> {
    let unknown = || not_registered(wish.service, wish.handler);
    let service = env.service(wish.service).ok_or_else(unknown)?;
    let descriptor = service.executable.descriptor();
    let handler = descriptor.handlers.iter().find(|known| known.name == wish.handler).ok_or_else(unknown)?;
    let key = match (descriptor.kind, wish.key) {
        (Kind::Object | Kind::Workflow, Some(key)) => Some(key),
        (Kind::Object | Kind::Workflow, None) => {
            return Err(invalid(&format!("{} has keys: name one", wish.service)));
        }
        (_, Some(key)) if !key.is_empty() => {
            return Err(invalid(&format!("{} has no keys, but was called with one", wish.service)));
        }
        _ => None,
    };
    if wish.idempotency_key.as_ref().is_some_and(String::is_empty) {
        return Err(invalid("an idempotency key may not be empty"));
    }
    let id = match &wish.idempotency_key {
        Some(idempotency_key) => InvocationId::idempotent(wish.service, key.as_deref(), wish.handler, idempotency_key),
        None => {
            let partition_key = match &key {
                Some(key) => PartitionKey::of(key),
                None => PartitionKey(env.random.u64()),
            };
            InvocationId::fresh(partition_key, env.now(), env.random.u128())
        }
    };
    let retained = wish.attachable || wish.idempotency_key.is_some();
    Ok(Invoke {
        id: Bytes::copy_from_slice(&id.to_bytes()),
        target: Some(Target {
            service: wish.service.to_owned(),
            handler: wish.handler.to_owned(),
            key,
            access: handler.access.into(),
            form: handler.form.into(),
            ..Target::default()
        }),
        input: wish.input,
        headers: wish.headers,
        execute_at: wish.execute_at.0,
        retention_ms: if retained { env.settings.retention_ms } else { 0 },
        idempotency_key: wish.idempotency_key,
        sink: None,
        invoked_by: Bytes::copy_from_slice(&caller.to_bytes()),
        one_way: wish.one_way,
        ..Invoke::default()
    })
}

fn invalid(text: &str) -> Failure {
    Failure::new(400, text)
}
