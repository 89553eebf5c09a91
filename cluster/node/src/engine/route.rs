//! The way of a request to the node that leads its partition, and to the next one when leadership moves meanwhile.
//!
//! An invocation gets its id once, here, and is asked for under it until there is an answer: a leader knows it by the id
//! when it was executed already, from its tables or from what it remembers of its log ([`abide_partition::Recent`]). So
//! nothing is executed twice, and a failover is no error. What cannot be known is unknown, and said to be.

use std::time::Duration;

use abide_host::{Completion, DirectCall, Refusal, Responder};
use abide_model::command::{Access, Body, Command, Form, Invoke, Target};
use abide_model::effect::Answer;
use abide_model::id::{InvocationId, NodeId, PartitionId};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Accepted, Engine, Freshness};
use crate::cluster::wire::{Ask, Forwarded, Known, Proposal, Request, Told};
use crate::cluster::{AskFailed, Route};
use crate::driver::Query;

/// How long a request waits for a leader before it is refused.
const LEADER_PATIENCE: Duration = Duration::from_secs(30);
/// How long an answer may take: a call takes as long as its handler.
const CALL_PATIENCE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long the answer to anything else may take.
const ASK_PATIENCE: Duration = Duration::from_secs(10);
/// How long a read waits for the leader's word before it goes to the leader itself.
const READ_PATIENCE: Duration = Duration::from_secs(2);
/// How long a call waits until the node knows how far its partition is. Nodes tell each other several times as often.
const INDEX_PATIENCE: Duration = Duration::from_secs(2);
/// How long a leader may still answer when another one was heard of.
const GRACE: Duration = Duration::from_millis(100);
/// Pause before a leader is asked again, unless one makes itself known before.
const PAUSE: Duration = Duration::from_millis(20);

type Asked<T> = Result<T, Refusal>;

impl Engine {
    /// Hands in an invocation; its result arrives in the receiver.
    pub(super) fn invoke(
        &self,
        partition: PartitionId,
        form: Form,
        invoke: Invoke,
    ) -> Asked<oneshot::Receiver<Asked<Completion>>> {
        let (responder, receiver) = oneshot::channel();
        match &self.0.others {
            // A turn is over before leadership could move to a node that is not there yet; a flow may last longer.
            Some(others) if form != Form::Turn || !self.0.cluster.is_alone() => {
                others.runtime.spawn(self.clone().route_call(partition, form, invoke, responder));
            }
            _ => self.call_here(partition, form, invoke, responder)?,
        }
        Ok(receiver)
    }

    /// As [`Engine::invoke`], of a request that wishes to be answered from this node's replica. What is no read, or cannot
    /// be answered here, goes its usual way.
    pub(super) fn invoke_read(
        &self,
        partition: PartitionId,
        form: Form,
        invoke: Invoke,
        freshness: Freshness,
    ) -> Asked<oneshot::Receiver<Asked<Completion>>> {
        let Some(others) = &self.0.others else { return self.invoke(partition, form, invoke) };
        if !is_read(&invoke) || !self.0.cluster.hosts(partition) {
            return self.invoke(partition, form, invoke);
        }
        let (responder, receiver) = oneshot::channel();
        let engine = self.clone();
        others.runtime.spawn(async move {
            let (here, answer) = oneshot::channel();
            let query = Query::Read { partition, invoke: invoke.clone(), freshness, responder: here };
            let asked = match engine.0.driver.query(query) {
                Ok(()) => tokio::time::timeout(READ_PATIENCE, answer).await,
                Err(refusal) => Ok(Ok(Err(refusal))),
            };
            match asked {
                Ok(Ok(result)) if result != Err(Refusal::NotLeader) => drop(responder.send(result)),
                _ => engine.route_call(partition, form, invoke, responder).await,
            }
        });
        Ok(receiver)
    }

