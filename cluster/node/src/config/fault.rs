//! What can be wrong with a configuration.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it was said: `--partitions`, `ABIDE_PARTITIONS`, the name of the file, `defaults`.
    pub origin: String,
    /// The setting it is about, unless it is about the source itself.
    pub key: Option<String>,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Fault {
    pub(super) fn new(origin: impl Into<String>, key: Option<&str>, message: impl Into<String>) -> Self {
        Self { origin: origin.into(), key: key.map(str::to_owned), message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}: `{key}` {}", self.origin, self.message),
            None => write!(f, "{}: {}", self.origin, self.message),
        }
    }
}

/// A configuration that cannot be used; all its faults, in the order of the sources.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has {}:{}", count(.faults), list(.faults))]
pub struct ConfigError {
    /// At least one.
    pub faults: Vec<Fault>,
}

fn count(faults: &[Fault]) -> String {
    if faults.len() == 1 { "a fault".to_owned() } else { format!("{} faults", faults.len()) }
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("\n  {fault}")).collect()
}
