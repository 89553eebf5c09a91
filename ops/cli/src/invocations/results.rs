//! The result of an invocation, from the ingress.

use std::time::Duration;

use serde_json::{Value, json};
use ureq::http::Method;

use crate::Context;
use crate::api::{Answer, Client, Path};
use crate::error::CliError;

/// The ingress answers so while there is no result.
const NOT_READY: u16 = 470;

/// Waits for the result and prints it.
///
/// # Errors
/// [`CliError::InvocationFailed`] when that is how it ended, else as the ingress answers.
pub(super) fn attach(context: &Context, id: &str, timeout: Option<Duration>) -> Result<(), CliError> {
    let ingress = context.ingress(timeout)?;
    print(context, id, &ask(&ingress, id, "attach")?)
}

/// Prints the result.
///
/// # Errors
/// As [`attach`]; without a result yet, as a conflict.
pub(super) fn output(context: &Context, id: &str) -> Result<(), CliError> {
    let ingress = context.ingress(Some(context.patience))?;
    let answer = ask(&ingress, id, "output")?;
    if answer.status == NOT_READY {
        let message = format!("{id} has no result yet; `abide invocations attach {id}` waits for it");
        return Err(CliError::Answered { status: NOT_READY, message, code: None });
    }
    print(context, id, &answer)
}

fn ask(ingress: &Client, id: &str, how: &str) -> Result<Answer, CliError> {
    ingress.send(&Method::GET, &Path::of(["restate", "invocation", id, how]), None)
}

fn print(context: &Context, id: &str, answer: &Answer) -> Result<(), CliError> {
    if !(200..300).contains(&answer.status) {
        return Err(failure(answer));
    }
    if context.output.is_json() {
        let value = if answer.body.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&answer.body).unwrap_or_else(|_| Value::from(answer.body.as_str()))
        };
        return context.output.result(&json!({ "invocation_id": id, "value": value }), |_| String::new());
    }
    let end = if answer.body.is_empty() || answer.body.ends_with('\n') { "" } else { "\n" };
    context.output.write(&format!("{}{end}", answer.body))
}

/// The failure of the invocation, or that of the question.
fn failure(answer: &Answer) -> CliError {
    let document: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    // Ids that nobody knows are told as of the invocation too.
    if document["source"] == "invocation" && document["message"] != "not found" {
        let code = document["code"].as_u64().unwrap_or(u64::from(answer.status));
        let message = document["message"].as_str().unwrap_or_default().to_owned();
        return CliError::InvocationFailed { code, message };
    }
    answer.error()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    fn exit(status: u16, body: &str) -> Exit {
        failure(&Answer { status, body: body.into() }).exit()
    }

    #[test]
    fn failures_tell_whose_they_are() {
        assert_eq!(exit(404, r#"{"code":404,"message":"no such account","source":"invocation"}"#), Exit::Failed);
        assert_eq!(exit(404, r#"{"code":404,"message":"not found","source":"invocation"}"#), Exit::NotFound);
        assert_eq!(exit(404, r#"{"code":404,"message":"invocation not found","source":"ingress"}"#), Exit::NotFound);
        assert_eq!(exit(400, r#"{"code":400,"message":"bad invocation id","source":"ingress"}"#), Exit::Usage);
    }
}
