use abide_model::command::{OutcomeKind, Priority};
use abide_sdk::{Exhausted, RetryPolicy};

use super::*;
use crate::event::HostEvent;
use crate::settings::HostSettings;
use crate::testing::{
    COUNTER, Caller, Heard, PARTITIONS, Status, WorldPort, direct, id, invoke, object, plant, registry, runs, value,
};

/// An activation of `Counter/a` before the model of the machine. Orders are carried out by [`Bench::apply`] only.
struct Bench {
    port: WorldPort,
    activation: Activation<WorldPort>,
    now: Instant,
    ids: u64,
}

impl Bench {
    fn new() -> Self {
        Self::with(HostSettings::default())
    }

    fn with(settings: HostSettings) -> Self {
        let port = WorldPort::new();
        let settings = HostSettings { partitions: PARTITIONS, seed: Some(1), ..settings };
        let env = Rc::new(Env::new(&registry(), port.clone(), settings, 0));
        let service = Rc::clone(env.service(COUNTER).expect("bound"));
        // Ids of different tests must differ: what a handler did is counted by id.
        static TESTS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let ids = TESTS.fetch_add(1, std::sync::atomic::Ordering::Relaxed) << 20;
        Self { port, activation: Activation::new(env, object("a"), service), now: Instant::now(), ids }
    }

    /// An activation that has its state.
    fn ready() -> Self {
        let mut bench = Self::new();
        let mut first = bench.call("get", "");
        bench.apply();
        assert_eq!(first.hear(), value("0"));
        bench
    }

    fn fresh(&mut self) -> InvocationId {
        self.ids += 1;
        id("a", self.ids)
    }

    fn call(&mut self, handler: &str, input: &str) -> Caller {
        let id = self.fresh();
        self.call_as(id, handler, input)
    }

    fn call_as(&mut self, id: InvocationId, handler: &str, input: &str) -> Caller {
        let (call, caller) = direct(invoke(id, COUNTER, Some("a"), handler, input));
        self.tell(Input::Call(Box::new(call)));
        caller
    }

    fn call_keyed(&mut self, handler: &str, input: &str, key: &str) -> Caller {
        let id = InvocationId::idempotent(COUNTER, Some("a"), handler, key);
        let mut invoke = invoke(id, COUNTER, Some("a"), handler, input);
        invoke.idempotency_key = Some(key.into());
        let (call, caller) = direct(invoke);
        self.tell(Input::Call(Box::new(call)));
        caller
    }

    fn enqueue_elsewhere(&mut self, handler: &str, input: &str) -> InvocationId {
        let id = self.fresh();
        self.port.world().accept_from_elsewhere(invoke(id, COUNTER, Some("a"), handler, input));
        id
    }

    fn enqueue_in(&mut self, class: Priority, input: &str) -> InvocationId {
        let id = self.fresh();
        let mut invoke = invoke(id, COUNTER, Some("a"), "add", input);
        invoke.target.as_mut().expect("set above").set_priority(class);
        self.port.world().accept_from_elsewhere(invoke);
        id
    }

    /// The result of an invocation that has ended.
    fn result(&self, id: InvocationId) -> String {
        let outcome = self.port.world().completed[&id].clone();
        let Some(OutcomeKind::Success(value)) = outcome.kind else { panic!("{outcome:?}") };
        String::from_utf8(value.to_vec()).expect("text")
    }

    fn tell(&mut self, input: Input) {
        self.activation.handle(input, self.now);
    }

    /// Carries out everything that was submitted, and everything that follows from it.
    fn apply(&mut self) {
        loop {
            self.port.world().apply_all();
            if !self.deliver() {
                return;
            }
        }
    }

    /// Carries out what was submitted, without telling.
    fn apply_untold(&mut self) {
        self.port.world().apply_all();
    }

