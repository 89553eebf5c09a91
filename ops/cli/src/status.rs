//! `abide status`: health, version, and how many invocations are in which status, as far as that is cheap to count.

use serde_json::{Map, Value, json};
use ureq::http::Method;

use crate::Context;
use crate::api::Path;
use crate::error::CliError;
use crate::text::{Style, Tone, count, field, show};

/// Counted up to here; more are `…+`.
const COUNT_MAX: usize = 100;

/// In the order of an invocation's life; completed ones are too many to count.
const STATUSES: [(&str, Tone); 6] = [
    ("scheduled", Tone::Calm),
    ("pending", Tone::Calm),
    ("running", Tone::Good),
    ("backing-off", Tone::Warning),
    ("suspended", Tone::Calm),
    ("paused", Tone::Bad),
];

/// Runs it.
///
/// # Errors
/// As the server answers. A node that is not healthy is shown, and then an error.
pub(crate) fn run(context: &Context) -> Result<(), CliError> {
    let version = context.admin.get(&Path::of(["version"]))?;
    let health = context.admin.send(&Method::GET, &Path::of(["health"]), None)?.success();
    let mut document = json!({
        "address": context.admin.base(),
        "healthy": health.is_ok(),
        "version": version["version"],
        "ingress": version["ingress_endpoint"],
    });
    if health.is_ok() {
        let services = context.admin.get(&Path::of(["services"]))?;
        document["services"] = services["services"].as_array().map(Vec::len).into();
        document["invocations"] = counts(context)?.into();
    }
    if context.output.is_json() && health.is_err() {
        return health.map(drop);
    }
    context.output.result(&document, |style| render(&document, style))?;
    health.map(drop)
}

fn counts(context: &Context) -> Result<Map<String, Value>, CliError> {
    let mut counts = Map::new();
    for (status, _) in STATUSES {
        let path = Path::of(["invocations"]).with("filter", Some(format!("status={status}")));
        let found = context.admin.get(&path.with("limit", Some(COUNT_MAX)))?;
        let number = found["invocations"].as_array().map_or(0, Vec::len);
        let more = field(&found, "next").is_some();
        counts.insert(status.to_owned(), json!({ "count": number, "more": more }));
    }
    Ok(counts)
}

fn render(document: &Value, style: &Style) -> String {
    let healthy = document["healthy"] == true;
    let (word, tone) = if healthy { ("healthy", Tone::Good) } else { ("not ready", Tone::Bad) };
    let mut out = format!("{} is {}\n", show(&document["address"]), style.paint(tone, word));
    let mut line = |label: &str, value: Option<String>| {
        if let Some(value) = value {
            out.push_str(&format!("  {label:<13}{value}\n"));
        }
    };
    line("version", field(document, "version"));
    line("ingress", field(document, "ingress"));
    line("services", document["services"].as_u64().map(|services| services.to_string()));
    let counts = &document["invocations"];
    let counted = STATUSES.iter().filter_map(|(status, tone)| {
        let number = counts[*status]["count"].as_u64().filter(|number| *number > 0)?;
        let more = if counts[*status]["more"] == true { "+" } else { "" };
        Some(style.paint(*tone, &format!("{number}{more} {status}")))
    });
    let counted: Vec<_> = counted.collect();
    if counts.is_object() {
        let nothing = || format!("{} under way", count(0, "invocation"));
        line("invocations", Some(if counted.is_empty() { nothing() } else { counted.join(", ") }));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const PLAIN: Style = Style { width: None, colors: false, absolute: false, now: SystemTime::UNIX_EPOCH };

    #[test]
    fn counts_that_are_not_zero() {
        let document = json!({
            "address": "http://127.0.0.1:9070", "healthy": true, "version": "0.1.0", "services": 3,
            "invocations": {"running": {"count": 100, "more": true}, "paused": {"count": 1, "more": false},
                            "pending": {"count": 0, "more": false}},
        });
        assert_eq!(
            render(&document, &PLAIN),
            "http://127.0.0.1:9070 is healthy\n  version      0.1.0\n  services     3\n  invocations  100+ running, 1 paused\n"
        );
        assert!(render(&json!({"address": "x", "healthy": false}), &PLAIN).starts_with("x is not ready\n"));
    }
}
