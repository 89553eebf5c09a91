//! What handlers send and call, resolved by the registry of this node into complete invocations.

use abide_model::command::{Access, FlowMessage, Invoke, Priority, Target};
use abide_model::id::{InvocationId, Millis, PartitionKey};
use abide_model::limits;
use abide_model::protocol::{Call, Code, Failure, Header, OneWayCall, RawMessage};
use abide_sdk::service::{HandlerDescriptor, Kind};
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
    let number = descriptor.handlers.iter().position(|known| known.name == wish.handler).ok_or_else(unknown)?;
    let handler = service.handler(number);
    let key = match (descriptor.kind, wish.key.clone()) {
        (Kind::Object | Kind::Workflow, Some(key)) => Some(key),
        (Kind::Object | Kind::Workflow, None) => {
            return Err(invalid(&format!("{} has keys: name one", wish.service)));
        }
        (Kind::Service, Some(key)) if !key.is_empty() => {
            return Err(invalid(&format!("{} has no keys, but was called with one", wish.service)));
        }
        (Kind::Service, _) => None,
    };
    check_lengths(&wish, key.as_deref())?;
    let id = id(env, &wish, handler, key.as_deref())?;
    let options = service.options(number);
    let priority = Priority::of_headers(&wish.headers).map_err(|error| invalid(&error.to_string()))?;
    let default = match handler.access {
        Access::Workflow => env.settings.workflow_retention_ms,
        _ if wish.attachable || wish.idempotency_key.is_some() => env.settings.retention_ms,
        _ => 0,
    };
    Ok(Invoke {
        id: Bytes::copy_from_slice(&id.to_bytes()),
        target: Some(Target {
            service: wish.service.to_owned(),
            handler: wish.handler.to_owned(),
            key,
            access: handler.access.into(),
            form: handler.form.into(),
            workflow: service.is_workflow(),
            priority: priority.or(options.priority).unwrap_or_default().into(),
        }),
        input: wish.input,
        headers: wish.headers,
        execute_at: wish.execute_at.0,
        retention_ms: if default == 0 { 0 } else { options.retention.map_or(default, Millis::of) },
        journal_retention_ms: options.journal_retention.map_or(env.settings.journal_retention_ms, Millis::of),
        state_ttl_ms: options.state_ttl.map_or(0, Millis::of),
        idempotency_key: wish.idempotency_key,
        invoked_by: Bytes::copy_from_slice(&caller.to_bytes()),
        one_way: wish.one_way,
        ..Invoke::default()
    })
}

/// What is too long is the sender's failure, before anything of it is committed.
fn check_lengths(wish: &Wish<'_>, key: Option<&str>) -> Result<(), Failure> {
    let too_long = |what: &str, most: usize| {
        let (service, handler) = (wish.service, wish.handler);
        Err(Failure::new(413, format!("{what} for {service}/{handler} is longer than {most} bytes")))
    };
    if key.is_some_and(|key| key.len() > limits::KEY_BYTES_MAX) {
        return too_long("the key", limits::KEY_BYTES_MAX);
    }
    if wish.idempotency_key.as_ref().is_some_and(|given| given.len() > limits::IDEMPOTENCY_KEY_BYTES_MAX) {
        return too_long("the idempotency key", limits::IDEMPOTENCY_KEY_BYTES_MAX);
    }
    if wish.input.len() > limits::BODY_BYTES_MAX {
        return too_long("the argument", limits::BODY_BYTES_MAX);
    }
    Ok(())
}

/// The id of an invocation: given by what it runs when that can run only once, by its idempotency key, or fresh.
fn id<P: Port>(
    env: &Env<P>,
    wish: &Wish<'_>,
    handler: &HandlerDescriptor,
    key: Option<&str>,
) -> Result<InvocationId, Failure> {
    match (&wish.idempotency_key, handler.access) {
        (Some(given), _) if given.is_empty() => Err(invalid("an idempotency key may not be empty")),
        (Some(_), Access::Workflow) => {
            Err(invalid(&format!("{}/{} runs once per key: it takes no idempotency key", wish.service, wish.handler)))
        }
        (None, Access::Workflow) => Ok(InvocationId::workflow(wish.service, key.unwrap_or_default())),
        (Some(given), _) => Ok(InvocationId::idempotent(wish.service, key, wish.handler, given)),
        (None, _) => {
            let partition_key = key.map_or_else(|| PartitionKey(env.random.u64()), PartitionKey::of);
            Ok(InvocationId::fresh(partition_key, env.now(), env.random.u128()))
        }
    }
}

fn invalid(text: &str) -> Failure {
    Failure::new(400, text)
}
