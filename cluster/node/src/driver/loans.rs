//! Attempts that run where their code is.
//!
//! A flow stays on the code it started on. While a cluster is being upgraded, the node that leads a flow's partition may
//! not have that code, or not any more. Then the leader *lends* the attempt to a node that has it. Only the user's code
//! runs there: what the attempt does still goes through the leader's log, and what the log has for the attempt is passed
//! on. Term and attempt number stand in everything it does, so one that was thought to be gone changes nothing
//! (decision 0018).
//!
//! A loan lives as long as the two tasks that carry it ([`crate::cluster::loan`]). When either is gone, or falls too far
//! behind, its channel here is closed: the leader has another attempt begin, the borrower drops its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use abide_host::{HostEvent, Refusal, StartAttempt};
use abide_model::command::{AttemptFailed, Body, Command, Form, Next};
use abide_model::error::NO_CODE;
use abide_model::id::{InvocationId, NodeId, PartitionId};
use abide_model::protocol::Failure;
use abide_model::table::JournalRow;
use abide_sdk::Registry;
use abide_storage::{LogStore, StateStore};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Driver, Fatal};
use crate::cluster::Cluster;
use crate::cluster::loan::attempt_of;
use crate::cluster::wire::{CodeStatus, NodeStatus};

/// What waits on the way to or from one attempt at most; more ends the loan.
const UNDER_WAY_MAX: usize = 4_096;
/// Attempts that one node runs for this one at most: each is a request that waits for its answer, and between two nodes
/// only 4,096 may. Further ones wait as if nobody had their code.
const LENT_MAX: usize = 1_024;
/// How long after a loan that broke the next attempt begins.
const PAUSE_MS: u64 = 500;

/// One thing that the log has for an attempt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum News {
    /// The machine appended an entry to its journal.
    Entry { index: u32, entry: JournalRow },
    /// What it proposed is durable.
    Durable,
}

/// An attempt for another node, and what comes for it later. Dropping the receiver gives it back.
pub(crate) struct Loan {
    pub(crate) start: StartAttempt,
    pub(crate) news: mpsc::Receiver<News>,
}

/// Carries a loan to a node.
pub(crate) type Lender = Arc<dyn Fn(NodeId, Loan) + Send + Sync>;

/// What other nodes and the tasks of loans say.
pub(crate) enum LoanEvent {
    /// Run an attempt; what it does goes to `deeds`, whose end ends the loan.
    Borrow { start: Box<StartAttempt>, deeds: mpsc::Sender<Body> },
    /// What the log has for a borrowed attempt.
    News { id: InvocationId, attempt: u32, news: Vec<News>, responder: oneshot::Sender<Result<(), Refusal>> },
    /// What an attempt that was lent did.
    Deeds { id: InvocationId, attempt: u32, bodies: Vec<Body>, responder: oneshot::Sender<Result<(), Refusal>> },
}

/// An attempt that another node runs.
struct Lent {
    to: NodeId,
    term: u64,
    attempt: u32,
    life: u64,
    /// Absent once it has fallen behind.
    news: Option<mpsc::Sender<News>>,
}

/// An attempt that runs here for another node.
struct Borrowed {
    attempt: u32,
    /// Absent once it has fallen behind.
    deeds: Option<mpsc::Sender<Body>>,
}

/// All loans of this node, in both directions.
pub(super) struct Loans {
    registry: Registry,
    /// What this node tells the others of its code.
    code: Vec<CodeStatus>,
    lender: Option<Lender>,
    lent: BTreeMap<InvocationId, Lent>,
    borrowed: BTreeMap<InvocationId, Borrowed>,
}

impl Loans {
    pub(super) fn new(registry: &Registry, lender: Option<Lender>) -> Self {
        let status = |descriptor: &abide_sdk::service::ServiceDescriptor, current| CodeStatus {
            service: descriptor.name.clone(),
            version: descriptor.version.clone(),
            current,
        };
        let current = registry.services().map(|service| status(service.descriptor(), true));
        let kept = registry.kept().map(|service| status(service.descriptor(), false));
        let code = current.chain(kept).collect();
        Self { registry: registry.clone(), code, lender, lent: BTreeMap::new(), borrowed: BTreeMap::new() }
    }

