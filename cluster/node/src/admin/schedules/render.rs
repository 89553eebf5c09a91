//! A schedule as JSON.

use abide_model::command::{CatchUp, Overlap};
use abide_model::id::{InvocationId, Millis};
use abide_schedule::Spec;
use serde_json::{Map, Value, json};

use crate::date::rfc3339;
use crate::schedule::ScheduleDetails;

/// Times to come that are told.
const UPCOMING: usize = 5;

/// What lists tell.
pub(super) fn summary(details: &ScheduleDetails, now: Millis) -> Value {
    let definition = details.definition();
    let row = &details.row;
    let time = |ms: u64| (ms != 0).then(|| rfc3339(Millis(ms)));
    let mut out = json!({
        "name": definition.name,
        "id": details.id.to_string(),
        "status": details.status(),
        "spec": definition.spec,
        "service": definition.service,
        "handler": definition.handler,
        "catch_up": match definition.catch_up() {
            CatchUp::Skip => "skip",
            CatchUp::One => "one",
            CatchUp::All => "all",
        },
        "overlap": match definition.overlap() {
            Overlap::Allow => "allow",
            Overlap::Skip => "skip",
            Overlap::CancelOther => "cancel-other",
        },
        "next_at": details.upcoming(now, 1).first().map(|at| rfc3339(*at)),
        "last_run_at": time(row.last_run_at),
        "last_run": InvocationId::from_bytes(&row.last_run).map(|id| id.to_string()),
        "last_fault": Some(&row.last_fault).filter(|fault| !fault.is_empty()),
        "runs": row.runs,
        "failed": row.failed,
        "skipped": row.skipped,
        "active": row.active.len(),
        "created_at": rfc3339(Millis(row.created_at)),
        "modified_at": rfc3339(Millis(row.modified_at)),
    });
    if let Some(key) = definition.key {
        out["key"] = key.into();
    }
    match definition.spec.parse() {
        Ok(Spec::Cron(cron)) => {
            out["cron"] = cron.expression().into();
            out["zone"] = cron.zone().into();
        }
        Ok(Spec::Every(every)) => {
            out["every"] = every.period().into();
            out["from"] = rfc3339(every.anchor()).into();
        }
        Ok(Spec::At(time)) => out["at"] = rfc3339(time).into(),
        Err(error) => out["spec_fault"] = error.to_string().into(),
    }
    out
}

/// What is told of a single one.
pub(super) fn details(details: &ScheduleDetails, now: Millis) -> Value {
    let mut out = summary(details, now);
    let definition = details.definition();
    let headers: Map<String, Value> =
        definition.headers.into_iter().map(|header| (header.key, header.value.into())).collect();
    let upcoming: Vec<String> = details.upcoming(now, UPCOMING).into_iter().map(rfc3339).collect();
    out["headers"] = headers.into();
    // What is not JSON cannot have come through this door, and is shown as text.
    out["input"] = match definition.input.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&definition.input)
            .unwrap_or_else(|_| String::from_utf8_lossy(&definition.input).into_owned().into()),
    };
    out["upcoming"] = upcoming.into();
    out["active_runs"] = details.active().iter().map(ToString::to_string).collect();
    out
}
