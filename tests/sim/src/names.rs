//! The services of the simulated application.
//!
//! | service | access, form | what it does |
//! |---|---|---|
//! | Counter/key/add | exclusive turn | adds one, returns the sum |
//! | Account/key/pay | exclusive turn | takes money and sends it to another account |
//! | Account/key/take | exclusive turn | adds money |
//! | Cart/key/run | exclusive flow | a program with state; may wait for Stock and lower |
//! | Cart/key/poke | exclusive turn | sets a field |
//! | Stock/key/run | exclusive flow | a program with state; may wait for lower |
//! | Job/run | flow | a program; may wait for lower |
//! | Note/send | turn | sends an add to a counter |
//!
//! Only higher ranks wait for lower ones, so that nothing can wait for itself.

use abide_model::command::{Access, Form, Invoke, Target};
use abide_model::id::{InvocationId, Millis, PartitionKey};
use bytes::Bytes;

use crate::rng::Rng;

pub(crate) const COUNTER: &str = "Counter";
pub(crate) const ACCOUNT: &str = "Account";
pub(crate) const CART: &str = "Cart";
pub(crate) const STOCK: &str = "Stock";
pub(crate) const JOB: &str = "Job";
pub(crate) const NOTE: &str = "Note";
/// What an account starts with.
pub(crate) const OPENING_BALANCE: i64 = 100;
/// How long results of idempotent flows are kept, in ms: longer than any run.
pub(crate) const FLOW_RETENTION: u64 = 10_000_000;
/// The message of a cancelled flow.
pub(crate) const CANCELLED: &str = "cancelled flow";

/// How high a service stands: it waits for lower ones only.
pub(crate) fn rank(service: &str) -> u8 {
    match service {
        CART => 3,
        STOCK => 2,
        JOB => 1,
        _ => 0,
    }
}

/// What the registry knows of a handler.
pub(crate) fn target(service: &str, handler: &str, key: Option<String>) -> Target {
    let access = if key.is_some() { Access::Exclusive } else { Access::Shared };
    let form = if handler == "run" { Form::Flow } else { Form::Turn };
    Target {
        service: service.into(),
        handler: handler.into(),
        key,
        access: access as i32,
        form: form as i32,
        workflow: false,
    }
}

/// Something that can be invoked.
#[derive(Clone, Debug)]
pub(crate) struct Callee {
    pub(crate) service: &'static str,
    pub(crate) handler: &'static str,
    pub(crate) key: Option<String>,
    pub(crate) access: Access,
    pub(crate) form: Form,
    pub(crate) input: Vec<u8>,
    /// With an idempotency key its result is kept for so many ms.
    pub(crate) idempotency: Option<(String, u64)>,
}

impl Callee {
    /// Any callee lower than `rank`, called from a flow of `depth`.
    pub(crate) fn draw(rng: &mut Rng, rank: u8, depth: u8) -> Self {
        let mut callee = match rng.below(u64::from(rank.max(1)) + 1) {
            0 => Self::turn(COUNTER, "add", key(rng), Vec::new()),
            1 if rank > 1 => Self::flow(rng, JOB, None, depth + 1),
            2 if rank > 2 => {
                let key = key(rng);
                Self::flow(rng, STOCK, Some(key), depth + 1)
            }
            _ => Self::note(rng),
        };
        if rng.chance(2_000) {
            let name = format!("f{}", rng.below(4));
            let short = rng.range(50, 4_000);
            callee.idempotency = Some((name, if callee.form == Form::Flow { FLOW_RETENTION } else { short }));
        }
        callee
    }

    pub(crate) fn turn(service: &'static str, handler: &'static str, key: String, input: Vec<u8>) -> Self {
        Self { service, handler, key: Some(key), access: Access::Exclusive, form: Form::Turn, input, idempotency: None }
    }

    pub(crate) fn flow(rng: &mut Rng, service: &'static str, key: Option<String>, depth: u8) -> Self {
        let mut input = vec![depth];
        input.extend(rng.next().to_le_bytes());
        let access = if key.is_some() { Access::Exclusive } else { Access::Shared };
        Self { service, handler: "run", key, access, form: Form::Flow, input, idempotency: None }
    }

    pub(crate) fn note(rng: &mut Rng) -> Self {
        Self {
            service: NOTE,
            handler: "send",
            key: None,
            access: Access::Shared,
            form: Form::Turn,
            input: key(rng).into_bytes(),
            idempotency: None,
        }
    }

    pub(crate) fn target(&self) -> Target {
        Target {
            service: self.service.into(),
            handler: self.handler.into(),
            key: self.key.clone(),
            access: self.access as i32,
            form: self.form as i32,
            ..Target::default()
        }
    }

    /// The invocation, with a fresh id unless it is idempotent.
    pub(crate) fn invoke(&self, rng: &mut Rng, now: u64) -> Invoke {
        let id = match &self.idempotency {
            Some((name, _)) => InvocationId::idempotent(self.service, self.key.as_deref(), self.handler, name),
            None => {
                let key = match &self.key {
                    Some(key) => PartitionKey::of(key),
                    None => PartitionKey(rng.next()),
                };
                InvocationId::fresh(key, Millis(now), rng.u128())
            }
        };
        Invoke {
            id: Bytes::copy_from_slice(&id.to_bytes()),
            target: Some(self.target()),
            input: Bytes::from(self.input.clone()),
            retention_ms: self.idempotency.as_ref().map_or(0, |(_, retention)| *retention),
            idempotency_key: self.idempotency.as_ref().map(|(name, _)| name.clone()),
            ..Invoke::default()
        }
    }
}

fn key(rng: &mut Rng) -> String {
    format!("k{}", rng.below(4))
}

/// Binary input of a payment: to whom, how much.
pub(crate) fn payment(to: u64, amount: u64) -> Vec<u8> {
    vec![u8::try_from(to).unwrap_or(0), u8::try_from(amount).unwrap_or(0)]
}

/// The key of account `number`.
pub(crate) fn account(number: u64) -> String {
    format!("acc{number}")
}
