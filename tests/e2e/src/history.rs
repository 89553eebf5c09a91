//! What clients asked for and what they were told: the record that the checkers judge.
//!
//! A client takes an answer for exactly what the acknowledgement contract makes of it, nothing more:
//!
//! | answer | means | then |
//! |---|---|---|
//! | 2xx | committed and applied | *done* |
//! | 4xx, or a failure of the handler itself | had no effect | *refused* |
//! | 429, 503, no connection | not accepted | asked again |
//! | anything else | nobody knows | asked again with the same idempotency key; in the end *unknown* |
//!
//! Times are microseconds of the harness's own monotonic clock; no node's clock is believed.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http::{Answer, Lost};

/// Microseconds since the history began.
pub type Micros = u64;

/// Numbers of operations: unique in a run of the harness, so that two loads on one cluster never use the same.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sets a register.
    Write(u64),
    /// Adds one to a register.
    Increment,
    /// Reads a register.
    Read,
    /// Appends this to a ledger, and waits.
    Append(u64),
    /// Appends this to a ledger, some time.
    Send(u64),
    /// Runs a flow of two steps.
    Record,
    /// Moves money.
    Transfer {
        /// Account that receives.
        to: String,
        /// How much.
        amount: i64,
    },
    /// Reads an account.
    Balance,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged, with this result.
    Done(Value),
    /// Definitely without effect.
    Refused(String),
    /// Asked for until patience ended, and never accepted: without effect too.
    NotAccepted(String),
    /// It may have had its effect, or may have it later, or never.
    Unknown(String),
}

/// One operation of one client, with all its attempts.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Its number, which its effects carry.
    pub number: u64,
    /// Who asked.
    pub client: usize,
    /// The object.
    pub key: String,
    /// What for.
    pub action: Action,
    /// When it was first asked for.
    pub invoked: Micros,
    /// When the client stopped asking.
    pub ended: Micros,
    /// What came of it.
    pub outcome: Outcome,
    /// How often it was asked for.
    pub attempts: u32,
}

/// An attempt without a definite answer.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When.
    pub at: Micros,
    /// The node that was asked.
    pub node: usize,
    /// Whether nobody knows what came of it. Otherwise it was not accepted.
    pub unknown: bool,
    /// What the client saw.
    pub seen: String,
}

/// What one answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Acknowledged.
    Done(Value),
    /// Had no effect, and asking again would have none.
    Refused(String),
    /// Had no effect; asking again may.
    NotAccepted(String),
    /// Nobody knows.
    Unknown(String),
}

/// The acknowledgement contract.
#[must_use]
pub fn hear(answer: &Result<Answer, Lost>) -> Heard {
    match answer {
        Err(lost) if lost.connected => Heard::Unknown(lost.reason.clone()),
        Err(lost) => Heard::NotAccepted(lost.reason.clone()),
        Ok(answer) => {
            let said = || format!("{}: {}", answer.status, answer.text().chars().take(200).collect::<String>());
            // The handler ran and said no: its result is as final as any other.
            let by_handler = answer.header("x-restate-error-source") == "invocation";
            match answer.status {
                200..=299 => match serde_json::from_slice(&answer.body) {
                    Ok(value) => Heard::Done(value),
                    Err(_) if answer.body.is_empty() => Heard::Done(Value::Null),
                    Err(error) => Heard::Unknown(format!("{error} in {}", said())),
                },
                _ if by_handler => Heard::Refused(said()),
                429 | 503 => Heard::NotAccepted(said()),
                400..=499 => Heard::Refused(said()),
                _ => Heard::Unknown(said()),
            }
        }
    }
}

/// A history in the making, shared by all clients.
#[derive(Debug)]
pub struct Recorder {
    origin: Instant,
    operations: Mutex<Vec<Operation>>,
    failures: Mutex<Vec<Failure>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { origin: Instant::now(), operations: Mutex::default(), failures: Mutex::default() }
    }
}

impl Recorder {
    /// Now.
    ///
    /// # Panics
    /// When the harness has run for too many years.
    #[must_use]
    pub fn now(&self) -> Micros {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap()
    }

    /// A number for an operation.
    #[must_use]
    pub fn number() -> u64 {
        NUMBERS.fetch_add(1, Ordering::Relaxed)
    }

    /// Records an operation that has ended.
    ///
    /// # Panics
    /// When another client panicked while it recorded.
    pub fn ended(&self, operation: Operation) {
        self.operations.lock().unwrap().push(operation);
    }

    /// Records an attempt without a definite answer.
    ///
    /// # Panics
    /// When another client panicked while it recorded.
    pub fn failed(&self, node: usize, unknown: bool, seen: String) {
        let at = self.now();
        self.failures.lock().unwrap().push(Failure { at, node, unknown, seen });
    }

    /// How many operations have ended.
    ///
    /// # Panics
    /// When a client panicked while it recorded.
    #[must_use]
    pub fn count(&self) -> usize {
        self.operations.lock().unwrap().len()
    }

    /// What has been recorded up to now.
    ///
    /// # Panics
    /// When a client panicked while it recorded.
    #[must_use]
    pub fn history(&self) -> History {
        let mut operations = self.operations.lock().unwrap().clone();
        operations.sort_by_key(|operation| (operation.invoked, operation.number));
        History { operations, failures: self.failures.lock().unwrap().clone() }
    }
}

/// Everything that was asked for, in the order of asking.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Operations.
    pub operations: Vec<Operation>,
    /// Attempts that had to be repeated.
    pub failures: Vec<Failure>,
}

