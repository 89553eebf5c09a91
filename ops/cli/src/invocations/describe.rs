//! One invocation as a block of text: what, where, since when, why it waits, what failed, its journal.

use std::time::Duration;

use serde_json::Value;

use super::list::{completion_failure, scheduled_at, status, tries};
use crate::table::{self, Column, Field};
use crate::target;
use crate::text::{Style, Tone, count, failure, field, first, shorten, show, span};

/// Longest value that is shown.
const VALUE_MAX: usize = 200;

/// The block. `ahead` are invocations that have the key of one that waits for it.
pub(super) fn render(invocation: &Value, ahead: &[Value], style: &Style) -> String {
    let mut out = head(invocation, ahead, style);
    out.push_str(&attempts(invocation, style));
    out.push_str(&journal(invocation, style));
    out
}

fn head(invocation: &Value, ahead: &[Value], style: &Style) -> String {
    let mut out = format!("{}\n", style.paint(Tone::Strong, &show(&invocation["id"])));
    let mut line = |label: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            out.push_str(&format!("  {label:<17}{value}\n"));
        }
    };
    let at = |name: &str| style.time_of(invocation, name);
    let (word, tone) = status(invocation);
    line("target", Some(target::of(invocation)));
    line("status", Some(style.paint(tone, &word)));
    line("why", why(invocation, style));
    for other in ahead {
        let (word, tone) = status(other);
        let id = field(other, "id").unwrap_or_default();
        line("under way", Some(format!("{id} {} ({})", target::of(other), style.paint(tone, &word))));
    }
    line("last failure", failure(&invocation["last_failure"]).map(|text| style.paint(Tone::Bad, &text)));
    line("failure", completion_failure(invocation).map(|text| style.paint(Tone::Bad, &text)));
    line("result", result(invocation));
    line("created", at("created_at"));
    line("changed", at("modified_at"));
    line("completed", at("completed_at"));
    line("result expires", at("expires_at"));
    line("journal expires", at("journal_expires_at"));
    line("attempts", tries(invocation));
    line("version", field(invocation, "version"));
    line("deployment", field(invocation, "deployment_id"));
    line("idempotency key", field(invocation, "idempotency_key"));
    line("invoked by", first(invocation, &["invoked_by_id", "invoked_by"]));
    line("schedule", field(invocation, "schedule"));
    line("repeats", field(invocation, "restarted_from"));
    line("on behalf of", Some(items(&invocation["chain"]).iter().map(holder).collect::<Vec<_>>().join(" → ")));
    line(
        "awaited by",
        invocation["waiting_for_result"].as_u64().filter(|sinks| *sinks > 0).map(|sinks| count(sinks, "caller")),
    );
    out
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn holder(holder: &Value) -> String {
    let object = target::of(holder);
    field(holder, "invocation_id").map_or_else(|| object.clone(), |id| format!("{object} ({id})"))
}

fn result(invocation: &Value) -> Option<String> {
    let outcome = &invocation["outcome"];
    if invocation["completion_result"] != "success" {
        return None;
    }
    let id = show(&invocation["id"]);
    let whole = || format!("`abide invocations output {id}` prints it");
    Some(match (field(outcome, "value"), outcome["bytes"].as_u64()) {
        (_, Some(0)) => "nothing".to_owned(),
        (Some(value), _) if value.chars().count() <= VALUE_MAX => value,
        (_, Some(bytes)) => format!("{}; {}", count(bytes, "byte"), whole()),
        _ => whole(),
    })
}

/// Why it is not done yet, in a sentence.
fn why(invocation: &Value, style: &Style) -> Option<String> {
    match invocation["status"].as_str()? {
        "scheduled" => Some(format!("its time has not come; it starts {}", scheduled_at(invocation, style)?)),
        "pending" => Some(match &invocation["target_service_key"] {
            Value::Null => "waits for its turn to start".to_owned(),
            key => format!("waits in the mailbox of key {} for the ones before it", show(key)),
        }),
        "backing-off" => Some(match style.due(invocation, "next_retry_at") {
            Some(at) => format!("its last attempt failed; the next one is due {at}"),
            None => "its last attempt failed".to_owned(),
        }),
        "paused" => Some("no further attempts until it is resumed: `abide invocations resume`".to_owned()),
        "suspended" => {
            let awaited = awaited(invocation, style);
            let something = || "something to happen".to_owned();
            Some(format!(
                "waits for {}",
                awaited.into_iter().reduce(|all, one| format!("{all}, or {one}")).unwrap_or_else(something)
            ))
        }
        _ => None,
    }
}

/// The signal that asks for cancellation; everything waits for it.
const CANCEL: u64 = 1;

