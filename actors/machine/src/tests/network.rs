//! Several partitions with their hosts, wired together by a network that loses, repeats and reorders, under clients,
//! operators and crashes. What comes out is held against a [`Ledger`] that knows nothing of tables or rules.

mod host;
mod ledger;

use std::collections::VecDeque;

use abide_model::command::{Body, Deliver, Invoke, Next, OutboxAck, StateEdit, Target, Verb};
use abide_model::effect::Effect;
use abide_model::id::{InvocationId, ObjectId, PartitionId, PartitionKey};
use abide_model::protocol::SignalId;
use abide_model::table::{Invocations, Outbox, Status};
use proptest::prelude::*;

use crate::testing::*;
use host::Host;
use ledger::Ledger;

const PARTITIONS: u32 = 3;
const KEYS: u64 = 5;
/// Flows live on the first keys and call the others, so that no two of them wait for each other.
const FLOW_KEYS: u64 = 2;

/// A partition and whoever leads it. Commands wait in `log` for their commit.
struct Node {
    world: World,
    host: Host,
    log: VecDeque<(u64, Body)>,
}

struct Cluster {
    nodes: Vec<Node>,
    /// Commands on their way to the leader of a partition.
    network: Vec<(u32, Body)>,
    ledger: Ledger,
    now: u64,
    requests: u64,
    ids: u128,
}

/// What happens next, and with which of several things.
type Step = (u8, u8, u8);

impl Cluster {
    fn new() -> Self {
        let node = |partition| Node {
            world: World::of(partition, PARTITIONS),
            host: Host::new(u64::from(partition) + 1),
            log: VecDeque::new(),
        };
        let nodes = (0..PARTITIONS).map(node).collect();
        Self { nodes, network: Vec::new(), ledger: Ledger::default(), now: 1000, requests: 0, ids: 0 }
    }

    fn step(&mut self, (what, which, how): Step) {
        let at = u32::from(which) % PARTITIONS;
        match what % 16 {
            0 | 1 => {
                let invoke = self.request(which, how);
                self.invoke(invoke);
            }
            2 | 3 => self.direct(which, how),
            4 | 5 => self.turn(at, how),
            6 | 7 => self.flow(at, how),
            8 | 9 => self.commit(at, usize::from(how % 8) + 1),
            10 => self.ship(at, how),
            11 | 12 => self.carry(which, how),
            13 => {
                self.now += u64::from(how);
                self.nodes[at as usize].log.push_back((0, fire()));
            }
            14 if how < 60 => self.crash(at, how),
            14 => self.fail(at, how),
            _ => self.order(which, how),
        }
    }

    fn fresh(&mut self, key: PartitionKey) -> InvocationId {
        self.ids += 1;
        InvocationId { partition_key: key, unique: self.ids }
    }

    /// A request of a client. Some are repeated with the same idempotency key.
    fn request(&mut self, which: u8, how: u8) -> Invoke {
        let key = key(u64::from(which));
        if how % 17 == 16 {
            return self.edit(&key, u64::from(how));
        }
        let target = if how.is_multiple_of(3) && u64::from(which) % KEYS < FLOW_KEYS {
            flow_on(&key.1)
        } else {
            turn_on(&key.1)
        };
        // The same for repetitions.
        let target = match how % 10 {
            3 | 5 => high(target),
            6 => low(target),
            _ => target,
        };
        let delay = if how.is_multiple_of(7) { self.now + 40 } else { 0 };
        let repeatable = how.is_multiple_of(5);
        let unique = (1 << 100) + u128::from(how % 10);
        let id = if repeatable { InvocationId { partition_key: key.0, unique } } else { self.fresh(key.0) };
        Invoke {
            id: bytes(id),
            target: Some(target),
            execute_at: delay,
            idempotency_key: repeatable.then(|| "ik".to_owned()),
            retention_ms: if repeatable { 1 << 40 } else { 0 },
            ..Invoke::default()
        }
    }

    /// An operator sets a counter.
    fn edit(&mut self, key: &(PartitionKey, String), n: u64) -> Invoke {
        let replace = n.is_multiple_of(2);
        let what = StateEdit { replace, changes: vec![set("n", &n.to_string())], ..StateEdit::default() };
        Invoke { id: bytes(self.fresh(key.0)), ..edit(0, edit_on(&key.1), &what) }
    }

