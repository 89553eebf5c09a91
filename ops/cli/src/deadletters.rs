//! `abide deadletters`: messages that failed for good.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use ureq::http::Method;

use crate::api::Path;
use crate::error::CliError;
use crate::table::{self, Column, Field};
use crate::target;
use crate::text::{Style, Tone, failure, field, show};
use crate::{Context, Page, rest};

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// All of them, or those of one service, oldest first.
    List {
        /// Only those of this service.
        #[arg(long)]
        service: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Everything about one, with its input.
    Describe {
        /// Which one, as `list` shows it: SERVICE/PARTITION/NUMBER.
        #[arg(value_parser = address)]
        letter: Address,
    },
    /// Send them again. What is sent again is a dead letter no more.
    Redrive {
        #[command(flatten)]
        chosen: Chosen,
        /// Of a service's, take at most so many.
        #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
    },
    /// Forget them.
    Drop {
        /// Which ones, as `list` shows them: SERVICE/PARTITION/NUMBER.
        #[arg(required = true, value_parser = address)]
        letters: Vec<Address>,
    },
}

/// Which ones.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Chosen {
    /// Which ones, as `list` shows them: SERVICE/PARTITION/NUMBER.
    #[arg(value_parser = address)]
    letters: Vec<Address>,
    /// All of this service.
    #[arg(long)]
    service: Option<String>,
}

/// Where a dead letter is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    service: String,
    partition: String,
    number: String,
}

impl Address {
    fn path(&self) -> Path {
        Path::of(["deadletters", &self.service, &self.partition, &self.number])
    }

    fn redrive(&self) -> Path {
        Path::of(["deadletters", &self.service, &self.partition, &self.number, "redrive"])
    }

    fn shown(&self) -> String {
        format!("{}/{}/{}", self.service, self.partition, self.number)
    }
}

fn address(text: &str) -> Result<Address, String> {
    let mut parts = text.split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(service), Some(partition), Some(number), None)
            if !service.is_empty() && !partition.is_empty() && !number.is_empty() =>
        {
            Ok(Address { service: service.into(), partition: partition.into(), number: number.into() })
        }
        _ => Err("expected SERVICE/PARTITION/NUMBER, as `abide deadletters list` shows it".to_owned()),
    }
}

/// Runs one of them.
///
/// # Errors
/// As the server answers.
pub(crate) fn run(context: &Context, command: Command) -> Result<(), CliError> {
    match command {
        Command::List { service, page } => {
            let path = || page.of(Path::of(["deadletters"]).with("service", service.as_deref()));
            context.output.watch(page.watch.watch, || context.admin.get(&path()), list)
        }
        Command::Describe { letter } => {
            let document = context.admin.get(&letter.path())?;
            context.output.result(&document, |style| describe(&letter.shown(), &document, style))
        }
        Command::Redrive { chosen: Chosen { service: Some(service), .. }, limit } => {
            context.output.confirm(&format!("Send all dead letters of {service} again?"))?;
            let path = Path::of(["deadletters", &service, "redrive"]).with("limit", Some(limit));
            let answer = context.admin.json(&Method::POST, &path, None)?;
            let failed = answer["failed"].as_array().map_or(0, Vec::len);
            let sent = answer["succeeded"].as_array().map_or(0, Vec::len);
            context.output.result(&answer, |_| format!("{sent} sent again\n"))?;
            for letter in answer["failed"].as_array().into_iter().flatten() {
                let reason = field(letter, "error").unwrap_or_default();
                context.output.note(&format!("{}: {reason}", place(letter)));
            }
            if answer["more"] == true {
                context.output.note("There are more; run the same command again for the next ones.");
            }
            if failed > 0 { Err(CliError::Partly { failed, total: failed + sent }) } else { Ok(()) }
        }
        Command::Redrive { chosen: Chosen { letters, .. }, .. } => each(context, &letters, |letter| {
            let answer = context.admin.json(&Method::POST, &letter.redrive(), None)?;
            Ok(field(&answer, "new_invocation_id"))
        }),
        Command::Drop { letters } => {
            let question = match letters.as_slice() {
                [letter] => format!("Forget the dead letter {}?", letter.shown()),
                letters => format!("Forget {} dead letters?", letters.len()),
            };
            context.output.confirm(&question)?;
            each(context, &letters, |letter| context.admin.json(&Method::DELETE, &letter.path(), None).map(|_| None))
        }
    }
}

/// Its address, as a document tells it.
fn place(letter: &Value) -> String {
    ["service", "partition", "seq"].map(|part| show(&letter[part])).join("/")
}

