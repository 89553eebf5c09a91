//! One run from the start of the node to the report.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use abide::Running;
use abide_node::config::{Config, Parsed};
use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;
use tokio::task::LocalSet;

use super::args::{Args, Mode, Target};
use super::keys::Keys;
use super::line::{self, Call, Line};
use super::pace::{self, Due};
use super::probe::Sources;
use super::report::{Latency, Report};
use crate::node::{self, NodeProcess};
use crate::process::{self, Device};
use crate::{app, role};

/// How long calls that are under way at the end may take; an open loop may also have to catch up.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// Callers that read all keys before the warm-up.
const TOUCHERS: usize = 128;
/// Longest latency that is told apart, in ns.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// Starts what is needed, applies the load, and reports.
pub(super) fn run(args: &Args) -> anyhow::Result<Report> {
    let connections = args.connections()?;
    let scratch = args.scratch.clone().map_or_else(role::scratch, Ok)?;
    let data = tempfile::Builder::new().prefix("bench-data-").tempdir_in(scratch).context("making a data folder")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (node, callers) = (Place::open(args, data.path())?, LocalSet::new());
    let report = callers.block_on(&runtime, async {
        let node = node.start(args).await?;
        let device = if args.to.is_some() { None } else { Device::under(data.path()) };
        let report = load(args, connections, &node, device).await;
        node.stop().await;
        report
    });
    drop(callers);
    report
}

/// Where the node is, before it runs.
enum Place {
    Elsewhere { ingress: SocketAddr, admin: SocketAddr, pid: Option<u32> },
    Own(Vec<String>),
}

impl Place {
    fn open(args: &Args, data: &std::path::Path) -> anyhow::Result<Self> {
        match (args.to, args.admin) {
            (Some(ingress), Some(admin)) if args.mode == Mode::Http => {
                Ok(Self::Elsewhere { ingress, admin, pid: args.pid })
            }
            (Some(_), _) => bail!("a node in this process is always started here: leave --to out"),
            _ => Ok(Self::Own(node::flags(&data.join("node"), args.partitions, &args.node))),
        }
    }

    async fn start(self, args: &Args) -> anyhow::Result<Node> {
        match self {
            Self::Elsewhere { ingress, admin, pid } => Ok(Node::Elsewhere { ingress, admin, pid }),
            Self::Own(flags) if args.mode == Mode::Http => Ok(Node::Process(NodeProcess::start(&flags)?)),
            Self::Own(flags) => {
                let config = match Config::parse(flags.into_iter().map(Into::into), std::iter::empty())? {
                    Parsed::Run(config) => *config,
                    _ => bail!("the settings behind `--` are none"),
                };
                let started = Instant::now();
                let running = app::bind(abide::Server::builder()).config(config).start().await?;
                Ok(Node::Here { running, start: started.elapsed() })
            }
        }
    }
}

/// A running node.
#[expect(clippy::large_enum_variant, reason = "one value per run")]
enum Node {
    Elsewhere { ingress: SocketAddr, admin: SocketAddr, pid: Option<u32> },
    Process(NodeProcess),
    Here { running: Running, start: Duration },
}

impl Node {
    fn ingress(&self) -> SocketAddr {
        match self {
            Self::Elsewhere { ingress, .. } => *ingress,
            Self::Process(node) => node.ingress,
            Self::Here { running, .. } => running.ingress(),
        }
    }

    fn admin(&self) -> SocketAddr {
        match self {
            Self::Elsewhere { admin, .. } => *admin,
            Self::Process(node) => node.admin,
            Self::Here { running, .. } => running.admin(),
        }
    }

    fn pid(&self) -> Option<u32> {
        match self {
            Self::Elsewhere { pid, .. } => *pid,
            Self::Process(node) => Some(node.pid()),
            Self::Here { .. } => Some(std::process::id()),
        }
    }

    /// From the beginning of its start until it served.
    fn start_time(&self) -> Option<Duration> {
        match self {
            Self::Elsewhere { .. } => None,
            Self::Process(node) => Some(node.start),
            Self::Here { start, .. } => Some(*start),
        }
    }

    /// Ways to it for `count` callers.
    async fn lines(&self, args: &Args, count: usize, connections: usize) -> anyhow::Result<Vec<Line>> {
        let mut lines = Vec::with_capacity(count);
        match self {
            Self::Here { running, .. } => lines.extend((0..count).map(|_| Line::Client(running.client()))),
            _ if args.h2c => {
                for _ in 0..connections {
                    lines.push(Line::Http2(line::open_http2(self.ingress()).await?));
                }
                for number in connections..count {
                    if let Line::Http2(sender) = &lines[number % connections] {
                        lines.push(Line::Http2(sender.clone()));
                    }
                }
            }
            _ => {
                let doors: Vec<SocketAddr> = [self.ingress()].into_iter().chain(args.also.iter().copied()).collect();
                for number in 0..count {
                    let door = doors[number % doors.len()];
                    lines.push(Line::Http1(super::http1::Connection::open(door).await?));
                }
            }
        }
        Ok(lines)
    }

    async fn stop(self) {
        if let Self::Here { running, .. } = self {
            running.stop().await;
        }
    }
}

