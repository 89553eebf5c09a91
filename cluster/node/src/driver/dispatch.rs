//! Carries out orders, queries and effects.

use abide_host::{Completion, DirectCall, HostEvent, Order, Refusal, Responder};
use abide_model::command::{Body, Command, Invoke, Outcome, OutcomeKind, Target};
use abide_model::effect::Effect;
use abide_model::id::{ActivationId, InvocationId, Millis, ObjectId, PartitionId, PartitionKey};
use abide_model::table::{Completions, Invocations, Table as _};
use abide_model::view::{RawView, ReadError, View};
use abide_partition::{PartitionError, Recent};
use abide_storage::{LogStore, StateStore};

use super::answer::{Held, What};
use super::event::{Overtaken, Query};
use super::{Driver, Fatal, load};
use crate::engine::Freshness;

/// Attempts whose journals are read in one turn, so that a restart with many flows answers others in between.
const STARTS_PER_TURN_MAX: usize = 256;
/// Bits of an activation id that count within a term.
const ACTIVATION_COUNTER_BITS: u32 = 40;

impl<L: LogStore, S: StateStore> Driver<L, S> {
    /// An order of a handler thread. One for a partition that this node does not lead comes from an activation that has
    /// not heard of it yet.
    pub(super) fn order(&mut self, order: Order) -> Result<(), Fatal> {
        match order {
            Order::Propose { partition, body, waiter } => {
                if !self.leads(partition) {
                    if let Some(waiter) = waiter {
                        let _ = waiter.responder.send(Err(Refusal::NotLeader));
                    } else {
                        self.loans.give_back(body);
                    }
                    return Ok(());
                }
                let request = waiter.map_or(0, |waiter| self.waiters.call(partition, waiter.id, waiter.responder));
                self.propose(partition, Command { request, body: Some(body) })
            }
            Order::Answer { partition, activation, outcome, call } => {
                if self.leads(partition) {
                    self.hold(partition, What::Answer { activation, outcome, call: Box::new(call) });
                } else {
                    let _ = call.responder.send(Err(Refusal::NotLeader));
                }
                Ok(())
            }
            Order::Activate { partition, object } => {
                if self.leads(partition) {
                    let ticket = self.slots[&partition].partition.ticket();
                    // What is done with the state goes through the log, or waits for a round of its own.
                    self.answers.hold(partition, Held { ticket, round: 0, what: What::Activate(object) });
                } else {
                    self.not_leading(object);
                }
                Ok(())
            }
        }
    }

    /// Tells an object that its partition is led elsewhere.
    pub(super) fn not_leading(&mut self, object: ObjectId) {
        let shard = self.host.shard_of(PartitionKey::of(&object.key));
        self.outbox[shard].push(HostEvent::NotLeading { object });
    }

    fn hold(&mut self, partition: PartitionId, what: What) {
        let round = self.round(partition);
        let ticket = self.slots.get(&partition).map_or(0, |slot| slot.partition.ticket());
        self.answers.hold(partition, Held { ticket, round, what });
    }

    /// A query of the ingress, the admin API, a client or another node.
    pub(super) fn query(&mut self, query: Query) -> Result<(), Fatal> {
        let partition = query.partition();
        // A follower's tables are good for looking, everything else is the leader's.
        let refused = match &query {
            Query::Look { .. } | Query::Read { .. } => self.slots.get(&partition).is_none_or(|slot| slot.condemned),
            _ => !self.leads(partition),
        };
        if refused {
            query.refuse(Refusal::NotLeader);
            return Ok(());
        }
        match query {
            Query::Call { partition, invoke, responder } => {
                let Some(id) = invoke.id() else { return Ok(()) };
                let request = self.waiters.call(partition, id, responder);
                self.propose(partition, Command { request, body: Some(Body::Invoke(invoke)) })
            }
            Query::Again { partition, invoke, since, responder } => self.again(partition, invoke, since, responder),
            Query::Overtaken { partition, id, since, responder } => {
                let found = self.overtaken(partition, id, since)?;
                let _ = responder.send(Ok(found));
                Ok(())
            }
            Query::Send { partition, invoke, responder } => {
                let request = self.waiters.send(partition, responder);
                self.propose(partition, Command { request, body: Some(Body::Invoke(invoke)) })
            }
            Query::Control { partition, body, responder } => {
                let request = self.waiters.control(partition, responder);
                self.propose(partition, Command { request, body: Some(body) })
            }
            Query::Read { freshness, .. } if self.is_fresh(partition, freshness) => {
                self.carry_out_held(partition, What::Query(Box::new(query)))
            }
            Query::Attach { .. } | Query::Output { .. } | Query::Look { .. } | Query::Read { .. } => {
                let round = self.round(partition);
                let what = What::Query(Box::new(query));
                if round == 0 {
                    return self.carry_out_held(partition, what);
                }
                self.answers.hold(partition, Held { ticket: 0, round, what });
                Ok(())
            }
        }
    }

