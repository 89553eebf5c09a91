//! What everything stood at when the measurement began and ended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context as _;

use crate::process::{Device, Reading};
use crate::scrape::Page;

/// Where figures of a run come from.
#[derive(Clone)]
pub(super) struct Sources {
    /// Calls that were answered.
    pub(super) done: Arc<AtomicU64>,
    pub(super) admin: SocketAddr,
    /// The node, if it is on this machine.
    pub(super) node: Option<u32>,
    pub(super) device: Option<Device>,
}

/// All figures at one moment.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) at: Instant,
    pub(super) done: u64,
    pub(super) node: Option<Reading>,
    pub(super) generator: Reading,
    pub(super) device_bytes: Option<u64>,
    pub(super) page: Page,
}

impl Sources {
    fn look(&self) -> anyhow::Result<Snapshot> {
        // The page first: it takes longest, and the rest should be of one moment.
        let page = Page::fetch(self.admin)?;
        Ok(Snapshot {
            at: Instant::now(),
            done: self.done.load(Ordering::Relaxed),
            node: self.node.map(Reading::of),
            generator: Reading::of(std::process::id()),
            device_bytes: self.device.as_ref().and_then(Device::written),
            page,
        })
    }

    /// Looks at `from` and at `to`, on a thread of its own: it may block, the callers may not.
    pub(super) fn watch(self, from: Instant, to: Instant) -> Watch {
        let watch = move || {
            let sleep_until = |at: Instant| std::thread::sleep(at.saturating_duration_since(Instant::now()));
            sleep_until(from);
            let before = self.look()?;
            sleep_until(to);
            Ok((before, self.look()?))
        };
        let thread = std::thread::Builder::new().name("bench-probe".into()).spawn(watch);
        Watch(thread.expect("the system can start a thread"))
    }
}

/// A measurement under way.
pub(super) struct Watch(std::thread::JoinHandle<anyhow::Result<(Snapshot, Snapshot)>>);

impl Watch {
    pub(super) fn result(self) -> anyhow::Result<(Snapshot, Snapshot)> {
        self.0.join().ok().context("the probe panicked")?
    }
}
