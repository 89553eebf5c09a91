//! Settings of the host.

use std::time::Duration;

use abide_model::id::Millis;
use abide_sdk::service::RetryPolicy;

/// How handlers are run. Each bound is per thread or per object as said, so memory grows with `threads`.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// Number of partitions of the cluster; has to be the node's. Default 8.
    pub partitions: u32,
    /// Number of handler threads, at least 1. Default 1.
    pub threads: usize,
    /// Most direct calls that wait for one thread; further ones are refused as overloaded. Default 4096.
    pub mailbox: usize,
    /// Most direct calls that wait for one object, for its thread's next round and while its state is loaded; further
    /// ones are refused as overloaded. Default 1024.
    pub local_queue: usize,
    /// An object that was not used for this long leaves memory. Default 60 s.
    pub idle: Duration,
    /// A flow that has only waited for this long leaves memory; it comes back when what it waits for happens.
    /// Default 30 s.
    pub suspend_after: Duration,
    /// Most queued invocations of one object that are kept in memory; further ones are loaded again when it is their
    /// turn. At least 1. Default 256.
    pub mirror: usize,
    /// After this long without an answer to the loading of an object's state, the calls that wait for it
    /// are refused: the driver waits for the disk, or does not lead any more. Default 10 s.
    pub load_timeout: Duration,
    /// Longest wait for a thread to end when the host is stopped; one whose handler blocks longer is left behind.
    /// Default 5 s.
    pub stop_timeout: Duration,
    /// What follows failed attempts of handlers that say nothing about it.
    pub retry: RetryPolicy,
    /// How long results that may be asked for later are kept, in ms. Default 24 h.
    pub retention_ms: u64,
    /// How long result, state and promises of a workflow are kept after its end, in ms. Default 24 h.
    pub workflow_retention_ms: u64,
    /// How long journals of completed invocations are kept, in ms. Default 0.
    pub journal_retention_ms: u64,
    /// After this long a flow whose code is not in this build is looked at again. Default 60 s.
    pub code_wait: Duration,
    /// Most objects in memory; beyond, idle ones leave it before their time, those that were used longest ago first.
    /// Objects that have something to do do not. Default 20,000.
    pub objects: usize,
    /// Most bytes of state that objects in memory hold; as `objects`. Default 64 MiB.
    pub object_bytes: usize,
    /// The clock by which sleeps and delays are reckoned; has to be the node's. Default: the operating system's.
    pub clock: fn() -> Millis,
    /// Makes fresh ids and jitter repeatable, for tests. Default: from the operating system.
    pub seed: Option<u64>,
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            partitions: 8,
            threads: 1,
            mailbox: 4096,
            local_queue: 1024,
            idle: Duration::from_secs(60),
            suspend_after: Duration::from_secs(30),
            mirror: 256,
            load_timeout: Duration::from_secs(10),
            stop_timeout: Duration::from_secs(5),
            retry: RetryPolicy::default(),
            retention_ms: abide_model::limits::RETENTION_DEFAULT_MS,
            workflow_retention_ms: abide_model::limits::RETENTION_DEFAULT_MS,
            journal_retention_ms: 0,
            code_wait: Duration::from_secs(60),
            objects: 20_000,
            object_bytes: 64 << 20,
            clock: crate::clock::system,
            seed: None,
        }
    }
}

impl HostSettings {
    /// The first setting that cannot be, as text.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        [
            (self.partitions == 0, "partitions must be at least 1"),
            (self.threads == 0, "threads must be at least 1"),
            (self.mailbox == 0, "mailbox must be at least 1"),
            (self.local_queue == 0, "local_queue must be at least 1"),
            (self.objects == 0, "objects must be at least 1"),
            (self.object_bytes == 0, "object_bytes must be at least 1"),
            (self.mirror == 0, "mirror must be at least 1"),
            (self.idle.is_zero(), "idle must be more than 0"),
            (self.load_timeout.is_zero(), "load_timeout must be more than 0"),
        ]
        .into_iter()
        .find_map(|(wrong, text)| wrong.then_some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_named() {
        assert_eq!(HostSettings::default().fault(), None);
        let none = HostSettings { threads: 0, ..HostSettings::default() };
        assert_eq!(none.fault(), Some("threads must be at least 1"));
    }
}
