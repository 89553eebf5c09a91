//! Flows against a small machine: rounds, replay after a crash at every flush, races, cancellation, state.

#![allow(clippy::unwrap_used)]

extern crate abide_sdk as abide;

mod machine;

use std::cell::{Cell, RefCell};

use abide::prelude::*;
use abide_model::command::Next;
use abide_model::protocol::{Code, Failure, Metadata, NotificationId, NotificationResult, Value};
use bytes::Bytes;
use machine::{Ended, World, id, json};

thread_local! {
    static RAN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static FAIL_UNTIL: Cell<usize> = const { Cell::new(0) };
}

fn ran(what: &str) {
    RAN.with_borrow_mut(|ran| ran.push(what.to_owned()));
}

fn take_ran() -> Vec<String> {
    RAN.take()
}

#[derive(Debug, Serialize, Deserialize)]
enum OrderError {
    Empty,
    Terminal(Terminal),
}

impl std::fmt::Display for OrderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => write!(f, "nothing ordered"),
            Self::Terminal(terminal) => write!(f, "{terminal}"),
        }
    }
}

impl From<Terminal> for OrderError {
    fn from(terminal: Terminal) -> Self {
        Self::Terminal(terminal)
    }
}

impl HandlerError for OrderError {
    fn code(&self) -> u16 {
        match self {
            Self::Empty => 422,
            Self::Terminal(terminal) => terminal.code,
        }
    }
}

#[object]
struct Order {
    total: u32,
    items: Vec<String>,
    note: Option<String>,
}

async fn two_steps(cx: &Flow, name: &str) -> Result<u32, Terminal> {
    let a: u32 = cx
        .run(&format!("{name}-1"), || async {
            ran("helper 1");
            Ok(10)
        })
        .await?;
    cx.sleep(Duration::from_secs(1)).await?;
    let b: u32 = cx
        .run(&format!("{name}-2"), || async {
            ran("helper 2");
            Ok(5)
        })
        .await?;
    Ok(a + b)
}

#[handlers]
impl Order {
    async fn three(&mut self, cx: &mut Flow) -> Result<u32, Terminal> {
        let mut sum = 0;
        for n in 1..=3u32 {
            sum += cx
                .run("step", || async move {
                    ran(&format!("step {n}"));
                    Ok(n)
                })
                .await?;
        }
        Ok(sum)
    }

    async fn everything(&mut self, cx: &mut Flow, item: String) -> Result<String, OrderError> {
        if item.is_empty() {
            return Err(OrderError::Empty);
        }
        self.items.push(item.clone());
        let started = cx.now();
        let price = cx
            .run("price", || async {
                ran("price");
                Ok(7u32)
            })
            .await?;
        self.total += price;
        cx.sleep(Duration::from_secs(60)).await?;
        self.total += two_steps(cx, "helper").await?;
        let reply = cx.object::<Order>("other").three().await.or_terminal()?;
        self.note = Some(format!("reply {reply}"));
        cx.object::<Order>("audit").read_total().send();
        let lucky = cx.random() == cx.random();
        let slept = cx.now().0 - started.0 >= 61_000;
        self.total += 1;
        Ok(format!("{} {slept} {lucky}", self.total))
    }

    async fn racing(&mut self, cx: &mut Flow) -> Result<String, Terminal> {
        let long = cx.sleep(Duration::from_secs(10));
        let call = cx.object::<Order>("other").three();
        match cx.race(long, call).await {
            Either::Left(slept) => slept.map(|()| "sleep".to_owned()),
            Either::Right(result) => result.or_terminal().map(|n| format!("call {n}")),
        }
    }

    async fn race_then_step(&mut self, cx: &mut Flow) -> Result<String, Terminal> {
        let (_, approval) = cx.awakeable::<String>();
        let winner = cx
            .race(
                approval,
                cx.run("slow", || async {
                    ran("slow");
                    std::future::pending::<()>().await;
                    Ok(())
                }),
            )
            .await;
        let text = match winner {
            Either::Left(text) => text?,
            Either::Right(step) => step.map(|()| "step".to_owned())?,
        };
        let after = cx
            .run("after", || async {
                ran("after");
                Ok(1u8)
            })
            .await?;
        Ok(format!("{text} {after}"))
    }

