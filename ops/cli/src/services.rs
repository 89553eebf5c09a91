//! `abide services`: what is bound on the node.

use clap::Subcommand;
use serde_json::Value;

use crate::api::Path;
use crate::error::CliError;
use crate::table::{Column, Field, render};
use crate::text::{Style, Tone, clean, count, field, show};
use crate::{Context, Watch};

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Name, kind and handlers of each.
    List {
        #[command(flatten)]
        watch: Watch,
    },
    /// Everything about one, with its handlers.
    Describe {
        /// Its name.
        name: String,
    },
}

/// Runs one of them.
///
/// # Errors
/// As the server answers.
pub(crate) fn run(context: &Context, command: Command) -> Result<(), CliError> {
    match command {
        Command::List { watch } => {
            context.output.watch(watch.watch, || context.admin.get(&Path::of(["services"])), list)
        }
        Command::Describe { name } => {
            let service = context.admin.get(&Path::of(["services", &name]))?;
            context.output.result(&service, |style| describe(&service, style))
        }
    }
}

const LIST: &[Column] = &[
    Column::new("NAME"),
    Column::new("KIND"),
    Column::new("PUBLIC").optional(3),
    Column::new("REVISION").optional(4).right(),
    Column::new("DEPLOYMENT").optional(2).shrinks(10),
    Column::new("HANDLERS").optional(1).shrinks(12),
];

fn list(document: &Value, style: &Style) -> String {
    let services = document["services"].as_array().map(Vec::as_slice).unwrap_or_default();
    if services.is_empty() {
        return "No services are bound.\n".to_owned();
    }
    let rows: Vec<_> = services.iter().map(row).collect();
    render(LIST, &rows, style)
}

fn row(service: &Value) -> Vec<Field> {
    let handlers = service["handlers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names: Vec<_> = handlers.iter().filter_map(|handler| field(handler, "name")).collect();
    vec![
        field(service, "name").into(),
        kind(service).into(),
        yes_no(&service["public"]).into(),
        field(service, "revision").into(),
        field(service, "deployment_id").into(),
        names.join(", ").into(),
    ]
}

fn kind(service: &Value) -> String {
    match service["ty"].as_str() {
        Some("Service") => "service".into(),
        Some("VirtualObject") => "object".into(),
        Some("Workflow") => "workflow".into(),
        _ => show(&service["ty"]),
    }
}

fn yes_no(value: &Value) -> String {
    match value.as_bool() {
        Some(true) => "yes".into(),
        Some(false) => "no".into(),
        None => String::new(),
    }
}

const HANDLERS: &[Column] = &[
    Column::new("HANDLER"),
    Column::new("ACCESS"),
    Column::new("PUBLIC").optional(3),
    Column::new("RETRIES").optional(2).shrinks(12),
    Column::new("ABOUT").optional(1).shrinks(16),
];

fn describe(service: &Value, style: &Style) -> String {
    let mut out =
        format!("{} {}\n", kind(service), style.paint(Tone::Strong, &field(service, "name").unwrap_or_default()));
    if let Some(about) = about(service) {
        out.push_str(&format!("  {about}\n"));
    }
    for (title, name) in [
        ("public", "public"),
        ("version", "version"),
        ("deployment", "deployment_id"),
        ("revision", "revision"),
        ("results are kept", "idempotency_retention"),
        ("workflows are kept", "workflow_completion_retention"),
        ("journals are kept", "journal_retention"),
        ("state is kept", "state_ttl"),
        ("rate", "rate"),
        ("rate per key", "key_rate"),
        ("concurrency", "concurrency"),
        ("suspends after", "inactivity_timeout"),
        ("aborts after", "abort_timeout"),
    ] {
        let value = if service[name].is_boolean() { Some(yes_no(&service[name])) } else { field(service, name) };
        if let Some(value) = value {
            out.push_str(&format!("  {title:<20}{value}\n"));
        }
    }
    if let Some(policy) = policy(&service["retry_policy"]) {
        out.push_str(&format!("  {:<20}{policy}\n", "retries"));
    }
    let handlers = service["handlers"].as_array().map(Vec::as_slice).unwrap_or_default();
    out.push_str(&format!("\n{}\n", style.paint(Tone::Strong, &count(handlers.len() as u64, "handler"))));
    let rows: Vec<_> = handlers.iter().map(handler).collect();
    out.push_str(&render(HANDLERS, &rows, style));
    out
}

fn handler(handler: &Value) -> Vec<Field> {
    vec![
        field(handler, "name").into(),
        field(handler, "ty").map(|ty| ty.to_lowercase()).into(),
        yes_no(&handler["public"]).into(),
        policy(&handler["retry_policy"]).into(),
        about(handler).into(),
    ]
}

/// What its author wrote, on one line.
fn about(described: &Value) -> Option<String> {
    let words = described["documentation"].as_str()?.split_whitespace();
    Some(clean(&words.collect::<Vec<_>>().join(" ")))
}

/// `500ms × 2 up to 1m, 70 attempts, then pause`.
fn policy(policy: &Value) -> Option<String> {
    let first = field(policy, "initial_interval")?;
    let mut out = first;
    if let Some(factor) = field(policy, "exponentiation_factor") {
        out.push_str(&format!(" × {factor}"));
    }
    if let Some(most) = field(policy, "max_interval") {
        out.push_str(&format!(" up to {most}"));
    }
    match field(policy, "max_attempts") {
        Some(attempts) => {
            let then = field(policy, "on_max_attempts").unwrap_or_default().to_lowercase();
            out.push_str(&format!(", {attempts} attempts, then {then}"));
        }
        None => out.push_str(", without end"),
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use serde_json::json;

    use super::*;

    const PLAIN: Style = Style { width: None, colors: false, absolute: false, now: SystemTime::UNIX_EPOCH };

    fn account() -> Value {
        json!({
            "name": "Account", "ty": "VirtualObject", "public": true, "revision": 1, "deployment_id": "dp_native",
            "idempotency_retention": "1d", "journal_retention": "0s",
            "retry_policy": {"initial_interval": "500ms", "exponentiation_factor": 2.0, "max_attempts": 70,
                             "max_interval": "1m", "on_max_attempts": "Pause"},
            "handlers": [
                {"name": "deposit", "ty": "Exclusive", "public": true, "documentation": "Adds.\nAnd tells.", "retry_policy": {}},
                {"name": "balance", "ty": "Shared", "public": true},
            ],
        })
    }

    #[test]
    fn a_list_names_the_handlers() {
        assert_eq!(
            list(&json!({"services": [account()]}), &PLAIN),
            "NAME     KIND    PUBLIC  REVISION  DEPLOYMENT  HANDLERS\n\
             Account  object  yes            1  dp_native   deposit, balance\n"
        );
        assert_eq!(list(&json!({"services": []}), &PLAIN), "No services are bound.\n");
    }

    #[test]
    fn a_description_reads_top_down() {
        assert_eq!(
            describe(&account(), &PLAIN),
            "object Account\n  \
               public              yes\n  \
               deployment          dp_native\n  \
               revision            1\n  \
               results are kept    1d\n  \
               journals are kept   0s\n  \
               retries             500ms × 2.0 up to 1m, 70 attempts, then pause\n\
             \n\
             2 handlers\n\
             HANDLER  ACCESS     PUBLIC  ABOUT\n\
             deposit  exclusive  yes     Adds. And tells.\n\
             balance  shared     yes\n"
        );
    }
}
