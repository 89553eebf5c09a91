//! The services of the simulated application.
//!
//! | service | access, form | what it does |
//! |---|---|---|
//! | Counter/key/add | exclusive turn | adds one, returns the sum |
//! | Account/key/pay | exclusive turn | takes money and sends it to another account |
//! | Account/key/take | exclusive turn | adds money |
//! | Cart/key/run | exclusive flow | a program with state; may wait for Stock and lower |
//! | Cart/key/poke | exclusive turn | sets a field, or fails |
//! | Stock/key/run | exclusive flow | a program with state; may wait for lower |
//! | Order/key/run | workflow | a program with state and promises; may wait for Job and lower |
//! | Order/key/watch | shared flow | a program with promises; may wait for Job and lower |
//! | Order/key/resolve | shared flow | completes a promise |
//! | Job/run | flow | a program; may wait for lower |
//! | Note/send | turn | sends an add to a counter |
//! | Note/flood | turn | sends hundreds of pokes that fail, of which nobody hears |
//!
//! Only higher ranks wait for lower ones, so that nothing can wait for itself. The exceptions are calls of a key that a
//! caller further up holds: those are answered as deadlocks.

use abide_model::command::{Access, Form, Invoke, Target};
use abide_model::id::{InvocationId, Millis, PartitionKey};
use bytes::Bytes;

use crate::rng::Rng;

pub(crate) const COUNTER: &str = "Counter";
pub(crate) const ACCOUNT: &str = "Account";
pub(crate) const CART: &str = "Cart";
pub(crate) const STOCK: &str = "Stock";
pub(crate) const ORDER: &str = "Order";
pub(crate) const JOB: &str = "Job";
pub(crate) const NOTE: &str = "Note";
/// A service that is not there.
pub(crate) const NOWHERE: &str = "Nowhere";
/// What an account starts with.
pub(crate) const OPENING_BALANCE: i64 = 100;
/// A retention in ms that is longer than any run.
pub(crate) const FOR_GOOD: u64 = 10_000_000;
/// The message of a cancelled flow.
pub(crate) const CANCELLED: &str = "cancelled flow";
/// Length of a flow's input: its depth, and what its program is made from. What follows is the key of the cart that
/// waits for it.
pub(crate) const FLOW_INPUT: usize = 9;

/// How high a service stands: it waits for lower ones only.
pub(crate) fn rank(service: &str) -> u8 {
    match service {
        CART => 3,
        STOCK | ORDER => 2,
        JOB => 1,
        _ => 0,
    }
}

/// What the registry knows of a handler.
pub(crate) fn target(service: &str, handler: &str, key: Option<String>) -> Target {
    let workflow = service == ORDER;
    let access = match (workflow, handler) {
        (true, "run") => Access::Workflow,
        (true, _) => Access::Shared,
        (false, _) if key.is_some() => Access::Exclusive,
        (false, _) => Access::Shared,
    };
    let form = if matches!(handler, "run" | "watch" | "resolve") { Form::Flow } else { Form::Turn };
    Target {
        service: service.into(),
        handler: handler.into(),
        key,
        access: access as i32,
        form: form as i32,
        workflow,
        priority: 0,
    }
}

/// Something that can be invoked.
#[derive(Clone, Debug)]
pub(crate) struct Callee {
    pub(crate) service: &'static str,
    pub(crate) handler: &'static str,
    pub(crate) key: Option<String>,
    pub(crate) input: Vec<u8>,
    pub(crate) idempotency: Option<String>,
    /// How long the result is kept, in ms.
    pub(crate) retention: u64,
    /// How long the journal is kept, in ms.
    pub(crate) journal: u64,
    /// How long the state is kept that it changes, in ms; 0 is for ever.
    pub(crate) ttl: u64,
}

