//! One invocation as a block of text: what, where, since when, why it waits, what failed, its journal.

use serde_json::Value;

use super::list::{completion_failure, scheduled_at, status, tries};
use crate::table::{self, Column, Field};
use crate::target;
use crate::text::{Style, Tone, count, failure, field, first, show};

const LABEL: usize = 17;

/// The block.
pub(super) fn render(invocation: &Value, style: &Style) -> String {
    let mut out = head(invocation, style);
    out.push_str(&attempts(invocation, style));
    out.push_str(&journal(invocation, style));
    out
}

fn head(invocation: &Value, style: &Style) -> String {
    let mut out = format!("{}\n", style.paint(Tone::Strong, &show(&invocation["id"])));
    let mut line = |label: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            out.push_str(&format!("  {label:<LABEL$}{value}\n"));
        }
    };
    let at = |name: &str| style.time_of(invocation, name);
    let (word, tone) = status(invocation);
    line("target", Some(target::of(invocation)));
    line("status", Some(style.paint(tone, &word)));
    line("why", why(invocation, style));
    line("last failure", failure(&invocation["last_failure"]).map(|text| style.paint(Tone::Bad, &text)));
    line("ended with", completion_failure(invocation).map(|text| style.paint(Tone::Bad, &text)));
    line("result", result(invocation));
    line("next retry", at("next_retry_at"));
    line("starts", scheduled_at(invocation, style));
    line("created", at("created_at"));
    line("changed", at("modified_at"));
    line("completed", at("completed_at"));
    line("result kept until", ["expires_at", "completion_expiry_at"].iter().find_map(|name| at(name)));
    line("journal until", at("journal_expires_at"));
    line("attempts", tries(invocation));
    line("version", first(invocation, &["version", "pinned_deployment_version"]));
    line("deployment", first(invocation, &["pinned_deployment_id", "deployment_id"]));
    line("idempotency key", field(invocation, "idempotency_key"));
    line("schedule", field(invocation, "schedule"));
    line("priority", field(invocation, "priority"));
    line("invoked by", first(invocation, &["invoked_by_id", "invoked_by_target", "invoked_by"]));
    line("repeats", first(invocation, &["restarted_from"]));
    let chain = invocation["chain"].as_array().map(Vec::as_slice).unwrap_or_default();
    line("for whom", Some(chain.iter().map(holder).collect::<Vec<_>>().join(" → ")));
    line("waiting for it", invocation["sinks"].as_u64().filter(|sinks| *sinks > 0).map(|sinks| count(sinks, "caller")));
    out
}

fn holder(holder: &Value) -> String {
    first(holder, &["id", "invocation_id"])
        .unwrap_or_else(|| if holder.is_object() { target::of(holder) } else { show(holder) })
}

fn result(invocation: &Value) -> Option<String> {
    let outcome = &invocation["outcome"];
    let succeeded = invocation["completion_result"] == "success" || outcome["result"] == "success";
    let bytes = outcome["bytes"].as_u64().map(|bytes| count(bytes, "byte"));
    let id = show(&invocation["id"]);
    succeeded.then(|| match (field(outcome, "value"), bytes) {
        (Some(value), _) => value,
        (None, Some(bytes)) => format!("{bytes}; `abide invocations output {id}` prints it"),
        (None, None) => format!("`abide invocations output {id}` prints it"),
    })
}

/// Why it is not done yet, in a sentence.
fn why(invocation: &Value, style: &Style) -> Option<String> {
    let waits = || waiting(invocation).map(|what| format!("waits for {what}"));
    match invocation["status"].as_str()? {
        "scheduled" => Some(format!("its time has not come; it starts {}", scheduled_at(invocation, style)?)),
        "pending" | "inboxed" | "ready" => Some(waits().unwrap_or_else(|| match &invocation["target_service_key"] {
            Value::Null => "waits for its turn to start".to_owned(),
            key => format!("waits in the mailbox of key {}", show(key)),
        })),
        "backing-off" => Some(match style.time_of(invocation, "next_retry_at") {
            Some(at) => format!("its last attempt failed; the next one is due {at}"),
            None => "its last attempt failed".to_owned(),
        }),
        "paused" => Some("no further attempts until it is resumed: `abide invocations resume`".to_owned()),
        "suspended" => Some(waits().unwrap_or_else(|| "waits for something to happen".to_owned())),
        "running" => waits(),
        _ => None,
    }
}

