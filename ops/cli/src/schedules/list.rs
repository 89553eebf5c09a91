//! Schedules as a table.

use serde_json::Value;

use crate::rest;
use crate::table::{self, Column, Field};
use crate::target;
use crate::text::{Style, Tone, field, show};

const COLUMNS: &[Column] = &[
    Column::new("NAME").shrinks(12),
    Column::new("STATUS"),
    Column::new("WHEN").shrinks(12),
    Column::new("TARGET").optional(1).shrinks(12),
    Column::new("NEXT"),
    Column::new("LAST").optional(2),
    Column::new("RUNS").optional(3).right(),
    Column::new("FAILED").optional(3).right(),
    Column::new("SKIPPED").optional(4).right(),
    Column::new("FAULT").optional(5).shrinks(20),
];

/// The table of a list's answer.
pub(super) fn render(document: &Value, style: &Style) -> String {
    let schedules = document["schedules"].as_array().map(Vec::as_slice).unwrap_or_default();
    if schedules.is_empty() {
        return format!("There are no schedules.\n{}", rest(document, style));
    }
    let rows: Vec<_> = schedules.iter().map(|schedule| row(schedule, style)).collect();
    table::render(COLUMNS, &rows, style) + &rest(document, style)
}

fn row(schedule: &Value, style: &Style) -> Vec<Field> {
    let (status, tone) = status(schedule);
    vec![
        field(schedule, "name").into(),
        Field::toned(status, tone),
        when(schedule, style).into(),
        target::of(schedule).into(),
        style.due(schedule, "next_at").into(),
        style.time_of(schedule, "last_run_at").into(),
        field(schedule, "runs").into(),
        field(schedule, "failed").into(),
        field(schedule, "skipped").into(),
        field(schedule, "last_fault").into(),
    ]
}

/// Its status as a word.
pub(super) fn status(schedule: &Value) -> (String, Tone) {
    let status = show(&schedule["status"]);
    let tone = match status.as_str() {
        "paused" => Tone::Bad,
        "over" => Tone::Faint,
        _ => Tone::Good,
    };
    (status, tone)
}

/// When it is due, in its own words.
pub(super) fn when(schedule: &Value, style: &Style) -> Option<String> {
    if let Some(expression) = field(schedule, "cron") {
        let zone = field(schedule, "zone").filter(|zone| zone != "UTC");
        return Some(zone.map_or_else(|| expression.clone(), |zone| format!("{expression} {zone}")));
    }
    if let Some(period) = field(schedule, "every") {
        return Some(format!("every {period}"));
    }
    let once = style.time_of(schedule, "at").map(|at| format!("once {at}"));
    once.or_else(|| field(schedule, "spec"))
}