    /// Tells what happened. `false` when nothing did.
    fn deliver(&mut self) -> bool {
        let events = self.port.world().take_events();
        let some = !events.is_empty();
        for event in events {
            let input = match event {
                HostEvent::Activated { activation, version, fields, queue, more, .. } => {
                    Input::Activated(Box::new(Snapshot { activation, version, fields, queue, more }))
                }
                HostEvent::Enqueued { object, work } if object.key == "a" => Input::Enqueued(work),
                HostEvent::Start(start) if start.work.target.form() == abide_model::command::Form::Turn => {
                    Input::Start(start)
                }
                HostEvent::Abort { invocation, .. } => Input::Ended(invocation),
                HostEvent::Rejected { activation, .. } => Input::Rejected(activation),
                HostEvent::StateChanged { .. } => Input::StateChanged,
                HostEvent::Again(call) => Input::Call(call),
                _ => continue,
            };
            self.tell(input);
        }
        some
    }

    fn applied(&self, kind: &'static str) -> usize {
        self.port.world().applied.get(kind).copied().unwrap_or_default()
    }

    fn stored(&self) -> String {
        let world = self.port.world();
        let value = world.objects[&object("a")].fields.get("n").cloned().unwrap_or_default();
        String::from_utf8(value.to_vec()).expect("text")
    }
}

#[test]
fn turns_run_ahead_of_the_log_and_are_answered_when_they_commit() {
    let mut bench = Bench::ready();
    let mut callers: Vec<_> = (1..=3).map(|n| bench.call("add", &n.to_string())).collect();
    let mut read = bench.call("get", "");
    assert!(callers.iter_mut().all(|caller| caller.hear() == Heard::Nothing));
    assert_eq!(read.hear(), Heard::Nothing);
    bench.apply();
    let heard: Vec<_> = callers.iter_mut().map(Caller::hear).collect();
    assert_eq!(heard, [value("1"), value("3"), value("6")]);
    assert_eq!(read.hear(), value("6"));
    assert_eq!((bench.applied("turn"), bench.applied("activate")), (3, 1));
}

#[test]
fn calls_wait_for_the_state_in_order() {
    let mut bench = Bench::new();
    let mut first = bench.call("add", "1");
    let mut second = bench.call("add", "1");
    assert!(bench.activation.is_loading());
    bench.apply();
    assert_eq!((first.hear(), second.hear()), (value("1"), value("2")));
}

#[test]
fn calls_beyond_the_local_queue_are_refused() {
    let mut bench = Bench::with(HostSettings { local_queue: 2, ..HostSettings::default() });
    let mut callers: Vec<_> = (0..3).map(|_| bench.call("add", "1")).collect();
    assert_eq!(callers[2].hear(), Heard::Refused(Refusal::Overloaded));
    bench.apply();
    assert_eq!(callers[1].hear(), value("2"));
}

#[test]
fn a_turn_without_effects_needs_no_record() {
    let mut bench = Bench::ready();
    let mut caller = bench.call("add", "0");
    bench.apply();
    assert_eq!(caller.hear(), value("0"));
    // The field appeared with its default, which is a change; the second time nothing changes.
    let turns = bench.applied("turn");
    let mut caller = bench.call("add", "0");
    bench.apply();
    assert_eq!((caller.hear(), bench.applied("turn")), (value("0"), turns));
}

#[test]
fn an_idempotency_key_needs_a_record_and_is_executed_once() {
    let mut bench = Bench::ready();
    let mut first = bench.call_keyed("add", "5", "k");
    let mut second = bench.call_keyed("add", "5", "k");
    bench.apply();
    assert_eq!((first.hear(), second.hear()), (value("5"), value("5")));
    assert_eq!(bench.stored(), "5");
    let mut after = bench.call("add", "1");
    bench.apply();
    assert_eq!(after.hear(), value("6"));
}

#[test]
fn a_failed_turn_leaves_no_trace() {
    let mut bench = Bench::ready();
    let mut ok = bench.call("add", "1");
    let mut failed = bench.call("add", "no");
    let mut keyed = bench.call_keyed("add", "no", "k");
    let mut after = bench.call("add", "1");
    bench.apply();
    let failure = Heard::Failure(422, "no".into());
    assert_eq!(
        (ok.hear(), failed.hear(), keyed.hear(), after.hear()),
        (value("1"), failure, Heard::Failure(422, "no".into()), value("2"))
    );
    assert!(!bench.port.world().objects.contains_key(&object("b")), "nothing was sent");
}