/// What a suspended one waits for, as far as the server tells.
fn waiting(invocation: &Value) -> Option<String> {
    match first(invocation, &["waiting_for", "waiting", "wait"]) {
        Some(text) => Some(text),
        None => {
            let completions = field(invocation, "suspended_waiting_for_completions");
            let signals = field(invocation, "suspended_waiting_for_signals");
            let parts: Vec<_> =
                [completions.map(|ids| format!("completions {ids}")), signals.map(|ids| format!("signals {ids}"))]
                    .into_iter()
                    .flatten()
                    .collect();
            (!parts.is_empty()).then(|| parts.join(", "))
        }
    }
}

const ATTEMPTS: &[Column] = &[
    Column::new("WHEN"),
    Column::new("ATTEMPT").right(),
    Column::new("AFTER").optional(2).shrinks(8),
    Column::new("THEN").optional(1).shrinks(8),
    Column::new("FAILURE").shrinks(20),
];

fn attempts(invocation: &Value, style: &Style) -> String {
    let attempts =
        ["attempts", "attempt_history", "failed_attempts"].iter().find_map(|name| invocation[*name].as_array());
    let Some(attempts) = attempts.filter(|attempts| !attempts.is_empty()) else { return String::new() };
    let total = ["attempts_failed", "failed_attempts_total"].iter().find_map(|name| invocation[*name].as_u64());
    let shown = attempts.len() as u64;
    let mut title = count(total.unwrap_or(shown).max(shown), "failed attempt");
    if total.is_some_and(|total| total > shown) {
        title.push_str(&format!(", the last {shown} of them"));
    }
    let rows: Vec<_> = attempts.iter().map(|attempt| row_of_attempt(attempt, style)).collect();
    format!("\n{}\n{}", style.paint(Tone::Strong, &title), table::render(ATTEMPTS, &rows, style))
}

fn row_of_attempt(attempt: &Value, style: &Style) -> Vec<Field> {
    let after = first(attempt, &["after_entry", "after_journal_entry_index"]).map(|entry| format!("entry {entry}"));
    let after = after.or_else(|| attempt["journal_len"].as_u64()?.checked_sub(1).map(|last| format!("entry {last}")));
    let next = match &attempt["next"] {
        Value::Object(next) => next.iter().next().map(|(word, at)| match style.time(at) {
            Some(at) => format!("{} {at}", show(&Value::from(word.as_str()))),
            None => show(&Value::from(word.as_str())),
        }),
        word => Some(show(word)).filter(|word| !word.is_empty()),
    };
    let next = next.or_else(|| style.time_of(attempt, "next_retry_at").map(|at| format!("retry {at}")));
    let message = failure(&attempt["failure"]).or_else(|| failure(attempt));
    vec![
        ["at", "failed_at", "time"].iter().find_map(|name| style.time_of(attempt, name)).into(),
        field(attempt, "attempt").into(),
        after.into(),
        next.into(),
        message.into(),
    ]
}

const JOURNAL: &[Column] = &[
    Column::new("#").right(),
    Column::new("ENTRY").shrinks(8),
    Column::new("NAME").optional(1).shrinks(8),
    Column::new("WHEN").optional(3),
    Column::new("BYTES").optional(4).right(),
    Column::new("VALUE").optional(2).shrinks(16),
];

/// Longest value shown where there is no terminal to fit it to.
const VALUE_MAX: usize = 200;

fn journal(invocation: &Value, style: &Style) -> String {
    let Some(entries) = invocation["journal"].as_array().filter(|entries| !entries.is_empty()) else {
        return String::new();
    };
    let shown = entries.len() as u64;
    let total = ["journal_len", "journal_size"].iter().find_map(|name| invocation[*name].as_u64()).unwrap_or(shown);
    let mut title = format!("journal of {total} {}", if total == 1 { "entry" } else { "entries" });
    if total > shown {
        title.push_str(&format!(", the first {shown}"));
    }
    let rows: Vec<_> = entries.iter().enumerate().map(|(index, entry)| row_of_entry(index, entry, style)).collect();
    format!("\n{}\n{}", style.paint(Tone::Strong, &title), table::render(JOURNAL, &rows, style))
}