    /// A request that may have been executed under an earlier leader. This one's tables and memory have everything that
    /// an earlier one committed.
    fn again(&mut self, partition: PartitionId, invoke: Invoke, since: u64, responder: Responder) -> Result<(), Fatal> {
        let Some(id) = invoke.id() else { return Ok(()) };
        match self.overtaken(partition, id, since)? {
            Overtaken::Done(completion) => {
                let _ = responder.send(Ok(*completion));
                Ok(())
            }
            Overtaken::Forgotten(_) => {
                let _ = responder.send(Err(Refusal::OutcomeUnknown));
                Ok(())
            }
            // The machine attaches to what is under way, and answers from its record what has ended.
            Overtaken::Known | Overtaken::No => {
                let request = self.waiters.call(partition, id, responder);
                self.propose(partition, Command { request, body: Some(Body::Invoke(invoke)) })
            }
        }
    }

    /// Whether an invocation was taken already, by this leader or one before.
    fn overtaken(&mut self, partition: PartitionId, id: InvocationId, since: u64) -> Result<Overtaken, Fatal> {
        if self.is_active(partition, id)? || self.stored(partition, id)?.is_some() {
            return Ok(Overtaken::Known);
        }
        let replica = &self.slots[&partition].partition;
        Ok(match replica.recent(id, since) {
            Recent::Done(outcome) => {
                Overtaken::Done(Box::new(Completion { invocation: id, outcome: *outcome, expires_at: None }))
            }
            Recent::Unknown => Overtaken::Forgotten(replica.applied_index()),
            Recent::NotDone => Overtaken::No,
        })
    }

    /// Whether the replica of this node is known to be new enough without asking.
    fn is_fresh(&self, partition: PartitionId, freshness: Freshness) -> bool {
        match freshness {
            Freshness::Stale => true,
            Freshness::Linear => false,
            Freshness::Bounded(bound) => self.slots.get(&partition).is_some_and(|slot| slot.rounds.is_within(bound)),
        }
    }

    /// Has a shared turn run on the applied state.
    fn read_here(&mut self, partition: PartitionId, invoke: Invoke, responder: Responder) -> Result<(), Fatal> {
        let Some(object) = invoke.target.as_ref().and_then(Target::object) else {
            let _ = responder.send(Err(Refusal::NotLeader));
            return Ok(());
        };
        let fields = self.read(partition, load::fields(self.view(partition), &object))?;
        let shard = self.host.shard_of(PartitionKey::of(&object.key));
        let call = Box::new(DirectCall { partition, invoke, responder });
        self.outbox[shard].push(HostEvent::Read { call, fields });
        Ok(())
    }

    fn output(
        &mut self,
        partition: PartitionId,
        id: InvocationId,
        responder: tokio::sync::oneshot::Sender<Result<Option<Completion>, Refusal>>,
    ) -> Result<(), Fatal> {
        let found = self.stored(partition, id)?;
        let known = found.is_some() || self.is_active(partition, id)?;
        let _ = responder.send(if known { Ok(found) } else { Err(Refusal::NotFound) });
        Ok(())
    }

    fn attach(&mut self, partition: PartitionId, id: InvocationId, responder: Responder) -> Result<(), Fatal> {
        if let Some(completion) = self.stored(partition, id)? {
            let _ = responder.send(Ok(completion));
        } else if self.is_active(partition, id)? {
            self.waiters.attach(id, responder);
        } else {
            let _ = responder.send(Err(Refusal::NotFound));
        }
        Ok(())
    }

