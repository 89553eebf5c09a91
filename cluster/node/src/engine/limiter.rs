//! Rate limits of requests from outside, per service, handler and key.
//!
//! Each limit is a token bucket that holds `count` requests and fills up in `per`: a pause allows a burst of `count`. It
//! is kept as one number, the time at which it will be full again (the generic cell rate algorithm).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use abide_model::id::{Millis, PartitionKey};
use abide_sdk::Registry;
use abide_sdk::service::Rate;
use metrics::{Counter, counter};

/// Keys whose buckets are remembered are between this number and twice as many. Past that the ones that were not asked
/// for longest are forgotten, and begin with a full bucket.
const KEYS_MAX: usize = 50_000;

/// The limits of all bound handlers.
pub(super) struct Limiter {
    /// By service, then by number of the handler. Services without any limit are absent.
    services: HashMap<String, Vec<Limits>>,
    buckets: Mutex<Buckets>,
}

/// The limits of one handler. Those that its service says for all its handlers share a bucket.
struct Limits {
    rate: Option<(usize, Spacing)>,
    key_rate: Option<(usize, Spacing)>,
    refused: Counter,
}

/// A rate as its bucket needs it.
#[derive(Clone, Copy)]
struct Spacing {
    /// Nanoseconds that one request takes to be made up for.
    interval: u64,
    /// How far ahead of the time a bucket may be and still admit.
    tolerance: u64,
}

impl From<Rate> for Spacing {
    fn from(rate: Rate) -> Self {
        let count = u64::from(rate.count.max(1));
        let interval = (u64::try_from(rate.per.as_nanos()).unwrap_or(u64::MAX) / count).max(1);
        Self { interval, tolerance: interval.saturating_mul(count - 1) }
    }
}

impl Spacing {
    /// What the bucket becomes with one more request, or for how long it admits none.
    fn admit(self, bucket: u64, now: u64) -> Result<u64, Duration> {
        let bucket = bucket.max(now);
        match (bucket - now).checked_sub(self.tolerance) {
            None | Some(0) => Ok(bucket.saturating_add(self.interval)),
            Some(wait) => Err(Duration::from_nanos(wait)),
        }
    }
}

struct Buckets {
    rates: Vec<u64>,
    /// Buckets of keys, by number of the limit and hash of the key: those asked for lately, and those before.
    young: HashMap<(usize, u64), u64>,
    old: HashMap<(usize, u64), u64>,
}

impl Buckets {
    fn of_key(&self, place: &(usize, u64)) -> u64 {
        self.young.get(place).or_else(|| self.old.get(place)).copied().unwrap_or(0)
    }

    fn set_key(&mut self, place: (usize, u64), bucket: u64) {
        if self.young.len() >= KEYS_MAX && !self.young.contains_key(&place) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(place, bucket);
    }
}

impl Limiter {
    pub(super) fn new(registry: &Registry) -> Self {
        let mut numbers = 0;
        let mut number = || {
            numbers += 1;
            numbers - 1
        };
        let mut services = HashMap::new();
        for service in registry.services() {
            let descriptor = service.descriptor();
            let wide = &descriptor.options;
            let shared = wide.rate.map(|rate| (number(), rate.into()));
            let shared_by_key = wide.key_rate.map(|rate| (number(), rate.into()));
            let limits: Vec<_> = descriptor
                .handlers
                .iter()
                .map(|handler| Limits {
                    rate: handler.options.rate.map(|rate| (number(), rate.into())).or(shared),
                    key_rate: handler.options.key_rate.map(|rate| (number(), rate.into())).or(shared_by_key),
                    refused: counter!("abide_requests_rate_limited_total",
                        "service" => descriptor.name.clone(), "handler" => handler.name.clone()),
                })
                .collect();
            if limits.iter().any(|limits| limits.rate.is_some() || limits.key_rate.is_some()) {
                services.insert(descriptor.name.clone(), limits);
            }
        }
        let buckets = Buckets { rates: vec![0; numbers], young: HashMap::new(), old: HashMap::new() };
        Self { services, buckets: Mutex::new(buckets) }
    }

