//! `abide schedules`: what starts by the clock.

mod describe;
mod list;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use ureq::http::Method;

use crate::api::Path;
use crate::editor::{difference, edit};
use crate::error::CliError;
use crate::target::{self, Target};
use crate::text::show;
use crate::{Context, Page};

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// All of them, by name.
    List {
        #[command(flatten)]
        page: Page,
    },
    /// Everything about one, with its next times.
    Describe {
        /// Its name.
        name: String,
    },
    /// Make a new one: `create nightly Report/make --cron '0 3 * * *' --zone Europe/Berlin`.
    Create {
        /// Its name.
        name: String,
        /// What it invokes: SERVICE/HANDLER or OBJECT/KEY/HANDLER.
        #[arg(value_parser = target::parse)]
        target: Target,
        #[command(flatten)]
        rule: Rule,
        #[command(flatten)]
        options: Options,
        /// Create it paused.
        #[arg(long)]
        paused: bool,
        /// Change the one of this name, if there is one.
        #[arg(long)]
        replace: bool,
    },
    /// Change one; without options in an editor.
    Edit {
        /// Its name.
        name: String,
        /// What it invokes from now on.
        #[arg(long, value_parser = target::parse)]
        target: Option<Target>,
        #[command(flatten)]
        rule: Rule,
        #[command(flatten)]
        options: Options,
    },
    /// Start nothing until it is resumed.
    Pause {
        /// Its name.
        name: String,
    },
    /// Go on.
    Resume {
        /// Its name.
        name: String,
    },
    /// Run it once, now.
    Trigger {
        /// Its name.
        name: String,
    },
    /// Remove it; runs under way go on.
    Delete {
        /// Its name.
        name: String,
    },
}

/// When it is due.
#[derive(Args)]
pub(crate) struct Rule {
    /// By the calendar, such as '0 9 * * 1-5'.
    #[arg(long, value_name = "EXPRESSION", group = "rule")]
    cron: Option<String>,
    /// Again and again after this long, such as 90s.
    #[arg(long, value_name = "TIME", group = "rule")]
    every: Option<String>,
    /// Once, such as 2026-12-24T18:00:00Z.
    #[arg(long, value_name = "TIME", group = "rule")]
    at: Option<String>,
    /// Time zone of --cron, such as Europe/Berlin; UTC unless said otherwise.
    #[arg(long, value_name = "ZONE", conflicts_with_all = ["every", "at"])]
    zone: Option<String>,
    /// When --every begins; now unless said otherwise.
    #[arg(long, value_name = "TIME", conflicts_with_all = ["cron", "at"])]
    from: Option<String>,
}

