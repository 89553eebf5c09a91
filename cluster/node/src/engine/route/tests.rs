//! What a node tells leaders of the copies of a call.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use abide_host::{Host, HostSettings};
use abide_model::command::Outcome;
use abide_sdk::Registry;

use super::*;
use crate::cluster::wire::{NodeStatus, ReplicaStatus, WireCompletion};
use crate::cluster::{Asker, Cluster};
use crate::driver::DriverHandle;
use crate::engine::{Others, Retention};

const P0: PartitionId = PartitionId(0);
const LEADER: NodeId = NodeId(2);

/// Another node that answers as it is told to, one answer a copy.
#[derive(Default)]
struct Leader {
    answers: Mutex<VecDeque<Result<Told, AskFailed>>>,
    copies: Mutex<Vec<Forwarded>>,
}

impl Asker for Leader {
    fn ask(
        &self,
        to: NodeId,
        request: Request,
        _: Duration,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Told, AskFailed>> + Send + '_>> {
        assert_eq!(to, LEADER);
        let Some(Ask::Call(copy)) = request.ask else { panic!("another request") };
        self.copies.lock().unwrap().push(copy);
        let answer = self.answers.lock().unwrap().pop_front().expect("no more copies are expected");
        Box::pin(std::future::ready(answer))
    }
}

fn lost() -> Result<Told, AskFailed> {
    Err(AskFailed::Unknown("the connection is gone".into()))
}

fn done(invoke: &Invoke) -> Result<Told, AskFailed> {
    let (id, outcome) = (invoke.id.clone(), Some(Outcome::success("1".into())));
    Ok(Told::Completed(WireCompletion { id, outcome, expires_at: None }))
}

fn call(access: Access) -> Invoke {
    let target = Target {
        service: "Counter".into(),
        key: Some("k".into()),
        handler: "h".into(),
        access: access as i32,
        form: Form::Turn as i32,
        ..Target::default()
    };
    let id = InvocationId { partition_key: abide_model::id::PartitionKey(0), unique: 7 };
    Invoke { id: Bytes::copy_from_slice(&id.to_bytes()), target: Some(target), ..Invoke::default() }
}

fn told(applied: u64) -> NodeStatus {
    let replica = ReplicaStatus { partition: 0, term: 3, leads: true, applied, ..ReplicaStatus::default() };
    NodeStatus { replicas: vec![replica], ..NodeStatus::default() }
}

/// Node 1, which leads nothing and has no replica.
struct Desk {
    engine: Engine,
    leader: Arc<Leader>,
    _host: Host,
}

impl Desk {
    fn new() -> Self {
        let registry = Registry::builder().build();
        let (driver, _) = DriverHandle::new(1);
        let host = Host::start(registry.clone(), driver.clone(), HostSettings::default()).unwrap();
        let leader = Arc::new(Leader::default());
        let others = Others { asker: leader.clone(), runtime: tokio::runtime::Handle::current() };
        let retention = Retention { completed_ms: 0, journal_ms: 0, workflow_ms: 0 };
        let cluster = Cluster::new(NodeId(1));
        let engine = Engine::new(registry, driver, host.handle(), 1, retention, cluster, Some(others));
        Self { engine, leader, _host: host }
    }

    /// The leader says of itself, again and again, that it leads and how far it is.
    fn hear(&self, applied: u64) {
        let cluster = self.engine.cluster().clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(200)).await;
                cluster.told(LEADER, told(applied));
            }
        });
    }

    async fn ask(&self, invoke: &Invoke, answers: impl Into<VecDeque<Result<Told, AskFailed>>>) -> Asked<Completion> {
        *self.leader.answers.lock().unwrap() = answers.into();
        self.engine.invoke(P0, Form::Turn, invoke.clone())?.await.unwrap()
    }

    /// Of each copy, whether it was said to be a repetition, and the index that came with it.
    fn copies(&self) -> Vec<(bool, u64)> {
        self.leader.copies.lock().unwrap().iter().map(|copy| (copy.repeated, copy.since)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_may_have_been_executed_is_told_from_a_first_one() {
    let desk = Desk::new();
    desk.hear(40);
    let invoke = call(Access::Exclusive);
    desk.ask(&invoke, [Err(AskFailed::NotSent("no".into())), lost(), done(&invoke)]).await.unwrap();
    assert_eq!(desk.copies(), [(false, 40), (false, 40), (true, 40)]);
}

#[tokio::test(start_paused = true)]
async fn a_read_is_never_said_to_be_repeated() {
    let desk = Desk::new();
    desk.hear(40);
    let invoke = call(Access::Shared);
    desk.ask(&invoke, [lost(), lost(), done(&invoke)]).await.unwrap();
    assert!(desk.copies().iter().all(|(repeated, _)| !repeated));
    let keyed = Invoke { idempotency_key: Some("i".into()), ..invoke };
    assert!(!is_read(&keyed), "it leaves a record");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_has_just_joined_learns_how_far_the_log_is_first() {
    let desk = Desk::new();
    // Its own replica heard who leads; nobody told more yet.
    desk.engine.cluster().leads(P0, 3, Some(LEADER));
    desk.hear(90);
    let invoke = call(Access::Exclusive);
    desk.ask(&invoke, [lost(), done(&invoke)]).await.unwrap();
    assert_eq!(desk.copies(), [(false, 90), (true, 90)]);
}

#[tokio::test(start_paused = true)]
async fn a_first_copy_that_a_leader_cannot_judge_begins_again_at_its_index() {
    let desk = Desk::new();
    desk.hear(40);
    let invoke = call(Access::Exclusive);
    desk.ask(&invoke, [Ok(Told::Overtaken(70)), lost(), done(&invoke)]).await.unwrap();
    assert_eq!(desk.copies(), [(false, 40), (false, 70), (true, 70)]);
    // A repetition cannot begin again: nobody would know whether the first was executed.
    let desk = Desk::new();
    desk.hear(40);
    let asked = desk.ask(&invoke, [lost(), Ok(Told::Overtaken(70))]).await;
    assert_eq!(asked, Err(Refusal::OutcomeUnknown));
}