#[test]
fn sends_go_with_the_record() {
    let mut bench = Bench::ready();
    let mut caller = bench.call("relay", "b");
    bench.apply_untold();
    assert_eq!(caller.hear(), value("sent"));
    assert_eq!(bench.port.world().objects[&object("b")].mailbox.len(), 1);
}

#[test]
fn a_send_to_nowhere_fails_the_turn() {
    let mut bench = Bench::ready();
    let mut caller = bench.call("relay", "nowhere");
    let mut read = bench.call("get", "");
    bench.apply();
    assert_eq!(caller.hear(), Heard::Failure(404, "Nowhere/lost is not registered".into()));
    assert_eq!(read.hear(), value("0"));
}

#[test]
fn a_refused_turn_is_rolled_back() {
    let mut bench = Bench::ready();
    bench.port.world().refuse = 1;
    let mut refused = bench.call("add", "7");
    assert_eq!(refused.hear(), Heard::Refused(Refusal::Overloaded));
    let mut next = bench.call("add", "1");
    bench.apply();
    assert_eq!(next.hear(), value("1"));
    assert_eq!(bench.applied("activate"), 1);
}

#[test]
fn a_rejected_turn_runs_again_from_the_mailbox() {
    let mut bench = Bench::ready();
    let early = bench.fresh();
    let mut direct = bench.call_as(early, "add", "1");
    let mut behind = bench.call("add", "1");
    // Someone else is first in the log.
    bench.port.world().change(&object("a"), "n", "100");
    bench.apply();
    assert_eq!((direct.hear(), behind.hear()), (value("101"), value("102")));
    assert_eq!(bench.stored(), "102");
    assert_eq!(runs(early, "turn"), 2);
}

#[test]
fn an_answer_from_a_void_activation_is_not_given() {
    let mut bench = Bench::ready();
    let mut turn = bench.call("add", "1");
    let mut read = bench.call("get", "");
    bench.port.world().change(&object("a"), "n", "100");
    bench.apply();
    assert_eq!(turn.hear(), value("101"));
    assert!([value("100"), value("101")].contains(&read.hear()), "never 1");
}

#[test]
fn queued_and_direct_calls_keep_the_order_of_acceptance() {
    let mut bench = Bench::ready();
    let mut before = bench.call("add", "1");
    bench.apply_untold();
    let queued = bench.enqueue_elsewhere("add", "10");
    // In the log behind the queued one, but run before the object knew of it.
    let mut between = bench.call("add", "100");
    bench.apply();
    let mut after = bench.call("add", "1000");
    bench.apply();
    assert_eq!((before.hear(), between.hear(), after.hear()), (value("1"), value("111"), value("1111")));
    assert!(bench.port.world().completed.contains_key(&queued));
    assert_eq!(bench.stored(), "1111");
}

#[test]
fn a_flow_holds_the_place_and_reads_go_on() {
    let mut bench = Bench::ready();
    let flow = bench.enqueue_elsewhere("trip", "");
    bench.apply();
    let first_behind = bench.fresh();
    let mut behind = bench.call_as(first_behind, "add", "1");
    let mut also_behind = bench.call("add", "1");
    let mut read = bench.call("get", "");
    bench.apply();
    assert_eq!((behind.hear(), also_behind.hear(), read.hear()), (Heard::Nothing, Heard::Nothing, value("0")));
    bench.port.world().change(&object("a"), "n", "10");
    bench.apply();
    let mut read = bench.call("get", "");
    bench.apply();
    assert_eq!(read.hear(), value("10"));
    bench.port.world().kill(flow);
    bench.apply();
    assert_eq!((behind.hear(), also_behind.hear()), (value("11"), value("12")));
    assert_eq!(runs(first_behind, "turn"), 1, "nothing behind a flow runs ahead");
}

