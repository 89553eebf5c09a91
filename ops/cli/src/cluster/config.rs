//! `abide cluster config`: settings that hold on all nodes.

use clap::Subcommand;
use serde_json::{Value, json};
use ureq::http::Method;

use super::items;
use crate::Context;
use crate::api::Path;
use crate::error::CliError;
use crate::table::{self, Column, Field};
use crate::text::{Style, Tone, field, show};

/// The orders.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// All settings, or one.
    Get {
        /// Its name.
        name: Option<String>,
    },
    /// Change one, on all nodes, now.
    Set {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// Go back to the default of one.
    Unset {
        /// Its name.
        name: String,
    },
}

/// Runs one of them.
///
/// # Errors
/// As the server answers.
pub(super) fn run(context: &Context, command: Command) -> Result<(), CliError> {
    let path = |name: &str| Path::of(["cluster", "settings", name]);
    match command {
        Command::Get { name: None } => {
            let settings = context.admin.get(&Path::of(["cluster", "settings"]))?;
            context.output.result(&settings, |style| list(items(&settings, "settings"), style))
        }
        Command::Get { name: Some(name) } => {
            let setting = context.admin.get(&path(&name))?;
            context.output.result(&setting, |style| list(std::slice::from_ref(&setting), style))
        }
        Command::Set { name, value } => {
            let setting = context.admin.json(&Method::PUT, &path(&name), Some(&json!({ "value": value })))?;
            context.output.result(&setting, |_| holds(&setting))
        }
        Command::Unset { name } => {
            let setting = context.admin.json(&Method::DELETE, &path(&name), None)?;
            context.output.result(&setting, |_| holds(&setting))
        }
    }
}

fn holds(setting: &Value) -> String {
    let name = show(&setting["name"]);
    field(setting, "value").map_or_else(
        || format!("{name} is as the configuration of each node says\n"),
        |value| format!("{name} is {value} on all nodes\n"),
    )
}

const COLUMNS: &[Column] = &[
    Column::new("SETTING"),
    Column::new("VALUE"),
    Column::new("DEFAULT").optional(2),
    Column::new("VALUES").optional(3).shrinks(16),
    Column::new("WHAT").optional(1).shrinks(20),
];

fn list(settings: &[Value], style: &Style) -> String {
    let rows: Vec<Vec<Field>> = settings
        .iter()
        .map(|setting| {
            let value = field(setting, "value").unwrap_or_else(|| "as each node says".to_owned());
            let tone = if setting["set"] == true { Tone::Strong } else { Tone::Faint };
            vec![
                field(setting, "name").into(),
                Field::toned(value, tone),
                field(setting, "default").into(),
                field(setting, "expected").into(),
                field(setting, "what").into(),
            ]
        })
        .collect();
    table::render(COLUMNS, &rows, style)
}
