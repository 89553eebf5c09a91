//! An invocation with its journal, as JSON.

use abide_model::command::{Outcome, OutcomeKind};
use abide_model::id::Millis;
use abide_model::protocol::{Code, Failure};
use abide_model::table::JournalRow;
use serde_json::{Map, Value, json};

use crate::date::rfc3339;
use crate::engine::InvocationDetails;

/// All that is known about an invocation. Absent facts are left out.
pub(super) fn render(details: &InvocationDetails) -> Value {
    let target = &details.target;
    let journal: Vec<_> = details.journal.iter().enumerate().map(|(index, row)| entry(index, row)).collect();
    let mut out = json!({
        "id": details.id.to_string(),
        "status": details.status,
        "target": target.to_string(),
        "target_service_name": target.service,
        "target_handler_name": target.handler,
        "created_at": rfc3339(details.created_at),
        "modified_at": rfc3339(details.modified_at),
        "attempt": details.attempt,
        "failures": details.failures,
        "deployment_id": super::services::DEPLOYMENT_ID,
        "journal": journal,
    });
    let Value::Object(fields) = &mut out else { return out };
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    };
    let time = |at: Option<Millis>| at.map(|at| Value::from(rfc3339(at)));
    put("target_service_key", target.key.as_deref().map(Value::from));
    put("completed_at", time(details.completed_at));
    put("scheduled_at", time(details.scheduled_at));
    put("next_retry_at", time(details.next_retry_at));
    put("last_failure", details.last_failure.as_ref().map(failure));
    put("outcome", details.outcome.as_ref().map(outcome));
    put("idempotency_key", details.idempotency_key.as_deref().map(Value::from));
    put("invoked_by", details.invoked_by.map(|id| Value::from(id.to_string())));
    out
}

fn entry(index: usize, row: &JournalRow) -> Value {
    let code = Code(u16::try_from(row.code).unwrap_or(0));
    json!({
        "index": index,
        "code": format!("{:04x}", row.code),
        "type": code.name(),
        "appended_at": rfc3339(Millis(row.appended_at)),
        "bytes": row.payload.len(),
    })
}

fn outcome(outcome: &Outcome) -> Value {
    match &outcome.kind {
        Some(OutcomeKind::Success(value)) => json!({ "result": "success", "bytes": value.len() }),
        Some(OutcomeKind::Failure(failed)) => json!({ "result": "failure", "failure": failure(failed) }),
        None => Value::Null,
    }
}

fn failure(failure: &Failure) -> Value {
    let mut out = json!({ "code": failure.code, "message": failure.message });
    if !failure.metadata.is_empty() {
        let facts: Map<_, _> =
            failure.metadata.iter().map(|fact| (fact.key.clone(), Value::from(fact.value.as_str()))).collect();
        out["metadata"] = Value::Object(facts);
    }
    out
}