    /// Hands an invocation to this node's handlers or log.
    pub(super) fn call_here(
        &self,
        partition: PartitionId,
        form: Form,
        invoke: Invoke,
        responder: Responder,
    ) -> Asked<()> {
        if form == Form::Turn {
            let call = DirectCall { partition, invoke, responder };
            self.0.host.call(call).map_err(|refused| refused.1)
        } else {
            self.0.driver.query(Query::Call { partition, invoke, responder })
        }
    }

    /// As [`Engine::call_here`], until there is a result.
    pub(super) async fn result_here(
        &self,
        partition: PartitionId,
        form: Form,
        invoke: Invoke,
        repeated: Option<u64>,
    ) -> Asked<Completion> {
        let (responder, receiver) = oneshot::channel();
        match repeated {
            Some(since) => self.0.driver.query(Query::Again { partition, invoke, since, responder })?,
            None => self.call_here(partition, form, invoke, responder)?,
        }
        receiver.await.unwrap_or(Err(Refusal::Interrupted))
    }

    async fn route_call(self, partition: PartitionId, form: Form, invoke: Invoke, mut responder: Responder) {
        let repeats_freely = is_read(&invoke);
        let mut since = if repeats_freely { 0 } else { self.index_before(partition).await };
        // Nobody can have executed it before it was sent for the first time.
        let mut repeated = None;
        let mut search = Search::new(&self, partition);
        let result = loop {
            let route = tokio::select! {
                route = search.next() => route,
                () = responder.closed() => return,
            };
            let asked = match route {
                Route::Nobody => break Err(repeated.map_or(Refusal::NotLeader, |_| Refusal::OutcomeUnknown)),
                Route::Here => self.result_here(partition, form, invoke.clone(), repeated).await,
                Route::There(node) => {
                    let forwarded = Forwarded {
                        partition: partition.0,
                        invoke: Some(invoke.clone()),
                        repeated: repeated.is_some(),
                        since,
                    };
                    let told = self.ask_leader(partition, node, Ask::Call(forwarded), CALL_PATIENCE).await;
                    match told {
                        Ok(Told::Completed(completion)) => completion.read().ok_or(Refusal::OutcomeUnknown),
                        // It was not taken, so no copy is under way but what a repetition may meet.
                        Ok(Told::Overtaken(now)) if repeated.is_none() => {
                            if now <= since {
                                tokio::time::sleep(PAUSE).await;
                            }
                            since = since.max(now);
                            continue;
                        }
                        Ok(_) => Err(Refusal::OutcomeUnknown),
                        Err(refusal) => Err(refusal),
                    }
                }
            };
            match asked {
                Err(Refusal::Interrupted) if repeats_freely => {}
                Err(Refusal::Interrupted) => repeated = Some(since),
                Err(Refusal::NotLeader) => {}
                // The node is going: its leaderships are, too.
                Err(Refusal::ShuttingDown) if !self.0.cluster.is_alone() => {}
                result => break result,
            }
            search.failed(route);
        };
        // Whoever asked may have gone away.
        let _ = responder.send(result);
    }

