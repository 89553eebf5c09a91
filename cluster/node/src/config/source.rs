//! Where settings come from, and how they become one [`Config`].
//!
//! Every source is turned into a list of (key, value, origin). What keys exist and what type a value has is taken from
//! the struct itself: the default configuration, serialized, is the list of known keys, and each value is tried alone by
//! deserializing a configuration that has only this value. So a fault of one setting cannot hide that of another.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde::Deserialize;
use toml::{Table, Value};

use super::fault::{ConfigError, Fault};
use super::{Config, Parsed};

const PREFIX: &str = "ABIDE_";

/// Settings that have a short name, which is `ABIDE_<NAME>` and `--<name>`.
const SHORT: [(&str, &str); 6] = [
    ("data", "data"),
    ("ingress", "ingress.addr"),
    ("admin", "admin.addr"),
    ("peer", "peer.addr"),
    ("join", "cluster.join"),
    ("partitions", "partitions"),
];

/// The setting whose value is never printed.
const SECRET: &str = "snapshot.secret_access_key";

pub(super) fn parse(
    args: impl Iterator<Item = OsString>,
    env: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Parsed, ConfigError> {
    let mut faults = Vec::new();
    let flags = match read_flags(args, &mut faults) {
        Request::Settings(flags) => flags,
        Request::Other(parsed) => return Ok(parsed),
    };
    let environment = read_environment(env, &mut faults);
    let known = known();
    let mut merged = BTreeMap::new();
    if let Some(file) = flags.file.as_ref().or(environment.file.as_ref()) {
        for setting in read_file(file, &mut faults) {
            setting.merge(&known, &mut merged, &mut faults);
        }
    }
    for setting in environment.settings.into_iter().chain(flags.settings) {
        setting.merge(&known, &mut merged, &mut faults);
    }
    let mut table = Table::new();
    for (key, (value, _)) in &merged {
        insert(&mut table, key, value.clone());
    }
    let config = Config::deserialize(table).expect("each value was tried alone and they are independent");
    for (key, message) in config.faults() {
        let origin = merged.get(key).map_or("defaults", |(_, origin)| origin);
        faults.push(Fault::new(origin, Some(key), message));
    }
    if faults.is_empty() { Ok(Parsed::Run(Box::new(config))) } else { Err(ConfigError { faults }) }
}

/// The known keys with their default values.
pub(super) fn known() -> BTreeMap<String, Value> {
    let defaults = Table::try_from(Config::default()).expect("the configuration consists of TOML types");
    let mut known = BTreeMap::new();
    flatten("", defaults, &mut |key, value| {
        known.insert(key, value);
    });
    known
}

/// One value of one source.
struct Setting {
    key: String,
    value: Raw,
    origin: String,
}

enum Raw {
    /// From a file.
    Typed(Value),
    /// From the environment or a flag: the type is that of the default.
    Text(String),
}

impl Setting {
    fn merge(
        self,
        known: &BTreeMap<String, Value>,
        merged: &mut BTreeMap<String, (Value, String)>,
        faults: &mut Vec<Fault>,
    ) {
        let Some(default) = known.get(&self.key) else {
            faults.push(Fault::new(self.origin, Some(&self.key), unknown(&self.key, known)));
            return;
        };
        let value = match self.value {
            Raw::Typed(value) => value,
            Raw::Text(text) => typed(text, default),
        };
        let mut alone = Table::new();
        insert(&mut alone, &self.key, value.clone());
        match Config::deserialize(alone) {
            Ok(_) => {
                merged.insert(self.key, (value, self.origin));
            }
            Err(error) => {
                let message = if self.key == SECRET {
                    // Whatever it is, it is nobody's to read.
                    "is not a text".to_owned()
                } else {
                    format!("= {value}: {}", error.message().trim())
                };
                faults.push(Fault::new(self.origin, Some(&self.key), message));
            }
        }
    }
}

/// Reads a text as the type that the default has; what does not fit stays a text, and its type is the fault.
fn typed(text: String, default: &Value) -> Value {
    let parsed = match default {
        Value::Integer(_) => text.trim().parse().ok().map(Value::Integer),
        Value::Boolean(_) => text.trim().parse().ok().map(Value::Boolean),
        Value::Array(_) => Some(Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Value::String(item.into()))
                .collect(),
        )),
        Value::String(_) | Value::Float(_) | Value::Datetime(_) | Value::Table(_) => None,
    };
    parsed.unwrap_or(Value::String(text))
}

/// What the command line is about.
enum Request {
    Settings(Source),
    Other(Parsed),
}

/// The settings of the environment or of the command line.
#[derive(Default)]
struct Source {
    file: Option<String>,
    settings: Vec<Setting>,
}