    async fn branches(&mut self, cx: &mut Flow) -> Result<String, Terminal> {
        let branch = async |name: &'static str| {
            let value: u32 = cx.object::<Order>(name).three().await.or_terminal()?;
            let stepped: u32 = cx
                .run(name, || async {
                    ran(name);
                    Ok(value + 1)
                })
                .await?;
            cx.object::<Order>(name).read_total().send();
            Ok::<u32, Terminal>(stepped)
        };
        let (a, b) = cx.join(branch("a"), branch("b")).await;
        Ok(format!("{} {}", a?, b?))
    }

    async fn cancellable(&mut self, cx: &mut Flow) -> Result<String, Terminal> {
        cx.run("first", || async {
            ran("first");
            Ok(())
        })
        .await?;
        self.note = Some("booked".to_owned());
        let result = cx.object::<Order>("other").three().await;
        if let Err(error) = result {
            cx.run("undo", || async {
                ran("undo");
                Ok(())
            })
            .await?;
            self.note = None;
            return Ok(format!("undone: {error}"));
        }
        Ok("done".to_owned())
    }

    async fn flaky(&mut self, cx: &mut Flow) -> Result<u32, Terminal> {
        cx.run("flaky", || async {
            ran("flaky");
            if RAN.with_borrow(Vec::len) < FAIL_UNTIL.get() {
                return Err(StepError::retryable("not yet"));
            }
            Ok(1)
        })
        .retry(RetryPolicy::attempts(3).initial(Duration::from_millis(100)))
        .await
    }

    async fn terminal_step(&mut self, cx: &mut Flow) -> Result<u32, Terminal> {
        cx.run("terminal", || async { Err(StepError::terminal(402, "no money")) }).await
    }

    async fn fails_late(&mut self, cx: &mut Flow) -> Result<(), OrderError> {
        self.total = 1;
        cx.sleep(Duration::from_secs(1)).await?;
        self.total = 2;
        Err(OrderError::Empty)
    }

    async fn shared_look(&self, cx: &mut Flow) -> Result<u32, Terminal> {
        let before = self.total;
        cx.sleep(Duration::from_secs(1)).await?;
        Ok(before)
    }

    async fn approval(&mut self, cx: &mut Flow) -> Result<String, Terminal> {
        let (id, approved) = cx.awakeable::<String>();
        cx.run("mail", || async {
            ran(&format!("mail {id}"));
            Ok(())
        })
        .await?;
        let named = cx.signal::<u32>("go");
        let (text, number) = cx.join(approved, named).await;
        Ok(format!("{} {}", text?, number?))
    }

    async fn in_time(&mut self, cx: &mut Flow) -> Result<String, Terminal> {
        match cx.timeout(Duration::from_secs(5), cx.object::<Order>("slow").three()).await {
            Ok(result) => result.or_terminal().map(|n| n.to_string()),
            Err(elapsed) => Ok(elapsed.to_string()),
        }
    }

    async fn helper_with_self(&mut self, cx: &mut Flow) -> Result<u32, Terminal> {
        self.total = 4;
        self.add_twice(cx).await?;
        cx.sleep(Duration::from_secs(1)).await?;
        Ok(self.total)
    }

    async fn panics(&mut self, _cx: &mut Flow) -> u32 {
        panic!("user code")
    }

    async fn panics_after_a_step(&mut self, cx: &mut Flow) -> Result<u32, Terminal> {
        let step: u32 = cx
            .run("step", || async {
                ran("step");
                Ok(7)
            })
            .await?;
        panic!("after step {step}")
    }

    fn read_total(&self, _cx: &Read) -> u32 {
        self.total
    }

    fn helper(&self) -> u32 {
        self.total
    }
}

impl Order {
    async fn add_twice(&mut self, cx: &Flow) -> Result<(), Terminal> {
        self.total += 1;
        cx.sleep(Duration::from_secs(1)).await?;
        self.total += self.helper();
        Ok(())
    }
}

fn answering(handler: &str, input: Bytes) -> World {
    let mut world = World::new::<Order>(handler, input);
    world.answer = |_| Some(Ok("6".to_owned()));
    world
}

#[test]
fn three_steps_are_four_rounds() {
    let mut world = World::new::<Order>("three", Bytes::new());
    assert_eq!(world.run(), Ended::Done);
    assert_eq!(world.outcome, Some(Ok("6".to_owned())));
    assert_eq!(world.rounds, 4);
    assert_eq!(take_ran(), ["step 1", "step 2", "step 3"]);
    assert_eq!(
        world.entries(),
        ["Input", "Run", "RunCompletion", "Run", "RunCompletion", "Run", "RunCompletion", "Output"]
    );
}

