//! One schedule as a block of text.

use serde_json::Value;

use super::list::{status, when};
use crate::target;
use crate::text::{Style, Tone, count, date, field, first, show};

/// The block.
pub(super) fn render(schedule: &Value, style: &Style) -> String {
    let mut out = format!("{}\n", style.paint(Tone::Strong, &show(&schedule["name"])));
    let mut line = |label: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            out.push_str(&format!("  {label:<18}{value}\n"));
        }
    };
    let (word, tone) = status(schedule);
    let at = |name: &str| style.time_of(schedule, name);
    let list = |name: &str| schedule[name].as_array().map(Vec::as_slice).unwrap_or_default();
    line("status", Some(style.paint(tone, &word)));
    line("when", when(schedule, style));
    line("from", at("from"));
    line("target", Some(target::of(schedule)));
    line("input", field(schedule, "input"));
    line("headers", field(schedule, "headers").filter(|headers| headers != "{}"));
    line("missed times", field(schedule, "catch_up"));
    line("overlapping runs", field(schedule, "overlap"));
    line("next", style.due(schedule, "next_at"));
    let upcoming: Vec<_> = list("upcoming").iter().skip(1).map(date).collect();
    line("then", Some(upcoming.join(", ")));
    line(
        "last run",
        [at("last_run_at"), first(schedule, &["last_run"])]
            .into_iter()
            .flatten()
            .reduce(|at, id| format!("{at} as {id}")),
    );
    line("last fault", field(schedule, "last_fault").map(|fault| style.paint(Tone::Bad, &fault)));
    line("broken rule", field(schedule, "spec_fault").map(|fault| style.paint(Tone::Bad, &fault)));
    line("under way", Some(list("active_runs").iter().map(show).collect::<Vec<_>>().join(", ")));
    let runs = schedule["runs"].as_u64().map(|runs| count(runs, "run"));
    let rest = ["failed", "skipped"].map(|name| Some(format!("{} {name}", field(schedule, name)?)));
    let counts = std::iter::once(runs).chain(rest).flatten();
    line("so far", Some(counts.collect::<Vec<_>>().join(", ")));
    line("created", at("created_at"));
    line("changed", at("modified_at"));
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schedules::list;

    fn nightly() -> Value {
        json!({
            "name": "nightly", "status": "waiting", "cron": "0 3 * * *", "zone": "Europe/Berlin", "service": "Report",
            "key": "all", "handler": "make", "input": {"short": true}, "headers": {}, "catch_up": "one", "overlap": "skip",
            "next_at": "2026-05-02T01:00:00.000Z", "upcoming": ["2026-05-02T01:00:00.000Z", "2026-05-03T01:00:00.000Z"],
            "last_run_at": "2026-05-01T01:00:00.000Z", "last_run": "inv_1run", "runs": 7, "failed": 1, "skipped": 0,
            "last_fault": "no\npaper", "created_at": "2026-04-01T12:00:00Z",
        })
    }

    fn style() -> Style {
        Style {
            width: None,
            colors: false,
            absolute: false,
            now: humantime::parse_rfc3339("2026-05-01T12:00:00Z").unwrap(),
        }
    }

    #[test]
    fn a_description_reads_top_down() {
        assert_eq!(
            render(&nightly(), &style()),
            "nightly\n  \
               status            waiting\n  \
               when              0 3 * * * Europe/Berlin\n  \
               target            Report/all/make\n  \
               input             {\"short\":true}\n  \
               missed times      one\n  \
               overlapping runs  skip\n  \
               next              in 13h\n  \
               then              2026-05-03T01:00:00Z\n  \
               last run          11h ago as inv_1run\n  \
               last fault        no\\npaper\n  \
               so far            7 runs, 1 failed, 0 skipped\n  \
               created           30d ago\n"
        );
    }

    #[test]
    fn a_list_has_a_line_for_each() {
        let over = json!({"name": "once", "status": "over", "at": "2026-05-01T11:00:00Z", "service": "S", "handler": "h", "runs": 1});
        let text = list::render(&json!({"schedules": [nightly(), over]}), &style());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0].split_whitespace().collect::<Vec<_>>().join(" "),
            "NAME STATUS WHEN TARGET NEXT LAST RUNS FAILED SKIPPED FAULT"
        );
        assert!(
            lines[1].starts_with("nightly  waiting  0 3 * * * Europe/Berlin  Report/all/make  in 13h  11h ago"),
            "{text}"
        );
        assert!(lines[2].starts_with("once     over     once 1h ago"), "{text}");
    }
}
