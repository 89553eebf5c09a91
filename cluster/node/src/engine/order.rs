//! What an operator may order an invocation to do.

use abide_model::command::{Control, Verb};
use abide_model::id::{InvocationId, Millis};
use bytes::Bytes;

/// Which code an invocation goes on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deployment {
    /// The version it is pinned to.
    Keep,
    /// The current version of its service.
    Latest,
    /// This version, which must be bound.
    Version(String),
}

impl Deployment {
    /// As a command says it.
    fn version(self) -> Option<String> {
        match self {
            Self::Keep => None,
            Self::Latest => Some(String::new()),
            Self::Version(version) => Some(version),
        }
    }
}

/// An order for one invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Ask it to stop; its compensation runs.
    Cancel,
    /// End it now, with all that it called.
    Kill,
    /// Make no further attempts until it is resumed.
    Pause,
    /// Try a paused or backing-off one again now.
    Resume {
        /// With which code.
        deployment: Deployment,
    },
    /// Forget a completed one.
    Purge,
    /// Forget the journal of a completed one; the result stays.
    PurgeJournal,
    /// Run a completed one again as a new invocation.
    Restart {
        /// The last journal entry that the new one takes over; 0, the Input, starts from the beginning.
        from: u32,
        /// With which code.
        deployment: Deployment,
    },
    /// Give a scheduled one another time.
    Reschedule {
        /// The new time.
        at: Millis,
    },
}

impl Order {
    /// The command for `target`. A restart gets the id `fresh`, which is in the partition of the target.
    pub(super) fn into_command(self, target: InvocationId, fresh: InvocationId) -> Control {
        match self {
            Self::Cancel => Control::new(target, Verb::Cancel),
            Self::Kill => Control::new(target, Verb::Kill),
            Self::Pause => Control::new(target, Verb::Pause),
            Self::Purge => Control::new(target, Verb::Purge),
            Self::PurgeJournal => Control::new(target, Verb::PurgeJournal),
            Self::Resume { deployment } => {
                Control { version: deployment.version(), ..Control::new(target, Verb::Resume) }
            }
            Self::Restart { from, deployment } => Control {
                new_id: Bytes::copy_from_slice(&fresh.to_bytes()),
                keep: from.saturating_add(1),
                version: deployment.version(),
                ..Control::new(target, Verb::Restart)
            },
            Self::Reschedule { at } => Control { execute_at: at.0, ..Control::new(target, Verb::Reschedule) },
        }
    }

    /// The version of the code that the order names.
    pub(super) fn named_version(&self) -> Option<&str> {
        match self {
            Self::Resume { deployment: Deployment::Version(version) }
            | Self::Restart { deployment: Deployment::Version(version), .. } => Some(version),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abide_model::id::PartitionKey;

    #[test]
    fn orders_become_commands() {
        let target = InvocationId { partition_key: PartitionKey(1), unique: 1 };
        let fresh = InvocationId { partition_key: PartitionKey(1), unique: 2 };
        let command = |order: Order| order.into_command(target, fresh);
        assert_eq!(command(Order::Cancel), Control::new(target, Verb::Cancel));
        assert_eq!(command(Order::Resume { deployment: Deployment::Keep }).version, None);
        assert_eq!(command(Order::Resume { deployment: Deployment::Latest }).version.as_deref(), Some(""));
        let restart = command(Order::Restart { from: 2, deployment: Deployment::Version("v2".into()) });
        assert_eq!((restart.keep, restart.version.as_deref()), (3, Some("v2")));
        assert_eq!(restart.new_id.as_ref(), fresh.to_bytes());
        assert_eq!(command(Order::Restart { from: u32::MAX, deployment: Deployment::Keep }).keep, u32::MAX);
        assert_eq!(command(Order::Reschedule { at: Millis(7) }).execute_at, 7);
    }
}
