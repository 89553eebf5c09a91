//! A host that runs handlers ahead of the log, and is wrong about the state whenever it can be.

use std::collections::{BTreeMap, VecDeque};

use abide_model::command::{Body, FlowMessage, Form, Invoke, Next, Priority, StateVersion, Turn};
use abide_model::effect::{Effect, Work};
use abide_model::id::{ActivationId, InvocationId, ObjectId};
use abide_model::protocol::{Code, Failure, Notification, NotificationId, Output, OutputResult, RawMessage, SetState};
use abide_model::table::{Invocations, Lanes, MailboxRow, Mailboxes, Objects, States, Status};

use crate::testing::*;

/// What the host believes about an object: a counter in the field `n`.
struct Activation {
    id: u64,
    version: StateVersion,
    n: u64,
    queue: VecDeque<InvocationId>,
}

/// An attempt of a flow, and whether it waits for the commit of what it did.
struct Attempt {
    number: u32,
    busy: bool,
}

pub(super) struct Host {
    activations: BTreeMap<ObjectId, Activation>,
    flows: BTreeMap<InvocationId, Attempt>,
    next_activation: u64,
    /// The term in which the host leads. Its first command may not be applied yet.
    term: u64,
}

impl Host {
    pub(super) fn new(node: u64) -> Self {
        Self { activations: BTreeMap::new(), flows: BTreeMap::new(), next_activation: node << 32, term: 1 }
    }

    pub(super) fn crash(&mut self) {
        self.activations.clear();
        self.flows.clear();
    }

    pub(super) fn next_term(&mut self) -> u64 {
        self.term += 1;
        self.term
    }

    fn load(&mut self, world: &World, object: &ObjectId) -> &mut Activation {
        self.next_activation += 1;
        let activation = Activation {
            id: self.next_activation,
            version: world.rows.row::<Objects>(object).unwrap_or_default().version(),
            n: counter(world, object),
            queue: mailbox(world, object),
        };
        self.activations.insert(object.clone(), activation);
        self.activations.get_mut(object).unwrap()
    }

    /// Takes in what a command caused.
    pub(super) fn hear(&mut self, world: &World, effects: &[Effect]) {
        // What an earlier leader's commands cause is not for this one.
        if world.machine.leader_term() != self.term {
            return;
        }
        for effect in effects {
            match effect {
                Effect::Enqueued { object, work } => match self.activations.get_mut(object) {
                    Some(activation) if activation.queue.contains(&work.id) => {}
                    Some(_) if stands_before_something(world, object, work) => drop(self.load(world, object)),
                    Some(activation) => activation.queue.push_back(work.id),
                    None => drop(self.load(world, object)),
                },
                Effect::Start { invocation } => {
                    let Some(row) = world.rows.row::<Invocations>(invocation) else { continue };
                    let target = row.target.unwrap();
                    if target.form() == Form::Flow {
                        self.flows.insert(*invocation, Attempt { number: row.attempt, busy: false });
                    } else {
                        self.load(world, &target.object().unwrap());
                    }
                }
                Effect::Appended { invocation, attempt } => {
                    if let Some(flow) = self.flows.get_mut(invocation).filter(|flow| flow.number == *attempt) {
                        flow.busy = false;
                    }
                }
                Effect::Rested { invocation } => drop(self.flows.remove(invocation)),
                Effect::Abort { invocation, object } => {
                    self.flows.remove(invocation);
                    if let Some(object) = object {
                        self.load(world, object);
                    }
                }
                Effect::TurnRejected { object, activation }
                    if self.activations.get(object).is_none_or(|known| known.id == activation.0) =>
                {
                    self.load(world, object);
                }
                Effect::StateChanged { object } => drop(self.load(world, object)),
                _ => {}
            }
        }
    }

    /// Runs a request at once on the state in memory.
    pub(super) fn run_direct(
        &mut self,
        world: &World,
        object: &ObjectId,
        id: InvocationId,
        invoke: Invoke,
        changes: bool,
        sends: Vec<Invoke>,
    ) -> Turn {
        let activation = match self.activations.get_mut(object) {
            Some(activation) => activation,
            None => self.load(world, object),
        };
        activation.run(id, Some(invoke), changes, sends)
    }

    /// Runs the first turn of some mailbox ahead of everything that is not committed. When `how` is high, it looks at
    /// nothing, as a host does that missed something.
    pub(super) fn run_next(&mut self, world: &World, how: u8) -> Option<Turn> {
        let waiting = self.activations.values_mut().filter(|activation| !activation.queue.is_empty());
        let mut waiting: Vec<_> = waiting.collect();
        let count = waiting.len().max(1);
        let activation = waiting.get_mut(usize::from(how) % count)?;
        let id = *activation.queue.front()?;
        let row = world.rows.row::<Invocations>(&id);
        let runs = row.is_some_and(|row| {
            row.target.is_some_and(|target| super::is_turn(&target))
                && matches!(row.status, Some(Status::Queued(_) | Status::Running(_)))
        });
        if !runs && how < 230 {
            return None;
        }
        activation.queue.pop_front();
        Some(activation.run(id, None, !how.is_multiple_of(4), Vec::new()))
    }