#[test]
fn classes_behind_a_flow_need_one_loading_each_way() {
    let mut bench = Bench::ready();
    let flow = bench.enqueue_elsewhere("trip", "");
    bench.apply();
    let inputs = [(Priority::Low, "1"), (Priority::Normal, "10"), (Priority::High, "100"), (Priority::Normal, "1000")];
    let before = bench.applied("activate");
    let ids = inputs.map(|(class, input)| {
        let id = bench.enqueue_in(class, input);
        bench.apply();
        id
    });
    // The first one that is not last in its order; from then on it is known who holds the key.
    assert_eq!(bench.applied("activate"), before + 1);
    bench.port.world().kill(flow);
    bench.apply();
    assert_eq!(ids.map(|id| bench.result(id)), ["1111", "110", "100", "1110"]);
    assert!(ids.iter().all(|id| runs(*id, "turn") == 1));
}

/// The turn before it is not committed, so that it does not hold the key yet, and is overtaken.
#[test]
fn a_flow_whose_place_has_not_come_holds_nobody_up() {
    let mut bench = Bench::ready();
    let first = bench.enqueue_elsewhere("add", "1");
    let flow = bench.enqueue_elsewhere("trip", "");
    bench.deliver();
    let high = bench.enqueue_in(Priority::High, "100");
    bench.apply();
    assert_eq!([first, high].map(|id| bench.result(id)), ["1", "101"]);
    assert_eq!(bench.port.world().invocations[&flow].status, Status::Running);
}

#[test]
fn normal_ones_alone_are_never_loaded_again() {
    let mut bench = Bench::ready();
    let before = bench.applied("activate");
    for _ in 0..20 {
        bench.enqueue_elsewhere("add", "1");
        bench.deliver();
    }
    bench.apply();
    assert_eq!((bench.stored().as_str(), bench.applied("activate")), ("20", before));
}

#[test]
fn what_was_run_ahead_of_a_class_before_it_runs_again() {
    let mut bench = Bench::ready();
    let first = bench.enqueue_elsewhere("add", "1");
    let overtaken = bench.enqueue_elsewhere("add", "10");
    bench.deliver();
    let high = bench.enqueue_in(Priority::High, "100");
    bench.apply();
    assert_eq!([first, high, overtaken].map(|id| bench.result(id)), ["1", "101", "111"]);
    assert_eq!((runs(first, "turn"), runs(overtaken, "turn")), (1, 2));
}

#[test]
fn a_failure_of_what_was_overtaken_does_not_block() {
    for attempts in [1, 3] {
        let retry = RetryPolicy { max_attempts: Some(attempts), exhausted: Exhausted::Fail, ..RetryPolicy::default() };
        let mut bench = Bench::with(HostSettings { retry, ..HostSettings::default() });
        bench.call("get", "");
        bench.apply();
        let first = bench.enqueue_elsewhere("add", "1");
        let overtaken = bench.enqueue_elsewhere("add", "10");
        plant(overtaken, 1);
        bench.deliver();
        let high = bench.enqueue_in(Priority::High, "100");
        bench.apply();
        assert_eq!([first, high, overtaken].map(|id| bench.result(id)), ["1", "101", "111"]);
    }
}

#[test]
fn a_mirror_that_is_full_forgets_its_end() {
    let mut bench = Bench::with(HostSettings { mirror: 2, ..HostSettings::default() });
    let flow = bench.enqueue_elsewhere("trip", "");
    bench.apply();
    let inputs = [(Priority::Low, "1"), (Priority::Normal, "10"), (Priority::High, "100"), (Priority::Low, "1000")];
    let ids = inputs.map(|(class, input)| {
        let id = bench.enqueue_in(class, input);
        bench.apply();
        id
    });
    bench.port.world().kill(flow);
    bench.apply();
    assert_eq!(ids.map(|id| bench.result(id)), ["111", "110", "100", "1111"]);
}

#[test]
fn a_direct_call_does_not_overtake_one_on_its_way_into_the_mailbox() {
    let mut bench = Bench::ready();
    let flow = bench.enqueue_elsewhere("trip", "");
    bench.apply();
    let mut placed = bench.call("add", "1");
    bench.port.world().kill(flow);
    // The flow's end is told and the state loaded before the placed call is in the log of this model.
    bench.deliver();
    let late = bench.fresh();
    let mut late_caller = bench.call_as(late, "add", "10");
    bench.apply();
    assert_eq!((placed.hear(), late_caller.hear()), (value("1"), value("11")));
    assert_eq!(runs(late, "turn"), 1);
}

