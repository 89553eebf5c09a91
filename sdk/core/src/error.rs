//! Failures: of handlers, of steps, and of calls.

use std::fmt;
use std::time::Duration;

use abide_model::error::{self, ErrorCode};
use abide_model::id::InvocationId;
pub use abide_model::protocol::CODE_METADATA;
use abide_model::protocol::{Failure, Metadata};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Name of the metadata under which a handler's own error travels, as JSON.
pub const ERROR_METADATA: &str = "abide-error";

/// A failure that is final: it is not retried, and is what the caller gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Terminal {
    /// HTTP-like code.
    pub code: u16,
    /// For people.
    pub message: String,
}

impl Terminal {
    /// Code of a cancelled invocation.
    pub const CANCELLED: u16 = 409;

    /// A failure with this code.
    #[must_use]
    pub fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// What every pending operation answers when the invocation is cancelled.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(Self::CANCELLED, "cancelled")
    }

    /// Whether this invocation, or the one it waited for, was cancelled. Other conflicts have the same code.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        // The second is the platform's word for an invocation that had not begun.
        self.code == Self::CANCELLED && matches!(self.message.as_str(), "cancelled" | "canceled")
    }

    pub(crate) fn of(failure: &Failure) -> Self {
        Self::new(u16::try_from(failure.code).unwrap_or(500), failure.message.clone())
    }

    pub(crate) fn failure(&self) -> Failure {
        Failure::new(u32::from(self.code), self.message.clone())
    }
}

/// Why a step of a flow failed. Every `std` error converts into one that is retried; a [`Terminal`] ends the step.
pub struct StepError {
    kind: StepErrorKind,
}

enum StepErrorKind {
    Retryable(Box<dyn std::error::Error>),
    Terminal(Terminal),
}

impl StepError {
    /// A failure after which the step is tried again.
    #[must_use]
    pub fn retryable(message: impl fmt::Display) -> Self {
        Self { kind: StepErrorKind::Retryable(message.to_string().into()) }
    }

    /// A failure that is the step's result.
    #[must_use]
    pub fn terminal(code: u16, message: impl fmt::Display) -> Self {
        Self { kind: StepErrorKind::Terminal(Terminal::new(code, message.to_string())) }
    }

    /// The final failure, or the retryable error.
    ///
    /// # Errors
    /// The error, when the step may be tried again.
    pub(crate) fn into_terminal(self) -> Result<Terminal, Box<dyn std::error::Error>> {
        match self.kind {
            StepErrorKind::Terminal(terminal) => Ok(terminal),
            StepErrorKind::Retryable(error) => Err(error),
        }
    }
}

impl<E: std::error::Error + 'static> From<E> for StepError {
    fn from(error: E) -> Self {
        let error: Box<dyn std::error::Error> = Box::new(error);
        match error.downcast::<Terminal>() {
            Ok(terminal) => Self { kind: StepErrorKind::Terminal(*terminal) },
            Err(error) => Self { kind: StepErrorKind::Retryable(error) },
        }
    }
}

impl fmt::Debug for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            StepErrorKind::Retryable(error) => write!(f, "retryable: {error}"),
            StepErrorKind::Terminal(terminal) => write!(f, "terminal: {terminal}"),
        }
    }
}

/// A handler's own error: an outcome like any other, which typed callers get back as [`CallError::Domain`].
///
/// ```
/// # use abide_sdk as abide;
/// #[derive(Debug, serde::Serialize, serde::Deserialize)]
/// enum BankError {
///     Overdrawn { by: i64 },
/// }
/// impl std::fmt::Display for BankError {
///     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
///         let Self::Overdrawn { by } = self;
///         write!(f, "overdrawn by {by}")
///     }
/// }
/// impl abide::HandlerError for BankError {
///     fn code(&self) -> u16 {
///         422
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a handler",
    label = "a handler's error has to implement `HandlerError`",
    note = "write `impl HandlerError for {Self} {{}}`; it needs `Serialize`, `Deserialize` and `Display`, so that callers get it back as `CallError::Domain`"
)]
pub trait HandlerError: Serialize + DeserializeOwned + fmt::Display {
    /// HTTP status and failure code.
    fn code(&self) -> u16 {
        500
    }
}

impl HandlerError for Terminal {
    fn code(&self) -> u16 {
        self.code
    }
}

/// Handlers reached by name may fail with anything.
impl HandlerError for serde_json::Value {}

/// The error of handlers that do not return a `Result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoError {}