/// What the callers share. They are tasks of one thread.
struct Shared {
    target: Target,
    /// Calls that began, or were due, from here on are measured.
    from: Instant,
    to: Instant,
    done: Arc<AtomicU64>,
    latency: RefCell<Histogram<u64>>,
    measured: Cell<u64>,
    errors: Cell<u64>,
    first_error: RefCell<Option<String>>,
}

impl Shared {
    fn note(&self, began: Instant, ended: Instant, result: anyhow::Result<()>) {
        if let Err(error) = result {
            if began >= self.from {
                self.errors.set(self.errors.get() + 1);
            }
            self.first_error.borrow_mut().get_or_insert_with(|| format!("{error:#}"));
            return;
        }
        self.done.fetch_add(1, Ordering::Relaxed);
        if (self.from..self.to).contains(&ended) {
            self.measured.set(self.measured.get() + 1);
        }
        if began >= self.from {
            self.record(ended - began);
        }
    }

    fn record(&self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latency.borrow_mut().saturating_record(ns);
    }
}

async fn load(args: &Args, connections: usize, node: &Node, device: Option<Device>) -> anyhow::Result<Report> {
    if args.touch {
        touch(args, node).await?;
    }
    let lines = node.lines(args, args.outstanding, connections).await?;
    let start = Instant::now();
    let from = start + Duration::from_secs_f64(args.warmup);
    let to = from + Duration::from_secs_f64(args.seconds);
    let shared = Rc::new(Shared {
        target: args.target,
        from,
        to,
        done: Arc::default(),
        latency: RefCell::new(Histogram::new_with_bounds(100, LATENCY_MAX_NS, 3)?),
        measured: Cell::new(0),
        errors: Cell::new(0),
        first_error: RefCell::default(),
    });
    let sources = Sources { done: Arc::clone(&shared.done), admin: node.admin(), node: node.pid(), device };
    let watch = sources.watch(from, to);
    let due = args.rate.map(|rate| {
        let due = Due::default();
        tokio::task::spawn_local(due.clone().fill(pace::metronome(rate, start, to)));
        due
    });
    let mut callers = Vec::with_capacity(lines.len());
    for (number, line) in lines.into_iter().enumerate() {
        let keys = Keys::new(args.keys, args.seed, number as u64);
        callers.push(tokio::task::spawn_local(caller(line, keys, Rc::clone(&shared), due.clone())));
    }
    tokio::time::sleep_until(to.into()).await;
    let deadline = tokio::time::Instant::now() + DRAIN_TIME;
    while due.as_ref().is_some_and(|due| !due.is_empty()) && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Calls that were due and never made waited until now at least.
    let never_made = due.as_ref().map(Due::take).unwrap_or_default();
    let now = Instant::now();
    never_made.iter().filter(|at| **at >= from).for_each(|at| shared.record(now - *at));
    if due.is_some() {
        // Those that wait for a call will get none.
        tokio::time::sleep(Duration::from_millis(50)).await;
        callers.iter().for_each(tokio::task::JoinHandle::abort);
    }
    for caller in callers {
        let _ = tokio::time::timeout_at(deadline, caller).await;
    }
    let (before, after) = watch.result()?;
    let latency = Latency::of(&shared.latency.borrow());
    let mut report = Report::new(args, if args.mode == Mode::Http { connections } else { 0 }, &before, &after, latency);
    report.ops_per_second = shared.measured.get() as f64 / args.seconds;
    report.errors = shared.errors.get();
    report.first_error = shared.first_error.borrow_mut().take();
    report.never_made = never_made.len() as u64;
    report.start_ms = node.start_time().map(|time| time.as_secs_f64() * 1e3);
    report.peak_rss_bytes = node.pid().map(process::peak_rss_bytes);
    Ok(report)
}

/// Calls again and again: as soon as there is an answer, or when a call is due.
async fn caller(mut line: Line, mut keys: Keys, shared: Rc<Shared>, due: Option<Due>) {
    let mut number = 0;
    loop {
        let began = match &due {
            Some(due) => due.next().await,
            None => Instant::now(),
        };
        if due.is_none() && began >= shared.to {
            return;
        }
        number += 1;
        let result = line.call(Call { target: shared.target, key: keys.next(), number }).await;
        let failed = result.is_err();
        shared.note(began, Instant::now(), result);
        if failed {
            // A node that refuses must not be asked in a tight loop; a connection that is gone will not come back.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Reads every key once.
async fn touch(args: &Args, node: &Node) -> anyhow::Result<()> {
    let next = Rc::new(Cell::new(0));
    let count = TOUCHERS.min(usize::try_from(args.keys).unwrap_or(TOUCHERS));
    let mut touchers = Vec::with_capacity(count);
    for mut line in node.lines(args, count, 1).await? {
        let (next, keys) = (Rc::clone(&next), args.keys);
        touchers.push(tokio::task::spawn_local(async move {
            while next.get() < keys {
                let key = next.replace(next.get() + 1);
                line.call(Call { target: Target::Get, key, number: 0 }).await?;
            }
            anyhow::Ok(())
        }));
    }
    for toucher in touchers {
        toucher.await?.context("reading every key once")?;
    }
    Ok(())
}