    /// Takes a request for handler number `handler` into account, or says when one will be admitted. A request that is
    /// not admitted takes nothing from any limit.
    pub(super) fn admit(&self, service: &str, handler: usize, key: Option<&str>, now: Millis) -> Result<(), Duration> {
        let Some(limits) = self.services.get(service).map(|handlers| &handlers[handler]) else { return Ok(()) };
        let by_key = limits.key_rate.zip(key).map(|((number, rate), key)| ((number, PartitionKey::of(key).0), rate));
        if limits.rate.is_none() && by_key.is_none() {
            return Ok(());
        }
        let now = now.0.saturating_mul(1_000_000);
        // Nothing below can panic half-way, so what a poisoned lock guards is whole.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = limits.rate.map(|(number, rate)| rate.admit(buckets.rates[number], now)).transpose();
        let of_key = by_key.map(|(place, rate)| rate.admit(buckets.of_key(&place), now)).transpose();
        match (rate, of_key) {
            (Ok(rate), Ok(of_key)) => {
                if let Some(((number, _), bucket)) = limits.rate.zip(rate) {
                    buckets.rates[number] = bucket;
                }
                if let Some(((place, _), bucket)) = by_key.zip(of_key) {
                    buckets.set_key(place, bucket);
                }
                Ok(())
            }
            (rate, of_key) => {
                limits.refused.increment(1);
                Err(rate.err().max(of_key.err()).unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use abide_model::command::{Access, Form};
    use abide_sdk::service::{HandlerDescriptor, Kind, Options, ServiceDescriptor};

    use super::*;
    use crate::engine::tests::Bound;

    fn per_second(count: u32) -> Option<Rate> {
        Some(Rate { count, per: Duration::from_secs(1) })
    }

    /// A service with three handlers: two of which say nothing, and one with `own` options.
    fn limiter(service: Options, own: Options) -> Limiter {
        let handler = |name: &str, options| HandlerDescriptor {
            name: name.to_owned(),
            access: Access::Exclusive,
            form: Form::Turn,
            options,
            public: true,
            documentation: None,
        };
        let descriptor = ServiceDescriptor {
            name: "S".into(),
            kind: Kind::Object,
            version: String::new(),
            options: service,
            handlers: vec![handler("a", Options::default()), handler("b", Options::default()), handler("c", own)],
            documentation: None,
        };
        Limiter::new(&Registry::builder().with(Arc::new(Bound(descriptor))).build())
    }

    #[test]
    fn a_burst_is_admitted_and_then_the_rate() {
        let limiter = limiter(Options { rate: per_second(4), ..Options::default() }, Options::default());
        let ask = |ms: u64| limiter.admit("S", 0, None, Millis(1_000_000 + ms));
        for _ in 0..4 {
            assert_eq!(ask(0), Ok(()));
        }
        assert_eq!(ask(0), Err(Duration::from_millis(250)));
        assert_eq!(ask(100), Err(Duration::from_millis(150)));
        assert_eq!(ask(250), Ok(()));
        assert_eq!(ask(250), Err(Duration::from_millis(250)));
        assert_eq!((0..10).filter(|_| ask(60_000).is_ok()).count(), 4, "a pause fills the bucket, not more");
    }

    #[test]
    fn handlers_share_the_limit_of_their_service_unless_they_have_one() {
        let own = Options { rate: per_second(2), ..Options::default() };
        let limiter = limiter(Options { rate: per_second(1), ..Options::default() }, own);
        let ask = |handler| limiter.admit("S", handler, None, Millis(5_000)).is_ok();
        assert!(ask(0));
        assert!(!ask(1) && !ask(0));
        assert!(ask(2) && ask(2) && !ask(2));
        assert!(limiter.admit("Unlimited", 0, None, Millis(5_000)).is_ok());
    }

    #[test]
    fn keys_have_limits_of_their_own_and_a_refusal_takes_nothing() {
        let options = Options { rate: per_second(3), key_rate: per_second(1), ..Options::default() };
        let limiter = limiter(options, Options::default());
        let ask = |key| limiter.admit("S", 0, Some(key), Millis(5_000)).is_ok();
        assert!(ask("a"));
        for _ in 0..10 {
            assert!(!ask("a"));
        }
        assert!(ask("b") && ask("c"), "what was refused for `a` did not count for all");
        assert!(!ask("d"), "all keys together are three");
    }

    #[test]
    fn the_memory_for_keys_is_bounded() {
        let limiter = limiter(Options { key_rate: per_second(1), ..Options::default() }, Options::default());
        assert!(limiter.admit("S", 0, Some("first"), Millis(5_000)).is_ok());
        for n in 0..3 * KEYS_MAX {
            let _ = limiter.admit("S", 0, Some(&n.to_string()), Millis(5_000));
        }
        let buckets = limiter.buckets.lock().unwrap();
        assert!(buckets.young.len() + buckets.old.len() <= 2 * KEYS_MAX);
    }
}
