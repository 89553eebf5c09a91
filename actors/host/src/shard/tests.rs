//! The whole host, on threads of its own, before the model of the machine.

use std::time::{Duration, Instant};

use abide_model::command::Outcome;
use abide_model::id::{InvocationId, PartitionKey};
use abide_model::protocol::Code;
use abide_sdk::RetryPolicy;
use bytes::Bytes;

use crate::event::HostEvent;
use crate::host::Host;
use crate::port::Refusal;
use crate::settings::HostSettings;
use crate::testing::{
    COUNTER, Caller, GREETER, Heard, PARTITIONS, Status, WorldPort, direct, id, invoke, object, plant, registry, runs,
    value,
};

struct Bench {
    host: Host,
    port: WorldPort,
}

impl Bench {
    fn new(settings: HostSettings) -> Self {
        let port = WorldPort::new();
        let settings = HostSettings { partitions: PARTITIONS, seed: Some(1), ..settings };
        let host = Host::start(registry(), port.clone(), settings).expect("threads");
        port.connect(host.handle());
        Self { host, port }
    }

    fn call(&self, id: InvocationId, service: &str, key: Option<&str>, handler: &str, input: &str) -> Caller {
        let (call, caller) = direct(invoke(id, service, key, handler, input));
        if let Err(refused) = self.host.handle().call(call) {
            let (call, refusal) = *refused;
            call.refuse(refusal);
        }
        caller
    }

    fn add(&self, key: &str, number: u64) -> Heard {
        self.call(id(key, number), COUNTER, Some(key), "add", "1").wait()
    }

    fn start(&self, id: InvocationId, service: &str, key: Option<&str>, handler: &str, input: &str) {
        self.port.act(|world| world.accept_from_elsewhere(invoke(id, service, key, handler, input)));
    }

    fn outcome(&self, id: InvocationId) -> Option<Outcome> {
        self.port.world().completed.get(&id).cloned()
    }

    fn status(&self, id: InvocationId) -> Option<Status> {
        self.port.world().invocations.get(&id).map(|row| row.status.clone())
    }

    fn journal(&self, id: InvocationId) -> Vec<Code> {
        let world = self.port.world();
        world.invocations[&id].journal.iter().map(|entry| entry.message().code).collect()
    }

    fn applied(&self, kind: &'static str) -> usize {
        self.port.world().applied.get(kind).copied().unwrap_or_default()
    }
}

