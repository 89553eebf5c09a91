//! The driver with real handler threads on model disks.

use std::thread::JoinHandle;

use abide::prelude::*;
use abide_host::{Host, HostSettings};
use abide_model::command::{OutcomeKind, Priority};
use abide_model::id::{ObjectId, ReplicaId};
use abide_model::protocol::{Header, SignalId, SignalResult, Value};
use abide_storage::{CommitOutcome, MemLog, MemState};

use super::*;
use crate::engine::{Engine, InvokeRequest, Order, Retention};

const RETENTION: Retention = Retention { completed_ms: 60_000, journal_ms: 0, workflow_ms: 60_000 };

mod schedules;

#[object]
struct Counter {
    value: i64,
}

#[derive(Serialize, Deserialize)]
struct Pass {
    to: String,
    amount: i64,
}

#[handlers]
impl Counter {
    fn add(&mut self, _cx: &mut Turn, amount: i64) -> i64 {
        self.value += amount;
        self.value
    }

    fn get(&self, _cx: &Read) -> i64 {
        self.value
    }

    fn pass(&mut self, cx: &mut Turn, pass: Pass) -> i64 {
        self.value -= pass.amount;
        cx.object::<Counter>(&pass.to).add(pass.amount).send();
        self.value
    }

    async fn slowly(&mut self, cx: &mut Flow, amount: i64) -> Result<i64, Terminal> {
        let first = cx.run("first", move || async move { Ok(amount) }).await?;
        // Longer than whatever a test does meanwhile on a busy machine.
        cx.sleep(Duration::from_millis(500)).await?;
        self.value += first;
        Ok(self.value)
    }

    fn refuse(&mut self, _cx: &mut Turn, reason: String) -> Result<i64, Terminal> {
        Err(Terminal::new(418, reason))
    }

    #[handler(journal_retention = "1h")]
    async fn kept(&mut self, cx: &mut Flow, amount: i64) -> Result<i64, Terminal> {
        let first = cx.run("first", move || async move { Ok(amount) }).await?;
        self.value += first;
        Ok(self.value)
    }

    /// Adds a digit.
    fn append(&mut self, _cx: &mut Turn, digit: i64) -> i64 {
        self.value = self.value * 10 + digit;
        self.value
    }

    fn sends(&mut self, cx: &mut Turn, digit: i64) {
        cx.object::<Counter>("a").append(digit).priority(Priority::High).send();
    }

    async fn sends_slowly(&mut self, cx: &mut Flow, digit: i64) -> Result<(), Terminal> {
        let sent = cx.object::<Counter>("a").append(digit).priority(Priority::High).send();
        sent.invocation_id().await.map(drop)
    }

    async fn wait(&mut self, cx: &mut Flow) -> Result<String, Terminal> {
        cx.signal::<String>("go").await
    }

    #[handler(retry(max_attempts = 1, exhausted = "pause"))]
    async fn stumble(&mut self, cx: &mut Flow) -> Result<i64, Terminal> {
        cx.run("fall", || async { Err::<i64, _>(StepError::from(std::io::Error::other("no ground"))) }).await
    }
}

#[workflow]
struct Signup {
    email: String,
}

#[handlers]
impl Signup {
    async fn run(&mut self, _cx: &mut Flow, email: String) -> usize {
        self.email = email;
        self.email.len()
    }

    fn email(&self, _cx: &Read) -> String {
        self.email.clone()
    }
}

fn settings(partitions: u32, overlay_bytes: usize) -> DriverSettings {
    DriverSettings {
        partitions,
        node: FOUNDER,
        meta: false,
        overlay_bytes,
        checkpoint_interval: Duration::from_millis(50),
        attempts: 100,
        retention: Retention { completed_ms: 60_000, journal_ms: 0, workflow_ms: 60_000 },
        writers: Writers::Threads,
        evidence: None,
    }
}

/// A node without doors.
pub(crate) struct World {
    log: MemLog,
    state: Arc<MemState>,
    pub(crate) engine: Engine,
    host: Host,
    handle: DriverHandle,
    thread: JoinHandle<Result<(), Fatal>>,
}

