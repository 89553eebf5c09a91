//! Clients that keep a cluster busy and write down what they were told.
//!
//! A client asks one node until that fails it, then the next one, with the same idempotency key: what any client of a
//! cluster does that has a list of addresses and no idea which of them are well. Objects are retired after some
//! operations, so that their histories can be searched; new ones take their place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinHandle;

use crate::history::{Action, Heard, History, Operation, Outcome, Recorder, hear};
use crate::http::{Http, Sent};
use crate::random::Random;
use crate::wait;

/// So many accounts the bank has.
pub const ACCOUNTS: u64 = 8;
/// What is in each of them at first.
pub const OPENING: i64 = 10_000;
/// So many objects of a kind are in use at once.
const SLOTS: u64 = 4;
/// A register is retired after so many operations, a ledger or journal after [`ENTRIES`].
const STEPS: u64 = 160;
/// A ledger's state grows by each entry.
const ENTRIES: u64 = 80;
/// Between two attempts.
const BREATH: Duration = Duration::from_millis(10);

/// How much load, and how patient its clients are.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Clients of registers.
    pub registers: usize,
    /// Clients of ledgers: appends, sends and flows.
    pub ledgers: usize,
    /// Clients of the bank.
    pub bankers: usize,
    /// The longest rest between two operations of a client.
    pub rest: Duration,
    /// A node that does not answer by then is given up for the next one.
    pub attempt: Duration,
    /// An operation without a definite answer by then is given up.
    pub patience: Duration,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            registers: 6,
            ledgers: 4,
            bankers: 4,
            rest: Duration::from_millis(60),
            attempt: Duration::from_secs(1),
            patience: Duration::from_secs(20),
        }
    }
}

/// A load that is running.
pub struct Load {
    office: Arc<Office>,
    clients: Vec<JoinHandle<()>>,
}

/// What the clients share.
struct Office {
    /// Makes this load's objects others than those of an earlier load on the same cluster.
    name: u64,
    nodes: Vec<Http>,
    mix: Mix,
    recorder: Recorder,
    closing: AtomicBool,
    /// Operations per slot, by kind.
    used: [[AtomicU64; 4]; 3],
}

/// The kinds of objects with slots.
#[derive(Clone, Copy)]
enum Kind {
    Register,
    Ledger,
    Journal,
}

impl Load {
    /// Opens the bank and starts the clients. `nodes` are the doors they know.
    ///
    /// # Panics
    /// When no node opens an account in time.
    pub async fn start(nodes: Vec<Http>, mix: Mix, random: &mut Random) -> Self {
        let (name, recorder) = (Recorder::number(), Recorder::default());
        let (closing, used) = (AtomicBool::new(false), Default::default());
        let office = Arc::new(Office { name, nodes, mix, recorder, closing, used });
        for account in 0..ACCOUNTS {
            let path = format!("/Account/{}/deposit", office.account(account));
            wait::until("the bank is open", || async {
                let sent = office.nodes[0].json(&path, OPENING).key(format!("open-{name}-{account}"));
                match hear(&sent.answer().await) {
                    Heard::Done(_) => Ok(()),
                    heard => Err(heard),
                }
            })
            .await;
        }
        let count = mix.registers + mix.ledgers + mix.bankers;
        let clients = (0..count).map(|number| {
            let client = Client { number, node: number % office.nodes.len(), office: Arc::clone(&office) };
            tokio::spawn(client.work(random.fork()))
        });
        let clients = clients.collect();
        Self { office, clients }
    }

    /// The record.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.office.recorder
    }

    /// Accounts of its bank.
    #[must_use]
    pub fn accounts(&self) -> Vec<String> {
        (0..ACCOUNTS).map(|account| self.office.account(account)).collect()
    }

    /// Lets every client finish what it has begun; everything there was.
    ///
    /// Transfers whose outcome is unknown are asked for once more: by now there is an answer, and the money has to add up.
    ///
    /// # Panics
    /// When a client panicked, or a transfer still has no answer.
    pub async fn stop(self) -> History {
        self.office.closing.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        let mut history = self.office.recorder.history();
        for operation in &mut history.operations {
            let Outcome::Unknown(seen) = &operation.outcome else { continue };
            let Action::Transfer { .. } = operation.action else { continue };
            let what = format!("operation {} has an answer, after {seen}", operation.number);
            operation.outcome = wait::until(&what, || async {
                match hear(&operation.sent(&self.office.nodes[0]).answer().await) {
                    Heard::Done(value) => Ok(Outcome::Done(value)),
                    Heard::Refused(said) => Ok(Outcome::Refused(said)),
                    heard => Err(heard),
                }
            })
            .await;
        }
        history
    }
}

impl Office {
    fn account(&self, number: u64) -> String {
        format!("a{}-{number}", self.name)
    }