    fn stored(&self, partition: PartitionId, id: InvocationId) -> Result<Option<Completion>, Fatal> {
        let row = self.read(partition, self.view(partition).get::<Completions>(&id))?;
        Ok(row.map(|row| Completion {
            invocation: id,
            outcome: row.outcome.unwrap_or_default(),
            expires_at: Some(Millis(row.expires_at)),
        }))
    }

    fn is_active(&self, partition: PartitionId, id: InvocationId) -> Result<bool, Fatal> {
        let row = self.view(partition).get_raw(&Invocations::encode_key(&id));
        Ok(self.read(partition, row)?.is_some())
    }

    /// The tables of a partition of which this node has a replica.
    pub(super) fn view(&self, partition: PartitionId) -> &abide_storage::Overlay<S> {
        self.slots[&partition].partition.view()
    }

    pub(super) fn read<T>(&self, partition: PartitionId, result: Result<T, ReadError>) -> Result<T, Fatal> {
        result.map_err(|source| PartitionError::State { partition, source }.into())
    }

    /// An effect of a committed command.
    pub(super) fn effect(&mut self, id: PartitionId, effect: Effect) {
        #[cfg(feature = "testing")]
        self.seen(&effect);
        match effect {
            Effect::Enqueued { object, work } => {
                self.tell(work.id, HostEvent::Enqueued { object, work });
            }
            Effect::Start { invocation } => self.starts.push_back(invocation),
            Effect::Notify { invocation, attempt, index, entry } => {
                self.tell(invocation, HostEvent::Notify { invocation, attempt, index, entry });
            }
            Effect::Appended { invocation, attempt } => {
                self.tell(invocation, HostEvent::Appended { invocation, attempt });
            }
            Effect::Abort { invocation, object } => {
                if let Some(object) = &object {
                    let last = self.last_activation(id);
                    self.answers.disturb(object.clone(), last);
                }
                self.tell(invocation, HostEvent::Abort { invocation, object });
                self.attempt_over(invocation);
            }
            Effect::Rested { invocation } => self.attempt_over(invocation),
            Effect::TurnRejected { object, activation } => {
                self.answers.void(activation);
                let shard = self.host.shard_of(PartitionKey::of(&object.key));
                self.outbox[shard].push(HostEvent::Rejected { object, activation });
            }
            Effect::StateChanged { object } => {
                let shard = self.host.shard_of(PartitionKey::of(&object.key));
                self.outbox[shard].push(HostEvent::StateChanged { object });
            }
            Effect::Accepted { request, invocation, known, execute_at } => {
                self.waiters.accepted(request, invocation, known, execute_at);
            }
            Effect::Answered { request, answer } => self.waiters.answered(request, answer),
            Effect::Completed { invocation, target, outcome, expires_at } => {
                // A request that was answered from the record is not another execution.
                if expires_at.is_none() {
                    self.count_completion(&target, &outcome);
                }
                self.waiters.completed(&Completion { invocation, outcome, expires_at });
                self.attempt_over(invocation);
            }
            Effect::ScheduleDue { schedule, .. } => self.schedules.push(schedule),
            Effect::TimerFired { due, at } => {
                self.metrics.timer_fired(std::time::Duration::from_millis(at.0.saturating_sub(due.0)));
            }
            Effect::Ship { .. } | Effect::Acknowledge { .. } | Effect::TimerSet { .. } => {
                unreachable!("the partition carries these out itself")
            }
        }
    }

    fn count_completion(&self, target: &Target, outcome: &Outcome) {
        let success = matches!(outcome.kind, Some(OutcomeKind::Success(_)));
        self.completions.count(&target.service, &target.handler, success);
    }

    fn attempt_over(&mut self, invocation: InvocationId) {
        self.loans.over(invocation);
        // Waiting ones take the places.
        self.starts.extend(self.attempts.over(invocation));
    }

    /// What runs, as long as it is not over.
    fn target(&self, invocation: InvocationId) -> Result<Option<Target>, Fatal> {
        let partition = PartitionId::of(invocation.partition_key, self.settings.partitions);
        let row = self.read(partition, self.view(partition).get::<Invocations>(&invocation))?;
        Ok(row.and_then(|row| row.target))
    }