fn read_flags(args: impl Iterator<Item = OsString>, faults: &mut Vec<Fault>) -> Request {
    let mut source = Source::default();
    let mut args = args.peekable();
    while let Some(arg) = args.next() {
        let Some(arg) = arg.to_str().map(str::to_owned) else {
            faults.push(Fault::new("flags", None, format!("{arg:?} is not UTF-8")));
            continue;
        };
        let (name, given) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (arg.as_str(), None),
        };
        let Some(flag) = name.strip_prefix("--") else {
            match name {
                "-h" => return Request::Other(Parsed::Help),
                "-V" => return Request::Other(Parsed::Version),
                _ => faults.push(Fault::new(arg.as_str(), None, "is not a flag; see --help")),
            }
            continue;
        };
        let flag = flag.replace('-', "_");
        match flag.as_str() {
            "help" => return Request::Other(Parsed::Help),
            "version" => return Request::Other(Parsed::Version),
            _ => {}
        }
        let is_value = |next: &OsString| next.to_str().is_some_and(|next| !next.starts_with("--"));
        let Some(value) = given.or_else(|| args.next_if(is_value).and_then(|value| value.into_string().ok())) else {
            faults.push(Fault::new(name, None, "needs a value (UTF-8) behind it"));
            continue;
        };
        if flag == "config" {
            source.file = Some(value);
            continue;
        }
        let key = SHORT.iter().find(|(short, _)| *short == flag).map_or(flag.as_str(), |(_, key)| key);
        source.settings.push(Setting { key: key.to_owned(), value: Raw::Text(value), origin: name.to_owned() });
    }
    Request::Settings(source)
}

fn read_environment(env: impl Iterator<Item = (OsString, OsString)>, faults: &mut Vec<Fault>) -> Source {
    let mut source = Source::default();
    let mut named: Vec<_> = env
        .filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            (name.starts_with(PREFIX) && !is_service_link(&name)).then_some((name, value))
        })
        .collect();
    // The environment has no order of its own; faults are listed by name.
    named.sort();
    for (name, value) in named {
        let Ok(value) = value.into_string() else {
            faults.push(Fault::new(name, None, "is not UTF-8"));
            continue;
        };
        let short = name[PREFIX.len()..].to_ascii_lowercase();
        if short == "config" {
            source.file = Some(value);
            continue;
        }
        let key = match SHORT.iter().find(|(known, _)| *known == short) {
            Some((_, key)) => (*key).to_owned(),
            None => short.replace("__", "."),
        };
        source.settings.push(Setting { key, value: Raw::Text(value), origin: name });
    }
    source
}

/// Kubernetes sets such names in every container of a namespace that has a Service called `abide`.
fn is_service_link(name: &str) -> bool {
    !name.contains("__")
        && (name.ends_with("_SERVICE_HOST")
            || name.contains("_SERVICE_PORT")
            || name.ends_with("_PORT")
            || name.contains("_PORT_"))
}

fn read_file(path: &str, faults: &mut Vec<Fault>) -> Vec<Setting> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            faults.push(Fault::new(path, None, format!("the file cannot be read: {error}")));
            return Vec::new();
        }
    };
    let table = match text.parse::<Table>() {
        Ok(table) => table,
        Err(error) => {
            faults.push(Fault::new(path, None, format!("the file is not TOML: {}", error.to_string().trim())));
            return Vec::new();
        }
    };
    let mut settings = Vec::new();
    flatten("", table, &mut |key, value| {
        settings.push(Setting { key, value: Raw::Typed(value), origin: path.to_owned() });
    });
    settings
}

fn flatten(prefix: &str, table: Table, emit: &mut impl FnMut(String, Value)) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) => flatten(&key, inner, emit),
            value => emit(key, value),
        }
    }
}

fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
        None => {
            table.insert(key.to_owned(), value);
        }
    }
}

fn unknown(key: &str, known: &BTreeMap<String, Value>) -> String {
    let section = format!("{key}.");
    if known.keys().any(|candidate| candidate.starts_with(&section)) {
        let keys: Vec<_> = known.keys().filter(|candidate| candidate.starts_with(&section)).cloned().collect();
        return format!("is a section, not a setting; it has `{}`", keys.join("`, `"));
    }
    let nearest = known.keys().min_by_key(|candidate| distance(key, candidate)).expect("there are settings");
    if distance(key, nearest) <= (key.len() / 3).max(2) {
        format!("is unknown; did you mean `{nearest}`?")
    } else {
        format!("is unknown; the nearest setting is `{nearest}`, --help lists all")
    }
}

/// Edit distance: how many letters have to be added, removed or replaced.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