#[test]
fn a_step_waits_until_everything_before_it_is_durable() {
    let mut world = World::new::<Order>("three", Bytes::new());
    let mut attempt = world.start();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let abide::attempt::Progress::Pending { messages, waiting } = attempt.poll(&mut cx) else { panic!() };
    assert_eq!((messages.len(), waiting), (2, None));
    for _ in 0..3 {
        let abide::attempt::Progress::Pending { messages, waiting } = attempt.poll(&mut cx) else { panic!() };
        assert_eq!((messages.len(), waiting), (0, None));
    }
    assert_eq!(take_ran(), ["step 1"]);
    world.apply(messages);
    attempt.committed();
    drop(attempt.poll(&mut cx));
    assert_eq!(take_ran(), ["step 2"]);
}

/// Runs `make()` to its end once; then again with a crash instead of each flush in turn, and with a suspension after
/// each flush. Journal, state and outcome must be the same, and no step may run again once it is durable.
fn survives_every_crash(make: impl Fn() -> World) {
    take_ran();
    let mut reference = make();
    assert_eq!(reference.run(), Ended::Done);
    let once = take_ran();
    let mut crash = 0;
    loop {
        let mut world = make();
        let ended = world.run_crashing(crash);
        if ended != Ended::Crashed {
            break;
        }
        let before = take_ran();
        assert_eq!(world.run(), Ended::Done, "after a crash at flush {crash}");
        let after = take_ran();
        assert_eq!(world.outcome, reference.outcome);
        assert_eq!(world.state, reference.state);
        assert_eq!(world.entries(), reference.entries());
        let lost = before.len() + after.len() - once.len();
        assert!(lost <= 1, "more than the step under way ran again: {before:?} {after:?}");
        crash += 1;
    }
    assert!(crash >= 2);
    let mut world = make();
    world.suspend = true;
    assert_eq!(world.run(), Ended::Done);
    assert!(world.attempts >= 2);
    assert_eq!((&world.outcome, &world.state), (&reference.outcome, &reference.state));
    take_ran();
}

#[test]
fn crash_at_every_flush_and_replay() {
    survives_every_crash(|| World::new::<Order>("three", Bytes::new()));
    survives_every_crash(|| answering("everything", json("tea")));
    survives_every_crash(|| answering("branches", Bytes::new()));
    survives_every_crash(|| answering("helper_with_self", Bytes::new()));
    survives_every_crash(|| World::new::<Order>("in_time", Bytes::new()));
    survives_every_crash(|| World::new::<Order>("fails_late", Bytes::new()));
}

