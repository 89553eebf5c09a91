//! The handler threads and the way to them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as blocking;
use std::thread::JoinHandle;
use std::time::Instant;

use abide_model::id::{PartitionId, PartitionKey};
use abide_model::protocol::Failure;
use abide_sdk::service::Registry;
use actix::Actor;
use metrics::Counter;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::env::Env;
use crate::event::HostEvent;
use crate::metrics::overloaded_mailbox;
use crate::port::{DirectCall, Port, Refusal};
use crate::settings::HostSettings;
use crate::shard::{Inbound, Shard};

/// Runs native handlers on threads of its own. Dropping it lets the threads end without waiting for them.
pub struct Host {
    handle: HostHandle,
    threads: Vec<Thread>,
    settings: HostSettings,
}

struct Thread {
    join: JoinHandle<()>,
    /// Closed when the thread ends.
    ended: blocking::Receiver<()>,
}

/// Why a host cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is out of range.
    #[error("host settings: {0}")]
    Settings(&'static str),
    /// The operating system gives no thread.
    #[error("handler thread {shard} cannot be started: {source}")]
    Thread {
        /// Number of the thread.
        shard: usize,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A thread ended while it was starting: it has no event loop.
    #[error("handler thread {shard} ended while it was starting")]
    Ended {
        /// Number of the thread.
        shard: usize,
    },
}

impl Host {
    /// Starts the threads. The metrics recorder of the process has to be installed before.
    ///
    /// # Errors
    /// [`StartError`] when a setting is out of range or the operating system gives no thread.
    pub fn start<P: Port>(registry: Registry, port: P, settings: HostSettings) -> Result<Self, StartError> {
        if let Some(fault) = settings.fault() {
            return Err(StartError::Settings(fault));
        }
        let mut threads = Vec::with_capacity(settings.threads);
        let mut shards = Vec::with_capacity(settings.threads);
        for shard in 0..settings.threads {
            let (way, inputs, counter) = Way::new();
            let (registry, port, settings) = (registry.clone(), port.clone(), settings.clone());
            let (ready, started) = blocking::channel();
            let (alive, ended) = blocking::channel::<()>();
            let run = move || {
                let _alive = alive;
                actix::System::new().block_on(async move {
                    let env = Env::new(&registry, port, settings, shard);
                    let (running, stopped) = oneshot::channel();
                    Shard::new(env, inputs, counter, running).start();
                    // Nobody listens only if the host was given up meanwhile; its sender is gone too then.
                    let _ = ready.send(());
                    // The sender is never used, only dropped with the shard.
                    let _ = stopped.await;
                });
            };
            let thread = std::thread::Builder::new().name(format!("abide-handlers-{shard}")).spawn(run);
            let join = thread.map_err(|source| StartError::Thread { shard, source })?;
            started.recv().map_err(|_| StartError::Ended { shard })?;
            threads.push(Thread { join, ended });
            shards.push(way);
        }
        Ok(Self { handle: HostHandle::new(shards, &settings), threads, settings })
    }

    /// Starts the host on this thread: what would be threads are local tasks of the current
    /// [`tokio::task::LocalSet`], which has to be entered. They run when it does, and end when it is dropped.
    ///
    /// # Errors
    /// [`StartError::Settings`] when a setting is out of range.
    ///
    /// # Panics
    /// Outside a `LocalSet`.
    pub fn start_in_place<P: Port>(registry: &Registry, port: &P, settings: HostSettings) -> Result<Self, StartError> {
        if let Some(fault) = settings.fault() {
            return Err(StartError::Settings(fault));
        }
        let shards = (0..settings.threads).map(|shard| {
            let (way, inputs, counter) = Way::new();
            let env = Env::new(registry, port.clone(), settings.clone(), shard);
            // Nobody waits for the shard to stop: it goes with the set of tasks.
            let (running, _) = oneshot::channel();
            Shard::new(env, inputs, counter, running).start();
            way
        });
        let shards = shards.collect();
        Ok(Self { handle: HostHandle::new(shards, &settings), threads: Vec::new(), settings })
    }

    /// The way to the threads.
    #[must_use]
    pub fn handle(&self) -> HostHandle {
        self.handle.clone()
    }

    /// Ends the threads: attempts of flows and objects are dropped, what they did is in the log. Waits for the handlers
    /// that are running, at most [`HostSettings::stop_timeout`]; a thread whose handler blocks longer is left behind.
    pub fn stop(mut self) {
        self.order_stop();
        let deadline = Instant::now() + self.settings.stop_timeout;
        for (shard, Thread { join, ended }) in std::mem::take(&mut self.threads).into_iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            if ended.recv_timeout(left) == Err(blocking::RecvTimeoutError::Timeout) {
                tracing::warn!(shard, "a handler does not end; its thread is left behind");
            } else if join.join().is_err() {
                tracing::error!(shard, "a handler thread ended with a panic");
            }
        }
    }

    fn order_stop(&self) {
        for way in &self.handle.0.shards {
            // A closed channel means that the thread has ended already.
            let _ = way.sender.send(Inbound::Stop);
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.order_stop();
    }
}

/// The way to the handler threads. Cheap to clone.
#[derive(Clone)]
pub struct HostHandle(Arc<Inner>);

struct Inner {
    shards: Vec<Way>,
    mailbox: usize,
    partitions: u32,
    overloaded: Counter,
}

struct Way {
    sender: UnboundedSender<Inbound>,
    queued: Arc<AtomicUsize>,
}

impl Way {
    /// A way, and for the shard at its end: the inputs, and the counter of the calls among them.
    fn new() -> (Self, UnboundedReceiver<Inbound>, Arc<AtomicUsize>) {
        let (sender, inputs) = unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        (Self { sender, queued: Arc::clone(&queued) }, inputs, queued)
    }
}

impl HostHandle {
    fn new(shards: Vec<Way>, settings: &HostSettings) -> Self {
        let (mailbox, partitions) = (settings.mailbox, settings.partitions);
        Self(Arc::new(Inner { shards, mailbox, partitions, overloaded: overloaded_mailbox() }))
    }

    /// Hands a direct call to the thread of its target, without waiting.
    ///
    /// # Errors
    /// The call itself: [`Refusal::Overloaded`] when the thread has [`HostSettings::mailbox`] calls waiting,
    /// [`Refusal::ShuttingDown`] when it has ended, [`Refusal::Invalid`] when the call names another partition than its
    /// id belongs to.
    pub fn call(&self, call: DirectCall) -> Result<(), Box<(DirectCall, Refusal)>> {
        let id = call.invoke.id().filter(|id| PartitionId::of(id.partition_key, self.0.partitions) == call.partition);
        let Some(id) = id else {
            let text = format!("the invocation's id does not belong to partition {}", call.partition);
            return Err(Box::new((call, Refusal::Invalid(Failure::new(400, text)))));
        };
        let way = &self.0.shards[self.shard_of(id.partition_key)];
        if way.queued.fetch_add(1, Ordering::Relaxed) >= self.0.mailbox {
            way.queued.fetch_sub(1, Ordering::Relaxed);
            self.0.overloaded.increment(1);
            return Err(Box::new((call, Refusal::Overloaded)));
        }
        match way.sender.send(Inbound::Call(Box::new(call))) {
            Ok(()) => Ok(()),
            Err(returned) => {
                way.queued.fetch_sub(1, Ordering::Relaxed);
                match returned.0 {
                    Inbound::Call(call) => Err(Box::new((*call, Refusal::ShuttingDown))),
                    Inbound::Events(_) | Inbound::Stop => unreachable!("a channel gives back what was sent"),
                }
            }
        }
    }

    /// Delivers events, which are handled in this order and before every direct call made later. Never waits and never
    /// drops: the channel has no bound of its own. Its content is bounded by what the node admits, as each event belongs
    /// to a command that was admitted. Events for a thread that has ended are of no use to anyone; they are dropped.
    pub fn deliver(&self, shard: usize, events: Vec<HostEvent>) {
        if events.is_empty() {
            return;
        }
        if self.0.shards[shard].sender.send(Inbound::Events(events)).is_err() {
            tracing::debug!(shard, "events for a handler thread that has ended");
        }
    }

    /// The thread that everything with this partition key belongs to, below [`HostHandle::shards`].
    #[must_use]
    pub fn shard_of(&self, partition_key: PartitionKey) -> usize {
        // The high bits choose the partition; the low ones spread each partition over all threads.
        let shards = self.0.shards.len() as u64;
        usize::try_from(partition_key.0 % shards).expect("below the number of threads, a usize")
    }

    /// Number of threads.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.0.shards.len()
    }
}

impl fmt::Debug for HostHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostHandle").field("shards", &self.shards()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("handle", &self.handle).finish_non_exhaustive()
    }
}
