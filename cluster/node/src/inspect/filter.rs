//! Which invocations an operator means: a text such as `status=paused,backing-off service=Account key=alice older=1h`.
//!
//! Words are separated by spaces and all of them must hold. A value with spaces is quoted, `key="a b"`, with `\"` and `\\`
//! inside.

use std::time::Duration;

use abide_model::command::{Outcome, OutcomeKind};
use abide_model::id::{InvocationId, Millis};

use super::InvocationDetails;

/// Every status, in the order of an invocation's life.
const STATUSES: [&str; 7] = ["scheduled", "pending", "running", "backing-off", "suspended", "paused", "completed"];

const NAMES: &str = "status, service, handler, key, id, idempotency-key, schedule, version, result, older, newer";

/// How an invocation ended, as far as a filter tells it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// With a value.
    Success,
    /// With a failure.
    Failure,
}

/// Conditions that all have to hold; absent ones hold for every invocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Any of these statuses; empty is any.
    pub statuses: Vec<&'static str>,
    /// Name of the service.
    pub service: Option<String>,
    /// Name of the handler.
    pub handler: Option<String>,
    /// The object's key.
    pub key: Option<String>,
    /// How the printed id begins.
    pub id: Option<String>,
    /// The idempotency key.
    pub idempotency_key: Option<String>,
    /// Name of the schedule that invoked it.
    pub schedule: Option<String>,
    /// The version of the code it is pinned to.
    pub version: Option<String>,
    /// How it ended.
    pub finish: Option<Finish>,
    /// Accepted longer ago than this.
    pub older: Option<Duration>,
    /// Accepted less long ago than this.
    pub newer: Option<Duration>,
}

/// A text that is not a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter, at character {at}, `{word}`: {reason}")]
pub struct FilterError {
    /// Position of the word in the text, in characters from 1.
    pub at: usize,
    /// The word that is wrong, shortened.
    pub word: String,
    /// What is wrong, and what to write.
    pub reason: String,
}

impl Filter {
    /// Whether it says nothing: every invocation matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads the text form. An empty text is the empty filter.
    ///
    /// # Errors
    /// [`FilterError`] pointing at the first word that is wrong.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        let mut rest = text;
        loop {
            rest = rest.trim_start();
            if rest.is_empty() {
                return Ok(filter);
            }
            let offset = text.len() - rest.len();
            let (word, value) = next_word(rest).map_err(|reason| fault(text, offset, rest, reason))?;
            filter.add(word, value).map_err(|reason| fault(text, offset, word, reason))?;
            rest = &rest[word.len()..];
        }
    }

    fn add(&mut self, word: &str, value: String) -> Result<(), String> {
        let name = word.split('=').next().unwrap_or(word);
        if value.is_empty() {
            return Err(format!("the value is missing; write `{name}=…`"));
        }
        let set = |field: &mut Option<String>, value| put(field, name, value);
        match name {
            "status" => {
                if !self.statuses.is_empty() {
                    return Err(twice(name));
                }
                for part in value.split(',') {
                    let known = STATUSES.iter().find(|known| **known == part);
                    self.statuses.push(
                        known.ok_or_else(|| format!("`{part}` is not a status; there are {}", STATUSES.join(", ")))?,
                    );
                }
                Ok(())
            }
            "service" => set(&mut self.service, value),
            "handler" => set(&mut self.handler, value),
            "key" => set(&mut self.key, value),
            "id" if !value.starts_with("inv_1") => Err("ids begin with `inv_1`".to_owned()),
            "id" => set(&mut self.id, value),
            "idempotency-key" => set(&mut self.idempotency_key, value),
            "schedule" => set(&mut self.schedule, value),
            "version" => set(&mut self.version, value),
            "result" => {
                let finish = match value.as_str() {
                    "success" => Finish::Success,
                    "failure" => Finish::Failure,
                    _ => return Err("a result is `success` or `failure`".to_owned()),
                };
                put(&mut self.finish, name, finish)
            }
            "older" => put(&mut self.older, name, duration(&value)?),
            "newer" => put(&mut self.newer, name, duration(&value)?),
            _ => Err(format!("`{name}` is not something to filter by; there are {NAMES}")),
        }
    }

    /// The only invocation that can match.
    pub(super) fn only(&self) -> Option<InvocationId> {
        self.id.as_ref().and_then(|id| id.parse().ok())
    }

    /// Whether an invocation matches at time `now`.
    pub(super) fn matches(&self, invocation: &InvocationDetails, now: Millis) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found.is_some_and(|found| found == wanted))
        };
        let age = Duration::from_millis(now.0.saturating_sub(invocation.created_at.0));
        (self.statuses.is_empty() || self.statuses.contains(&invocation.status))
            && is(&self.service, Some(&invocation.target.service))
            && is(&self.handler, Some(&invocation.target.handler))
            && is(&self.key, invocation.target.key.as_deref())
            && is(&self.idempotency_key, invocation.idempotency_key.as_deref())
            && is(&self.schedule, invocation.schedule.as_deref())
            && is(&self.version, invocation.version.as_deref())
            && self.finish.is_none_or(|wanted| invocation.outcome.as_ref().and_then(finish) == Some(wanted))
            && self.older.is_none_or(|older| age > older)
            && self.newer.is_none_or(|newer| age < newer)
            && self.id.as_ref().is_none_or(|id| invocation.id.to_string().starts_with(id))
    }
}