impl Callee {
    /// Any callee lower than `rank`, called from a flow of `service` and `depth`.
    pub(crate) fn draw(rng: &mut Rng, service: &str, depth: u8) -> Self {
        let rank = rank(service);
        if rank > 1 && service != ORDER && rng.chance(2_000) {
            let (handler, key) = (if rng.chance(5_000) { "run" } else { "watch" }, key(rng));
            return Self::workflow(rng, handler, key, depth + 1);
        }
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
            callee.idempotency = Some(format!("f{}", rng.below(4)));
            callee.retention = retention(rng);
        }
        callee
    }

    pub(crate) fn turn(service: &'static str, handler: &'static str, key: String, input: Vec<u8>) -> Self {
        Self { service, handler, key: Some(key), input, idempotency: None, retention: 0, journal: 0, ttl: 0 }
    }

    pub(crate) fn flow(rng: &mut Rng, service: &'static str, key: Option<String>, depth: u8) -> Self {
        let mut input = vec![depth];
        input.extend(rng.next().to_le_bytes());
        let journal = if rng.chance(6_000) { retention(rng) } else { 0 };
        Self { service, handler: "run", key, input, idempotency: None, retention: 0, journal, ttl: ttl(rng, service) }
    }

    /// A handler of a workflow; the result of its run is kept for a while.
    pub(crate) fn workflow(rng: &mut Rng, handler: &'static str, key: String, depth: u8) -> Self {
        let flow = Self::flow(rng, ORDER, Some(key), depth);
        Self { handler, retention: if handler == "run" { retention(rng) } else { 0 }, ..flow }
    }

    pub(crate) fn note(rng: &mut Rng) -> Self {
        let input = key(rng).into_bytes();
        Self { key: None, ..Self::turn(NOTE, "send", String::new(), input) }
    }

    /// More failures than there may be letters, when it comes a few times.
    pub(crate) fn flood() -> Self {
        Self { key: None, ..Self::turn(NOTE, "flood", String::new(), b"k0".to_vec()) }
    }

    pub(crate) fn target(&self) -> Target {
        target(self.service, self.handler, self.key.clone())
    }

    /// The invocation, with a fresh id unless its key gives it one.
    pub(crate) fn invoke(&self, rng: &mut Rng, now: u64) -> Invoke {
        let target = self.target();
        let id = match (&self.idempotency, target.run_object()) {
            (_, Some(object)) => InvocationId::workflow(&object.service, &object.key),
            (Some(name), None) => InvocationId::idempotent(self.service, self.key.as_deref(), self.handler, name),
            (None, None) => {
                let key = match &self.key {
                    Some(key) => PartitionKey::of(key),
                    None => PartitionKey(rng.next()),
                };
                InvocationId::fresh(key, Millis(now), rng.u128())
            }
        };
        Invoke {
            id: Bytes::copy_from_slice(&id.to_bytes()),
            target: Some(target),
            input: Bytes::from(self.input.clone()),
            retention_ms: self.retention,
            journal_retention_ms: self.journal,
            state_ttl_ms: self.ttl,
            idempotency_key: self.idempotency.clone(),
            ..Invoke::default()
        }
    }
}

fn key(rng: &mut Rng) -> String {
    format!("k{}", rng.below(4))
}

/// Nothing, so that ids come again while their earlier lives are under way; a while; for good.
pub(crate) fn retention(rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 => 0,
        1 => FOR_GOOD,
        _ => rng.range(1, 3_000),
    }
}

/// State of counters and accounts is kept: their sums are checked.
pub(crate) fn ttl(rng: &mut Rng, service: &str) -> u64 {
    if matches!(service, CART | ORDER) && rng.chance(4_000) { rng.range(50, 2_000) } else { 0 }
}

/// Binary input of a payment: to whom, how much.
pub(crate) fn payment(to: u64, amount: u64) -> Vec<u8> {
    vec![u8::try_from(to).unwrap_or(0), u8::try_from(amount).unwrap_or(0)]
}

/// The key of account `number`.
pub(crate) fn account(number: u64) -> String {
    format!("acc{number}")
}