    /// The highest index of a partition that this node knows of, before it passes a call on for the first time. One that
    /// has just come waits until it was told: without an index, no later leader could say of a copy that it was not
    /// executed.
    async fn index_before(&self, partition: PartitionId) -> u64 {
        let until = Instant::now() + INDEX_PATIENCE;
        loop {
            let index = self.0.cluster.applied(partition);
            if index > 0 || Instant::now() >= until {
                return index;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(super) async fn route_send(&self, partition: PartitionId, invoke: Invoke) -> Asked<Accepted> {
        // Without a record of its end, a repetition could not be told from a new request.
        let recorded = invoke.retention_ms > 0;
        self.route(partition, recorded, move |engine, route| {
            let invoke = invoke.clone();
            Box::pin(async move {
                match route {
                    Route::Here => engine.send_here(partition, invoke).await,
                    Route::There(node) => {
                        let invoke = Some(invoke);
                        let forwarded = Forwarded { partition: partition.0, invoke, repeated: false, since: 0 };
                        match engine.ask_leader(partition, node, Ask::Send(forwarded), ASK_PATIENCE).await? {
                            Told::Accepted(accepted) => accepted.read().ok_or(Refusal::OutcomeUnknown),
                            _ => Err(Refusal::OutcomeUnknown),
                        }
                    }
                    Route::Nobody => Err(Refusal::NotLeader),
                }
            })
        })
        .await
    }

    pub(super) async fn route_attach(&self, partition: PartitionId, id: InvocationId) -> Asked<Completion> {
        self.route(partition, true, move |engine, route| {
            Box::pin(async move {
                match route {
                    Route::Here => engine.attach_here(partition, id).await,
                    Route::There(node) => {
                        match engine.ask_leader(partition, node, Ask::Attach(known(id)), CALL_PATIENCE).await? {
                            Told::Completed(completion) => completion.read().ok_or(Refusal::OutcomeUnknown),
                            _ => Err(Refusal::OutcomeUnknown),
                        }
                    }
                    Route::Nobody => Err(Refusal::NotLeader),
                }
            })
        })
        .await
    }

    pub(super) async fn route_output(&self, partition: PartitionId, id: InvocationId) -> Asked<Option<Completion>> {
        self.route(partition, true, move |engine, route| {
            Box::pin(async move {
                match route {
                    Route::Here => engine.output_here(partition, id).await,
                    Route::There(node) => {
                        match engine.ask_leader(partition, node, Ask::Output(known(id)), ASK_PATIENCE).await? {
                            Told::Completed(completion) => completion.read().map(Some).ok_or(Refusal::OutcomeUnknown),
                            Told::NoResult(_) => Ok(None),
                            _ => Err(Refusal::OutcomeUnknown),
                        }
                    }
                    Route::Nobody => Err(Refusal::NotLeader),
                }
            })
        })
        .await
    }

    /// An order is carried out once for each time it is given, so one whose outcome is not known is not repeated.
    pub(super) async fn route_control(&self, partition: PartitionId, body: Body) -> Asked<Answer> {
        self.route(partition, false, move |engine, route| {
            let body = body.clone();
            Box::pin(async move {
                match route {
                    Route::Here => engine.control_here(partition, body).await,
                    Route::There(node) => {
                        let proposal = Proposal { partition: partition.0, command: Some(Command::new(body)) };
                        match engine.ask_leader(partition, node, Ask::Control(proposal), ASK_PATIENCE).await? {
                            Told::Answered(answer) => answer.read().ok_or(Refusal::OutcomeUnknown),
                            _ => Err(Refusal::OutcomeUnknown),
                        }
                    }
                    Route::Nobody => Err(Refusal::NotLeader),
                }
            })
        })
        .await
    }

    pub(super) async fn send_here(&self, partition: PartitionId, invoke: Invoke) -> Asked<Accepted> {
        let (responder, receiver) = oneshot::channel();
        self.0.driver.query(Query::Send { partition, invoke, responder })?;
        receiver.await.unwrap_or(Err(Refusal::Interrupted))
    }

    pub(super) async fn attach_here(&self, partition: PartitionId, id: InvocationId) -> Asked<Completion> {
        let (responder, receiver) = oneshot::channel();
        self.0.driver.query(Query::Attach { partition, id, responder })?;
        receiver.await.unwrap_or(Err(Refusal::Interrupted))
    }

    pub(super) async fn output_here(&self, partition: PartitionId, id: InvocationId) -> Asked<Option<Completion>> {
        let (responder, receiver) = oneshot::channel();
        self.0.driver.query(Query::Output { partition, id, responder })?;
        receiver.await.unwrap_or(Err(Refusal::Interrupted))
    }

    pub(super) async fn control_here(&self, partition: PartitionId, body: Body) -> Asked<Answer> {
        let (responder, receiver) = oneshot::channel();
        self.0.driver.query(Query::Control { partition, body, responder })?;
        receiver.await.unwrap_or(Err(Refusal::Interrupted))
    }

    /// Asks leader after leader until one answers. `again` says whether a request that may have been carried out may be
    /// repeated.
    async fn route<T>(
        &self,
        partition: PartitionId,
        again: bool,
        ask: impl Fn(Self, Route) -> BoxFuture<'static, Asked<T>>,
    ) -> Asked<T> {
        let mut search = Search::new(self, partition);
        // Without others, what interrupted it is the end of this node.
        let again = again && self.0.others.is_some();
        loop {
            let route = search.next().await;
            if route == Route::Nobody {
                return Err(Refusal::NotLeader);
            }
            match ask(self.clone(), route).await {
                Err(Refusal::NotLeader) => {}
                Err(Refusal::Interrupted) if again => {}
                Err(Refusal::Interrupted) => return Err(Refusal::OutcomeUnknown),
                Err(Refusal::ShuttingDown) if !self.0.cluster.is_alone() => {}
                result => return result,
            }
            search.failed(route);
        }
    }

    /// As [`Engine::ask`], of the leader of a partition. When another one is heard of, the answer is not waited for: a node
    /// that hangs, or is cut off, would never give it.
    async fn ask_leader(&self, partition: PartitionId, node: NodeId, ask: Ask, patience: Duration) -> Asked<Told> {
        let mut changes = self.0.cluster.changes();
        let replaced = async {
            while matches!(self.0.cluster.route(partition), Route::There(leader) if leader == node)
                || self.0.cluster.route(partition) == Route::Nobody
            {
                if changes.changed().await.is_err() {
                    return;
                }
            }
            // What it answered before it was replaced is on its way.
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            biased;
            told = self.ask(node, ask, patience) => told,
            () = replaced => Err(Refusal::Interrupted),
        }
    }

    /// Asks another node. What did not get there was not accepted; what may have is interrupted.
    pub(super) async fn ask(&self, node: NodeId, ask: Ask, patience: Duration) -> Asked<Told> {
        let Some(others) = &self.0.others else { return Err(Refusal::NotLeader) };
        match others.asker.ask(node, Request { ask: Some(ask) }, patience).await {
            Ok(Told::Refused(refusal)) => Err(refusal.read()),
            Ok(told) => Ok(told),
            Err(AskFailed::NotSent(_)) => Err(Refusal::NotLeader),
            Err(AskFailed::Unknown(_)) => Err(Refusal::Interrupted),
        }
    }
}

/// Whether an invocation changes nothing and leaves no record, so that any number of copies does no harm.
pub(super) fn is_read(invoke: &Invoke) -> bool {
    let reads =
        |target: &Target| target.form() == Form::Turn && target.access() == Access::Shared && target.key.is_some();
    invoke.target.as_ref().is_some_and(reads) && invoke.idempotency_key.is_none() && invoke.execute_at == 0
}

fn known(id: InvocationId) -> Known {
    Known { id: Bytes::copy_from_slice(&id.to_bytes()) }
}

/// The search for a partition's leader, for one request.
struct Search<'a> {
    engine: &'a Engine,
    partition: PartitionId,
    until: Instant,
    /// The route that failed last, and when: it is not tried again at once.
    failed: Option<(Route, Instant)>,
}

impl<'a> Search<'a> {
    fn new(engine: &'a Engine, partition: PartitionId) -> Self {
        Self { engine, partition, until: Instant::now() + LEADER_PATIENCE, failed: None }
    }

    /// Where to ask now; `Nobody` when patience is over.
    async fn next(&mut self) -> Route {
        let cluster = &self.engine.0.cluster;
        let mut changes = cluster.changes();
        loop {
            let route = cluster.route(self.partition);
            let tried = self.failed.is_some_and(|(failed, at)| failed == route && at.elapsed() < PAUSE);
            if route != Route::Nobody && !tried {
                return route;
            }
            if Instant::now() >= self.until {
                return Route::Nobody;
            }
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return Route::Nobody;
                    }
                }
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// Whoever was asked does not lead.
    fn failed(&mut self, route: Route) {
        self.failed = Some((route, Instant::now()));
        if let Route::There(node) = route {
            self.engine.0.cluster.leads_not(self.partition, node);
        }
    }
}

#[cfg(test)]
mod tests;