#[test]
fn a_placed_request_that_never_appears_is_not_waited_for() {
    let mut bench = Bench::ready();
    let flow = bench.enqueue_elsewhere("trip", "");
    bench.apply();
    let _lost = bench.call("add", "1");
    bench.port.world().log.clear();
    let Phase::Ready(ready) = &mut bench.activation.phase else { panic!("ready") };
    assert!(!ready.queue.is_clear(bench.now));
    ready.queue.pop();
    assert!(!ready.queue.is_clear(bench.now), "flow {flow} is gone, the request is on its way");
    assert!(ready.queue.is_clear(bench.now + Duration::from_secs(2)));
}

#[test]
fn a_killed_invocation_in_the_middle_is_skipped() {
    let mut bench = Bench::ready();
    let flow = bench.enqueue_elsewhere("trip", "");
    let killed = bench.enqueue_elsewhere("add", "5");
    let last = bench.enqueue_elsewhere("add", "1");
    bench.apply();
    bench.port.world().kill(killed);
    bench.port.world().kill(flow);
    bench.apply();
    assert_eq!(bench.stored(), "1");
    assert!(bench.port.world().completed.contains_key(&last));
}

#[test]
fn a_panicking_direct_turn_is_tried_again_in_its_place() {
    let mut bench = Bench::ready();
    let bad = bench.fresh();
    plant(bad, 2);
    let mut panicking = bench.call_as(bad, "add", "1");
    let mut behind = bench.call("add", "10");
    bench.apply();
    assert_eq!((panicking.hear(), behind.hear()), (Heard::Nothing, Heard::Nothing));
    bench.port.world().retry(bad);
    bench.apply();
    assert_eq!((panicking.hear(), behind.hear()), (Heard::Nothing, Heard::Nothing));
    assert_eq!(bench.port.world().invocations[&bad].status, Status::Resting);
    assert_eq!(bench.port.world().invocations[&bad].work.failures, 2);
    bench.port.world().retry(bad);
    bench.apply();
    assert_eq!((panicking.hear(), behind.hear()), (value("1"), value("11")));
    assert_eq!(bench.stored(), "11");
}

#[test]
fn a_panicking_queued_turn_holds_its_place() {
    let mut bench = Bench::ready();
    let flow = bench.enqueue_elsewhere("trip", "");
    let bad = bench.enqueue_elsewhere("add", "1");
    let last = bench.enqueue_elsewhere("add", "10");
    plant(bad, 1);
    bench.apply();
    bench.port.world().kill(flow);
    bench.apply();
    assert_eq!(bench.port.world().invocations[&bad].status, Status::Resting);
    assert!(bench.port.world().invocations.contains_key(&last));
    bench.port.world().retry(bad);
    bench.apply();
    assert_eq!(bench.stored(), "11");
}

#[test]
fn a_panic_whose_place_is_not_known_does_not_block() {
    let mut bench = Bench::ready();
    let bad = bench.fresh();
    plant(bad, 1);
    // Accepted before the panic reaches the log, but told after it.
    let first = bench.enqueue_elsewhere("add", "10");
    let mut panicking = bench.call_as(bad, "add", "1");
    bench.apply();
    assert_eq!(panicking.hear(), value("11"));
    assert!(bench.port.world().completed.contains_key(&first));
}

#[test]
fn a_panicking_read_is_answered() {
    let mut bench = Bench::ready();
    let bad = bench.fresh();
    plant(bad, 1);
    let mut read = bench.call_as(bad, "get", "");
    bench.apply();
    assert_eq!(read.hear(), Heard::Failure(500, "handler panicked: boom".into()));
    assert_eq!(bench.applied("attempt_failed"), 0);
}

