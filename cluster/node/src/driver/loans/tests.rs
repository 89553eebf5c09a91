//! Who runs an attempt, and what ends a loan.

use std::sync::Mutex;

use abide_model::command::{Access, Append, Target};
use abide_model::effect::Work;
use abide_model::id::PartitionKey;
use abide_sdk::service::{Executable, Fields, Instance, Kind, Options, ServiceDescriptor, StateError};

use super::*;
use crate::cluster::SILENCE_MAX;

const OTHER: NodeId = NodeId(2);

/// A service of which nothing is ever run.
struct Bound(ServiceDescriptor);

impl Executable for Bound {
    fn descriptor(&self) -> &ServiceDescriptor {
        &self.0
    }

    fn instantiate(&self, _: &Fields) -> Result<Box<dyn Instance>, StateError> {
        unreachable!("nothing is run")
    }
}

fn bound(version: &str) -> Arc<dyn Executable> {
    Arc::new(Bound(ServiceDescriptor {
        name: "Order".into(),
        kind: Kind::Object,
        version: version.into(),
        options: Options::default(),
        handlers: Vec::new(),
        documentation: None,
    }))
}

fn registry() -> Registry {
    Registry::builder().with(bound("3")).keep_with(bound("2")).build()
}

fn id(unique: u128) -> InvocationId {
    InvocationId { partition_key: PartitionKey(0), unique }
}

fn start(unique: u128, version: Option<&str>, form: Form) -> StartAttempt {
    let target = Target {
        service: "Order".into(),
        key: Some("k".into()),
        handler: "ship".into(),
        access: Access::Exclusive as i32,
        form: form as i32,
        ..Target::default()
    };
    StartAttempt {
        partition: PartitionId(0),
        object: target.object(),
        work: Work { id: id(unique), target, input: Bytes::new(), headers: Vec::new(), failures: 0, life: 1 },
        term: 5,
        attempt: 2,
        version: version.map(str::to_owned),
        failures: 0,
        journal: Vec::new(),
        fields: abide_host::Fields::new(),
    }
}

/// What was lent, and to whom.
type Carried = Arc<Mutex<Vec<(NodeId, Loan)>>>;

/// Loans of node 1, and what it lends.
fn loans() -> (Loans, Carried) {
    let lent = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&lent);
    let lender: Lender = Arc::new(move |node, loan| into.lock().unwrap().push((node, loan)));
    (Loans::new(&registry(), Some(lender)), lent)
}

fn tells(cluster: &Cluster, node: NodeId, version: &str, current: bool, stopping: bool) {
    let code = vec![CodeStatus { service: "Order".into(), version: version.into(), current }];
    cluster.told(node, NodeStatus { code, stopping, ..NodeStatus::default() });
}

#[tokio::test(start_paused = true)]
async fn an_attempt_goes_to_a_node_with_its_code_only_when_this_one_has_not() {
    let (loans, _) = loans();
    let cluster = Cluster::new(NodeId(1));
    let elsewhere = |version, form| loans.elsewhere(&cluster, &start(7, version, form));
    assert_eq!(elsewhere(Some("1"), Form::Flow), None, "nobody has it");
    tells(&cluster, OTHER, "1", true, false);
    assert_eq!(elsewhere(Some("1"), Form::Flow), Some(OTHER));
    for here in [Some("3"), Some("2"), None] {
        assert_eq!(elsewhere(here, Form::Flow), None, "this one has {here:?}");
    }
    assert_eq!(elsewhere(Some("4"), Form::Flow), None);
    assert_eq!(elsewhere(Some("1"), Form::Turn), None, "turns are not pinned");
    // Two that can share the work.
    tells(&cluster, NodeId(3), "1", false, false);
    let to = |unique| loans.elsewhere(&cluster, &start(unique, Some("1"), Form::Flow));
    assert_eq!((to(0), to(1), to(2)), (Some(OTHER), Some(NodeId(3)), Some(OTHER)));
    tells(&cluster, OTHER, "1", true, true);
    assert_eq!(to(0), Some(NodeId(3)), "the other one is stopping");
    cluster.silent(NodeId(3));
    assert_eq!(to(0), None, "the only one left is not connected");
    tells(&cluster, NodeId(3), "1", false, false);
    tokio::time::advance(SILENCE_MAX).await;
    assert_eq!(to(0), None, "nobody is heard of");
}