fn finish(outcome: &Outcome) -> Option<Finish> {
    outcome.kind.as_ref().map(|kind| match kind {
        OutcomeKind::Success(_) => Finish::Success,
        OutcomeKind::Failure(_) => Finish::Failure,
    })
}

fn put<T>(field: &mut Option<T>, name: &str, value: T) -> Result<(), String> {
    if field.replace(value).is_some() { Err(twice(name)) } else { Ok(()) }
}

fn twice(name: &str) -> String {
    format!("`{name}` is there twice")
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("`{text}` is not a duration: {error}; write for example `1h` or `\"1h 30m\"`"))
}

fn fault(text: &str, offset: usize, word: &str, reason: String) -> FilterError {
    let word = word.chars().take(64).collect();
    FilterError { at: text[..offset].chars().count() + 1, word, reason }
}

/// The first word of `text`, which begins with one, and its value without quotes.
fn next_word(text: &str) -> Result<(&str, String), String> {
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let Some(equals) = text[..end].find('=') else {
        return Err(format!("expected `name=value`; names are {NAMES}"));
    };
    let Some(quoted) = text[equals + 1..].strip_prefix('"') else {
        return Ok((&text[..end], text[equals + 1..end].to_owned()));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                let word = &text[..equals + 2 + at + 1];
                let rest = &text[word.len()..];
                if rest.starts_with(|next: char| !next.is_whitespace()) {
                    return Err("expected a space behind the closing quote".to_owned());
                }
                return Ok((word, value));
            }
            '\\' => match characters.next() {
                Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                _ => return Err("a backslash in quotes is followed by `\"` or `\\`".to_owned()),
            },
            character => value.push(character),
        }
    }
    Err("the closing quote is missing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn filters_are_read() {
        let filter =
            Filter::parse("status=paused,backing-off service=Account  key=\"a \\\"b\\\\\" older=1h newer=\"1d 2h\"");
        assert_eq!(
            filter,
            Ok(Filter {
                statuses: vec!["paused", "backing-off"],
                service: Some("Account".into()),
                key: Some("a \"b\\".into()),
                older: Some(Duration::from_secs(3_600)),
                newer: Some(Duration::from_secs(93_600)),
                ..Filter::default()
            })
        );
        let rest = "handler=h id=inv_1a idempotency-key=a=b schedule=s version=v result=failure";
        assert_eq!(
            Filter::parse(rest),
            Ok(Filter {
                handler: Some("h".into()),
                id: Some("inv_1a".into()),
                idempotency_key: Some("a=b".into()),
                schedule: Some("s".into()),
                version: Some("v".into()),
                finish: Some(Finish::Failure),
                ..Filter::default()
            })
        );
        assert!(Filter::parse("  ").unwrap().is_empty());
    }

    #[test]
    fn faults_point_at_the_word() {
        for (text, at, word, reason) in [
            ("status=paused colour=red", 15, "colour=red", "`colour` is not something to filter by"),
            ("status=paused,tired", 1, "status=paused,tired", "`tired` is not a status"),
            ("  paused", 3, "paused", "expected `name=value`"),
            ("é=1 older=soon", 1, "é=1", "not something"),
            ("key=é older=soon", 7, "older=soon", "`soon` is not a duration"),
            ("key= service=x", 1, "key=", "the value is missing"),
            ("key=a key=b", 7, "key=b", "twice"),
            ("status=paused status=running", 15, "status=running", "twice"),
            ("key=\"a", 1, "key=\"a", "closing quote"),
            ("key=\"a\"b", 1, "key=\"a\"b", "expected a space"),
            ("key=\"\\n\"", 1, "key=\"\\n\"", "backslash"),
            ("id=sched_1", 1, "id=sched_1", "inv_1"),
            ("result=maybe", 1, "result=maybe", "success"),
        ] {
            let error = Filter::parse(text).unwrap_err();
            assert_eq!((error.at, error.word.as_str()), (at, word), "{text}");
            assert!(error.reason.contains(reason), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ =a-z\"\\\\,é]{0,40}") {
            let _ = Filter::parse(&text);
        }

        #[test]
        fn any_key_can_be_written(key in ".{1,20}") {
            let quoted = key.replace('\\', "\\\\").replace('"', "\\\"");
            prop_assert_eq!(Filter::parse(&format!("key=\"{quoted}\"")).unwrap().key, Some(key));
        }
    }
}