    fn start_attempt(&mut self, invocation: InvocationId) -> Result<(), Fatal> {
        let partition = PartitionId::of(invocation.partition_key, self.settings.partitions);
        let replica = self.slots.get(&partition).filter(|_| self.leads(partition)).map(|slot| &slot.partition);
        let Some((replica, term)) = replica.and_then(|replica| Some((replica, replica.leading()?))) else {
            self.attempt_over(invocation);
            return Ok(());
        };
        let attempt = load::attempt(replica.view(), partition, invocation, term);
        match self.read(partition, attempt)? {
            Some(attempt) => self.run_attempt(attempt),
            None => self.attempt_over(invocation),
        }
        Ok(())
    }

    /// Tells the handler thread that runs an invocation.
    pub(super) fn tell(&mut self, invocation: InvocationId, event: HostEvent) {
        if self.loans.pass_on(invocation, &event) {
            return;
        }
        let shard = self.host.shard_of(invocation.partition_key);
        self.outbox[shard].push(event);
    }

    /// Carries out what waited for the records before it, and for the quorum.
    pub(super) fn release_held(&mut self) -> Result<(), Fatal> {
        for id in self.hosted() {
            while let Some(slot) = self.slots.get(&id)
                && let Some(held) = {
                    let (ticket, rounds) = (slot.partition.applied_ticket(), &slot.rounds);
                    self.answers.take(id, ticket, |round| rounds.is_confirmed(round))
                }
            {
                self.carry_out_held(id, held.what)?;
            }
        }
        Ok(())
    }

    fn carry_out_held(&mut self, id: PartitionId, what: What) -> Result<(), Fatal> {
        match what {
            What::Answer { activation, outcome, call } => {
                self.answer(activation, outcome, call);
                Ok(())
            }
            What::Activate(object) => self.activate(id, object),
            What::Query(query) => match *query {
                Query::Attach { partition, id, responder } => self.attach(partition, id, responder),
                Query::Output { partition, id, responder } => self.output(partition, id, responder),
                Query::Look { partition, look } => {
                    let looked = look(Ok(self.view(partition)));
                    self.read(partition, looked)
                }
                Query::Read { partition, invoke, responder, .. } => self.read_here(partition, invoke, responder),
                other => self.query(other),
            },
        }
    }

    fn answer(&mut self, activation: ActivationId, outcome: Outcome, call: Box<DirectCall>) {
        let Some(invocation) = call.invoke.id() else { return };
        let object = call.invoke.target.as_ref().and_then(Target::object);
        if self.answers.is_void(activation, object.as_ref()) {
            self.tell(invocation, HostEvent::Again(call));
            return;
        }
        if let Some(target) = &call.invoke.target {
            self.count_completion(target, &outcome);
        }
        let _ = call.responder.send(Ok(Completion { invocation, outcome, expires_at: None }));
    }

    fn activate(&mut self, id: PartitionId, object: ObjectId) -> Result<(), Fatal> {
        self.activations += 1;
        let partition = &self.slots[&id].partition;
        let activation = activation_id(partition.leading(), self.activations);
        let shard = self.host.shard_of(PartitionKey::of(&object.key));
        let event = load::object(partition.view(), object, activation);
        let event = self.read(id, event)?;
        self.outbox[shard].push(event);
        Ok(())
    }

    /// The newest activation in a partition.
    fn last_activation(&self, id: PartitionId) -> ActivationId {
        let term = self.slots.get(&id).and_then(|slot| slot.partition.leading());
        activation_id(term, self.activations)
    }

    /// Starts the attempts that became due. Done after a batch is applied, so that each has its whole journal, and one
    /// that failed or ended within the batch is not started at all.
    pub(super) fn start_attempts(&mut self) -> Result<(), Fatal> {
        for _ in 0..STARTS_PER_TURN_MAX {
            let Some(invocation) = self.starts.pop_front() else { break };
            let partition = PartitionId::of(invocation.partition_key, self.settings.partitions);
            let target = match self.attempts.looks_at_targets() && self.leads(partition) {
                true => self.target(invocation)?,
                false => None,
            };
            let target = target.as_ref().map(|target| (target.service.as_str(), target.handler.as_str()));
            if self.attempts.start(invocation, target) {
                self.start_attempt(invocation)?;
            }
        }
        Ok(())
    }
}

/// Unique among all leaders: the term, and a counter within it.
fn activation_id(term: Option<u64>, counter: u64) -> ActivationId {
    ActivationId((term.unwrap_or(0) << ACTIVATION_COUNTER_BITS) | counter)
}