    fn propose(&mut self, to: u32, body: Body) {
        self.requests += 1;
        self.nodes[to as usize].log.push_back((self.requests, body));
    }

    fn invoke(&mut self, invoke: Invoke) {
        let to = home(invoke.id().unwrap());
        self.ledger.expect(&invoke);
        self.propose(to, invoked(invoke));
    }

    /// A request that the host runs at once, on whatever it believes to be the state, or fails.
    fn direct(&mut self, which: u8, how: u8) {
        let invoke = Invoke { execute_at: 0, ..self.request(which, how) };
        let target = invoke.target.clone().unwrap();
        let (id, object) = (invoke.id().unwrap(), target.object().unwrap());
        if !is_turn(&target) {
            return self.invoke(invoke);
        }
        self.ledger.expect(&invoke);
        if how.is_multiple_of(11) {
            return self.propose(home(id), failed_call(invoke, Next::RetryAfter(30)));
        }
        let sends = self.messages(how);
        let node = &mut self.nodes[home(id) as usize];
        let turn = node.host.run_direct(&node.world, &object, id, invoke, !how.is_multiple_of(4), sends);
        self.propose(home(id), Body::Turn(turn));
    }

    /// What a turn sends to other objects.
    fn messages(&mut self, how: u8) -> Vec<Invoke> {
        let send = |cluster: &mut Self, n: u64| {
            let key = key(u64::from(how) + n);
            let invoke = Invoke { id: bytes(cluster.fresh(key.0)), ..invoke(0, turn_on(&key.1)) };
            cluster.ledger.expect(&invoke);
            invoke
        };
        (0..u64::from(how % 13).saturating_sub(9)).map(|n| send(self, n)).collect()
    }

    /// The host runs the next turn of some mailbox; now and then one that is held.
    fn turn(&mut self, at: u32, how: u8) {
        let node = &mut self.nodes[at as usize];
        if let Some(turn) = node.host.run_next(&node.world, how) {
            node.log.push_back((0, Body::Turn(turn)));
        }
    }

    /// Some flow takes its next step.
    fn flow(&mut self, at: u32, how: u8) {
        let key = key(FLOW_KEYS + u64::from(how) % (KEYS - FLOW_KEYS));
        let callee = Invoke { id: bytes(self.fresh(key.0)), ..invoke(0, turn_on(&key.1)) };
        let node = &mut self.nodes[at as usize];
        if let Some(append) = node.host.step_flow(&node.world, how, self.now, callee.clone()) {
            self.ledger.expect(&callee);
            node.log.push_back((0, append));
        }
    }

    fn fail(&mut self, at: u32, how: u8) {
        let node = &mut self.nodes[at as usize];
        if let Some(failed) = node.host.fail(&node.world, how) {
            node.log.push_back((0, failed));
        }
    }

    /// Commits and applies the next commands of a partition.
    fn commit(&mut self, at: u32, count: usize) {
        let node = &mut self.nodes[at as usize];
        for (request, body) in node.log.drain(..count.min(node.log.len())) {
            node.world.at(self.now);
            let known = node.world.ended.len();
            let effects = node.world.ask(request, body.clone());
            node.world.ended.truncate(known);
            self.ledger.check(at, &node.world, request, &body, &effects);
            node.host.hear(&node.world, &effects);
            for effect in &effects {
                if let Effect::Acknowledge { to, up_to } = *effect {
                    self.network.push((to.0, Body::OutboxAck(OutboxAck { by: at, up_to })));
                }
            }
        }
    }

    /// Some messages of an outbox leave, not always from the first.
    fn ship(&mut self, at: u32, how: u8) {
        let outbox = self.nodes[at as usize].world.rows.all::<Outbox>();
        for to in (0..PARTITIONS).map(PartitionId) {
            let due: Vec<_> =
                outbox.iter().filter(|((other, _), _)| *other == to).skip(usize::from(how % 5 == 4)).collect();
            let Some(((_, first), _)) = due.first() else { continue };
            let messages = due.iter().take(usize::from(how % 4) + 1).map(|(_, parcel)| parcel.clone()).collect();
            self.network.push((to.0, Body::Deliver(Deliver { from: at, first: *first, messages })));
        }
    }

