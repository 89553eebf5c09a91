//! Invocations as a table.

use serde_json::Value;

use crate::rest;
use crate::table::{self, Column, Field};
use crate::target;
use crate::text::{Style, Tone, failure, field, show};

/// The columns of [`row`].
pub(super) const COLUMNS: &[Column] = &[
    Column::new("ID"),
    Column::new("STATUS"),
    Column::new("TARGET").shrinks(16),
    Column::new("AGE").optional(1),
    Column::new("TRIES").optional(3).right(),
    Column::new("DETAIL").optional(2).shrinks(24),
];

/// The table of a list's answer.
pub(super) fn render(document: &Value, style: &Style) -> String {
    let invocations = document["invocations"].as_array().map(Vec::as_slice).unwrap_or_default();
    if invocations.is_empty() {
        return format!("No invocations match.\n{}", rest(document, style));
    }
    let rows: Vec<_> = invocations.iter().map(|invocation| row(invocation, style)).collect();
    table::render(COLUMNS, &rows, style) + &rest(document, style)
}

/// One of them.
pub(super) fn row(invocation: &Value, style: &Style) -> Vec<Field> {
    let (status, tone) = status(invocation);
    vec![
        field(invocation, "id").into(),
        Field::toned(status, tone),
        target::of(invocation).into(),
        style.age(invocation, "created_at").into(),
        tries(invocation).into(),
        detail(invocation, style).into(),
    ]
}

/// Its status as a word; a completed one tells how it ended.
pub(super) fn status(invocation: &Value) -> (String, Tone) {
    let status = show(&invocation["status"]);
    match status.as_str() {
        "completed" if failed(invocation) => ("failed".into(), Tone::Bad),
        "completed" => (status, Tone::Faint),
        "running" => (status, Tone::Good),
        "backing-off" => (status, Tone::Warning),
        "paused" => (status, Tone::Bad),
        _ => (status, Tone::Calm),
    }
}

fn failed(invocation: &Value) -> bool {
    invocation["completion_result"] == "failure"
}

/// How a completed invocation failed.
pub(super) fn completion_failure(invocation: &Value) -> Option<String> {
    failure(&invocation["completion_failure"])
}

/// Attempts that were started.
pub(super) fn tries(invocation: &Value) -> Option<String> {
    field(invocation, "attempt").filter(|tries| tries != "0")
}

/// What is worth knowing about its status, in a line.
fn detail(invocation: &Value, style: &Style) -> Option<String> {
    let last = failure(&invocation["last_failure"]);
    match invocation["status"].as_str()? {
        "completed" => completion_failure(invocation),
        "scheduled" => scheduled_at(invocation, style).map(|at| format!("starts {at}")),
        "backing-off" => {
            let next = style.due(invocation, "next_retry_at").map(|at| format!("retry {at}"));
            Some([next, last].into_iter().flatten().collect::<Vec<_>>().join(": "))
        }
        _ => last,
    }
}

/// When a scheduled one starts.
pub(super) fn scheduled_at(invocation: &Value, style: &Style) -> Option<String> {
    style.due(invocation, "scheduled_start_at")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({"invocations": [
            {"id": "inv_1aaa", "status": "backing-off", "target": "Account/alice/pay_out", "created_at": "2026-05-01T11:57:00Z",
             "attempt": 4, "next_retry_at": "2026-05-01T12:00:10Z", "last_failure": {"code": 500, "message": "bank\u{1b}[2J is closed"}},
            {"id": "inv_1bbb", "status": "completed", "target": "Account/bob/deposit", "created_at": "2026-05-01T11:00:00Z",
             "attempt": 1, "completion_result": "failure", "completion_failure": "[409 Conflict] too late"},
            {"id": "inv_1ccc", "status": "scheduled", "target_service_name": "Mail", "target_handler_name": "send",
             "created_at": "2026-05-01T11:59:59Z", "scheduled_start_at": "2026-05-02T12:00:00Z", "attempt": 0},
        ], "next": "p3.x"})
    }

    fn at(width: Option<usize>) -> String {
        let now = humantime::parse_rfc3339("2026-05-01T12:00:00Z").unwrap();
        render(&document(), &Style { width, colors: false, absolute: false, now })
    }

    #[test]
    fn a_line_tells_why_it_waits() {
        assert_eq!(
            at(None),
            "ID        STATUS       TARGET                 AGE  TRIES  DETAIL\n\
             inv_1aaa  backing-off  Account/alice/pay_out  3m       4  retry in 10s: [500] bank\\u{1b}[2J is closed\n\
             inv_1bbb  failed       Account/bob/deposit    1h       1  [409 Conflict] too late\n\
             inv_1ccc  scheduled    Mail/send              1s          starts in 1d\n\
             There are more: --after p3.x\n"
        );
    }

    #[test]
    fn narrow_terminals_keep_ids() {
        assert_eq!(
            at(Some(44)),
            "ID        STATUS       TARGET            AGE\n\
             inv_1aaa  backing-off  Account/alice/p…  3m\n\
             inv_1bbb  failed       Account/bob/dep…  1h\n\
             inv_1ccc  scheduled    Mail/send         1s\n\
             There are more: --after p3.x\n"
        );
    }
}