impl World {
    fn start(log: MemLog, state: MemState, overlay_bytes: usize) -> Self {
        let partitions = 4;
        let state = Arc::new(state);
        let registry = Registry::builder().bind::<Counter>().bind::<Signup>().build();
        let (handle, events) = DriverHandle::new(1024);
        let host =
            Host::start(registry.clone(), handle.clone(), HostSettings { partitions, ..HostSettings::default() })
                .unwrap();
        let settings = settings(partitions, overlay_bytes);
        let cluster = Cluster::new(FOUNDER);
        let surroundings = Surroundings {
            events,
            host: host.handle(),
            cluster: cluster.clone(),
            post: None,
            snapshots: None,
            lender: None,
        };
        let mut driver = Driver::open(log.clone(), &state, settings, surroundings, &registry).unwrap();
        let (ready, is_ready) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || driver.run(|| drop(ready)));
        let _ = is_ready.recv();
        let engine = Engine::new(registry, handle.clone(), host.handle(), partitions, RETENTION, cluster, None);
        Self { log, state, engine, host, handle, thread }
    }

    pub(crate) fn new() -> Self {
        Self::start(MemLog::new(), MemState::new(), 1 << 20)
    }

    /// The process dies in the middle of a write, and the machine loses everything that was not synced.
    fn crash(mut self) -> (MemLog, MemState) {
        self.log.fail_next_commit(CommitOutcome::Absent);
        let unanswered = self.engine.call(Self::request("nobody", "add", "1", None));
        assert!(self.thread.join().unwrap().is_err(), "the driver goes on after a failed write");
        self.host.stop();
        drop(unanswered);
        self.log.crash(0);
        self.state.crash(0);
        (self.log, (*self.state).clone())
    }

    pub(crate) fn stop(self) -> Result<(), Fatal> {
        self.host.stop();
        self.handle.stop();
        self.thread.join().unwrap()
    }

    pub(crate) fn request(key: &str, handler: &str, input: &str, idempotency_key: Option<&str>) -> InvokeRequest {
        InvokeRequest {
            service: "Counter".into(),
            handler: handler.into(),
            key: Some(key.into()),
            input: input.to_owned().into(),
            idempotency_key: idempotency_key.map(str::to_owned),
            ..InvokeRequest::default()
        }
    }

    /// The output, or why there is none; `None` when nobody will ever say.
    fn call(&self, key: &str, handler: &str, input: &str) -> Option<Result<String, String>> {
        let (_, receiver) = self.engine.call(Self::request(key, handler, input, None)).unwrap();
        Some(match receiver.blocking_recv().ok()? {
            Ok(completion) => match completion.outcome.kind.unwrap() {
                OutcomeKind::Success(value) => Ok(String::from_utf8(value.to_vec()).unwrap()),
                OutcomeKind::Failure(failure) => Err(failure.message),
            },
            Err(refusal) => Err(refusal.to_string()),
        })
    }

    fn value(&self, key: &str) -> i64 {
        self.call(key, "get", "").unwrap().unwrap().parse().unwrap()
    }
}

/// Of an earlier replica nothing is left but that its number is used up.
#[test]
fn another_replica_begins_where_one_was_removed() {
    let registry = Registry::builder().bind::<Counter>().build();
    let (handle, events) = DriverHandle::new(1024);
    let host = Host::start(registry.clone(), handle, HostSettings::default()).unwrap();
    let cluster = Cluster::new(FOUNDER);
    let surroundings = Surroundings { events, host: host.handle(), cluster, post: None, snapshots: None, lender: None };
    let settings = DriverSettings { meta: true, ..settings(1, 1 << 20) };
    let state = Arc::new(MemState::new());
    let mut driver = Driver::open(MemLog::new(), &state, settings, surroundings, &registry).unwrap();
    driver.lead().unwrap();
    let (id, first) = (PartitionId(0), ReplicaId::first(FOUNDER));
    assert!(driver.slots[&id].partition.stats().committed > 0);
    driver.remove_replica(id).unwrap();
    assert!(!driver.host_replica(id, first).unwrap());
    assert!(driver.host_replica(id, ReplicaId { incarnation: first.incarnation + 1, ..first }).unwrap());
    let begun = driver.slots[&id].partition.stats();
    assert_eq!((begun.term, begun.committed, begun.applied), (0, 0, 0));
    host.stop();
}