#[tokio::test]
async fn what_is_new_has_to_be_current_where_it_runs() {
    let cluster = Cluster::new(NodeId(1));
    let lender: Lender = Arc::new(|_, _| ());
    let loans = Loans::new(&Registry::builder().build(), Some(lender));
    tells(&cluster, OTHER, "1", false, false);
    assert_eq!(loans.elsewhere(&cluster, &start(0, None, Form::Flow)), None, "it is kept there for old flows only");
    tells(&cluster, OTHER, "1", true, false);
    assert_eq!(loans.elsewhere(&cluster, &start(0, None, Form::Flow)), Some(OTHER));
    let alone = Loans::new(&Registry::builder().build(), None);
    assert_eq!(alone.elsewhere(&cluster, &start(0, None, Form::Flow)), None);
}

#[test]
fn a_node_runs_so_many_attempts_for_another_at_most() {
    let (mut loans, _lent) = loans();
    let cluster = Cluster::new(NodeId(1));
    tells(&cluster, OTHER, "1", true, false);
    for unique in 0..LENT_MAX as u128 {
        let start = start(unique, Some("1"), Form::Flow);
        assert_eq!(loans.elsewhere(&cluster, &start), Some(OTHER));
        loans.lend(OTHER, start);
    }
    let next = start(u128::MAX, Some("1"), Form::Flow);
    assert_eq!(loans.elsewhere(&cluster, &next), None);
    loans.over(id(0));
    assert_eq!(loans.elsewhere(&cluster, &next), Some(OTHER));
}

#[test]
fn news_of_the_attempt_that_was_lent_go_with_it() {
    let (mut loans, lent) = loans();
    loans.lend(OTHER, start(7, Some("1"), Form::Flow));
    let durable = |attempt| HostEvent::Appended { invocation: id(7), attempt };
    assert!(loans.pass_on(id(7), &durable(2)));
    assert!(loans.pass_on(id(7), &durable(1)), "an earlier attempt is nobody's");
    assert!(!loans.pass_on(id(7), &HostEvent::Abort { invocation: id(7), object: None }), "the object hears of it");
    assert!(!loans.pass_on(id(8), &durable(2)));
    let (to, mut loan) = lent.lock().unwrap().pop().unwrap();
    assert_eq!((to, loan.news.try_recv(), loan.news.try_recv().is_err()), (OTHER, Ok(News::Durable), true));
    loans.over(id(7));
    assert!(loan.news.is_closed(), "the borrower is told by the end of its news");
    assert!(loans.broken().0.is_empty(), "an attempt that is over needs no other");
}

#[test]
fn a_loan_whose_carrier_is_gone_or_behind_is_broken() {
    let (mut loans, lent) = loans();
    for unique in [1, 2, 3] {
        loans.lend(OTHER, start(unique, Some("1"), Form::Flow));
    }
    let mut carried = std::mem::take(&mut *lent.lock().unwrap());
    assert!(loans.broken().0.is_empty());
    drop(carried.remove(0));
    for _ in 0..=UNDER_WAY_MAX {
        loans.pass_on(id(2), &HostEvent::Appended { invocation: id(2), attempt: 2 });
    }
    let (broken, _) = loans.broken();
    let broken: Vec<_> = broken.iter().map(|(id, lent)| (id.unique, lent.to, lent.term, lent.attempt)).collect();
    assert_eq!(broken, [(1, OTHER, 5, 2), (2, OTHER, 5, 2)]);
    assert!(loans.broken().0.is_empty(), "each is told of once");
    loans.lose(|_| true);
    assert!(carried.iter().all(|(_, loan)| loan.news.is_closed()));
}

#[test]
fn deeds_go_back_to_whom_they_are_for() {
    let (mut loans, _) = loans();
    let (sender, mut deeds) = mpsc::channel(1);
    loans.borrowed.insert(id(7), Borrowed { attempt: 2, deeds: Some(sender) });
    let append = |unique, attempt| {
        let id = Bytes::copy_from_slice(&id(unique).to_bytes());
        Body::Append(Append { id, attempt, ..Append::default() })
    };
    for (unique, attempt) in [(7, 1), (8, 2), (7, 2)] {
        loans.give_back(append(unique, attempt));
    }
    assert_eq!((deeds.try_recv(), deeds.try_recv().is_err()), (Ok(append(7, 2)), true));
    assert_eq!(loans.broken().1, []);
    loans.give_back(append(7, 2));
    loans.give_back(append(7, 2));
    assert_eq!(loans.broken().1, [id(7)], "the way back is full");
    let (sender, deeds) = mpsc::channel(1);
    loans.borrowed.insert(id(9), Borrowed { attempt: 1, deeds: Some(sender) });
    drop(deeds);
    assert_eq!((loans.broken().1, loans.borrowed()), (vec![id(9)], 0));
}
