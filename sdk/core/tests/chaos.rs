//! Flows with several things under way, driven in random order: results come, commits lag, cancellation strikes, the
//! process crashes. Whatever happens, replay must never contradict the journal, and the flow must end.

#![allow(clippy::unwrap_used)]

extern crate abide_sdk as abide;

mod machine;

use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use abide::Handlers;
use abide::attempt::{Attempt, Progress};
use abide::prelude::*;
use abide::service::Fields;
use abide_model::protocol::{Code, NotificationId, NotificationResult, RawMessage, Value};
use bytes::Bytes;
use machine::{World, json};

thread_local! {
    /// Seed of how long steps take.
    static CHANCE: Cell<u64> = const { Cell::new(1) };
}

fn chance(bound: u64) -> u64 {
    let mut x = CHANCE.get();
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    CHANCE.set(x);
    (x >> 11) % bound
}

/// A step that takes a while, or not.
async fn work(value: u32) -> Result<u32, StepError> {
    poll_fn(|_| if chance(3) == 0 { Poll::Ready(()) } else { Poll::Pending }).await;
    Ok(value)
}

#[object]
struct Storm {
    seen: Vec<String>,
}

async fn branch(cx: &Flow, name: &str) -> Result<u32, Terminal> {
    let first: u32 = cx.run(name, || work(1)).await?;
    let called: u32 = cx.object::<Storm>(name).rage().await.or_terminal()?;
    let sent = cx.object::<Storm>(name).rage().send();
    sent.invocation_id().await?;
    cx.sleep(Duration::from_millis(u64::from(first))).await?;
    let moment = cx.now();
    let second: u32 = cx.run(&format!("{name}-{moment}"), || work(called)).await?;
    Ok(first + second)
}

async fn storm(cx: &Flow) -> Result<String, Terminal> {
    let (_, approval) = cx.awakeable::<u32>();
    let race = cx.race(approval, async {
        let a = cx.run("contender", || work(3)).await;
        cx.object::<Storm>("contender").rage().send();
        a
    });
    let timed = cx.timeout(Duration::from_millis(3), cx.object::<Storm>("slow").rage());
    let ((a, b), (winner, timed)) = cx.join(cx.join(branch(cx, "a"), branch(cx, "b")), cx.join(race, timed)).await;
    let winner = match winner {
        Either::Left(value) => format!("approval {}", value?),
        Either::Right(value) => format!("step {}", value?),
    };
    let late: u32 = cx.run("late", || work(9)).await?;
    cx.signal::<u32>("go").await?;
    let places = cx.select_all([cx.sleep(Duration::from_millis(2)), cx.sleep(Duration::from_millis(1))]).await;
    Ok(format!("{} {} {winner} {} {late} {}", a?, b?, timed.is_ok(), places.0))
}

#[handlers]
impl Storm {
    async fn rage(&mut self, cx: &mut Flow) -> Result<u32, Terminal> {
        let result = storm(cx).await;
        self.seen.push(format!("{result:?}"));
        cx.run("end", || work(0)).await?;
        Ok(u32::try_from(self.seen.len()).unwrap_or_default())
    }
}

/// A storm beside promises, on state that was stored by other code.
#[workflow]
struct Gale {
    #[serde(alias = "first")]
    seen: Vec<String>,
    lost: u32,
}

#[handlers]
impl Gale {
    async fn run(&mut self, cx: &mut Flow) -> Result<u32, Terminal> {
        let (door, asleep) = (cx.promise::<u32>("door"), cx.sleep(Duration::from_millis(2)));
        let opened = cx.join(cx.race(door, asleep), cx.promise("own").resolve(&7)).await;
        self.lost += u32::from(matches!(opened.0, Either::Right(_)));
        let again = cx.promise("own").resolve(&8).await;
        let own = cx.join(cx.promise::<u32>("own"), cx.promise::<u32>("door").peek()).await;
        self.seen.push(format!("{opened:?} {again:?} {own:?}"));
        let result = storm(cx).await;
        self.seen.push(format!("{result:?}"));
        cx.promise::<u32>("end").reject(500, "over").await?;
        Ok(self.lost)
    }
}

struct Run {
    world: World,
    attempt: Attempt,
    uncommitted: Vec<Vec<RawMessage>>,
    unanswered: Vec<u32>,
    cancelled: bool,
    done: bool,
}

