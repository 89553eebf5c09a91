//! The clients: what they ask, and what they believe.

mod operator;

use abide_model::command::{Body, Command, Invoke, Outcome, Signal, Target};
use abide_model::effect::Answer;
use abide_model::id::{InvocationId, ObjectId, PartitionId, PartitionKey};
use abide_model::protocol::{Failure, SignalId, SignalResult, Value};
use bytes::Bytes;

use crate::app::{self, Fields};
use crate::ingress::{Job, Pending, Said, is_plain};
use crate::names::{self, Callee};
use crate::violation::{Check, Invariant, check};
use crate::world::{Event, Step, World};

/// How long a client waits for a result, in ms.
const PATIENCE: u64 = 5_000;

/// What a client asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) client: u64,
    pub(crate) id: InvocationId,
    target: Target,
    wait: Wait,
    retention: Option<u64>,
    /// To repeat it.
    invoke: Option<Invoke>,
    /// The node that it was sent to.
    pub(crate) at: usize,
    /// What a read has to see.
    floor: Floor,
}

/// What had happened when a read began.
#[derive(Clone, Copy, Debug, Default)]
struct Floor {
    /// Committed entries of the partition.
    committed: u64,
    /// The highest sum that a client had seen of the counter.
    sum: i64,
    /// The life of the invocation, if it was under way.
    life: Option<u64>,
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The end.
    Result,
    /// The place in the log.
    Acceptance,
    /// What became of an order.
    Answer,
}

/// What a flow waits for from outside, by number or name: its invocation's life, its signal.
pub(crate) type Awakeable = (InvocationId, u64, SignalId);

impl World {
    /// A client's turn.
    pub(crate) fn client(&mut self, client: u64) -> Check {
        if self.requests_left == 0 {
            return Ok(());
        }
        let Some(at) = self.door() else {
            let delay = self.rng.client.range(5, 50);
            self.after(delay, Event::Client(client));
            return Ok(());
        };
        self.requests_left -= 1;
        let kind = self.rng.client.weighted(&self.config.mix);
        if self.config.flood && self.requests_left.is_multiple_of(8) {
            return self.flood(client, at);
        }
        match kind {
            10 => return self.order(client, at),
            14 => return self.edit(client, at),
            15 => return self.schedule(client, at),
            16 => return self.letter(client, at),
            17 => return self.read_state(client, at),
            18 => return self.read_output(client, at),
            _ => {}
        }
        let (callee, wait) = self.callee(kind);
        let now = self.wall(at);
        let mut invoke = callee.invoke(&mut self.rng.client, now);
        if matches!(kind, 2 | 6 | 12) && self.rng.client.chance(6_000) {
            invoke.execute_at = now + self.rng.client.range(1, 800);
        }
        // Nobody will hear of it.
        invoke.one_way = wait == Wait::Acceptance && self.rng.client.chance(7_000);
        let Some(id) = invoke.id() else { return Ok(()) };
        if callee.service != names::ACCOUNT {
            self.targets.push(id);
        }
        let retention = callee.idempotency.as_ref().map(|_| callee.retention);
        let request = Request::new(client, at, id, callee.target(), wait, retention, Some(invoke.clone()));
        let repeat = retention.is_some() && self.rng.client.chance(self.config.faults.impatience);
        self.submit(request.clone(), invoke.clone());
        if repeat {
            self.submit(Request { wait: Wait::Result, ..request }, invoke);
        }
        Ok(())
    }

    /// A request after which more letters come than are kept.
    fn flood(&mut self, client: u64, at: usize) -> Check {
        let callee = Callee::flood();
        let now = self.wall(at);
        let invoke = callee.invoke(&mut self.rng.client, now);
        let Some(id) = invoke.id() else { return Ok(()) };
        let request = Request::new(client, at, id, callee.target(), Wait::Acceptance, None, Some(invoke.clone()));
        self.submit(request, invoke);
        Ok(())
    }