    /// Something that is under way fails.
    pub(super) fn fail(&mut self, world: &World, how: u8) -> Option<Body> {
        let next = Next::RetryAfter(u64::from(how));
        if how.is_multiple_of(2) {
            let (id, flow) = self.flows.iter().next()?;
            return Some(failed(*id, self.term, flow.number, next));
        }
        let id = *self.activations.values().find_map(|activation| activation.queue.front())?;
        let row = world.rows.row::<Invocations>(&id)?;
        Some(failed(id, self.term, row.attempt, next))
    }

    /// The next step of some flow. It adds one to the counter, calls another object, does a step, sleeps and answers.
    pub(super) fn step_flow(&mut self, world: &World, how: u8, now: u64, callee: Invoke) -> Option<Body> {
        let count = self.flows.len().max(1);
        let (id, flow) = self.flows.iter_mut().filter(|(_, flow)| !flow.busy).nth(usize::from(how) % count)?;
        let row = world.rows.row::<Invocations>(id)?;
        flow.busy = true;
        let journal = world.journal(*id);
        let object = row.target.and_then(|target| target.object()).unwrap();
        let messages = program(&journal, counter(world, &object), now, callee);
        Some(appended(*id, self.term, flow.number, row.journal_len, messages))
    }
}

impl Activation {
    fn run(&mut self, id: InvocationId, accept: Option<Invoke>, changes: bool, sends: Vec<Invoke>) -> Turn {
        let base = Some(self.version);
        let (mut changed, mut outcome) = (Vec::new(), ok(&format!("read {}", self.n)));
        if changes {
            self.n += 1;
            self.version = self.version.next(ActivationId(self.id));
            changed.push(set("n", &self.n.to_string()));
            outcome = ok(&format!("wrote {}", self.n));
        }
        Turn {
            id: bytes(id),
            accept,
            activation: self.id,
            base,
            changes: changed,
            sends,
            outcome: Some(outcome),
            life: 0,
        }
    }
}

/// The mailbox in its order.
fn mailbox(world: &World, object: &ObjectId) -> VecDeque<InvocationId> {
    let id = |row: &MailboxRow| InvocationId::from_bytes(&row.invocation).unwrap();
    let normal = world.rows.all::<Mailboxes>().into_iter().map(|((of, seq), row)| (of, (1, seq), id(&row)));
    let others = world.rows.all::<Lanes>().into_iter().map(|((of, class, seq), row)| {
        let rank = if class == Priority::High { 0 } else { 2 };
        (of, (rank, seq), id(&row))
    });
    let mut queue: Vec<_> = normal.chain(others).filter(|(of, _, _)| of == object).collect();
    let row = world.rows.row::<Objects>(object).unwrap_or_default();
    let holder = match row.holding() {
        Priority::Normal => (1, row.head),
        Priority::High => (0, row.high.unwrap().head),
        Priority::Low => (2, row.low.unwrap().head),
    };
    queue.sort_by_key(|(_, place, _)| (*place != holder, *place));
    queue.into_iter().map(|(_, _, id)| id).collect()
}

/// Whether `work` may stand before something else.
fn stands_before_something(world: &World, object: &ObjectId, work: &Work) -> bool {
    let has = |class| world.rows.all::<Lanes>().iter().any(|((of, other, _), _)| of == object && *other == class);
    work.target.class() == Priority::High || has(Priority::Low)
}

pub(super) fn counter(world: &World, object: &ObjectId) -> u64 {
    let row = world.rows.row::<States>(&(object.clone(), "n".to_owned()));
    row.map_or(0, |row| std::str::from_utf8(&row.value).unwrap().parse().unwrap())
}

/// What a flow does after `journal`.
fn program(journal: &[RawMessage], n: u64, now: u64, callee: Invoke) -> Vec<FlowMessage> {
    let has = |code: Code| journal.iter().any(|message| message.code == code);
    let cancelled = journal.iter().filter(|message| message.code == Code::SIGNAL).any(|message| {
        let notification: Notification = message.decode().unwrap();
        notification.id == Some(NotificationId::SignalIndex(1))
    });
    if cancelled {
        let result = Some(OutputResult::Failure(Failure::new(409, "stopped")));
        return vec![message(Code::OUTPUT, &Output { name: String::new(), result }), end()];
    }
    if !has(Code::SET_STATE) {
        return vec![set_state("n", &(n + 1).to_string())];
    }
    if !has(Code::CALL) {
        return vec![call(callee, 1)];
    }
    if !has(Code::CALL_DONE) {
        return vec![suspend(&[2], &[1])];
    }
    if !has(Code::RUN) {
        return vec![run(3), ran(3, "r"), sleep(now + 70, 4)];
    }
    if !has(Code::SLEEP_DONE) {
        return vec![suspend(&[4], &[1])];
    }
    let mine = journal.iter().find(|message| message.code == Code::SET_STATE).unwrap();
    let mine: SetState = mine.decode().unwrap();
    let text = format!("flow {}", String::from_utf8_lossy(&mine.value.unwrap().content));
    vec![output(&text), end()]
}