    /// The code that this node has.
    pub(super) fn code(&self) -> Vec<CodeStatus> {
        self.code.clone()
    }

    /// How many attempts run here for others.
    pub(super) fn borrowed(&self) -> usize {
        self.borrowed.len()
    }

    fn has_code(&self, service: &str, version: Option<&str>) -> bool {
        match version {
            Some(version) => self.registry.version(service, version).is_some(),
            None => self.registry.get(service).is_some(),
        }
    }

    /// The node that should run an attempt in place of this one, if this one cannot and another can.
    fn elsewhere(&self, cluster: &Cluster, start: &StartAttempt) -> Option<NodeId> {
        let (service, version) = (&start.work.target.service, start.version.as_deref());
        if self.lender.is_none() || start.work.target.form() != Form::Flow || self.has_code(service, version) {
            return None;
        }
        let has_code = |status: &NodeStatus| {
            status
                .code
                .iter()
                .any(|code| code.service == *service && version.map_or(code.current, |version| code.version == version))
        };
        let has_room = |node: NodeId| self.lent.values().filter(|lent| lent.to == node).count() < LENT_MAX;
        let (told, now) = (cluster.statuses(), Instant::now());
        let able: Vec<NodeId> = told
            .iter()
            .filter(|(node, told)| {
                **node != cluster.node()
                    && told.is_alive(now)
                    && !told.status.stopping
                    && has_code(&told.status)
                    && has_room(**node)
            })
            .map(|(node, _)| *node)
            .collect();
        // Which one matters little, as long as they share the work.
        let number = start.work.id.unique % u128::try_from(able.len().max(1)).unwrap_or(1);
        able.get(usize::try_from(number).unwrap_or(0)).copied()
    }

    fn lend(&mut self, to: NodeId, start: StartAttempt) {
        let Some(lender) = &self.lender else { return };
        let (sender, news) = mpsc::channel(UNDER_WAY_MAX);
        let StartAttempt { term, attempt, .. } = start;
        let lent = Lent { to, term, attempt, life: start.work.life, news: Some(sender) };
        self.lent.insert(start.work.id, lent);
        lender(to, Loan { start, news });
    }

    /// Passes an event on to the borrower of its attempt. Whether there is one; else it is for this node's threads.
    pub(super) fn pass_on(&mut self, invocation: InvocationId, event: &HostEvent) -> bool {
        let Some(lent) = self.lent.get_mut(&invocation) else { return false };
        let (attempt, news) = match event {
            HostEvent::Notify { attempt, index, entry, .. } => {
                (*attempt, News::Entry { index: *index, entry: entry.clone() })
            }
            HostEvent::Appended { attempt, .. } => (*attempt, News::Durable),
            _ => return false,
        };
        if attempt == lent.attempt && lent.news.as_ref().is_some_and(|sender| sender.try_send(news).is_err()) {
            lent.news = None;
        }
        true
    }

    /// The attempt is over; whoever runs it elsewhere stops.
    pub(super) fn over(&mut self, invocation: InvocationId) {
        self.lent.remove(&invocation);
    }

    /// This node lost its say over some invocations.
    pub(super) fn lose(&mut self, of: impl Fn(InvocationId) -> bool) {
        self.lent.retain(|id, _| !of(*id));
        self.borrowed.retain(|id, _| !of(*id));
    }

    /// Gives what an attempt did to the node that it runs for.
    pub(super) fn give_back(&mut self, body: Body) {
        let Some((id, attempt)) = attempt_of(&body) else { return };
        if let Some(borrowed) = self.borrowed.get_mut(&id)
            && borrowed.attempt == attempt
            && borrowed.deeds.as_ref().is_some_and(|sender| sender.try_send(body).is_err())
        {
            borrowed.deeds = None;
        }
    }

    /// Takes out the loans that broke: those lent first.
    fn broken(&mut self) -> (Vec<(InvocationId, Lent)>, Vec<InvocationId>) {
        let gone = |lent: &Lent| lent.news.as_ref().is_none_or(mpsc::Sender::is_closed);
        let lent = self.lent.extract_if(.., |_, lent| gone(lent)).collect();
        let gone = |borrowed: &Borrowed| borrowed.deeds.as_ref().is_none_or(mpsc::Sender::is_closed);
        let borrowed = self.borrowed.extract_if(.., |_, borrowed| gone(borrowed)).map(|(id, _)| id).collect();
        (lent, borrowed)
    }
}

