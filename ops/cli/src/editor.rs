//! Lets the operator edit a JSON document in `$VISUAL` or `$EDITOR`.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Map, Value};

use crate::error::CliError;

/// An edited document, and the file it was edited in.
pub(crate) struct Edited {
    /// What it is now.
    pub(crate) document: Map<String, Value>,
    file: tempfile::NamedTempFile,
}

impl Edited {
    /// Keeps the file, so that the work is not lost; tells where.
    pub(crate) fn keep(self) -> String {
        kept(self.file)
    }
}

/// Opens `document` in the editor and reads it back.
///
/// # Errors
/// No editor, an editor that failed, or a text that is no JSON object: the file is kept then.
pub(crate) fn edit(name: &str, document: &Map<String, Value>) -> Result<Edited, CliError> {
    let failed = |error: std::io::Error| CliError::Local(format!("cannot make a file to edit: {error}"));
    let mut file =
        tempfile::Builder::new().prefix(&format!("abide-{name}-")).suffix(".json").tempfile().map_err(failed)?;
    writeln!(file, "{:#}", Value::Object(document.clone())).and_then(|()| file.flush()).map_err(failed)?;

    let chosen =
        ["VISUAL", "EDITOR"].iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let editor = chosen.unwrap_or_else(|| "vi".to_owned());
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or("vi");
    let status = Command::new(program).args(words).arg(file.path()).status().map_err(|error| {
        CliError::Local(format!("cannot start the editor `{editor}`: {error}; set EDITOR to one that is installed"))
    })?;
    if !status.success() {
        return Err(CliError::Local(format!("the editor `{editor}` ended with {status}; nothing was changed")));
    }
    // Editors may have put another file in its place.
    let text = std::fs::read_to_string(file.path())
        .map_err(|error| CliError::Local(format!("cannot read {} back: {error}", file.path().display())))?;
    match serde_json::from_str(&text) {
        Ok(Value::Object(document)) => Ok(Edited { document, file }),
        Ok(_) => Err(CliError::Usage(format!("not a JSON object any more; nothing was changed. {}", kept(file)))),
        Err(error) => Err(CliError::Usage(format!("not JSON any more: {error}; nothing was changed. {}", kept(file)))),
    }
}

fn kept(file: tempfile::NamedTempFile) -> String {
    let path: PathBuf = file.path().to_owned();
    match file.keep() {
        Ok(_) => format!("Your text is in {}", path.display()),
        Err(error) => format!("Your text could not be kept: {error}"),
    }
}

/// What makes `after` out of `before`: members to set, and names of members that are gone.
pub(crate) fn difference(before: &Map<String, Value>, after: &Map<String, Value>) -> (Map<String, Value>, Vec<String>) {
    let set = after.iter().filter(|(name, value)| before.get(*name) != Some(value));
    let set = set.map(|(name, value)| (name.clone(), value.clone())).collect();
    let gone = before.keys().filter(|name| !after.contains_key(*name)).cloned().collect();
    (set, gone)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_changed_is_sent() {
        let object = |value: Value| value.as_object().unwrap().clone();
        let before = object(json!({"a": 1, "b": [1], "c": null}));
        let after = object(json!({"a": 1, "b": [2], "d": "x"}));
        let (set, gone) = difference(&before, &after);
        assert_eq!(Value::Object(set), json!({"b": [2], "d": "x"}));
        assert_eq!(gone, ["c"]);
        assert_eq!(difference(&before, &before), (Map::new(), vec![]));
    }
}
