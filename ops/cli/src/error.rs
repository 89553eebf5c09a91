//! Everything that can go wrong, and the exit code of each. The one place for exit codes.

use serde_json::{Value, json};

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// The operation, or some of several, failed.
    Failed = 1,
    /// The command line, or a value in it, is wrong.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// The state of the thing does not allow it.
    Conflict = 4,
    /// No answer.
    Unreachable = 5,
    /// The operator said no.
    Aborted = 130,
}

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The command line is wrong in a way that its parser cannot see.
    #[error("{0}")]
    Usage(String),
    /// No answer from the server.
    #[error(
        "cannot reach {what} at {address}: {cause}\nIs the node running there? Set another address with `{flag} URL` or the variable {variable}."
    )]
    Unreachable { what: &'static str, address: String, cause: String, flag: &'static str, variable: &'static str },
    /// The server answered with an error.
    #[error("{message}{}", code_note(.code))]
    Answered { status: u16, message: String, code: Option<String> },
    /// Snapshots or a data folder that were looked at without a node.
    #[error("{message} [{code}]")]
    Offline { message: String, code: &'static str },
    /// Some of several operations failed; each was already reported.
    #[error("{failed} of {total} failed")]
    Partly { failed: usize, total: usize },
    /// What was waited for has not come yet.
    #[error("{0}")]
    NotYet(String),
    /// What was shown is not what one would like to see.
    #[error("{message}")]
    Shown { message: String, exit: Exit },
    /// An invocation ended with a failure.
    #[error("the invocation failed with code {code}: {message}")]
    InvocationFailed { code: u64, message: String },
    /// The operator said no.
    #[error("aborted; nothing was changed")]
    Aborted,
    /// A file, the editor or the terminal.
    #[error("{0}")]
    Local(String),
}

fn code_note(code: &Option<String>) -> String {
    code.as_ref().map_or_else(String::new, |code| format!(" [{code}]"))
}

impl CliError {
    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Unreachable { .. } => Exit::Unreachable,
            Self::Answered { status, .. } => match status {
                400 => Exit::Usage,
                404 => Exit::NotFound,
                409 | 410 | 422 | 425 | 470 => Exit::Conflict,
                _ => Exit::Failed,
            },
            Self::NotYet(_) => Exit::Conflict,
            Self::Shown { exit, .. } => *exit,
            Self::Offline { code, .. } => match *code {
                "SN010" | "RS003" => Exit::Usage,
                "SN001" | "SN019" | "RS002" | "RS007" => Exit::NotFound,
                "RS001" | "RS004" | "RS006" | "DD001" => Exit::Conflict,
                "SN003" => Exit::Unreachable,
                _ => Exit::Failed,
            },
            Self::Partly { .. } | Self::InvocationFailed { .. } | Self::Local(_) => Exit::Failed,
            Self::Aborted => Exit::Aborted,
        }
    }

    /// The document that `--json` prints instead of a result.
    pub(crate) fn json(&self) -> Value {
        let mut error = json!({ "message": self.to_string(), "exit_code": self.exit() as u8 });
        if let Self::Offline { message, code } = self {
            error["message"] = message.as_str().into();
            error["code"] = (*code).into();
        }
        if let Self::Answered { status, message, code } = self {
            error["message"] = message.as_str().into();
            error["status"] = (*status).into();
            error["code"] = code.as_deref().into();
        }
        json!({ "error": error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_exit_codes() {
        for (status, exit) in [
            (400, Exit::Usage),
            (404, Exit::NotFound),
            (409, Exit::Conflict),
            (410, Exit::Conflict),
            (422, Exit::Conflict),
            (425, Exit::Conflict),
            (470, Exit::Conflict),
            (403, Exit::Failed),
            (429, Exit::Failed),
            (500, Exit::Failed),
            (503, Exit::Failed),
        ] {
            let error = CliError::Answered { status, message: String::new(), code: None };
            assert_eq!(error.exit(), exit, "{status}");
        }
    }
}