/// What it says and how it behaves.
#[derive(Args)]
pub(crate) struct Options {
    /// Argument of the handler, as JSON.
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    input: Option<String>,
    /// A header for the handler; can be given again.
    #[arg(long = "header", value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// What becomes of times that were missed.
    #[arg(long, value_enum)]
    catch_up: Option<CatchUp>,
    /// What becomes of a run that is due while an earlier one is under way.
    #[arg(long, value_enum)]
    overlap: Option<Overlap>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CatchUp {
    /// They are skipped.
    Skip,
    /// One run for all of them.
    One,
    /// A run for each.
    All,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Overlap {
    /// Both run.
    Allow,
    /// It is skipped.
    Skip,
    /// The earlier one is cancelled.
    CancelOther,
}

/// Runs one of them.
///
/// # Errors
/// As the server answers.
pub(crate) fn run(context: &Context, command: Command) -> Result<(), CliError> {
    match command {
        Command::List { page } => {
            let fetch = || context.admin.get(&page.of(Path::of(["schedules"])));
            context.output.watch(page.watch.watch, fetch, list::render)
        }
        Command::Describe { name } => {
            let schedule = context.admin.get(&path(&name))?;
            context.output.result(&schedule, |style| describe::render(&schedule, style))
        }
        Command::Create { name, target, rule, options, paused, replace } => {
            let mut body = body(Some(target), rule, options)?;
            if !["cron", "every", "at"].iter().any(|when| body.contains_key(*when)) {
                return Err(CliError::Usage("when is it due? Give one of --cron, --every and --at".to_owned()));
            }
            if paused {
                body.insert("paused".to_owned(), true.into());
            }
            let path = path(&name).with("create_only", (!replace).then_some("true"));
            let schedule = context.admin.json(&Method::PUT, &path, Some(&body.into()))?;
            context.output.result(&schedule, |style| describe::render(&schedule, style))
        }
        Command::Edit { name, target, rule, options } => {
            let body = body(target, rule, options)?;
            if body.is_empty() { edit_in_editor(context, &name) } else { change(context, &name, body) }
        }
        Command::Pause { name } => order(context, &name, "pause", "paused"),
        Command::Resume { name } => order(context, &name, "resume", "resumed"),
        Command::Trigger { name } => {
            let answer = order_path(context, &name, "trigger")?;
            let id = show(&answer["invocation_id"]);
            context.output.result(&answer, |_| format!("{name} runs now as {id}\n"))
        }
        Command::Delete { name } => {
            context.output.confirm(&format!("Delete the schedule {name}?"))?;
            context.admin.json(&Method::DELETE, &path(&name), None)?;
            context.output.result(&json!({ "deleted": name }), |_| format!("{name} deleted\n"))
        }
    }
}

fn path(name: &str) -> Path {
    Path::of(["schedules", name])
}

fn order_path(context: &Context, name: &str, verb: &str) -> Result<Value, CliError> {
    context.admin.json(&Method::PATCH, &Path::of(["schedules", name, verb]), None)
}

fn order(context: &Context, name: &str, verb: &str, done: &str) -> Result<(), CliError> {
    let schedule = order_path(context, name, verb)?;
    context.output.result(&schedule, |_| format!("{name} {done}\n"))
}

fn change(context: &Context, name: &str, body: Map<String, Value>) -> Result<(), CliError> {
    let schedule = context.admin.json(&Method::PATCH, &path(name), Some(&body.into()))?;
    context.output.result(&schedule, |style| describe::render(&schedule, style))
}

/// What the options say of a schedule.
fn body(target: Option<Target>, rule: Rule, options: Options) -> Result<Map<String, Value>, CliError> {
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value.into());
        }
    };
    put("cron", rule.cron);
    put("every", rule.every);
    put("at", rule.at);
    put("zone", rule.zone);
    put("from", rule.from);
    put("catch_up", options.catch_up.as_ref().map(word));
    put("overlap", options.overlap.as_ref().map(word));
    if let Some(target) = target {
        put("service", Some(target.service));
        put("handler", Some(target.handler));
        body.insert("key".to_owned(), target.key.map_or(Value::Null, Value::from));
    }
    if let Some(input) = options.input {
        let input = serde_json::from_str(&input)
            .map_err(|error| CliError::Usage(format!("--input is not JSON: {error}; quote texts: '\"text\"'")))?;
        body.insert("input".to_owned(), input);
    }
    if !options.headers.is_empty() {
        let headers = options.headers.iter().map(|header| {
            let (name, value) = header
                .split_once('=')
                .ok_or_else(|| CliError::Usage(format!("--header `{header}`: expected NAME=VALUE")))?;
            Ok((name.to_owned(), Value::from(value)))
        });
        body.insert("headers".to_owned(), Value::Object(headers.collect::<Result<_, CliError>>()?));
    }
    Ok(body)
}

fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

const EDITABLE: [&str; 12] =
    ["cron", "zone", "every", "from", "at", "service", "key", "handler", "input", "headers", "catch_up", "overlap"];

fn edit_in_editor(context: &Context, name: &str) -> Result<(), CliError> {
    let schedule = context.admin.get(&path(name))?;
    let before: Map<String, Value> =
        EDITABLE.into_iter().filter_map(|member| Some((member.to_owned(), schedule.get(member)?.clone()))).collect();
    let edited = edit("schedule", &before)?;
    let sent = match changed(&before, &edited.document) {
        Ok(body) if body.is_empty() => {
            return context.output.result(&schedule, |_| format!("{name} is as it was\n"));
        }
        Ok(body) => change(context, name, body),
        Err(error) => Err(error),
    };
    sent.inspect_err(|_| context.output.note(&edited.keep()))
}

/// The change that an edited text means.
fn changed(before: &Map<String, Value>, after: &Map<String, Value>) -> Result<Map<String, Value>, CliError> {
    let (mut set, gone) = difference(before, after);
    if let Some(unknown) = set.keys().find(|name| !EDITABLE.contains(&name.as_str())) {
        let known = EDITABLE.join(", ");
        return Err(CliError::Usage(format!("a schedule has no `{unknown}` to change; there are {known}")));
    }
    for name in gone {
        match name.as_str() {
            "key" | "input" => drop(set.insert(name, Value::Null)),
            "headers" => drop(set.insert(name, json!({}))),
            // One rule takes the place of another, with what belongs to it.
            "cron" | "zone" | "every" | "from" | "at" => {}
            _ => return Err(CliError::Usage(format!("a schedule cannot be without `{name}`"))),
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_changes() {
        let object = |value: Value| value.as_object().unwrap().clone();
        let before =
            object(json!({"cron": "* * * * *", "zone": "UTC", "service": "A", "key": "k", "headers": {"a": "b"}}));
        let change = |after: Value| changed(&before, &object(after)).map(Value::Object);
        assert_eq!(
            change(json!({"every": "5m", "service": "A"})).unwrap(),
            json!({"every": "5m", "key": null, "headers": {}})
        );
        assert!(change(json!({"cron": "x", "key": "k"})).unwrap_err().to_string().contains("`service`"));
        let mut more = before.clone();
        more.insert("colour".into(), "red".into());
        assert!(change(more.into()).unwrap_err().to_string().contains("`colour`"));
    }
}
