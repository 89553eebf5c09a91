//! `abide cluster hash check`: whether the replicas of each partition have the same state.

use clap::Subcommand;
use serde_json::Value;
use ureq::http::Method;

use super::{items, words};
use crate::Context;
use crate::api::Path;
use crate::error::{CliError, Exit};
use crate::table::{self, Column, Field};
use crate::text::{Style, Tone, show};

/// The orders.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Compare them. Ends with 1 when some differ, and with 4 when nothing could be compared.
    Check,
}

/// Compares, and says so by the exit code too.
///
/// # Errors
/// [`CliError::Shown`], or as the server answers.
pub(super) fn check(context: &Context) -> Result<(), CliError> {
    let answer = context.admin.json(&Method::POST, &Path::of(["cluster", "hashes", "check"]), None)?;
    context.output.result(&answer, |style| render(&answer, style))?;
    verdict(&answer)
}

fn verdict(answer: &Value) -> Result<(), CliError> {
    let of = |verdict: &str| -> Vec<String> {
        let partitions = items(answer, "partitions").iter().filter(|of| of["verdict"] == verdict);
        partitions.map(|of| show(&of["partition"])).collect()
    };
    let different = of("different").join(", ");
    if !different.is_empty() {
        let message =
            format!("replicas of {different} differ: stop the nodes that have them, and keep their data folders");
        return Err(CliError::Shown { message, exit: Exit::Failed });
    }
    let compared = items(answer, "partitions").iter().any(|of| !items(of, "compared").is_empty());
    if !compared && !of("waiting").is_empty() {
        let message = "nothing can be compared yet: too little has happened, or replicas have just begun".to_owned();
        return Err(CliError::Shown { message, exit: Exit::Conflict });
    }
    Ok(())
}

const COLUMNS: &[Column] = &[
    Column::new("PARTITION"),
    Column::new("VERDICT"),
    Column::new("UP TO").right(),
    Column::new("COMPARED"),
    Column::new("DIFFERENT"),
    Column::new("NOT YET").optional(1),
];

fn render(answer: &Value, style: &Style) -> String {
    let rows: Vec<Vec<Field>> = items(answer, "partitions").iter().map(row).collect();
    table::render(COLUMNS, &rows, style)
}

fn row(of: &Value) -> Vec<Field> {
    let (word, tone) = match of["verdict"].as_str() {
        Some("equal") => ("equal", Tone::Good),
        Some("different") => ("different", Tone::Bad),
        Some("alone") => ("one replica", Tone::Calm),
        _ => ("not comparable yet", Tone::Calm),
    };
    let names = |name: &str| words(of, name).join(" ");
    vec![
        show(&of["partition"]).into(),
        Field::toned(word.to_owned(), tone),
        show(&of["index"]).into(),
        names("compared").into(),
        names("different").into(),
        names("waiting").into(),
    ]
}