fn success(text: &'static str) -> Option<Outcome> {
    Some(Outcome::success(Bytes::from_static(text.as_bytes())))
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Completion id of the sleep in `steps` and `trip`: one operation comes before it, or none.
const SLEEP_IN_STEPS: u32 = 2;
const SLEEP_IN_TRIP: u32 = 1;

#[test]
fn objects_of_all_threads_count_exactly() {
    let bench = Bench::new(HostSettings { threads: 3, ..HostSettings::default() });
    let keys: Vec<_> = (0..50).map(|number| format!("key-{number}")).collect();
    let calls = keys.iter().flat_map(|key| {
        (0..20).map(|number| bench.call(id(key, number), COUNTER, Some(key), "add", "1")).collect::<Vec<_>>()
    });
    let callers: Vec<_> = calls.collect();
    assert!(callers.into_iter().all(|caller| matches!(caller.wait(), Heard::Value(_))));
    for key in &keys {
        assert_eq!(bench.call(id(key, 99), COUNTER, Some(key), "get", "").wait(), value("20"));
    }
    bench.host.stop();
}

#[test]
fn idle_objects_leave_memory_and_come_back() {
    let bench = Bench::new(HostSettings { idle: Duration::from_millis(30), ..HostSettings::default() });
    assert_eq!(bench.add("a", 1), value("1"));
    assert_eq!(bench.applied("activate"), 1);
    std::thread::sleep(Duration::from_millis(120));
    assert_eq!(bench.add("a", 2), value("2"));
    assert_eq!(bench.applied("activate"), 2);
    // Used all the time, it stays.
    for number in 3..23 {
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(bench.add("a", number), value(&number.to_string()));
    }
    assert_eq!(bench.applied("activate"), 2);
}

#[test]
fn objects_beyond_the_bound_make_room() {
    let bench = Bench::new(HostSettings { objects: 8, ..HostSettings::default() });
    for number in 1..=40 {
        assert_eq!(bench.add(&format!("k{number}"), 1), value("1"));
    }
    assert_eq!(bench.applied("activate"), 40);
    // The newest is in memory, the first is not; neither has lost anything.
    assert_eq!(bench.add("k40", 2), value("2"));
    assert_eq!(bench.applied("activate"), 40);
    assert_eq!(bench.add("k1", 2), value("2"));
    assert_eq!(bench.applied("activate"), 41);
}

#[test]
fn large_objects_make_room_as_well() {
    let bench = Bench::new(HostSettings { object_bytes: 16, ..HostSettings::default() });
    for number in 1..=40 {
        assert_eq!(bench.add(&format!("k{number}"), 1), value("1"));
    }
    assert_eq!(bench.add("k1", 2), value("2"));
    assert_eq!(bench.applied("activate"), 41);
}

#[test]
fn a_flow_goes_on_with_the_code_it_is_pinned_to() {
    let bench = Bench::new(HostSettings::default());
    let flow = id("s", 1);
    bench.port.act(|world| world.pin(flow, "1"));
    bench.start(flow, GREETER, None, "steps", "x");
    eventually("the old code ends it", || bench.outcome(flow) == success("the old way"));
}

#[test]
fn a_flow_without_its_code_waits_and_its_failures_do_not_count() {
    let bench = Bench::new(HostSettings { retry: RetryPolicy::attempts(1), ..HostSettings::default() });
    let flow = id("s", 1);
    bench.port.act(|world| world.pin(flow, "7"));
    bench.start(flow, GREETER, None, "steps", "x");
    eventually("it waits", || bench.status(flow) == Some(Status::Resting));
    let failure = bench.port.world().invocations[&flow].failure.clone().expect("said why");
    assert!(failure.message.starts_with("AB0572: no code of version `7` of Greeter"), "{}", failure.message);
    assert_eq!(bench.port.world().invocations[&flow].work.failures, 0);
}

/// A build without the code says nothing about the handler, so its attempts do not count.
#[test]
fn what_is_not_bound_is_waited_for() {
    let bench = Bench::new(HostSettings { retry: RetryPolicy::attempts(1), ..HostSettings::default() });
    for (number, service, key, handler) in
        [(1, COUNTER, Some("a"), "add"), (2, GREETER, None, "hello"), (3, GREETER, None, "steps")]
    {
        let id = id(key.unwrap_or("s"), number);
        let mut elsewhere = invoke(id, service, key, handler, "1");
        elsewhere.target.as_mut().expect("a target").service = "Elsewhere".into();
        bench.port.act(|world| world.accept_from_elsewhere(elsewhere));
        eventually("it waits", || bench.status(id) == Some(Status::Resting));
        assert_eq!(bench.port.world().invocations[&id].work.failures, 0, "{service}/{handler}");
    }
}

#[test]
fn a_service_turn_is_recorded_only_when_it_sends() {
    let bench = Bench::new(HostSettings::default());
    assert_eq!(bench.call(id("s", 1), GREETER, None, "hello", "you").wait(), value("hello you"));
    assert_eq!(bench.applied("turn"), 0);
    assert_eq!(bench.call(id("s", 2), GREETER, None, "announce", "x").wait(), value("hello x"));
    eventually("the send runs", || {
        bench.port.world().objects.get(&object("x")).is_some_and(|x| x.version.version == 1)
    });
}

#[test]
fn a_panicking_service_turn_is_tried_again_from_the_log() {
    let bench = Bench::new(HostSettings::default());
    let bad = id("panicking-service", 1);
    plant(bad, 1);
    let caller = bench.call(bad, GREETER, None, "announce", "y");
    eventually("it rests or is done", || bench.status(bad) == Some(Status::Resting) || bench.outcome(bad).is_some());
    if bench.status(bad) == Some(Status::Resting) {
        bench.port.act(|world| world.retry(bad));
    }
    assert_eq!(caller.wait(), value("hello y"));
}

#[test]
fn a_durable_read_runs_on_the_applied_state() {
    let bench = Bench::new(HostSettings::default());
    assert_eq!(bench.add("a", 1), value("1"));
    let read = id("a", 1000);
    bench.start(read, COUNTER, Some("a"), "get", "");
    eventually("the read", || bench.outcome(read) == success("1"));
}

#[test]
fn a_flow_sleeps_is_put_away_and_comes_back() {
    let bench = Bench::new(HostSettings { suspend_after: Duration::from_millis(20), ..HostSettings::default() });
    let flow = id("steps-suspended", 1);
    bench.start(flow, GREETER, None, "steps", "");
    eventually("it is suspended", || matches!(bench.status(flow), Some(Status::Suspended(_))));
    assert_eq!(bench.journal(flow), [Code::INPUT, Code::RUN, Code::RUN_DONE, Code::SLEEP]);
    bench.port.act(|world| world.wake(flow, SLEEP_IN_STEPS));
    eventually("it is done", || bench.outcome(flow) == success("3"));
    assert_eq!((runs(flow, "one"), runs(flow, "two")), (1, 1));
}

#[test]
fn a_suspension_says_what_its_attempt_has_seen() {
    let bench = Bench::new(HostSettings { suspend_after: Duration::from_millis(150), ..HostSettings::default() });
    let flow = id("steps-seen", 1);
    bench.start(flow, GREETER, None, "steps", "");
    eventually("it sleeps", || bench.journal(flow).contains(&Code::SLEEP));
    // Somebody else's sleep: entry 4 of the journal, and nothing that the flow waits for.
    bench.port.act(|world| world.wake(flow, SLEEP_IN_STEPS + 100));
    eventually("it is suspended", || matches!(bench.status(flow), Some(Status::Suspended(_))));
    assert_eq!(bench.port.world().suspended_having_seen, 5);
}

#[test]
fn a_flow_in_memory_is_told() {
    let bench = Bench::new(HostSettings::default());
    let flow = id("steps-told", 1);
    bench.start(flow, GREETER, None, "steps", "");
    eventually("it sleeps", || bench.journal(flow).contains(&Code::SLEEP));
    bench.port.act(|world| world.wake(flow, SLEEP_IN_STEPS));
    eventually("it is done", || bench.outcome(flow) == success("3"));
    assert_eq!(runs(flow, "one"), 1);
}

#[test]
fn a_flow_survives_a_full_log() {
    let bench = Bench::new(HostSettings::default());
    let flow = id("steps-full", 1);
    bench.port.world().refuse = 3;
    bench.start(flow, GREETER, None, "steps", "");
    eventually("it sleeps", || bench.journal(flow).contains(&Code::SLEEP));
    bench.port.world().refuse = 3;
    bench.port.act(|world| world.wake(flow, SLEEP_IN_STEPS));
    eventually("it is done", || bench.outcome(flow) == success("3"));
    assert_eq!((runs(flow, "one"), runs(flow, "two")), (1, 1));
}

#[test]
fn a_flow_calls_an_object() {
    let bench = Bench::new(HostSettings::default());
    assert_eq!(bench.add("asked", 1), value("1"));
    let flow = id("asks", 1);
    bench.start(flow, GREETER, None, "ask", "asked");
    eventually("it is done", || bench.outcome(flow) == success("6"));
}

#[test]
fn a_call_of_what_is_not_bound_fails_the_attempt_and_keeps_its_steps() {
    let bench = Bench::new(HostSettings::default());
    let flow = id("lost", 1);
    bench.start(flow, GREETER, None, "lost", "");
    eventually("it rests", || bench.status(flow) == Some(Status::Resting));
    assert_eq!(bench.journal(flow), [Code::INPUT, Code::RUN, Code::RUN_DONE]);
    bench.port.act(|world| world.retry(flow));
    eventually("it rests again", || bench.applied("attempt_failed") == 2);
    assert_eq!(runs(flow, "one"), 1);
}

#[test]
fn a_panicking_flow_is_tried_again_from_its_journal() {
    let bench = Bench::new(HostSettings::default());
    let flow = id("steps-panics", 1);
    plant(flow, 1);
    bench.start(flow, GREETER, None, "steps", "");
    eventually("it sleeps", || bench.journal(flow).contains(&Code::SLEEP));
    bench.port.act(|world| world.wake(flow, SLEEP_IN_STEPS));
    eventually("it rests", || bench.status(flow) == Some(Status::Resting));
    bench.port.act(|world| world.retry(flow));
    eventually("it is done", || bench.outcome(flow) == success("3"));
    assert_eq!(runs(flow, "one"), 1);
}

#[test]
fn a_policy_that_gives_up_ends_the_invocation() {
    let retry = RetryPolicy::attempts(1);
    let bench = Bench::new(HostSettings { retry, ..HostSettings::default() });
    let flow = id("gives-up", 1);
    bench.start(flow, GREETER, None, "lost", "");
    eventually("it fails", || bench.outcome(flow).is_some());
    let bad = id("gives-up", 2);
    plant(bad, 1);
    let heard = bench.call(bad, COUNTER, Some("gives-up"), "add", "1").wait();
    assert_eq!(heard, Heard::Failure(500, "handler panicked: boom".into()));
    assert_eq!(bench.add("gives-up", 3), value("1"));
}

#[test]
fn an_exclusive_flow_and_turns_take_their_turns() {
    let bench = Bench::new(HostSettings::default());
    assert_eq!(bench.add("t", 1), value("1"));
    let flow = id("t", 2);
    bench.start(flow, COUNTER, Some("t"), "trip", "");
    let behind = bench.call(id("t", 3), COUNTER, Some("t"), "add", "100");
    eventually("it sleeps", || bench.journal(flow).contains(&Code::SLEEP));
    bench.port.act(|world| world.wake(flow, SLEEP_IN_TRIP));
    assert_eq!(behind.wait(), value("112"));
    assert_eq!(bench.outcome(flow), success("12"));
}

#[test]
fn a_killed_flow_is_dropped_and_frees_its_object() {
    let bench = Bench::new(HostSettings::default());
    let flow = id("k", 1);
    bench.start(flow, COUNTER, Some("k"), "trip", "");
    let behind = bench.call(id("k", 2), COUNTER, Some("k"), "add", "1");
    eventually("it sleeps", || bench.journal(flow).contains(&Code::SLEEP));
    let appended = bench.applied("append");
    bench.port.act(|world| world.kill(flow));
    assert!(matches!(behind.wait(), Heard::Value(_)));
    bench.port.act(|world| world.wake(flow, SLEEP_IN_TRIP));
    assert_eq!(bench.applied("append"), appended);
}

#[test]
fn a_full_thread_refuses_calls() {
    let bench = Bench::new(HostSettings { mailbox: 2, ..HostSettings::default() });
    let blocking = id("full", 1);
    let blocked = bench.call(blocking, GREETER, None, "block", "200");
    eventually("it blocks", || runs(blocking, "blocked") == 1);
    let callers: Vec<_> = (2..5).map(|number| bench.call(id("full", number), GREETER, None, "hello", "you")).collect();
    let heard: Vec<_> = callers.into_iter().map(Caller::wait).collect();
    assert_eq!(heard, [value("hello you"), value("hello you"), Heard::Refused(Refusal::Overloaded)]);
    assert_eq!(blocked.wait(), value("hello 200"));
}

#[test]
fn a_call_for_the_wrong_partition_is_refused() {
    let bench = Bench::new(HostSettings::default());
    let (mut call, _caller) = direct(invoke(id("a", 1), COUNTER, Some("a"), "add", "1"));
    call.partition.0 = (call.partition.0 + 1) % PARTITIONS;
    let refused = bench.host.handle().call(call).expect_err("the wrong partition");
    assert!(matches!(refused.1, Refusal::Invalid(_)));
}

#[test]
fn a_draining_host_starts_nothing_and_stops() {
    let bench = Bench::new(HostSettings::default());
    assert_eq!(bench.add("d", 1), value("1"));
    let handle = bench.host.handle();
    handle.deliver(handle.shard_of(PartitionKey::of("d")), vec![HostEvent::Drain]);
    assert_eq!(bench.add("d", 2), Heard::Refused(Refusal::ShuttingDown));
    bench.start(id("d", 3), GREETER, None, "steps", "");
    let Bench { host, .. } = bench;
    host.stop();
    let (call, caller) = direct(invoke(id("d", 4), COUNTER, Some("d"), "add", "1"));
    let (call, refusal) = *handle.call(call).expect_err("stopped");
    call.refuse(refusal);
    assert_eq!(caller.wait(), Heard::Refused(Refusal::ShuttingDown));
}

#[test]
fn a_blocked_handler_does_not_hold_up_the_stop() {
    let bench = Bench::new(HostSettings { stop_timeout: Duration::from_millis(50), ..HostSettings::default() });
    let blocking = id("stuck", 1);
    let _blocked = bench.call(blocking, GREETER, None, "block", "3000");
    eventually("it blocks", || runs(blocking, "blocked") == 1);
    let begun = Instant::now();
    bench.host.stop();
    assert!(begun.elapsed() < Duration::from_secs(2));
}

/// Prints how many turns a second one thread carries out, with the model of the machine on the same thread.
/// Run it with `cargo test --release -p abide-host -- --ignored --nocapture throughput`.
#[test]
#[ignore = "a measurement"]
fn throughput() {
    const CALLS: u64 = 300_000;
    const IN_FLIGHT: usize = 256;
    let bench = Bench::new(HostSettings::default());
    let keys: Vec<_> = (0..1024).map(|number| format!("key-{number}")).collect();
    let mut waiting = std::collections::VecDeque::new();
    let registered = invoke(id("x", 0), COUNTER, Some("x"), "add", "1");
    let begun = Instant::now();
    for number in 0..CALLS {
        let key = &keys[usize::try_from(number * 7).expect("small") % keys.len()];
        let id = id(key, number);
        let mut invoke = registered.clone();
        invoke.id = Bytes::copy_from_slice(&id.to_bytes());
        invoke.target.as_mut().expect("a target").key = Some(key.clone());
        let (call, caller) = direct(invoke);
        bench.host.handle().call(call).expect("below the bound");
        waiting.push_back(caller);
        if waiting.len() == IN_FLIGHT {
            // In halves, as a batch of commits would answer them.
            for caller in waiting.drain(..IN_FLIGHT / 2) {
                assert!(matches!(caller.wait(), Heard::Value(_)));
            }
        }
    }
    for caller in waiting {
        assert!(matches!(caller.wait(), Heard::Value(_)));
    }
    let elapsed = begun.elapsed();
    let rate = u128::from(CALLS) * 1_000_000 / elapsed.as_micros();
    eprintln!("{CALLS} turns in {elapsed:?}: {rate}/s");
}