#[test]
fn a_recorded_read_sees_committed_state_only() {
    let mut bench = Bench::ready();
    let mut on_loaded = bench.call_keyed("get", "", "k1");
    bench.apply();
    assert_eq!((on_loaded.hear(), bench.applied("turn")), (value("0"), 1));
    let _turn = bench.call("add", "1");
    let _read = bench.call_keyed("get", "", "k2");
    bench.apply_untold();
    assert_eq!(bench.applied("invoke"), 1, "its attempt comes from the log");
}

#[test]
fn undecodable_state_is_told() {
    let mut bench = Bench::ready();
    bench.port.world().change(&object("a"), "n", "\"text\"");
    bench.deliver();
    let mut turn = bench.call("add", "1");
    let mut read = bench.call("get", "");
    bench.apply();
    for heard in [turn.hear(), read.hear()] {
        let Heard::Failure(500, message) = heard else { panic!("{heard:?}") };
        assert!(message.starts_with("AB0502") && message.contains("`n`"), "{message}");
    }
    let queued = bench.enqueue_elsewhere("add", "1");
    bench.apply();
    assert_eq!(bench.port.world().invocations[&queued].status, Status::Resting);
}

#[test]
fn a_long_mailbox_is_loaded_in_parts() {
    let mut bench = Bench::with(HostSettings { mirror: 3, ..HostSettings::default() });
    for _ in 0..20 {
        bench.enqueue_elsewhere("add", "1");
    }
    bench.apply();
    assert_eq!(bench.stored(), "20");
    assert!(bench.port.world().invocations.is_empty());
    let mut after = bench.call("add", "1");
    bench.apply();
    assert_eq!(after.hear(), value("21"));
}

#[test]
fn refused_queued_work_is_tried_again() {
    let mut bench = Bench::ready();
    bench.enqueue_elsewhere("add", "1");
    bench.port.world().refuse = 2;
    bench.deliver();
    assert_eq!(bench.activation.retry_after(), Some(RETRY_MIN));
    assert!(!bench.activation.is_idle());
    bench.tell(Input::Tick);
    assert_eq!(bench.activation.retry_after(), Some(RETRY_MIN * 2));
    bench.tell(Input::Tick);
    bench.apply();
    assert_eq!((bench.activation.retry_after(), bench.stored()), (None, "1".into()));
    assert!(bench.activation.is_idle());
}

#[test]
fn refused_loading_is_told_and_tried_again_for_the_mailbox() {
    let mut bench = Bench::new();
    bench.port.world().refuse = 1;
    let mut caller = bench.call("get", "");
    assert_eq!(caller.hear(), Heard::Refused(Refusal::Overloaded));
    bench.tell(Input::Tick);
    bench.apply();
    assert!(bench.activation.is_idle());
}

#[test]
fn nobody_waits_forever_for_a_slow_loading() {
    let mut bench = Bench::new();
    let mut caller = bench.call("get", "");
    bench.now += bench.activation.env.settings.load_timeout;
    bench.tell(Input::Tick);
    assert_eq!(caller.hear(), Heard::Refused(Refusal::Overloaded));
    // The answer is still to come: what the mailbox holds would be forgotten with the object.
    assert!(!bench.activation.is_idle());
    bench.apply();
    assert!(bench.activation.is_idle());
}

#[test]
fn draining_refuses_calls_and_leaves_the_mailbox() {
    let mut bench = Bench::new();
    let mut waiting = bench.call("add", "1");
    bench.activation.env.draining.set(true);
    bench.tell(Input::Tick);
    let mut late = bench.call("add", "1");
    let queued = bench.enqueue_elsewhere("add", "1");
    bench.apply();
    assert_eq!(waiting.hear(), Heard::Refused(Refusal::ShuttingDown));
    assert_eq!(late.hear(), Heard::Refused(Refusal::ShuttingDown));
    assert!(bench.port.world().invocations.contains_key(&queued));
}

#[test]
fn an_unknown_handler_is_refused_or_fails_the_attempt() {
    let mut bench = Bench::ready();
    let number = bench.fresh();
    let mut unknown = invoke(number, COUNTER, Some("a"), "add", "1");
    unknown.target.as_mut().expect("a target").handler = "gone".into();
    let (call, mut caller) = direct(unknown.clone());
    bench.tell(Input::Call(Box::new(call)));
    assert_eq!(caller.hear(), Heard::Refused(Refusal::NotFound));
    bench.port.world().accept_from_elsewhere(unknown);
    bench.apply();
    assert_eq!(bench.port.world().invocations[&number].status, Status::Resting);
}