    fn callee(&mut self, kind: usize) -> (Callee, Wait) {
        let rng = &mut self.rng.client;
        let key = format!("k{}", rng.below(self.config.keys));
        let wait = if rng.chance(3_000) { Wait::Acceptance } else { Wait::Result };
        let mut callee = match kind {
            1 | 2 => return (Callee::turn(names::COUNTER, "add", key, Vec::new()), Wait::Acceptance),
            4 => {
                let (from, to) = (rng.below(self.config.accounts), rng.below(self.config.accounts));
                let input = names::payment(to, rng.range(1, 70));
                return (Callee::turn(names::ACCOUNT, "pay", names::account(from), input), wait);
            }
            5 => return (Callee::flow(rng, names::CART, Some(key), 0), wait),
            6 => return (Callee::flow(rng, names::STOCK, Some(key), 0), wait),
            7 => return (Callee::flow(rng, names::JOB, None, 0), wait),
            8 => {
                let poke = Callee::turn(names::CART, "poke", key, vec![rng.next().to_le_bytes()[0]]);
                let (retention, ttl) =
                    (if rng.chance(3_000) { names::retention(rng) } else { 0 }, names::ttl(rng, names::CART));
                return (Callee { retention, ttl, ..poke }, wait);
            }
            9 => return (Callee::note(rng), wait),
            12 => return (Callee::workflow(rng, "run", key, 0), wait),
            13 => return (Callee::workflow(rng, "watch", key, 0), wait),
            11 => match rng.below(3) {
                0 => Callee::flow(rng, names::CART, Some(key), 0),
                1 => Callee::flow(rng, names::STOCK, Some(key), 1),
                _ => Callee::flow(rng, names::JOB, None, 1),
            },
            _ => Callee::turn(names::COUNTER, "add", key, Vec::new()),
        };
        if matches!(kind, 3 | 11) {
            callee.retention = if kind == 3 { self.config.turn_retention } else { self.config.flow_retention };
            callee.idempotency = Some(format!("i{}", rng.below(3)));
        }
        (callee, wait)
    }

    /// A node that takes requests.
    fn door(&mut self) -> Option<usize> {
        let up = (0..self.machines.len()).filter(|number| self.machines[*number].process.is_some());
        let up: Vec<usize> = up.collect();
        (!up.is_empty()).then(|| up[usize::try_from(self.rng.client.below(up.len() as u64)).unwrap_or(0)])
    }

    fn submit(&mut self, request: Request, invoke: Invoke) {
        if is_plain(&invoke) {
            self.plain.insert(request.id);
        }
        let job = Job::Invoke(Box::new(invoke), request.wait);
        self.hand_in(request, job);
    }

    /// A request goes to its node.
    fn hand_in(&mut self, request: Request, job: Job) {
        let p = PartitionId::of(request.id.partition_key, self.config.partitions).0;
        let at = request.at;
        let number = self.open(request);
        let delay = self.rng.net.range(0, self.config.delay_ms);
        let epoch = self.machines[at].epoch;
        let pending = Box::new(Pending::new(p, job));
        self.after(delay, Event::Process(at, epoch, Step::Come(number, pending)));
    }

    /// The state of an object.
    fn read_state(&mut self, client: u64, at: usize) -> Check {
        let rng = &mut self.rng.client;
        let service = [names::COUNTER, names::COUNTER, names::CART][usize::try_from(rng.below(3)).unwrap_or(0)];
        let object = ObjectId { service: service.into(), key: format!("k{}", rng.below(self.config.keys)) };
        let id = InvocationId { partition_key: PartitionKey::of(&object.key), unique: 0 };
        let sum = if service == names::COUNTER { self.ledger.highest_sum(&object.key) } else { 0 };
        let target = names::target(service, "add", Some(object.key.clone()));
        let mut request = Request::new(client, at, id, target, Wait::Answer, None, None);
        request.floor = Floor { committed: self.committed_of(id), sum, life: None };
        self.hand_in(request, Job::State(object));
        Ok(())
    }

