//! `abide state`: the state of objects, key by key.

use std::io::Read;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use ureq::http::Method;

use crate::api::Path;
use crate::editor::{difference, edit};
use crate::error::CliError;
use crate::table::{self, Column, Field};
use crate::text::{Style, Tone, clean, count, field, show};
use crate::{Context, Page, rest};

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Keys of a service that have state.
    Keys {
        /// Name of the object or workflow.
        service: String,
        /// Only keys that begin so.
        #[arg(long)]
        prefix: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// The state of one key.
    Get {
        #[command(flatten)]
        object: Object,
    },
    /// Set fields of one key; the others stay. Runs in turn with the key's handlers.
    Set {
        #[command(flatten)]
        object: Object,
        /// Fields with their values as JSON: `balance=100 'owner="alice"'`.
        #[arg(value_name = "FIELD=JSON")]
        fields: Vec<String>,
        /// Take more fields from a JSON object in this file; `-` is standard input.
        #[arg(long, value_name = "FILE")]
        from: Option<String>,
        /// Only if the state is still of this version, as `get` tells it.
        #[arg(long, value_name = "VERSION")]
        if_version: Option<String>,
    },
    /// Forget fields of one key, or with --all its whole state.
    Clear {
        #[command(flatten)]
        object: Object,
        /// Names of fields.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        fields: Vec<String>,
        /// All of them.
        #[arg(long)]
        all: bool,
        /// Only if the state is still of this version, as `get` tells it.
        #[arg(long, value_name = "VERSION")]
        if_version: Option<String>,
    },
    /// Change the state of one key in an editor. Refused when it changed meanwhile.
    Edit {
        #[command(flatten)]
        object: Object,
    },
}

/// Whose state.
#[derive(Args)]
pub(crate) struct Object {
    /// Name of the object or workflow.
    service: String,
    /// Its key.
    key: String,
}

impl Object {
    fn path(&self) -> Path {
        Path::of(["services", &self.service, "state", &self.key])
    }

    fn shown(&self) -> String {
        clean(&format!("{}/{}", self.service, self.key))
    }
}

/// Runs one of them.
///
/// # Errors
/// As the server answers.
pub(crate) fn run(context: &Context, command: Command) -> Result<(), CliError> {
    match command {
        Command::Keys { service, prefix, page } => {
            let path = || page.of(Path::of(["services", &service, "keys"]).with("prefix", prefix.as_deref()));
            context.output.watch(page.watch.watch, || context.admin.get(&path()), keys)
        }
        Command::Get { object } => {
            let state = context.admin.get(&object.path())?;
            context.output.result(&state, |style| describe(&object.shown(), &state, style))
        }
        Command::Set { object, fields, from, if_version } => {
            let set = members(&fields, from.as_deref())?;
            if set.is_empty() {
                return Err(CliError::Usage("set what? Give FIELD=JSON, or --from FILE".to_owned()));
            }
            let body = with_version(json!({ "set": set, "clear": [] }), if_version.map(Value::from));
            patch(context, &object, &body, &format!("{} set", count(set.len() as u64, "field")))
        }
        Command::Clear { object, all: true, if_version, .. } => {
            context.output.confirm(&format!("Forget the whole state of {}?", object.shown()))?;
            let path = object.path().with("version", if_version);
            let answer = context.admin.json(&Method::DELETE, &path, None)?;
            done(context, &object, &answer, "cleared")
        }
        Command::Clear { object, fields, if_version, .. } => {
            let names = fields.iter().map(|name| clean(name)).collect::<Vec<_>>().join(", ");
            context.output.confirm(&format!("Forget {names} of {}?", object.shown()))?;
            let body = with_version(json!({ "set": {}, "clear": fields }), if_version.map(Value::from));
            patch(context, &object, &body, &format!("{} cleared", count(fields.len() as u64, "field")))
        }
        Command::Edit { object } => edit_object(context, &object),
    }
}

fn edit_object(context: &Context, object: &Object) -> Result<(), CliError> {
    let state = context.admin.get(&object.path())?;
    let before = state["fields"].as_object().cloned().unwrap_or_default();
    let edited = edit("state", &before)?;
    let (set, clear) = difference(&before, &edited.document);
    if set.is_empty() && clear.is_empty() {
        return context.output.result(&state, |_| format!("{} is as it was\n", object.shown()));
    }
    let told = format!("{} set, {} cleared", set.len(), clear.len());
    let version = state.get("version").filter(|version| !version.is_null()).cloned();
    let body = with_version(json!({ "set": set, "clear": clear }), version);
    patch(context, object, &body, &told).inspect_err(|_| context.output.note(&edited.keep()))
}

fn with_version(mut body: Value, version: Option<Value>) -> Value {
    if let Some(version) = version {
        body["version"] = version;
    }
    body
}

fn patch(context: &Context, object: &Object, body: &Value, told: &str) -> Result<(), CliError> {
    let answer = context.admin.json(&Method::PATCH, &object.path(), Some(body))?;
    done(context, object, &answer, told)
}