impl Run {
    fn restart(&mut self) {
        self.uncommitted.clear();
        self.attempt = self.world.start();
    }

    fn commit(&mut self, seed: u64) {
        if self.uncommitted.is_empty() {
            return;
        }
        let messages = self.uncommitted.remove(0);
        let before = self.world.calls.len();
        for (index, row) in self.world.apply(messages) {
            self.attempt.notify(index, row);
            if chance(4) == 0 && !self.done {
                self.poll(seed);
            }
        }
        self.unanswered.extend(self.world.calls[before..].iter().map(|call| call.result_completion_id));
        self.attempt.committed();
    }

    fn outside(&mut self, seed: u64) {
        let value = |number: u32| NotificationResult::Value(Value { content: json(number) });
        if chance(40) == 0 && !self.world.promises.contains_key("door") {
            for (index, row) in self.world.complete_promise("door", Ok(json(3))) {
                self.attempt.notify(index, row);
            }
        }
        let notified = match chance(8) {
            0 | 1 => self.world.fire(),
            2 | 3 if !self.unanswered.is_empty() => {
                let place = usize::try_from(chance(self.unanswered.len() as u64)).unwrap();
                let call = self.unanswered.remove(place);
                Some(self.world.answer_call(call, Ok("4".to_owned())))
            }
            4 => Some(self.world.notify(Code::SIGNAL, NotificationId::SignalIndex(17), value(5))),
            5 => Some(self.world.notify(Code::SIGNAL, NotificationId::SignalName("go".to_owned()), value(6))),
            6 if seed.is_multiple_of(3) && !self.cancelled && chance(10) == 0 => {
                self.cancelled = true;
                Some(self.world.cancel())
            }
            _ => None,
        };
        if let Some((index, row)) = notified {
            self.attempt.notify(index, row);
        }
    }

    /// Whether the flow has ended.
    fn step(&mut self, seed: u64) -> bool {
        match chance(20) {
            0 => self.restart(),
            1..=5 => self.commit(seed),
            6..=9 => self.outside(seed),
            _ => self.poll(seed),
        }
        if !self.done {
            return false;
        }
        while !self.uncommitted.is_empty() {
            self.commit(seed);
        }
        true
    }

    fn poll(&mut self, seed: u64) {
        let messages = match self.attempt.poll(&mut Context::from_waker(Waker::noop())) {
            Progress::Pending { messages, .. } => messages,
            Progress::Done { messages } => {
                self.done = true;
                messages
            }
            Progress::Failed { failure, .. } => {
                panic!("seed {seed}: {}\n{:#?}", failure.message, self.world.entries())
            }
        };
        if !messages.is_empty() {
            self.uncommitted.push(messages);
        }
    }
}

#[test]
fn random_orders_never_contradict_the_journal() {
    survives::<Storm>("rage", &Fields::new());
}

#[test]
fn promises_and_outdated_state_do_not_either() {
    let stored = |name: &str, json: &'static str| (name.to_owned(), Bytes::from_static(json.as_bytes()));
    survives::<Gale>("run", &[stored("first", r#"["calm"]"#), stored("gone", "1")].into());
}

fn survives<T: Handlers>(handler: &str, stored: &Fields) {
    for seed in 1..=1_500u64 {
        CHANCE.set(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut world = World::new::<T>(handler, Bytes::new());
        world.state = stored.clone();
        let attempt = world.start();
        let mut run = Run { world, attempt, uncommitted: vec![], unanswered: vec![], cancelled: false, done: false };
        let mut steps = 0;
        while !run.step(seed) {
            steps += 1;
            assert!(steps < 100_000, "seed {seed} does not end: {:#?}", run.world.entries());
        }
        let outcome = run.world.outcome.clone();
        assert!(outcome.is_some(), "seed {seed}");
        let left = stored.keys().filter(|field| run.world.state.contains_key(*field)).count();
        assert_eq!(left, 0, "seed {seed}: {:?}", run.world.state);
        // The finished journal replays to the same end.
        let mut again = World::new::<T>(handler, Bytes::new());
        again.state = run.world.state.clone();
        again.journal = run.world.journal.clone();
        let ended = again.run();
        assert_eq!(ended, machine::Ended::Done, "seed {seed}: {:#?}", run.world.entries());
    }
}