/// What a suspended one waits for: the journal's commands of which the completions are missing, and signals.
fn awaited(invocation: &Value, style: &Style) -> Vec<String> {
    let journal = items(&invocation["journal"]);
    let completion = |id: &Value| {
        // The command comes before its completion.
        let command =
            journal.iter().find(|entry| [&entry["completion_id"], &entry["invocation_id_completion_id"]].contains(&id));
        command.map_or_else(
            || format!("completion {}", show(id)),
            |command| {
                let what = first(command, &["type"]).unwrap_or_default();
                let content = content(command, style);
                [Some(what), field(command, "name"), content].into_iter().flatten().collect::<Vec<_>>().join(" ")
            },
        )
    };
    let mut out: Vec<_> = items(&invocation["suspended_waiting_for_completions"]).iter().map(completion).collect();
    let signals = items(&invocation["suspended_waiting_for_signals"]).iter();
    out.extend(
        signals.filter(|signal| signal.as_u64() != Some(CANCEL)).map(|signal| format!("signal {}", show(signal))),
    );
    let named = items(&invocation["suspended_waiting_for_named_signals"]).iter();
    out.extend(named.map(|name| format!("signal `{}`", show(name))));
    out.into_iter().map(|text| shorten(&text, VALUE_MAX)).collect()
}

const ATTEMPTS: &[Column] = &[
    Column::new("WHEN"),
    Column::new("ATTEMPT").right(),
    Column::new("AFTER").optional(2),
    Column::new("THEN").optional(1),
    Column::new("FAILURE").shrinks(20),
];

fn attempts(invocation: &Value, style: &Style) -> String {
    let attempts = items(&invocation["attempts"]);
    if attempts.is_empty() {
        return String::new();
    }
    let shown = attempts.len() as u64;
    let total = invocation["attempts_failed"].as_u64().unwrap_or(shown);
    let mut title = count(total.max(shown), "failed attempt");
    if total > shown {
        title.push_str(&format!(", the last {shown} of them"));
    }
    let rows: Vec<_> = attempts.iter().map(|attempt| row_of_attempt(attempt, style)).collect();
    format!("\n{}\n{}", style.paint(Tone::Strong, &title), table::render(ATTEMPTS, &rows, style))
}

fn row_of_attempt(attempt: &Value, style: &Style) -> Vec<Field> {
    let after = attempt["journal_size"].as_u64().and_then(|size| size.checked_sub(1));
    let retry = attempt["next"]["retry_after_ms"].as_u64();
    let then = match retry {
        Some(ms) => Some(format!("retry after {}", span(Duration::from_millis(ms)))),
        None => field(attempt, "next"),
    };
    vec![
        style.time_of(attempt, "failed_at").into(),
        field(attempt, "attempt").into(),
        after.map(|entry| format!("entry {entry}")).into(),
        then.into(),
        failure(&attempt["failure"]).into(),
    ]
}

const JOURNAL: &[Column] = &[
    Column::new("#").right(),
    Column::new("ENTRY").shrinks(8),
    Column::new("NAME").optional(2).shrinks(8),
    Column::new("WHEN").optional(3),
    Column::new("CONTENT").optional(1).shrinks(16),
];

fn journal(invocation: &Value, style: &Style) -> String {
    let entries = items(&invocation["journal"]);
    if entries.is_empty() {
        return String::new();
    }
    let shown = entries.len() as u64;
    let total = invocation["journal_size"].as_u64().unwrap_or(shown).max(shown);
    let mut title = format!("journal of {total} {}", if total == 1 { "entry" } else { "entries" });
    if total > shown {
        title.push_str(&format!(", the first {shown}"));
    }
    let rows: Vec<_> = entries.iter().map(|entry| row_of_entry(entry, style)).collect();
    format!("\n{}\n{}", style.paint(Tone::Strong, &title), table::render(JOURNAL, &rows, style))
}

fn row_of_entry(entry: &Value, style: &Style) -> Vec<Field> {
    vec![
        field(entry, "index").into(),
        field(entry, "type").into(),
        field(entry, "name").into(),
        style.time_of(entry, "appended_at").into(),
        content(entry, style).into(),
    ]
}