impl fmt::Display for NoError {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for NoError {}

impl HandlerError for NoError {}

/// The failure that carries `error` to the caller.
pub(crate) fn encode_error<E: HandlerError>(error: &E) -> Failure {
    let json = serde_json::to_string(error);
    let metadata = json.map(|value| Metadata { key: ERROR_METADATA.to_owned(), value });
    Failure { code: u32::from(error.code()), message: error.to_string(), metadata: metadata.into_iter().collect() }
}

/// How the machine begins the text that names the cycle.
const DEADLOCK_INTRODUCTION: &str = "the call would wait for itself: ";

/// The code printed as `AB0508`.
fn platform_code(text: &str) -> Option<ErrorCode> {
    text.strip_prefix("AB")?.parse().ok().map(ErrorCode)
}

fn metadata<'a>(failure: &'a Failure, key: &str) -> Option<&'a str> {
    failure.metadata.iter().find(|fact| fact.key == key).map(|fact| fact.value.as_str())
}

/// Why a call has no value. `E` is the callee's own error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError<E> {
    /// The handler returned this.
    Domain(E),
    /// The invocation ended with a failure that is not the handler's own error: it was cancelled or killed, or belongs
    /// to a service of another kind.
    Terminal {
        /// HTTP-like code.
        code: u16,
        /// For people.
        message: String,
    },
    /// Not accepted: the request is wrong. Nothing was executed.
    Rejected {
        /// HTTP-like code.
        code: u16,
        /// For people.
        message: String,
    },
    /// Not accepted: a bound is reached. Nothing was executed; try again later.
    Overloaded {
        /// For people.
        message: String,
        /// When to try again, if known.
        retry_after: Option<Duration>,
    },
    /// The callee waits, directly or through others, for the caller. Nothing was executed.
    Deadlock {
        /// The objects that wait for each other: `Account/a → Account/b → Account/a`.
        cycle: String,
    },
    /// No such service, handler or invocation.
    NotFound {
        /// What is missing.
        message: String,
    },
    /// The answer was lost: the invocation may or may not have been executed. Ask again with the same idempotency key, or
    /// attach to the invocation.
    OutcomeUnknown(Option<InvocationId>),
}

impl<E: HandlerError> CallError<E> {
    /// The typed form of the failure `failure` of an invocation.
    #[must_use]
    pub fn from_failure(failure: &Failure) -> Self {
        let Terminal { code, message } = Terminal::of(failure);
        if let Some(error) = metadata(failure, ERROR_METADATA).and_then(|json| serde_json::from_str(json).ok()) {
            return Self::Domain(error);
        }
        match metadata(failure, CODE_METADATA).and_then(platform_code) {
            Some(error::INVALID_REQUEST | error::TOO_LARGE) => Self::Rejected { code, message },
            Some(error::OVERLOADED | error::MAILBOX_FULL | error::RATE_LIMITED | error::SHUTTING_DOWN) => {
                Self::Overloaded { message, retry_after: None }
            }
            Some(error::DEADLOCK) => {
                let cycle = message.strip_prefix(DEADLOCK_INTRODUCTION).unwrap_or(&message).to_owned();
                Self::Deadlock { cycle }
            }
            Some(error::NOT_FOUND) => Self::NotFound { message },
            Some(error::OUTCOME_UNKNOWN) => Self::OutcomeUnknown(None),
            _ => Self::Terminal { code, message },
        }
    }

    /// HTTP-like code.
    pub fn code(&self) -> u16 {
        match self {
            Self::Domain(error) => error.code(),
            Self::Terminal { code, .. } | Self::Rejected { code, .. } => *code,
            Self::Overloaded { .. } => 429,
            Self::Deadlock { .. } => error::DEADLOCK.0,
            Self::NotFound { .. } => 404,
            Self::OutcomeUnknown(_) => 504,
        }
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(error) => error.fmt(f),
            Self::Terminal { message, .. } => f.write_str(message),
            Self::Rejected { code, message } => write!(f, "rejected: {message} [{code}]"),
            Self::Overloaded { message, .. } => write!(f, "overloaded: {message}"),
            Self::Deadlock { cycle } => write!(f, "deadlock: {cycle}"),
            Self::NotFound { message } => write!(f, "not found: {message}"),
            Self::OutcomeUnknown(Some(id)) => write!(f, "the outcome of {id} is unknown"),
            Self::OutcomeUnknown(None) => write!(f, "the outcome is unknown"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for CallError<E> {}

impl<E: HandlerError> From<CallError<E>> for Terminal {
    fn from(error: CallError<E>) -> Self {
        match error {
            CallError::Terminal { code, message } => Self { code, message },
            other => Self::new(other.code(), other.to_string()),
        }
    }
}

/// Turns the result of a call into one whose error is a [`Terminal`], for handlers whose error has
/// `#[from] Terminal`: `cx.object::<Ledger>("main").record(1).await.or_terminal()?`.
pub trait OrTerminal<T> {
    /// The same result, the error as a [`Terminal`].
    ///
    /// # Errors
    /// The call's error.
    fn or_terminal(self) -> Result<T, Terminal>;
}

impl<T, E: HandlerError> OrTerminal<T> for Result<T, CallError<E>> {
    fn or_terminal(self) -> Result<T, Terminal> {
        self.map_err(Terminal::from)
    }
}