    /// The result of one of the last invocations, now or when it ends.
    fn read_output(&mut self, client: u64, at: usize) -> Check {
        let last = &self.targets[self.targets.len().saturating_sub(12)..];
        if last.is_empty() {
            self.after(1, Event::Client(client));
            return Ok(());
        }
        let id = last[usize::try_from(self.rng.client.below(last.len() as u64)).unwrap_or(0)];
        let life = self.model.part(id).invocations.get(&id).map(|inv| inv.life);
        let mut request = Request::new(client, at, id, Target::default(), Wait::Answer, None, None);
        request.floor = Floor { committed: self.committed_of(id), sum: 0, life };
        self.hand_in(request, Job::Output(id));
        Ok(())
    }

    fn committed_of(&self, id: InvocationId) -> u64 {
        self.tap[PartitionId::of(id.partition_key, self.config.partitions).0 as usize].len() as u64
    }

    fn open(&mut self, request: Request) -> u64 {
        self.last_request += 1;
        self.counts.requests += 1;
        self.trace.line(format_args!("client {} asks {:?} {}", request.client, request.wait, request.id));
        self.requests.insert(self.last_request, request);
        self.after(PATIENCE, Event::Timeout(self.last_request));
        self.last_request
    }

    /// A request is over for its client, who goes on after a while.
    fn close(&mut self, number: u64, what: &str) {
        let Some(request) = self.requests.remove(&number) else { return };
        self.trace.line(format_args!("client {}: {what} {}", request.client, request.id));
        let delay = self.rng.client.range(0, self.config.think_ms);
        self.after(delay, Event::Client(request.client));
    }

    /// A client lost its patience; the request may still be carried out.
    pub(crate) fn timeout(&mut self, number: u64) -> Check {
        self.unknown(number)
    }