/// What an entry says, in a line.
fn content(entry: &Value, style: &Style) -> Option<String> {
    let labelled = |label: &str, name: &str| field(entry, name).map(|value| format!("{label}{value}"));
    let time = |label: &str, name: &str| Some(format!("{label}{}", style.time_of(entry, name)?));
    let parts = [
        field(entry, "target"),
        field(entry, "key"),
        labelled("promise ", "promise"),
        labelled("signal ", "signal"),
        field(entry, "awakeable_id"),
        time("due ", "wake_up_at"),
        time("due ", "invoke_at"),
        field(entry, "invocation_id"),
        field(entry, "keys"),
        field(entry, "value"),
        labelled("base64 ", "value_base64"),
        failure(&entry["failure"]),
    ];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    (!text.is_empty()).then(|| shorten(&text, VALUE_MAX))
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
                {"attempt": 2, "failed_at": "2026-05-01T11:59:50Z", "journal_size": 2, "failure": {"code": 500, "message": "no\nroute"},
                 "next": {"retry_after_ms": 5000}},
                {"attempt": 3, "failed_at": "2026-05-01T11:59:55Z", "journal_size": 2, "failure": {"code": 500, "message": "bank is closed"},
                 "next": "pause"},
            ],
            "attempts_failed": 3,
            "journal": [
                {"index": 0, "type": "Input", "appended_at": "2026-05-01T11:59:00Z", "bytes": 7, "value": "\"IBAN\""},
                {"index": 1, "type": "Run", "name": "bank", "appended_at": "2026-05-01T11:59:01Z", "bytes": 10},
            ],
        });
        assert_eq!(
            render(&invocation, &[], &at_noon(None)),
            "inv_1aaa\n  \
               target           Account/alice/pay_out\n  \
               status           backing-off\n  \
               why              its last attempt failed; the next one is due in 4s\n  \
               last failure     [500] bank is closed\n  \
               created          1m ago\n  \
               changed          5s ago\n  \
               attempts         3\n  \
               idempotency key  tx-1\n  \
               invoked by       inv_1zzz\n\
             \n\
             3 failed attempts, the last 2 of them\n\
             WHEN     ATTEMPT  AFTER    THEN            FAILURE\n\
             10s ago        2  entry 1  retry after 5s  [500] no\\nroute\n\
             5s ago         3  entry 1  pause           [500] bank is closed\n\
             \n\
             journal of 2 entries\n\
             #  ENTRY  NAME  WHEN     CONTENT\n\
             0  Input        1m ago   \"IBAN\"\n\
             1  Run    bank  59s ago\n"
        );
    }

    #[test]
    fn a_completed_one_tells_its_result() {
        let told =
            |outcome: Value| result(&json!({"id": "inv_1a", "completion_result": "success", "outcome": outcome}));
        assert_eq!(told(json!({"bytes": 2, "value": "70"})).unwrap(), "70");
        assert_eq!(told(json!({"bytes": 0, "value": ""})).unwrap(), "nothing");
        let long = told(json!({"bytes": 999, "value": "x".repeat(999)})).unwrap();
        assert_eq!(long, "999 bytes; `abide invocations output inv_1a` prints it");
        assert_eq!(result(&json!({"id": "inv_1a", "completion_result": "failure"})), None);
    }

    #[test]
    fn what_is_awaited_is_found_in_the_journal() {
        let suspended = json!({
            "status": "suspended", "suspended_waiting_for_completions": [3, 4, 9], "suspended_waiting_for_signals": [1, 17],
            "suspended_waiting_for_named_signals": ["go"],
            "journal": [
                {"index": 1, "type": "Sleep", "completion_id": 3, "wake_up_at": "2026-05-01T12:01:00Z"},
                {"index": 2, "type": "Call", "completion_id": 4, "target": "Bank/b/pay", "value": "1"},
            ],
        });
        assert_eq!(
            why(&suspended, &at_noon(None)).unwrap(),
            "waits for Sleep due in 1m, or Call Bank/b/pay 1, or completion 9, or signal 17, or signal `go`"
        );
    }

    #[test]
    fn one_that_waits_for_its_key_names_who_is_ahead() {
        let waiting = json!({"id": "inv_1b", "status": "pending", "target": "A/k/h", "target_service_key": "k"});
        let ahead = [json!({"id": "inv_1a", "status": "paused", "target": "A/k/g"})];
        assert!(render(&waiting, &ahead, &at_noon(None)).contains("  under way        inv_1a A/k/g (paused)\n"));
    }

    #[test]
    fn every_status_says_why() {
        let why = |invocation: Value| why(&invocation, &at_noon(None)).unwrap_or_default();
        assert!(why(json!({"status": "paused"})).contains("resume"));
        assert_eq!(
            why(json!({"status": "pending", "target_service_key": "k"})),
            "waits in the mailbox of key k for the ones before it"
        );
        assert_eq!(why(json!({"status": "pending"})), "waits for its turn to start");
        assert_eq!(
            why(json!({"status": "scheduled", "scheduled_start_at": "2026-05-01T12:01:00Z"})),
            "its time has not come; it starts in 1m"
        );
        assert_eq!(why(json!({"status": "suspended"})), "waits for something to happen");
        assert_eq!(why(json!({"status": "completed"})), "");
    }
}
