//! The command `abide`, as a process, against the node under test.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::http::Http;
use crate::program::Process;

/// The command, with the addresses of a node.
pub struct Cli {
    exe: PathBuf,
    admin: String,
    ingress: String,
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Told {
    /// Exit code.
    pub code: i32,
    /// The document on its standard output; `null` when there was none.
    pub document: Value,
    /// Notes and errors.
    pub stderr: String,
}

impl Cli {
    /// The command `exe`, asking `process`.
    #[must_use]
    pub fn new(exe: &str, process: &Process) -> Self {
        Self::at(exe, &process.admin, &process.ingress)
    }

    /// The command `exe`, asking at these doors.
    #[must_use]
    pub fn at(exe: &str, admin: &Http, ingress: &Http) -> Self {
        let (admin, ingress) = (admin.base().to_owned(), ingress.base().to_owned());
        Self { exe: PathBuf::from(exe), admin, ingress }
    }

    /// Runs it with `--json`, and without anybody who could be asked. `line` is split at blanks.
    ///
    /// # Panics
    /// When it cannot be run, or standard output is not one JSON document.
    #[must_use]
    pub fn run(&self, line: &str) -> Told {
        let mut command = Command::new(&self.exe);
        command.args(["--json", "--admin", &self.admin, "--ingress", &self.ingress]).args(line.split_whitespace());
        let output = command.env_remove("ABIDE_ADMIN").stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let document = match text.trim() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|error| panic!("`abide {line}`: {error}: {text}")),
        };
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Told { code: output.status.code().unwrap(), document, stderr }
    }

    /// As [`Cli::run`], where exit code 0 is expected; the document.
    ///
    /// # Panics
    /// When it ends with another.
    pub fn ok(&self, line: &str) -> Value {
        let told = self.run(line);
        assert_eq!(told.code, 0, "`abide {line}`: {told:?}");
        told.document
    }
}