#[test]
fn what_was_answered_is_there_after_a_crash() {
    let world = World::new();
    for n in 1..=20 {
        assert_eq!(world.call("a", "add", "1"), Some(Ok(n.to_string())));
    }
    let (log, state) = world.crash();
    let world = World::start(log, state, 1 << 20);
    assert_eq!(world.value("a"), 20);
    world.stop().unwrap();
}

#[test]
fn many_at_once_share_writes_and_keep_their_order() {
    let world = World::new();
    let before = world.log.commits();
    let receivers: Vec<_> =
        (0..200).map(|_| world.engine.call(World::request("hot", "add", "1", None)).unwrap().1).collect();
    for (n, receiver) in (1..).zip(receivers) {
        let outcome = receiver.blocking_recv().unwrap().unwrap().outcome;
        assert_eq!(outcome.kind, Some(OutcomeKind::Success(n.to_string().into())));
    }
    assert!(world.log.commits() - before < 150, "{} writes for 200 turns", world.log.commits() - before);
    world.stop().unwrap();
}

/// Messages go to other partitions exactly once, whether or not a crash falls in between.
#[test]
fn messages_arrive_once_over_a_crash() {
    let mut world = World::new();
    for round in 0..5 {
        for n in 0..10 {
            let input = format!("{{\"to\":\"to-{n}\",\"amount\":1}}");
            world.call("from", "pass", &input).unwrap().unwrap();
        }
        let (log, state) = world.crash();
        world = World::start(log, state, 1 << 20);
        let sum = || (0..10).map(|n| world.value(&format!("to-{n}"))).sum::<i64>();
        let deadline = Instant::now() + Duration::from_secs(10);
        while sum() < 10 * (round + 1) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(sum(), 10 * (round + 1));
        assert_eq!(world.value("from"), -10 * (round + 1));
    }
    world.stop().unwrap();
}

#[test]
fn a_flow_sleeps_and_finishes() {
    let world = World::new();
    assert_eq!(world.call("a", "slowly", "7"), Some(Ok("7".into())));
    assert_eq!(world.value("a"), 7);
    world.stop().unwrap();
}

/// A commit error means "unknown": the driver stops, and nobody is told anything after it.
#[test]
fn nothing_is_acknowledged_after_a_failed_write() {
    for outcome in [CommitOutcome::Present, CommitOutcome::Absent] {
        let mut world = World::new();
        assert_eq!(world.call("a", "add", "1"), Some(Ok("1".into())));
        world.log.fail_next_commit(outcome);
        let answer = world.call("a", "add", "1");
        assert!(!matches!(answer, Some(Ok(_))), "acknowledged after a failed write: {answer:?}");
        assert!(matches!(world.thread.join().unwrap(), Err(Fatal::Storage(_))));
        world.host.stop();
        world.log.crash(0);
        world.state.crash(0);
        let again = World::start(world.log, (*world.state).clone(), 1 << 20);
        let value = again.value("a");
        assert!(value == 1 || value == 2, "{value}");
        again.stop().unwrap();
    }
}

/// An overlay far too small for the work slows it down and loses nothing; the log is cut behind the checkpoints.
#[test]
fn a_tiny_overlay_only_slows_down() {
    let world = World::start(MemLog::new(), MemState::new(), 4 << 10);
    for n in 0..300 {
        world.call(&format!("k{n}"), "add", "1").unwrap().unwrap();
    }
    assert!(world.state.writes() > 0);
    let (log, state) = world.crash();
    let world = World::start(log.clone(), state, 1 << 20);
    assert!((0..300).all(|n| world.value(&format!("k{n}")) == 1));
    assert!((0..4).any(|partition| log.clone().recover(partition).unwrap().start.index > 0), "nothing was trimmed");
    world.stop().unwrap();
}