/// What clients noticed during a part of a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Measure {
    /// Operations that were under way.
    pub operations: usize,
    /// The longest time from asking first to a definite answer, with all attempts.
    pub latency_max: Duration,
    /// The longest time in which nobody got a definite answer.
    pub gap_max: Duration,
    /// Attempts that were not accepted.
    pub not_accepted: usize,
    /// Attempts whose outcome nobody knew.
    pub unknown: usize,
    /// Operations that were given up without a definite answer.
    pub given_up: usize,
}

impl History {
    /// What clients noticed between two times.
    #[must_use]
    pub fn measure(&self, from: Micros, to: Micros) -> Measure {
        let mut measure = Measure::default();
        let mut completions = vec![from, to];
        for operation in self.operations.iter().filter(|op| op.invoked <= to && op.ended >= from) {
            measure.operations += 1;
            let latency = Duration::from_micros(operation.ended - operation.invoked);
            measure.latency_max = measure.latency_max.max(latency);
            match operation.outcome {
                Outcome::Unknown(_) | Outcome::NotAccepted(_) => measure.given_up += 1,
                Outcome::Done(_) | Outcome::Refused(_) if operation.ended <= to => completions.push(operation.ended),
                Outcome::Done(_) | Outcome::Refused(_) => {}
            }
        }
        completions.sort_unstable();
        let gaps = completions.windows(2).map(|pair| Duration::from_micros(pair[1] - pair[0]));
        measure.gap_max = gaps.max().unwrap_or_default();
        for failure in self.failures.iter().filter(|failure| (from..=to).contains(&failure.at)) {
            if failure.unknown {
                measure.unknown += 1;
            } else {
                measure.not_accepted += 1;
            }
        }
        measure
    }

    /// How often clients saw what, when they had to ask again.
    #[must_use]
    pub fn failures_by_kind(&self) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for failure in &self.failures {
            // Invocations and addresses make every text another one.
            let text: String =
                failure.seen.chars().map(|sign| if sign.is_ascii_digit() { '#' } else { sign }).collect();
            let status = failure.seen.split(':').next().filter(|head| head.len() == 3).unwrap_or("no answer");
            *kinds.entry(format!("{status} | {}", text.chars().take(120).collect::<String>())).or_default() += 1;
        }
        kinds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderMap, HeaderValue};

    fn answer(status: u16, body: &str, by_handler: bool) -> Result<Answer, Lost> {
        let mut headers = HeaderMap::new();
        if by_handler {
            headers.insert("x-restate-error-source", HeaderValue::from_static("invocation"));
        }
        Ok(Answer { status, headers, body: body.to_owned().into() })
    }

    fn lost(connected: bool) -> Result<Answer, Lost> {
        Err(Lost { url: String::new(), reason: "reset".to_owned(), connected })
    }

    #[test]
    fn the_contract() {
        assert_eq!(hear(&answer(200, "7", false)), Heard::Done(7.into()));
        assert_eq!(hear(&answer(202, "", false)), Heard::Done(Value::Null));
        for status in [400, 404, 409, 413] {
            assert!(matches!(hear(&answer(status, "{}", false)), Heard::Refused(_)), "{status}");
        }
        for status in [429, 503] {
            assert!(matches!(hear(&answer(status, "{}", false)), Heard::NotAccepted(_)), "{status}");
            assert!(matches!(hear(&answer(status, "{}", true)), Heard::Refused(_)), "{status} of the handler");
        }
        for status in [500, 502, 504] {
            assert!(matches!(hear(&answer(status, "{}", false)), Heard::Unknown(_)), "{status}");
        }
        assert!(matches!(hear(&answer(200, "7 and half an ans", false)), Heard::Unknown(_)));
        assert!(matches!(hear(&lost(true)), Heard::Unknown(_)));
        assert!(matches!(hear(&lost(false)), Heard::NotAccepted(_)));
    }

    fn operation(invoked: Micros, ended: Micros, outcome: Outcome) -> Operation {
        let (key, action) = ("k".to_owned(), Action::Read);
        Operation { number: 0, client: 0, key, action, invoked, ended, outcome, attempts: 1 }
    }

    #[test]
    fn gaps_and_latencies_are_those_of_the_window() {
        let done = || Outcome::Done(Value::Null);
        let operations = vec![
            operation(0, 900, done()),
            operation(900, 1_000, done()),
            operation(1_100, 1_400, done()),
            operation(1_200, 5_000, Outcome::Unknown(String::new())),
            operation(1_900, 2_600, done()),
        ];
        let failures = [(1_300, true), (1_350, false), (1_360, false), (3_000, true)];
        let failures = failures.map(|(at, unknown)| Failure { at, node: 0, unknown, seen: "503: x1".to_owned() });
        let history = History { operations, failures: failures.into() };
        let measure = history.measure(950, 2_000);
        assert_eq!(measure.operations, 4);
        assert_eq!(measure.latency_max, Duration::from_micros(3_800));
        // From the answer at 1400 to the end: the unknown outcome is no completion, and what ends later is not in it.
        assert_eq!(measure.gap_max, Duration::from_micros(600));
        assert_eq!((measure.unknown, measure.not_accepted, measure.given_up), (1, 2, 1));
        assert_eq!(history.failures_by_kind(), BTreeMap::from([("503 | ###: x#".to_owned(), 4)]));
    }

    #[test]
    fn without_any_answer_the_window_is_the_gap() {
        assert_eq!(History::default().measure(10, 50).gap_max, Duration::from_micros(40));
    }
}
