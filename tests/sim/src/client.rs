//! The clients: what they ask, and what they believe.

mod operator;

use abide_model::command::{Body, Command, Form, Invoke, Outcome, Signal, Target};
use abide_model::effect::Answer;
use abide_model::id::{InvocationId, PartitionId};
use abide_model::protocol::{Failure, SignalId, SignalResult, Value};
use bytes::Bytes;

use crate::host::HostMsg;
use crate::names::{self, Callee};
use crate::violation::{Check, Invariant, check};
use crate::world::{Event, World};

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
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
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
        if self.node.is_none() {
            let delay = self.rng.client.range(5, 50);
            self.after(delay, Event::Client(client));
            return Ok(());
        }
        self.requests_left -= 1;
        let kind = self.rng.client.weighted(&self.config.mix);
        if self.config.flood && self.requests_left.is_multiple_of(8) {
            return self.flood(client);
        }
        match kind {
            10 => return self.order(client),
            14 => return self.edit(client),
            15 => return self.schedule(client),
            16 => return self.letter(client),
            _ => {}
        }
        let (callee, wait) = self.callee(kind);
        let now = self.wall();
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
        let request = Request { client, id, target: callee.target(), wait, retention, invoke: Some(invoke.clone()) };
        let repeat = retention.is_some() && self.rng.client.chance(self.config.faults.impatience);
        self.submit(request.clone(), invoke.clone())?;
        if repeat {
            self.submit(Request { wait: Wait::Result, ..request }, invoke)?;
        }
        Ok(())
    }

    /// A request after which more letters come than are kept.
    fn flood(&mut self, client: u64) -> Check {
        let callee = Callee::flood();
        let now = self.wall();
        let invoke = callee.invoke(&mut self.rng.client, now);
        let Some(id) = invoke.id() else { return Ok(()) };
        let (target, invoke) = (callee.target(), Some(invoke));
        let request = Request { client, id, target, wait: Wait::Acceptance, retention: None, invoke: invoke.clone() };
        self.submit(request, invoke.unwrap_or_default())
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

    fn submit(&mut self, request: Request, invoke: Invoke) -> Check {
        let id = request.id;
        let (client, wait) = (request.client, request.wait);
        let partition = PartitionId::of(id.partition_key, self.config.partitions);
        if self.is_overloaded(partition) {
            self.counts.refused += 1;
            self.after(20, Event::Client(client));
            return Ok(());
        }
        let direct = wait == Wait::Result
            && invoke.execute_at == 0
            && request.target.form() == Form::Turn
            && request.target.exclusive_object().is_some();
        let number = self.open(request);
        if wait == Wait::Result {
            self.waiters.entry(id).or_default().push(number);
        }
        if direct {
            self.tell_host(partition.0, HostMsg::Call { request: number, invoke: Box::new(invoke) });
        } else {
            self.propose_from_outside(id, Command { request: number, body: Some(Body::Invoke(invoke)) });
        }
        Ok(())
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
        let delay = self.rng.client.range(0, 30);
        self.after(delay, Event::Client(request.client));
    }

    /// A client lost its patience; the request may still be carried out.
    pub(crate) fn timeout(&mut self, number: u64) -> Check {
        self.unknown(number)
    }

    /// All connections broke.
    pub(crate) fn disconnected(&mut self) -> Check {
        self.waiters.clear();
        for number in self.requests.keys().copied().collect::<Vec<_>>() {
            self.unknown(number)?;
        }
        Ok(())
    }

    /// The outcome is unknown: an idempotent request is repeated.
    fn unknown(&mut self, number: u64) -> Check {
        let Some(request) = self.requests.get(&number).cloned() else { return Ok(()) };
        self.counts.unknown += 1;
        if let (Some(invoke), Some(_), true) = (&request.invoke, request.retention, self.node.is_some()) {
            self.requests.remove(&number);
            return self.submit(request.clone(), invoke.clone());
        }
        self.close(number, "does not know");
        Ok(())
    }

    /// The node said that a request took its place.
    pub(crate) fn accepted(&mut self, number: u64, id: InvocationId) -> Check {
        check(self.model.knows(id), Invariant::I1NoLostWork, || {
            format!("{id} was acknowledged, but no committed entry accepts it")
        })?;
        if self.requests.get(&number).is_some_and(|request| request.wait == Wait::Acceptance) {
            self.ledger.acknowledged.insert(id);
            self.counts.acknowledged += 1;
            self.close(number, "has a place for");
        }
        Ok(())
    }

    /// The node said that an invocation ended.
    pub(crate) fn completed(&mut self, id: InvocationId, outcome: &Outcome, target: &Target) -> Check {
        let part = self.model.part(id);
        check(part.ends.get(&id).is_some_and(|ends| ends.contains(outcome)), Invariant::I6CompletedOnce, || {
            format!("{id} was answered with {outcome:?}; committed are {:?}", part.ends.get(&id))
        })?;
        let kept = part.kept_until(id).filter(|(kept, _)| *kept == outcome).map(|(_, until)| until);
        let purges = part.purges.get(&id).copied().unwrap_or(0);
        for number in self.waiters.remove(&id).unwrap_or_default() {
            let Some(request) = self.requests.get(&number) else { continue };
            self.ledger.acknowledged.insert(id);
            self.counts.acknowledged += 1;
            self.ledger.answered(id, &target.service, target.key.as_deref(), outcome)?;
            if let (Some(until), Some(retention)) = (kept, request.retention) {
                self.ledger.keeps(id, purges, outcome, until, retention)?;
            }
            self.close(number, "has the result of");
        }
        Ok(())
    }

    /// The node answered an order or refused a request.
    pub(crate) fn answered(&mut self, number: u64, answer: &Answer) {
        if let Some(awakeable) = self.completions.remove(&number)
            && *answer != Answer::NotFound
        {
            self.awakeables.insert(awakeable, true);
        }
        if self.requests.contains_key(&number) {
            self.close(number, "has an answer about");
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
        if self.node.is_some() {
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
        }
        let again = self.rng.client.range(200, 600);
        self.after(again, Event::Complete(awakeable));
    }
}
