//! An invocation as JSON. Fields are named as the columns of `sys_invocation` (service protocol §5.4) where there is one;
//! absent facts are left out.

use abide_model::command::{Next, Outcome, OutcomeKind, Priority};
use abide_model::id::{InvocationId, Millis};
use abide_model::protocol::Failure;
use abide_model::table::{Awaiting, FailedAttempt};
use serde_json::{Map, Value, json};

use super::journal;
use crate::date::rfc3339;
use crate::inspect::InvocationDetails;

/// What lists show.
pub(super) fn summary(details: &InvocationDetails) -> Value {
    let target = &details.target;
    let mut out = json!({
        "id": details.id.to_string(),
        "status": details.status,
        "target": target.to_string(),
        "target_service_name": target.service,
        "target_handler_name": target.handler,
        "created_at": rfc3339(details.created_at),
        "modified_at": rfc3339(details.modified_at),
        "invoked_by": invoked_by(details),
        "attempt": details.attempt,
        "retry_count": details.failures,
        "failures": details.failures,
        "journal_size": details.journal_len,
        "deployment_id": super::services::DEPLOYMENT_ID,
        "completion_retention": iso(details.retention_ms),
        "journal_retention": iso(details.journal_retention_ms),
    });
    let Value::Object(fields) = &mut out else { return out };
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    };
    let time = |at: Option<Millis>| at.map(|at| Value::from(rfc3339(at)));
    let text = |text: &Option<String>| text.as_deref().map(Value::from);
    let id = |id: Option<InvocationId>| id.map(|id| Value::from(id.to_string()));
    put("target_service_key", text(&target.key));
    put("completed_at", time(details.completed_at));
    put("expires_at", time(details.expires_at));
    put("journal_expires_at", time(details.journal_expires_at));
    put("scheduled_at", time(details.scheduled_at));
    put("scheduled_start_at", time(details.scheduled_at));
    put("next_retry_at", time(details.next_retry_at));
    put("last_failure", details.last_failure.as_ref().map(failure));
    put("last_failure_error_code", details.last_failure.as_ref().map(|failure| failure.code.into()));
    put("idempotency_key", text(&details.idempotency_key));
    put("invoked_by_id", id(details.invoked_by));
    put("restarted_from", id(details.restarted_from));
    put("schedule", text(&details.schedule));
    put("version", text(&details.version));
    put("priority", (target.class() != Priority::Normal).then(|| target.class().word().into()));
    put("one_way", details.one_way.then(|| true.into()));
    match details.outcome.as_ref().and_then(|outcome| outcome.kind.as_ref()) {
        Some(OutcomeKind::Success(_)) => put("completion_result", Some("success".into())),
        Some(OutcomeKind::Failure(failed)) => {
            put("completion_result", Some("failure".into()));
            put("completion_failure", Some(format!("[{}] {}", failed.code, failed.message).into()));
        }
        None => {}
    }
    if let Some(Awaiting { completions, signals, names }) = &details.waiting {
        put("suspended_waiting_for_completions", Some(json!(completions)));
        put("suspended_waiting_for_signals", Some(json!(signals)));
        put("suspended_waiting_for_named_signals", Some(json!(names)));
    }
    out
}

/// All that is known about an invocation, with the first of its journal.
pub(super) fn render(details: &InvocationDetails) -> Value {
    let mut out = summary(details);
    let journal: Vec<_> = (0..).zip(&details.journal).map(|(index, row)| journal::entry(index, row)).collect();
    if journal.len() < details.journal_len as usize {
        out["journal_next"] = journal.len().into();
    }
    out["journal"] = journal.into();
    out["waiting_for_result"] = details.sinks.into();
    out["attempts_failed"] = details.attempts_failed.into();
    out["attempts"] = details.attempts.iter().map(attempt).collect();
    if !details.chain.is_empty() {
        let holder = |holder: &abide_model::command::Holder| {
            json!({
                "service": holder.service,
                "key": holder.key,
                "invocation_id": InvocationId::from_bytes(&holder.invocation).map(|id| id.to_string()),
            })
        };
        out["chain"] = details.chain.iter().map(holder).collect();
    }
    if let Some(outcome) = &details.outcome {
        out["outcome"] = self::outcome(outcome);
    }
    out
}

fn invoked_by(details: &InvocationDetails) -> &'static str {
    if details.restarted_from.is_some() {
        "restart_as_new"
    } else if details.schedule.is_some() {
        "schedule"
    } else if details.invoked_by.is_some() {
        "service"
    } else {
        "ingress"
    }
}

fn attempt(failed: &FailedAttempt) -> Value {
    json!({
        "attempt": failed.attempt,
        "failed_at": rfc3339(Millis(failed.at)),
        "failure": failed.failure.as_ref().map(failure),
        "journal_size": failed.journal_len,
        "next": match failed.next {
            Some(Next::RetryAfter(ms)) => json!({ "retry_after_ms": ms }),
            Some(Next::Pause(_)) => "pause".into(),
            Some(Next::Fail(_)) => "fail".into(),
            None => Value::Null,
        },
    })
}

fn outcome(outcome: &Outcome) -> Value {
    match &outcome.kind {
        Some(OutcomeKind::Success(value)) => {
            let mut out = json!({ "result": "success", "bytes": value.len() });
            journal::put_bytes(&mut out, "value", value);
            out
        }
        Some(OutcomeKind::Failure(failed)) => json!({ "result": "failure", "failure": failure(failed) }),
        None => Value::Null,
    }
}

pub(super) fn failure(failure: &Failure) -> Value {
    let mut out = json!({ "code": failure.code, "message": failure.message });
    if !failure.metadata.is_empty() {
        let facts: Map<_, _> =
            failure.metadata.iter().map(|fact| (fact.key.clone(), Value::from(fact.value.as_str()))).collect();
        out["metadata"] = Value::Object(facts);
    }
    out
}

/// A duration as the reference prints it: `PT86400S`.
fn iso(ms: u64) -> String {
    if ms.is_multiple_of(1_000) { format!("PT{}S", ms / 1_000) } else { format!("PT{}.{:03}S", ms / 1_000, ms % 1_000) }
}