    /// The network delivers something, and may keep a copy of it; or loses it.
    fn carry(&mut self, which: u8, how: u8) {
        if self.network.is_empty() {
            return;
        }
        let index = usize::from(which) % self.network.len();
        let (to, body) =
            if how.is_multiple_of(4) { self.network[index].clone() } else { self.network.swap_remove(index) };
        if !how.is_multiple_of(9) {
            self.nodes[to as usize].log.push_back((0, body));
        }
    }

    /// A leader is gone with what it knew and with what was not committed; another one begins. Some of what was not
    /// committed comes in late, as from a host that has not noticed yet.
    fn crash(&mut self, at: u32, how: u8) {
        let node = &mut self.nodes[at as usize];
        let committed = node.log.len().saturating_sub(usize::from(how % 6));
        let late = node.log.split_off(committed);
        node.log.push_back((0, lead(node.host.next_term())));
        node.log.extend(late.into_iter().take(usize::from(how % 4)));
        node.host.crash();
    }

    /// An operator or a client turns to some invocation.
    fn order(&mut self, which: u8, how: u8) {
        let Some(id) = self.ledger.pick(usize::from(which)) else { return };
        let body = match how % 8 {
            0 => order(id, Verb::Kill),
            1 | 2 => order(id, Verb::Cancel),
            3 => order(id, Verb::Resume),
            4 | 5 => order(id, Verb::Pause),
            _ => signal(id, SignalId::Index(17)),
        };
        self.propose(home(id), body);
    }

    /// Heals everything and goes on until nothing is left to do.
    fn drain(&mut self) {
        for at in 0..PARTITIONS {
            self.crash(at, 0);
        }
        for round in 0..400u32 {
            for at in 0..PARTITIONS {
                self.commit(at, usize::MAX);
                for choice in 0..8 {
                    self.turn(at, choice);
                    self.flow(at, choice);
                }
                self.ship(at, 3);
            }
            for (to, body) in std::mem::take(&mut self.network) {
                self.nodes[to as usize].log.push_back((0, body));
            }
            if round.is_multiple_of(4) {
                self.now += 100;
                self.resume_all();
                for node in &mut self.nodes {
                    node.log.push_back((0, fire()));
                }
            }
            if round > 3 && self.is_quiet() {
                return;
            }
        }
        let left = self.nodes.iter().flat_map(|node| node.world.rows.all::<Invocations>());
        panic!("work is left over: {:#?}", left.collect::<Vec<_>>());
    }

    /// The operator goes home and leaves nothing paused.
    fn resume_all(&mut self) {
        for node in &mut self.nodes {
            for (id, row) in node.world.rows.all::<Invocations>() {
                if matches!(row.status, Some(Status::Paused(_))) {
                    node.log.push_back((0, order(id, Verb::Resume)));
                }
            }
        }
    }

    fn is_quiet(&self) -> bool {
        self.network.iter().all(|(_, body)| matches!(body, Body::OutboxAck(_)))
            && self.nodes.iter().all(|node| {
                node.log.iter().all(|(_, body)| matches!(body, Body::FireTimers(_) | Body::OutboxAck(_)))
                    && node.world.rows.all::<Invocations>().is_empty()
                    && node.world.rows.all::<Outbox>().is_empty()
            })
    }
}

fn home(id: InvocationId) -> u32 {
    PartitionId::of(id.partition_key, PARTITIONS).0
}

/// The `n`th object key, with the point of the hash space where it lives.
fn key(n: u64) -> (PartitionKey, String) {
    let n = n % KEYS;
    (PartitionKey(u64::MAX / KEYS * n + 1), format!("k{n}"))
}

/// The partition of an object.
fn home_of(object: &ObjectId) -> u32 {
    let key = (0..KEYS).map(key).find(|(_, key)| *key == object.key).unwrap();
    PartitionId::of(key.0, PARTITIONS).0
}

fn is_turn(target: &Target) -> bool {
    target.form() == abide_model::command::Form::Turn
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 3000, ..ProptestConfig::default() })]

    /// Invariants I3, I4, I6, I7 and I16, and that nothing is left undone.
    #[test]
    fn every_invocation_happens_once_and_in_order(steps in prop::collection::vec(any::<Step>(), 50..400)) {
        let mut cluster = Cluster::new();
        for step in steps {
            cluster.step(step);
        }
        cluster.drain();
        cluster.ledger.close();
    }
}