/// Everything at once, in many orders: nothing is lost, nothing counts twice.
#[test]
fn sums_are_exact_under_interleaving() {
    for seed in 0..200_u64 {
        let mut bench = Bench::new();
        let random = crate::random::Random::new(Some(seed), 0);
        let mut callers = Vec::new();
        let mut expected = 0;
        let mut planted = Vec::new();
        for _ in 0..60 {
            match random.u64() % 10 {
                0..4 => {
                    expected += 1;
                    callers.push(bench.call("add", "1"));
                }
                4 => {
                    expected += 1;
                    // Half of the worlds know one class only.
                    let class = if seed % 2 == 0 { 1 } else { random.u64() % 3 };
                    let class = Priority::ORDER[usize::try_from(class).expect("small")];
                    let id = bench.enqueue_in(class, "1");
                    if random.u64().is_multiple_of(4) {
                        plant(id, 1);
                        planted.push(id);
                    }
                }
                5 => {
                    expected += 1;
                    let id = bench.fresh();
                    plant(id, 1);
                    planted.push(id);
                    callers.push(bench.call_as(id, "add", "1"));
                }
                6 => {
                    bench.port.world().apply_one();
                }
                7 => {
                    bench.deliver();
                }
                8 => bench.port.world().refuse = usize::try_from(random.u64() % 2).expect("small"),
                _ => {
                    let resting = |id: &InvocationId| {
                        bench.port.world().invocations.get(id).is_some_and(|row| row.status == Status::Resting)
                    };
                    let resting: Vec<_> = planted.iter().copied().filter(resting).collect();
                    resting.into_iter().for_each(|id| bench.port.world().retry(id));
                }
            }
        }
        bench.port.world().refuse = 0;
        for _ in 0..200 {
            bench.apply();
            if bench.activation.retry_after().is_some() {
                bench.tell(Input::Tick);
            }
            let resting = |id: &InvocationId| {
                bench.port.world().invocations.get(id).is_some_and(|row| row.status == Status::Resting)
            };
            let resting: Vec<_> = planted.iter().copied().filter(resting).collect();
            resting.into_iter().for_each(|id| bench.port.world().retry(id));
        }
        let heard: Vec<_> = callers.iter_mut().map(Caller::hear).collect();
        let refused = heard.iter().filter(|heard| matches!(heard, Heard::Refused(Refusal::Overloaded))).count();
        let answered = heard.iter().filter(|heard| matches!(heard, Heard::Value(_))).count();
        assert_eq!(answered + refused, heard.len(), "seed {seed}: {heard:?}");
        assert!(bench.port.world().invocations.is_empty(), "seed {seed}: work is left");
        let stored = bench.port.world().objects[&object("a")].fields.get("n").cloned().unwrap_or_default();
        let stored: i64 = String::from_utf8(stored.to_vec()).expect("text").parse().expect("a number");
        let refused = i64::try_from(refused).expect("small");
        assert_eq!(stored, expected - refused, "seed {seed}");
    }
}

/// The driver is slow, for longer than the timeout, and the same leader goes on.
#[test]
fn a_due_turn_survives_a_slow_loading() {
    let mut bench = Bench::ready();
    let bad = bench.fresh();
    plant(bad, 1);
    let mut panicking = bench.call_as(bad, "add", "1");
    bench.apply();
    assert_eq!(panicking.hear(), Heard::Nothing);
    // Its next attempt is due: the activation asks for the state ...
    bench.port.world().retry(bad);
    bench.deliver();
    // ... and the driver takes its time to answer.
    bench.now += bench.activation.env.settings.load_timeout;
    bench.tell(Input::Tick);
    bench.apply();
    let mut behind = bench.call("add", "10");
    bench.apply();
    assert_eq!((panicking.hear(), behind.hear()), (value("1"), value("11")));
    assert_eq!(bench.stored(), "11");
}