#[test]
fn everything_gives_what_it_should() {
    let mut world = answering("everything", json("tea"));
    world.state.insert("total".to_owned(), json(100));
    assert_eq!(world.run(), Ended::Done);
    assert_eq!(world.outcome, Some(Ok(r#""123 true false""#.to_owned())));
    assert_eq!(world.field("total"), Some("123"));
    assert_eq!(world.field("items"), Some(r#"["tea"]"#));
    assert_eq!(world.field("note"), Some(r#""reply 6""#));
    assert_eq!(world.calls[0].service_name, "Order");
    assert_eq!((world.sends[0].handler_name.as_str(), world.sends[0].key.as_str()), ("read_total", "audit"));
    take_ran();
}

#[test]
fn state_changes_are_journaled_before_the_operation_they_precede() {
    let mut world = World::new::<Order>("fails_late", Bytes::new());
    assert_eq!(world.run(), Ended::Done);
    assert_eq!(world.entries(), ["Input", "GetEagerState", "SetState", "Sleep", "SleepCompletion", "Output"]);
    // What was changed after the last `.await` is dropped with the error.
    assert_eq!(world.field("total"), Some("1"));
    let failure = world.outcome.unwrap().unwrap_err();
    assert_eq!((failure.code, failure.message.as_str()), (422, "nothing ordered"));
    let error = CallError::<OrderError>::from_failure(&failure);
    assert!(matches!(error, CallError::Domain(OrderError::Empty)));
}

#[test]
fn replay_sees_the_state_it_saw_first() {
    let mut world = World::new::<Order>("helper_with_self", Bytes::new());
    world.state.insert("total".to_owned(), json(9));
    assert_eq!(world.run_crashing(1), Ended::Crashed);
    assert_eq!(world.field("total"), Some("4"));
    assert_eq!(world.run(), Ended::Done);
    assert_eq!(world.outcome, Some(Ok("10".to_owned())));
}

#[test]
fn a_shared_flow_keeps_what_it_read() {
    let mut world = World::new::<Order>("shared_look", Bytes::new());
    world.state.insert("total".to_owned(), json(5));
    assert_eq!(world.run_crashing(1), Ended::Crashed);
    assert_eq!(world.entries()[..4], ["Input", "GetEagerStateKeys", "GetEagerState", "Sleep"]);
    world.state.insert("total".to_owned(), json(6));
    world.state.insert("note".to_owned(), json("new"));
    assert_eq!(world.run(), Ended::Done);
    assert_eq!(world.outcome, Some(Ok("5".to_owned())));
}

#[test]
fn a_race_is_won_by_what_came_first_also_on_replay() {
    let mut world = World::new::<Order>("racing", Bytes::new());
    let mut attempt = world.start();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let abide::attempt::Progress::Pending { messages, .. } = attempt.poll(&mut cx) else { panic!() };
    for (index, row) in world.apply(messages) {
        attempt.notify(index, row);
    }
    attempt.committed();
    let abide::attempt::Progress::Pending { messages, waiting } = attempt.poll(&mut cx) else { panic!() };
    assert!(messages.is_empty());
    let waiting = waiting.unwrap();
    assert_eq!((waiting.completions, waiting.signals), (vec![1, 3], vec![1]));
    drop(attempt);
    world.answer_call(3, Ok("6".to_owned()));
    world.fire();
    for _ in 0..3 {
        let mut again = World::new::<Order>("racing", Bytes::new());
        again.journal = world.journal.clone();
        assert_eq!(again.run(), Ended::Done);
        assert_eq!(again.outcome, Some(Ok(r#""call 6""#.to_owned())));
    }
}

#[test]
fn a_step_that_lost_its_race_leaves_nothing_in_the_journal() {
    take_ran();
    let mut world = World::new::<Order>("race_then_step", Bytes::new());
    let mut attempt = world.start();
    assert_eq!(world.drive(&mut attempt, u32::MAX), Ended::Busy);
    assert_eq!(take_ran(), ["slow"]);
    let value = NotificationResult::Value(Value { content: json("yes") });
    let (index, row) = world.notify(Code::SIGNAL, NotificationId::SignalIndex(17), value);
    attempt.notify(index, row);
    // The step after the race runs at once: nothing is unflushed. Crash before it is durable.
    assert_eq!(world.drive(&mut attempt, 0), Ended::Crashed);
    assert_eq!(world.run(), Ended::Done);
    assert_eq!(take_ran(), ["after", "after"]);
    assert_eq!(world.outcome, Some(Ok(r#""yes 1""#.to_owned())));
    assert_eq!(world.entries(), ["Input", "Signal", "Run", "RunCompletion", "Output"]);
    world.journal.pop();
    world.outcome = None;
    assert_eq!(world.run(), Ended::Done);
    assert!(take_ran().is_empty());
}

#[test]
fn branches_replay_whatever_the_order_of_their_results() {
    for order in [[2u32, 4], [4, 2]] {
        take_ran();
        let mut world = World::new::<Order>("branches", Bytes::new());
        let mut attempt = world.start();
        assert!(matches!(world.drive(&mut attempt, u32::MAX), Ended::Waiting(_)));
        let mut journals = vec![];
        for completion in order {
            let (index, row) = world.answer_call(completion, Ok(completion.to_string()));
            attempt.notify(index, row);
            let ended = world.drive(&mut attempt, u32::MAX);
            journals.push(world.journal.clone());
            assert!(matches!(ended, Ended::Waiting(_) | Ended::Done), "{ended:?}");
        }
        assert_eq!(world.outcome, Some(Ok(r#""3 5""#.to_owned())));
        assert_eq!(take_ran().len(), 2);
        // Every prefix of the journal replays without a mismatch.
        let whole = journals.pop().unwrap();
        for length in 1..whole.len() {
            let mut again = World::new::<Order>("branches", Bytes::new());
            again.journal = whole[..length].to_vec();
            let ended = again.run();
            assert!(!matches!(ended, Ended::Failed(..)), "{length}: {ended:?}");
        }
        take_ran();
    }
}

#[test]
fn cancellation_interrupts_is_passed_on_and_lets_the_handler_clean_up() {
    take_ran();
    let mut world = World::new::<Order>("cancellable", Bytes::new());
    let mut attempt = world.start();
    assert!(matches!(world.drive(&mut attempt, u32::MAX), Ended::Waiting(_)));
    let (index, row) = world.cancel();
    attempt.notify(index, row);
    assert_eq!(world.drive(&mut attempt, u32::MAX), Ended::Done);
    assert_eq!(world.outcome, Some(Ok(r#""undone: cancelled""#.to_owned())));
    assert_eq!(take_ran(), ["first", "undo"]);
    let callee = abide::prelude::InvocationId { partition_key: abide_model::id::PartitionKey(1), unique: 0 };
    assert_eq!(world.signals[0].target_invocation_id, callee.to_string());
    assert_eq!(world.field("note"), Some("null"));
    // The whole of it replays.
    let journal = world.journal.clone();
    for length in 1..journal.len() {
        let mut again = World::new::<Order>("cancellable", Bytes::new());
        again.journal = journal[..length].to_vec();
        let ended = again.run();
        assert!(matches!(ended, Ended::Done | Ended::Waiting(_)), "{length}: {ended:?}");
    }
    take_ran();
}

/// The cancellation enters the journal before the result of a step that had ended already.
#[test]
fn a_cancellation_that_overtakes_a_step_replays() {
    take_ran();
    let mut world = World::new::<Order>("cancellable", Bytes::new());
    let mut attempt = world.start();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let abide::attempt::Progress::Pending { messages, .. } = attempt.poll(&mut cx) else { panic!() };
    let (index, row) = world.cancel();
    attempt.notify(index, row);
    for (index, row) in world.apply(messages) {
        attempt.notify(index, row);
    }
    attempt.committed();
    assert_eq!(world.drive(&mut attempt, u32::MAX), Ended::Done);
    assert_eq!(world.outcome, Some(Ok(r#""undone: cancelled""#.to_owned())));
    assert_eq!(world.entries()[..4], ["Input", "Signal", "Run", "RunCompletion"]);
    assert_eq!(take_ran(), ["first", "undo"]);
    world.journal.pop();
    world.outcome = None;
    assert_eq!(world.run(), Ended::Done);
    assert!(take_ran().is_empty());
}

#[test]
fn a_changed_flow_is_refused_with_an_explanation() {
    let mut world = World::new::<Order>("three", Bytes::new());
    assert_eq!(world.run_crashing(1), Ended::Crashed);
    let mut other = World::new::<Order>("fails_late", Bytes::new());
    other.journal = world.journal.clone();
    let Ended::Failed(failure, None) = other.run() else { panic!() };
    assert_eq!(failure.code, 570);
    assert!(
        failure.message.contains("entry 1: the journal says step `step`, but the code did field `total` about"),
        "{}",
        failure.message
    );
    // A step where the journal has another operation.
    let mut world = World::new::<Order>("fails_late", Bytes::new());
    assert_eq!(world.run_crashing(1), Ended::Crashed);
    let mut other = World::new::<Order>("three", Bytes::new());
    other.journal = world.journal.clone();
    let Ended::Failed(failure, None) = other.run() else { panic!() };
    assert!(
        failure.message.contains("the journal says sleep (completion 1), but the code did step `step`"),
        "{}",
        failure.message
    );
    take_ran();
}

#[test]
fn steps_retry_by_their_own_policy() {
    take_ran();
    FAIL_UNTIL.set(3);
    let mut world = World::new::<Order>("flaky", Bytes::new());
    for _ in 0..2 {
        let Ended::Failed(failure, Some(Next::RetryAfter(delay))) = world.run() else { panic!() };
        assert_eq!(failure.message, "step `flaky`: not yet");
        assert!((100..=250).contains(&delay), "{delay}");
    }
    assert_eq!(world.run(), Ended::Done);
    assert_eq!(world.outcome, Some(Ok("1".to_owned())));

    take_ran();
    FAIL_UNTIL.set(10);
    let mut world = World::new::<Order>("flaky", Bytes::new());
    assert!(matches!(world.run(), Ended::Failed(..)));
    assert!(matches!(world.run(), Ended::Failed(..)));
    assert_eq!(world.run(), Ended::Done);
    let failure = world.outcome.unwrap().unwrap_err();
    assert_eq!((failure.code, failure.message.as_str()), (500, "step `flaky`: not yet"));
    assert_eq!(take_ran().len(), 3);
}

#[test]
fn a_terminal_step_failure_is_the_steps_result() {
    let mut world = World::new::<Order>("terminal_step", Bytes::new());
    assert_eq!(world.run(), Ended::Done);
    let failure = world.outcome.unwrap().unwrap_err();
    assert_eq!((failure.code, failure.message.as_str()), (402, "no money"));
    assert_eq!(world.rounds, 2);
}

#[test]
fn awakeables_and_named_signals() {
    let mut world = World::new::<Order>("approval", Bytes::new());
    let early = NotificationResult::Value(Value { content: json(3) });
    world.notify(Code::SIGNAL, NotificationId::SignalName("go".to_owned()), early);
    let Ended::Waiting(waiting) = world.run() else { panic!() };
    assert_eq!((waiting.signals, waiting.names.len()), (vec![1, 17], 0));
    let value = NotificationResult::Value(Value { content: json("ok") });
    world.notify(Code::SIGNAL, NotificationId::SignalIndex(17), value);
    assert_eq!(world.run(), Ended::Done);
    assert_eq!(world.outcome, Some(Ok(r#""ok 3""#.to_owned())));
    let awakeable = AwakeableId { invocation: id(), signal: 17 };
    assert_eq!(take_ran(), [format!("mail {awakeable}")]);
}

#[test]
fn a_timeout_ends_the_wait() {
    let mut world = World::new::<Order>("in_time", Bytes::new());
    assert_eq!(world.run(), Ended::Done);
    assert_eq!(world.outcome, Some(Ok(r#""timed out""#.to_owned())));
    let mut world = answering("in_time", Bytes::new());
    assert_eq!(world.run(), Ended::Done);
    assert_eq!(world.outcome, Some(Ok(r#""6""#.to_owned())));
}

#[test]
fn failures_of_calls_are_typed() {
    let failure = CallError::<OrderError>::from_failure(&Failure::new(404, "gone"));
    assert_eq!(failure.to_string(), "gone");
    let coded = |code: u32, text: &str, abide: &str| {
        let metadata = vec![Metadata { key: abide::CODE_METADATA.to_owned(), value: abide.to_owned() }];
        CallError::<OrderError>::from_failure(&Failure { metadata, ..Failure::new(code, text) })
    };
    let deadlock = coded(508, "the call would wait for itself: Order/a → Stock/b → Order/a", "AB0508");
    assert!(
        matches!(&deadlock, CallError::Deadlock { cycle } if cycle == "Order/a → Stock/b → Order/a"),
        "{deadlock:?}"
    );
    assert_eq!(deadlock.code(), 508);
    assert!(matches!(coded(404, "no such", "AB0404"), CallError::NotFound { .. }));
    assert!(matches!(coded(429, "too many", "AB0431"), CallError::Overloaded { .. }));
    assert!(matches!(coded(500, "panicked", "AB0501"), CallError::Terminal { code: 500, .. }));
}

#[test]
fn a_cancellation_is_told_from_other_conflicts() {
    assert!(Terminal::cancelled().is_cancelled() && Terminal::new(409, "canceled").is_cancelled());
    assert!(!Terminal::new(409, "promise was already completed").is_cancelled());
}

#[test]
fn a_wrong_argument_is_the_callers_failure() {
    let mut world = World::new::<Order>("everything", json(5));
    assert_eq!(world.run(), Ended::Done);
    let failure = world.outcome.unwrap().unwrap_err();
    assert_eq!(failure.code, 400);
    assert!(failure.message.starts_with("argument of `everything`: invalid type"), "{}", failure.message);
    assert!(world.state.is_empty());
}

#[test]
fn a_panic_does_not_lose_the_step_before_it() {
    let mut world = World::new::<Order>("panics_after_a_step", Bytes::new());
    let mut attempt = world.start();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = attempt.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    }));
    assert!(caught.is_err());
    assert_eq!(take_ran(), ["step"]);
    let codes: Vec<_> = attempt.salvage().iter().map(|message| message.code).collect();
    assert_eq!(codes, [Code::RUN, Code::PROPOSE_RUN_COMPLETION]);
    assert!(attempt.salvage().is_empty());
}

#[test]
fn a_panic_leaves_the_thread_usable() {
    let mut world = World::new::<Order>("panics", Bytes::new());
    let mut attempt = world.start();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = attempt.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    }));
    assert!(caught.is_err());
    drop(attempt);
    // Outside of an attempt the hook finds none.
    abide::macro_support::at_await(&Order::default());
    three_steps_are_four_rounds();
}