fn done(context: &Context, object: &Object, answer: &Value, told: &str) -> Result<(), CliError> {
    let document =
        if answer.is_null() { json!({ "service": object.service, "key": object.key }) } else { answer.clone() };
    context.output.result(&document, |_| match (answer["applied"].as_bool(), field(answer, "invocation_id")) {
        (Some(false), Some(id)) => {
            format!("{}: accepted as {id}; it waits for the handlers before it\n", object.shown())
        }
        _ => format!("{}: {told}\n", object.shown()),
    })
}

/// Fields of the command line, over those of the file.
fn members(fields: &[String], from: Option<&str>) -> Result<Map<String, Value>, CliError> {
    let mut members = match from {
        None => Map::new(),
        Some(file) => match serde_json::from_str(&read(file)?) {
            Ok(Value::Object(members)) => members,
            Ok(_) => return Err(CliError::Usage(format!("{file} is not a JSON object"))),
            Err(error) => return Err(CliError::Usage(format!("{file} is not JSON: {error}"))),
        },
    };
    for word in fields {
        let (name, value) =
            word.split_once('=').ok_or_else(|| CliError::Usage(format!("`{word}`: expected FIELD=JSON")))?;
        let value = serde_json::from_str(value).map_err(|error| {
            CliError::Usage(format!("the value of `{name}` is not JSON: {error}; quote texts: '{name}=\"{value}\"'"))
        })?;
        members.insert(name.to_owned(), value);
    }
    Ok(members)
}

fn read(file: &str) -> Result<String, CliError> {
    let mut text = String::new();
    let read = match file {
        "-" => std::io::stdin().lock().read_to_string(&mut text).map(drop),
        path => std::fs::read_to_string(path).map(|content| text = content),
    };
    read.map(|()| text).map_err(|error| CliError::Local(format!("cannot read {file}: {error}")))
}

const KEYS: &[Column] = &[Column::new("KEY").shrinks(20)];

fn keys(document: &Value, style: &Style) -> String {
    let keys = document["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
    if keys.is_empty() {
        return format!("No keys have state.\n{}", rest(document, style));
    }
    let rows: Vec<Vec<Field>> = keys.iter().map(|key| vec![show(key).into()]).collect();
    table::render(KEYS, &rows, style) + &rest(document, style)
}

const FIELDS: &[Column] = &[Column::new("FIELD").shrinks(12), Column::new("VALUE").shrinks(20)];

fn describe(object: &str, state: &Value, style: &Style) -> String {
    let mut out = format!("{}\n", style.paint(Tone::Strong, object));
    for (label, value) in [
        ("version", field(state, "version")),
        ("queued", field(state, "queued")),
        ("expires", style.time_of(state, "expires_at")),
    ] {
        if let Some(value) = value {
            out.push_str(&format!("  {label:<9}{value}\n"));
        }
    }
    let members = |name: &str| state[name].as_object().into_iter().flatten();
    let mut rows: Vec<Vec<Field>> =
        members("fields").map(|(name, value)| vec![clean(name).into(), clean(&value.to_string()).into()]).collect();
    let binary =
        members("binary").map(|(name, value)| vec![clean(name).into(), format!("base64 {}", show(value)).into()]);
    rows.extend(binary);
    if rows.is_empty() {
        return out + "It has no state.\n";
    }
    out.push('\n');
    out.push_str(&table::render(FIELDS, &rows, style));
    out
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const PLAIN: Style = Style { width: None, colors: false, absolute: false, now: SystemTime::UNIX_EPOCH };

    #[test]
    fn values_are_json() {
        let read = |words: &[&str]| members(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), None);
        assert_eq!(
            Value::Object(read(&["a=1", "b=\"x=y\"", "c=null"]).unwrap()),
            json!({"a": 1, "b": "x=y", "c": null})
        );
        assert!(read(&["a=x"]).unwrap_err().to_string().contains("'a=\"x\"'"));
        assert!(read(&["a"]).unwrap_err().to_string().contains("FIELD=JSON"));
    }

    #[test]
    fn a_state_is_a_table_of_fields() {
        assert_eq!(
            describe("Account/alice", &json!({"version": "7", "fields": {"balance": 5, "owner": "a\u{1b}b"}}), &PLAIN),
            "Account/alice\n  version  7\n\nFIELD    VALUE\nbalance  5\nowner    \"a\\u001bb\"\n"
        );
        assert_eq!(describe("A/k", &json!({"fields": {}}), &PLAIN), "A/k\nIt has no state.\n");
    }

    #[test]
    fn keys_are_a_list() {
        assert_eq!(
            keys(&json!({"keys": ["a", "b\u{7}"], "next": "n"}), &PLAIN),
            "KEY\na\nb\\u{7}\nThere are more: --after n\n"
        );
        assert_eq!(keys(&json!({"keys": []}), &PLAIN), "No keys have state.\n");
    }

    #[test]
    fn what_is_not_json_is_shown_too() {
        let state = json!({"version": "1.2", "queued": 3, "fields": {}, "binary": {"raw": "AAE="}});
        assert_eq!(
            describe("A/k", &state, &PLAIN),
            "A/k\n  version  1.2\n  queued   3\n\nFIELD  VALUE\nraw    base64 AAE=\n"
        );
    }
}