fn row_of_entry(index: usize, entry: &Value, style: &Style) -> Vec<Field> {
    let value = first(entry, &["value", "result", "failure", "input", "argument", "target"]);
    vec![
        field(entry, "index").unwrap_or_else(|| index.to_string()).into(),
        first(entry, &["type", "entry_type", "entry"]).into(),
        field(entry, "name").into(),
        style.time_of(entry, "appended_at").into(),
        field(entry, "bytes").into(),
        value.map(|value| crate::text::shorten(&value, VALUE_MAX)).into(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at_noon(width: Option<usize>) -> Style {
        let now = humantime::parse_rfc3339("2026-05-01T12:00:00Z").unwrap();
        Style { width, colors: false, absolute: false, now }
    }

    #[test]
    fn a_failing_one_tells_its_story() {
        let invocation = json!({
            "id": "inv_1aaa", "status": "backing-off", "target": "Account/alice/pay_out", "attempt": 3,
            "created_at": "2026-05-01T11:59:00Z", "modified_at": "2026-05-01T11:59:55Z",
            "next_retry_at": "2026-05-01T12:00:04Z", "last_failure": {"code": 500, "message": "bank is closed"},
            "idempotency_key": "tx-1", "invoked_by_id": "inv_1zzz",
            "attempts": [
                {"attempt": 2, "at": "2026-05-01T11:59:50Z", "journal_len": 2, "failure": {"code": 500, "message": "no\nroute"},
                 "next": {"retry": "2026-05-01T11:59:55Z"}},
                {"attempt": 3, "at": "2026-05-01T11:59:55Z", "after_entry": 1, "code": 500, "message": "bank is closed",
                 "next_retry_at": "2026-05-01T12:00:04Z"},
            ],
            "attempts_failed": 3,
            "journal": [
                {"index": 0, "type": "Input", "appended_at": "2026-05-01T11:59:00Z", "bytes": 7, "value": "\"IBAN\""},
                {"index": 1, "type": "Run", "name": "bank", "appended_at": "2026-05-01T11:59:01Z", "bytes": 10},
            ],
        });
        assert_eq!(
            render(&invocation, &at_noon(None)),
            "inv_1aaa\n  \
               target           Account/alice/pay_out\n  \
               status           backing-off\n  \
               why              its last attempt failed; the next one is due in 4s\n  \
               last failure     [500] bank is closed\n  \
               next retry       in 4s\n  \
               created          1m ago\n  \
               changed          5s ago\n  \
               attempts         3\n  \
               idempotency key  tx-1\n  \
               invoked by       inv_1zzz\n\
             \n\
             3 failed attempts, the last 2 of them\n\
             WHEN     ATTEMPT  AFTER    THEN          FAILURE\n\
             10s ago        2  entry 1  retry 5s ago  [500] no\\nroute\n\
             5s ago         3  entry 1  retry in 4s   [500] bank is closed\n\
             \n\
             journal of 2 entries\n\
             #  ENTRY  NAME  WHEN     BYTES  VALUE\n\
             0  Input        1m ago       7  \"IBAN\"\n\
             1  Run    bank  59s ago     10\n"
        );
    }

    #[test]
    fn every_status_says_why() {
        let why = |invocation: Value| why(&invocation, &at_noon(None)).unwrap_or_default();
        assert!(why(json!({"status": "paused"})).contains("resume"));
        assert_eq!(why(json!({"status": "pending", "target_service_key": "k"})), "waits in the mailbox of key k");
        assert_eq!(why(json!({"status": "pending"})), "waits for its turn to start");
        assert_eq!(
            why(json!({"status": "scheduled", "scheduled_at": "2026-05-01T12:01:00Z"})),
            "its time has not come; it starts in 1m"
        );
        assert_eq!(
            why(json!({"status": "suspended", "suspended_waiting_for_completions": [1, 2]})),
            "waits for completions [1,2]"
        );
        assert_eq!(why(json!({"status": "completed"})), "");
    }
}