/// Does the same to each; what it returns is the invocation that came of it.
fn each(
    context: &Context,
    letters: &[Address],
    mut act: impl FnMut(&Address) -> Result<Option<String>, CliError>,
) -> Result<(), CliError> {
    let (mut succeeded, mut failed, mut text) = (Vec::new(), Vec::new(), String::new());
    for letter in letters {
        match act(letter) {
            Ok(new) => {
                let became = new.as_ref().map_or_else(|| "done".to_owned(), |id| format!("sent again as {id}"));
                text.push_str(&format!("{} {became}\n", letter.shown()));
                succeeded.push(json!({ "deadletter": letter.shown(), "new_invocation_id": new }));
            }
            Err(error) if letters.len() == 1 => return Err(error),
            Err(error @ CliError::Unreachable { .. }) => return Err(error),
            Err(error) => {
                context.output.note(&format!("{}: {error}", letter.shown()));
                failed.push(json!({ "deadletter": letter.shown(), "error": error.to_string() }));
            }
        }
    }
    context.output.result(&json!({ "succeeded": succeeded, "failed": failed }), |_| text)?;
    if failed.is_empty() { Ok(()) } else { Err(CliError::Partly { failed: failed.len(), total: letters.len() }) }
}

const COLUMNS: &[Column] = &[
    Column::new("DEAD LETTER"),
    Column::new("TARGET").shrinks(12),
    Column::new("WHEN"),
    Column::new("TRIES").optional(2).right(),
    Column::new("FAILURE").shrinks(16),
    Column::new("INVOCATION").optional(1),
];

fn list(document: &Value, style: &Style) -> String {
    let letters = document["deadletters"].as_array().map(Vec::as_slice).unwrap_or_default();
    if letters.is_empty() {
        return format!("There are no dead letters.\n{}", rest(document, style));
    }
    let rows: Vec<_> = letters.iter().map(|letter| row(letter, style)).collect();
    table::render(COLUMNS, &rows, style) + &rest(document, style)
}

fn row(letter: &Value, style: &Style) -> Vec<Field> {
    vec![
        place(letter).into(),
        target::of(letter).into(),
        style.time_of(letter, "failed_at").into(),
        field(letter, "attempt").into(),
        failure(&letter["failure"]).into(),
        field(letter, "invocation_id").into(),
    ]
}

fn describe(shown: &str, letter: &Value, style: &Style) -> String {
    let mut out = format!("{}\n", style.paint(Tone::Strong, shown));
    let mut line = |label: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            out.push_str(&format!("  {label:<12}{value}\n"));
        }
    };
    line("target", Some(target::of(letter)));
    line("failure", failure(&letter["failure"]).map(|text| style.paint(Tone::Bad, &text)));
    line("failed", style.time_of(letter, "failed_at"));
    line("created", style.time_of(letter, "created_at"));
    line("attempts", field(letter, "attempt"));
    line("invocation", field(letter, "invocation_id"));
    line("invoked by", field(letter, "invoked_by_id"));
    let headers = letter["headers"].as_array().into_iter().flatten();
    let headers = headers.map(|header| format!("{}={}", show(&header["key"]), show(&header["value"])));
    line("headers", Some(headers.collect::<Vec<_>>().join(", ")));
    line("input", field(letter, "input"));
    line("input", field(letter, "input_base64").map(|bytes| format!("base64 {bytes}")));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn style() -> Style {
        Style {
            width: None,
            colors: false,
            absolute: false,
            now: humantime::parse_rfc3339("2026-05-01T12:00:00Z").unwrap(),
        }
    }

    fn letter() -> Value {
        json!({
            "service": "Mail", "partition": "p3", "seq": 12, "target": "Mail/send", "invocation_id": "inv_1a",
            "failure": {"code": 500, "message": "no such address"}, "failed_at": "2026-05-01T11:00:00Z", "attempt": 70,
            "input": "{\"to\":\"x\"}", "headers": [{"key": "x", "value": "1"}],
        })
    }

    #[test]
    fn a_list_shows_addresses_to_copy() {
        assert_eq!(
            list(&json!({"deadletters": [letter()]}), &style()),
            "DEAD LETTER  TARGET     WHEN    TRIES  FAILURE                INVOCATION\n\
             Mail/p3/12   Mail/send  1h ago     70  [500] no such address  inv_1a\n"
        );
        assert_eq!(address("Mail/p3/12").unwrap().shown(), "Mail/p3/12");
        assert!(address("Mail/p3").is_err() && address("a/b/c/d").is_err());
    }

    #[test]
    fn a_description_has_the_input() {
        assert!(
            describe("Mail/p3/12", &letter(), &style()).ends_with("  headers     x=1\n  input       {\"to\":\"x\"}\n")
        );
    }
}