    /// All connections to a node broke.
    pub(crate) fn disconnected(&mut self, at: usize) -> Check {
        let open = self.requests.iter().filter(|(_, request)| request.at == at);
        for number in open.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.unknown(number)?;
        }
        Ok(())
    }

    /// The outcome is unknown: an idempotent request is repeated.
    pub(crate) fn unknown(&mut self, number: u64) -> Check {
        let Some(request) = self.requests.get(&number).cloned() else { return Ok(()) };
        self.counts.unknown += 1;
        if let Some(node) = &mut self.machines[request.at].process {
            node.errands.remove(&number);
        }
        if let (Some(invoke), Some(_), Some(at)) = (&request.invoke, request.retention, self.door()) {
            self.requests.remove(&number);
            let invoke = invoke.clone();
            self.submit(Request { at, ..request }, invoke);
            return Ok(());
        }
        self.close(number, "does not know");
        Ok(())
    }

    /// A request was not taken, because too much waits.
    pub(crate) fn refused(&mut self, number: u64) {
        let Some(request) = self.requests.remove(&number) else { return };
        self.counts.refused += 1;
        self.after(20, Event::Client(request.client));
    }

    /// A client is told what became of its request.
    pub(crate) fn told(&mut self, number: u64, said: Said) -> Check {
        let Some(request) = self.requests.get(&number).cloned() else { return Ok(()) };
        let (id, floor) = (request.id, request.floor);
        match said {
            Said::Accepted => {
                self.ledger.acknowledged.insert(id);
                self.counts.acknowledged += 1;
                self.close(number, "has a place for");
            }
            Said::Completed(outcome, target) => {
                self.completed(id, &outcome)?;
                if request.invoke.is_none() {
                    self.counts.reads += 1;
                    self.close(number, "has read the result of");
                    return Ok(());
                }
                self.ledger.acknowledged.insert(id);
                self.counts.acknowledged += 1;
                let target = if target.service.is_empty() { request.target } else { *target };
                self.ledger.answered(id, &target.service, target.key.as_deref(), &outcome)?;
                self.close(number, "has the result of");
            }
            Said::State(fields, applied) => {
                self.counts.reads += 1;
                check(applied >= floor.committed, Invariant::I2Linearizable, || {
                    format!(
                        "{} was read as of {applied}, after entry {} was committed",
                        request.target, floor.committed
                    )
                })?;
                let counter = request.target.service == names::COUNTER;
                let sum = if counter { number_of(&fields) } else { 0 };
                check(sum >= floor.sum, Invariant::I2Linearizable, || {
                    format!("{} was read as {sum}, a client had seen {}", request.target, floor.sum)
                })?;
                self.close(number, "has read the state of");
            }
            Said::NotFound => {
                self.counts.reads += 1;
                let life = self.model.part(id).invocations.get(&id).map(|inv| inv.life);
                check(life.is_none() || life != floor.life, Invariant::I2Linearizable, || {
                    format!("{id} is under way all the time, but was not found")
                })?;
                self.close(number, "does not find");
            }
            _ => self.close(number, "has an answer about"),
        }
        Ok(())
    }

    /// A leader said that an invocation ended: it did.
    pub(crate) fn completed(&mut self, id: InvocationId, outcome: &Outcome) -> Check {
        let ends = self.model.part(id).ends.get(&id);
        check(ends.is_some_and(|ends| ends.contains(outcome)), Invariant::I6CompletedOnce, || {
            format!("{id} was answered with {outcome:?}; committed are {ends:?}")
        })
    }

    /// A leader answers a request with the end of its invocation.
    pub(crate) fn results(&mut self, number: u64, id: InvocationId, outcome: &Outcome) -> Check {
        let Some(retention) = self.requests.get(&number).and_then(|request| request.retention) else { return Ok(()) };
        let part = self.model.part(id);
        let kept = part.kept_until(id).filter(|(kept, _)| *kept == outcome).map(|(_, until)| until);
        let purges = part.purges.get(&id).copied().unwrap_or(0);
        match kept {
            Some(until) => self.ledger.keeps(id, purges, outcome, until, retention),
            None => Ok(()),
        }
    }

    /// A leader answered whoever completes an awakeable.
    pub(crate) fn answered(&mut self, number: u64, answer: &Answer) {
        if let Some(awakeable) = self.completions.remove(&number)
            && *answer != Answer::NotFound
        {
            self.awakeables.insert(awakeable, true);
        }
    }

    /// A flow waits for the outside: somebody will complete it.
    pub(crate) fn awaits(&mut self, awakeable: Awakeable) {
        if self.awakeables.insert(awakeable.clone(), false).unwrap_or(true) {
            let delay = self.rng.client.range(1, 400);
            self.after(delay, Event::Complete(awakeable));
        }
    }

    /// Somebody completes an awakeable or gives a signal, until that is known to be recorded.
    pub(crate) fn complete_awakeable(&mut self, awakeable: Awakeable) {
        if self.awakeables.get(&awakeable).copied().unwrap_or(true) {
            return;
        }
        let (id, _, signal) = awakeable.clone();
        let result = if self.rng.client.chance(2_000) {
            SignalResult::Failure(Failure::new(400, "rejected"))
        } else {
            SignalResult::Value(Value { content: Bytes::from(self.rng.client.next().to_string()) })
        };
        let target = Bytes::copy_from_slice(&id.to_bytes());
        let signal = Signal { target, signal: Some(signal), result: Some(result) };
        self.last_request += 1;
        self.completions.insert(self.last_request, awakeable.clone());
        self.propose_from_outside(id, Command { request: self.last_request, body: Some(Body::Signal(signal)) });
        let again = self.rng.client.range(200, 600);
        self.after(again, Event::Complete(awakeable));
    }
}

impl Request {
    fn new(
        client: u64,
        at: usize,
        id: InvocationId,
        target: Target,
        wait: Wait,
        retention: Option<u64>,
        invoke: Option<Invoke>,
    ) -> Self {
        Self { client, id, target, wait, retention, invoke, at, floor: Floor::default() }
    }
}

fn number_of(fields: &Fields) -> i64 {
    app::number(fields, "n", 0)
}