#[test]
fn a_clean_stop_leaves_nothing_to_replay() {
    let world = World::new();
    world.call("a", "add", "5").unwrap().unwrap();
    let state = Arc::clone(&world.state);
    world.stop().unwrap();
    assert_eq!(state.unsynced(), 0);
}

/// An idempotent request that comes twice at once is executed once, and both get its result.
#[test]
fn concurrent_repetitions_are_one_invocation() {
    let world = World::new();
    let receivers: Vec<_> =
        (0..10).map(|_| world.engine.call(World::request("a", "add", "3", Some("key"))).unwrap()).collect();
    let id = receivers[0].0;
    for (other, receiver) in receivers {
        assert_eq!(other, id);
        let outcome = receiver.blocking_recv().unwrap().unwrap().outcome;
        assert_eq!(outcome.kind, Some(OutcomeKind::Success("3".into())));
    }
    assert_eq!(world.value("a"), 3);
    world.stop().unwrap();
}

/// While a flow holds the key, requests of all classes queue; they run class by class, over a crash as well, and so
/// does what a flow and a turn send.
#[test]
fn a_busy_object_takes_its_mailbox_by_class() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for crash in [false, true] {
        let mut world = World::new();
        let send = |world: &World, priority: Priority, input: &str| {
            let headers = vec![Header { key: Priority::HEADER.into(), value: priority.word().into() }];
            let request = InvokeRequest { headers, ..World::request("a", "append", input, None) };
            runtime.block_on(world.engine.send(request)).unwrap().invocation
        };
        let waiting = runtime.block_on(world.engine.send(World::request("a", "wait", "", None))).unwrap().invocation;
        let mut last = waiting;
        for (priority, digit) in [
            (Priority::Low, "5"),
            (Priority::Normal, "3"),
            (Priority::High, "1"),
            (Priority::Low, "6"),
            (Priority::Normal, "4"),
            (Priority::High, "2"),
        ] {
            let id = send(&world, priority, digit);
            if digit == "6" {
                last = id;
            }
        }
        let senders = [("turn", "sends", "7"), ("flow", "sends_slowly", "8")];
        for (key, handler, input) in senders {
            world.call(key, handler, input).unwrap().unwrap();
        }
        if crash {
            let (log, state) = world.crash();
            world = World::start(log, state, 1 << 20);
        }
        let object = ObjectId { service: "Counter".into(), key: "a".into() };
        let deadline = Instant::now() + Duration::from_secs(10);
        while runtime.block_on(world.engine.state(object.clone())).unwrap().queued < 9 {
            assert!(Instant::now() < deadline, "what was sent did not arrive");
            std::thread::sleep(Duration::from_millis(5));
        }
        let go = SignalResult::Value(Value { content: "\"go\"".into() });
        runtime.block_on(world.engine.signal(waiting, SignalId::Name("go".into()), go)).unwrap();
        runtime.block_on(world.engine.attach(last)).unwrap();
        // What was sent came in its own time, behind the high ones that were there.
        let order = world.value("a");
        assert!([12_783_456, 12_873_456].contains(&order), "{order}");
        world.stop().unwrap();
    }
}

/// A read is answered although an invocation behind a running flow was cancelled: the activation that may have gone on from
/// it is loaded anew.
#[test]
fn a_read_is_answered_after_a_cancellation_behind_the_head() {
    let world = World::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    assert_eq!(world.value("a"), 0);
    let (_, flow) = world.engine.call(World::request("a", "slowly", "7", None)).unwrap();
    let queued = runtime.block_on(world.engine.send(World::request("a", "add", "1", None))).unwrap();
    let answer = runtime.block_on(world.engine.control(queued.invocation, Order::Cancel)).unwrap();
    assert_eq!(answer, abide_model::effect::Answer::Done);
    let (_, read) = world.engine.call(World::request("a", "get", "", None)).unwrap();
    assert!(read.blocking_recv().unwrap().is_ok());
    flow.blocking_recv().unwrap().unwrap();
    assert_eq!(world.value("a"), 7);
    world.stop().unwrap();
}