impl<L: LogStore, S: StateStore> Driver<L, S> {
    /// Has an attempt run here, or by another node if only that one has its code.
    pub(super) fn run_attempt(&mut self, start: StartAttempt) {
        let invocation = start.work.id;
        self.loans.over(invocation);
        if let Some(node) = self.loans.elsewhere(&self.cluster, &start) {
            tracing::debug!(%invocation, %node, version = start.version, "an attempt is lent to a node with its code");
            self.metrics.attempt_lent();
            return self.loans.lend(node, start);
        }
        // One that was borrowed from the leader before is replaced.
        self.loans.borrowed.remove(&invocation);
        self.tell(invocation, HostEvent::Start(Box::new(start)));
    }

    /// Ends what is left of loans that broke.
    pub(super) fn look_after_loans(&mut self) -> Result<(), Fatal> {
        if self.retiring.is_some() {
            // Their leaders find others.
            for borrowed in self.loans.borrowed.values_mut() {
                borrowed.deeds = None;
            }
        }
        let (lent, borrowed) = self.loans.broken();
        for (invocation, Lent { to, term, attempt, life, .. }) in lent {
            let text = format!("{NO_CODE}: {to}, which has the code of the attempt, let go of it; another one begins");
            let body = Body::AttemptFailed(AttemptFailed {
                id: Bytes::copy_from_slice(&invocation.to_bytes()),
                accept: None,
                term,
                attempt,
                failure: Some(Failure::new(u32::from(NO_CODE.0), text)),
                next: Some(Next::RetryAfter(PAUSE_MS)),
                life,
                uncounted: true,
            });
            let partition = PartitionId::of(invocation.partition_key, self.settings.partitions);
            self.propose(partition, Command::new(body))?;
        }
        for invocation in borrowed {
            self.tell(invocation, HostEvent::Abort { invocation, object: None });
        }
        Ok(())
    }

    pub(super) fn loan(&mut self, event: LoanEvent) -> Result<(), Fatal> {
        match event {
            LoanEvent::Borrow { start, deeds } => self.borrow(start, deeds),
            LoanEvent::News { id, attempt, news, responder } => {
                let told = self.borrowed_news(id, attempt, news);
                let _ = responder.send(told);
            }
            LoanEvent::Deeds { id, attempt, bodies, responder } => {
                let partition = PartitionId::of(id.partition_key, self.settings.partitions);
                if !self.leads(partition) || self.loans.lent.get(&id).is_none_or(|lent| lent.attempt != attempt) {
                    let _ = responder.send(Err(Refusal::NotFound));
                    return Ok(());
                }
                for body in bodies {
                    self.propose(partition, Command::new(body))?;
                }
                let _ = responder.send(Ok(()));
            }
        }
        Ok(())
    }

    /// Runs an attempt for another node, unless this one leads its partition by now, has no such code, or is leaving:
    /// then the loan ends with its channel.
    fn borrow(&mut self, start: Box<StartAttempt>, deeds: mpsc::Sender<Body>) {
        let has_code = self.loans.has_code(&start.work.target.service, start.version.as_deref());
        if self.leads(start.partition) || !has_code || self.retiring.is_some() {
            return;
        }
        let invocation = start.work.id;
        self.loans.borrowed.insert(invocation, Borrowed { attempt: start.attempt, deeds: Some(deeds) });
        self.tell(invocation, HostEvent::Start(start));
    }

    fn borrowed_news(&mut self, invocation: InvocationId, attempt: u32, news: Vec<News>) -> Result<(), Refusal> {
        if self.loans.borrowed.get(&invocation).is_none_or(|borrowed| borrowed.attempt != attempt) {
            return Err(Refusal::NotFound);
        }
        for news in news {
            let event = match news {
                News::Entry { index, entry } => HostEvent::Notify { invocation, attempt, index, entry },
                News::Durable => HostEvent::Appended { invocation, attempt },
            };
            self.tell(invocation, event);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