    /// An object in use.
    fn object(&self, kind: Kind, random: &mut Random) -> String {
        let (letter, most) = match kind {
            Kind::Register => ('r', STEPS),
            Kind::Ledger => ('l', ENTRIES),
            Kind::Journal => ('j', ENTRIES),
        };
        let slot = random.below(SLOTS);
        let used = &self.used[kind as usize][usize::try_from(slot).unwrap()];
        format!("{letter}{}-{slot}-{}", self.name, used.fetch_add(1, Ordering::Relaxed) / most)
    }
}

impl Operation {
    /// The request of an attempt.
    fn sent(&self, http: &Http) -> Sent {
        let (key, number) = (&self.key, self.number);
        let request = match &self.action {
            Action::Read => return http.get(&format!("/Register/{key}/read")),
            Action::Balance => return http.get(&format!("/Account/{key}/balance")),
            Action::Write(value) => {
                http.json(&format!("/Register/{key}/write"), json!({ "operation": number, "value": value }))
            }
            Action::Increment => http.json(&format!("/Register/{key}/increment"), number),
            Action::Append(value) => {
                http.json(&format!("/Ledger/{key}/append"), json!({ "operation": number, "value": value }))
            }
            Action::Send(value) => {
                let delay = number % 5 * 200;
                let path = format!("/Ledger/{key}/append/send?delay={delay}ms");
                http.json(&path, json!({ "operation": number, "value": value }))
            }
            Action::Record => http.json(&format!("/Journal/{key}/record"), number),
            Action::Transfer { to, amount } => {
                http.json(&format!("/Account/{key}/transfer"), json!({ "to": to, "amount": amount }))
            }
        };
        request.key(format!("o-{number}"))
    }
}

struct Client {
    number: usize,
    /// The node it asks now.
    node: usize,
    office: Arc<Office>,
}

impl Client {
    async fn work(mut self, mut random: Random) {
        let mix = self.office.mix;
        while !self.office.closing.load(Ordering::Relaxed) {
            let (key, action) = self.choose(&mut random);
            self.perform(key, action).await;
            let rest = random.below(u64::try_from(mix.rest.as_micros()).unwrap().max(1));
            tokio::time::sleep(Duration::from_micros(rest)).await;
        }
    }

    fn choose(&self, random: &mut Random) -> (String, Action) {
        let office = &self.office;
        let mix = office.mix;
        if self.number < mix.registers {
            let action = match random.below(3) {
                // Far apart, so that no count of increments makes one of another.
                0 => Action::Write(Recorder::number() << 16),
                1 => Action::Increment,
                _ => Action::Read,
            };
            (office.object(Kind::Register, random), action)
        } else if self.number < mix.registers + mix.ledgers {
            match random.below(5) {
                0 => (office.object(Kind::Journal, random), Action::Record),
                1 => (office.object(Kind::Ledger, random), Action::Send(random.below(1_000))),
                _ => (office.object(Kind::Ledger, random), Action::Append(random.below(1_000))),
            }
        } else {
            let from = random.below(ACCOUNTS);
            let to = office.account((from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS);
            let action = match random.below(8) {
                0 | 1 => Action::Balance,
                // More than there can be.
                2 => Action::Transfer { to, amount: 1_000_000 },
                _ => Action::Transfer { to, amount: 1 + random.below(200).cast_signed() },
            };
            (office.account(from), action)
        }
    }

    /// Asks until the answer is definite, or patience ends.
    async fn perform(&mut self, key: String, action: Action) {
        let (recorder, mix) = (&self.office.recorder, self.office.mix);
        let (number, client, invoked) = (Recorder::number(), self.number, recorder.now());
        let outcome = Outcome::Unknown(String::new());
        let mut operation = Operation { number, client, key, action, invoked, ended: invoked, outcome, attempts: 0 };
        let begun = Instant::now();
        let mut unknown = false;
        operation.outcome = loop {
            operation.attempts += 1;
            let sent = operation.sent(&self.office.nodes[self.node]);
            let (unknown_now, seen) = match hear(&sent.within(mix.attempt).answer().await) {
                Heard::Done(value) => break Outcome::Done(value),
                Heard::Refused(said) => break Outcome::Refused(said),
                Heard::NotAccepted(seen) => (false, seen),
                Heard::Unknown(seen) => (true, seen),
            };
            unknown |= unknown_now;
            recorder.failed(self.node, unknown_now, seen.clone());
            if begun.elapsed() > mix.patience {
                break if unknown { Outcome::Unknown(seen) } else { Outcome::NotAccepted(seen) };
            }
            self.node = (self.node + 1) % self.office.nodes.len();
            tokio::time::sleep(BREATH).await;
        };
        operation.ended = recorder.now();
        recorder.ended(operation);
    }
}
