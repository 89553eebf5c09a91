use std::sync::Arc;

use abide_model::command::{Access, FieldChange, Form, Invoke, Outcome, StateVersion, Target, Turn};
use abide_model::effect::Effect;
use abide_model::id::{InvocationId, ObjectId, PartitionId, PartitionKey};
use abide_model::table::States;
use abide_storage::{LogBatch, LogStore, MemLog, MemState};
use bytes::Bytes;

use super::*;

/// A node with one partition: the shell in its smallest form.
struct Node {
    log: MemLog,
    state: MemState,
    partition: Partition<MemState>,
    effects: Vec<Effect>,
    now: u64,
}

impl Node {
    fn open(mut log: MemLog, state: MemState) -> Result<Self, PartitionError> {
        let recovered = log.recover(0).unwrap();
        let overlay = Overlay::new(0, Arc::new(state.clone()));
        let partition = Partition::open(PartitionSettings::single(PartitionId(0), 1), recovered, overlay)?;
        Ok(Self { log, state, partition, effects: Vec::new(), now: 1_000 })
    }

    fn start() -> Self {
        Self::open(MemLog::new(), MemState::new()).unwrap().elected()
    }

    fn elected(mut self) -> Self {
        self.handle(Input::Campaign);
        self.run();
        assert!(self.partition.leading().is_some());
        self
    }

    fn handle(&mut self, input: Input) {
        self.partition.handle(input, Millis(self.now)).unwrap();
    }

    /// Carries out everything; returns the number of writes to the log.
    fn run(&mut self) -> usize {
        let mut writes = 0;
        while let Some(output) = self.partition.poll_output().unwrap() {
            match output {
                Output::Persist { write, sync } => {
                    self.log.commit(&LogBatch { writes: vec![write], sync }).unwrap();
                    writes += 1;
                    self.handle(Input::Persisted);
                }
                Output::Effect(effect) => self.effects.push(effect),
                Output::Leading { .. } | Output::Following { .. } | Output::Applied { .. } => {}
                other => panic!("one replica of one partition has nobody to tell: {other:?}"),
            }
        }
        writes
    }

    fn restart(self) -> Result<Self, PartitionError> {
        Self::open(self.log, self.state)
    }

    fn checkpoint(&mut self, sync: bool) -> u64 {
        let (checkpoint, index) = self.partition.begin_checkpoint().expect("something to write");
        abide_storage::StateStore::write(&self.state, checkpoint.writes()).unwrap();
        if sync {
            abide_storage::StateStore::sync(&self.state).unwrap();
        }
        self.partition.end_checkpoint();
        index
    }

    fn counter(&self) -> Option<String> {
        let key = (ObjectId { service: "Counter".into(), key: "a".into() }, "n".to_owned());
        let row = self.partition.view().get::<States>(&key).unwrap()?;
        Some(String::from_utf8(row.value.to_vec()).unwrap())
    }

    fn completed(&self) -> usize {
        self.effects.iter().filter(|effect| matches!(effect, Effect::Completed { .. })).count()
    }
}

/// A turn that sets the counter to `value` on top of `base`.
fn turn(n: u128, base: StateVersion, value: &str) -> Command {
    let id = InvocationId { partition_key: PartitionKey(0), unique: n };
    let id = Bytes::copy_from_slice(&id.to_bytes());
    let target = Target {
        service: "Counter".into(),
        handler: "add".into(),
        key: Some("a".into()),
        access: Access::Exclusive as i32,
        form: Form::Turn as i32,
        ..Target::default()
    };
    let turn = Turn {
        id: id.clone(),
        accept: Some(Invoke { id, target: Some(target), ..Invoke::default() }),
        activation: 1,
        base: Some(base),
        changes: vec![FieldChange { field: "n".into(), value: Some(Bytes::copy_from_slice(value.as_bytes())) }],
        sends: vec![],
        outcome: Some(Outcome::success(Bytes::new())),
        life: 0,
    };
    Command::new(Body::Turn(turn))
}

fn version(n: u64) -> StateVersion {
    StateVersion { version: n, writer: u64::from(n > 0) }
}

#[test]
fn one_write_commits_everything_that_waits() {
    let mut node = Node::start();
    for n in 0..10 {
        node.handle(Input::Propose(turn(u128::from(n), version(n), &n.to_string())));
    }
    assert_eq!(node.run(), 1);
    assert_eq!(node.counter().as_deref(), Some("9"));
    assert_eq!(node.completed(), 10);
}

/// Rule P1: no effect before the entry is durable.
#[test]
fn nothing_comes_out_before_the_write_is_durable() {
    let mut node = Node::start();
    node.handle(Input::Propose(turn(1, version(0), "1")));
    let first = node.partition.poll_output().unwrap();
    assert!(matches!(first, Some(Output::Persist { sync: true, .. })));
    assert_eq!(node.partition.poll_output().unwrap(), None);
    assert_eq!(node.counter(), None);
    node.handle(Input::Persisted);
    node.run();
    assert_eq!(node.counter().as_deref(), Some("1"));
    assert_eq!(node.completed(), 1);
}

/// Row B.7: a replica that does not lead takes no proposals; the library would forward them.
#[test]
fn only_a_leader_proposes() {
    let mut node = Node::open(MemLog::new(), MemState::new()).unwrap();
    node.handle(Input::Propose(turn(1, version(0), "1")));
    assert_eq!(node.run(), 0);
    let mut node = node.elected();
    node.run();
    assert_eq!(node.completed(), 0);
    node.handle(Input::Propose(turn(1, version(0), "1")));
    node.run();
    assert_eq!(node.completed(), 1);
}

#[test]
fn everything_durable_is_there_after_a_crash() {
    let mut node = Node::start();
    for n in 0..5 {
        node.handle(Input::Propose(turn(u128::from(n), version(n), &n.to_string())));
        node.run();
    }
    let before = node.partition.stats();
    node.log.crash(0);
    node.state.crash(0);
    let mut node = node.restart().unwrap();
    node.handle(Input::Campaign);
    node.run();
    assert_eq!(node.counter().as_deref(), Some("4"));
    assert!(node.partition.stats().applied > before.applied, "the new term's entry");
    assert!(node.effects.iter().all(|effect| !matches!(effect, Effect::Completed { .. })), "old effects stay old");
}

/// Invariant I9: the same log gives the same state, however often it was checkpointed on the way.
#[test]
fn replay_gives_the_same_hash() {
    let run = |checkpoints: bool| {
        let mut node = Node::start();
        for n in 0..20 {
            node.handle(Input::Propose(turn(u128::from(n), version(n), &n.to_string())));
            node.run();
            if checkpoints && n % 3 == 0 {
                node.checkpoint(n % 2 == 0);
            }
        }
        let hash = node.partition.stats().state_hash;
        node.state.crash(0);
        let mut node = node.restart().unwrap();
        node.handle(Input::Campaign);
        let output = node.partition.poll_output().unwrap();
        let replayed = node.partition.stats().state_hash;
        drop(output);
        (hash, replayed)
    };
    let (hash, _) = run(false);
    let (other, replayed) = run(true);
    assert_eq!(hash, other);
    // All old entries are committed by the new term's first entry at the latest; the state has at least the synced part.
    assert_ne!(replayed, 0);
}

/// Rule P5: the state may be durable before the log's commit index is.
#[test]
fn a_state_ahead_of_the_commit_index_is_fine() {
    let mut node = Node::start();
    node.handle(Input::Propose(turn(1, version(0), "1")));
    node.run();
    let index = node.checkpoint(true);
    node.log.crash(0);
    let recovered = node.log.recover(0).unwrap();
    assert!(recovered.hard_state.commit < index, "the commit index travels with the next write");
    let mut node = node.restart().unwrap().elected();
    node.run();
    assert_eq!(node.counter().as_deref(), Some("1"));
}

/// Rule P5: a log that lost what the state has is refused.
#[test]
fn a_log_that_lost_entries_is_refused() {
    let mut node = Node::start();
    node.handle(Input::Propose(turn(1, version(0), "1")));
    node.run();
    node.checkpoint(true);
    node.log = MemLog::new();
    assert!(matches!(node.restart().err(), Some(PartitionError::LogBehindState { .. })));
}

/// Rule P6: the log is cut behind a synced checkpoint, and nothing is missed after it.
#[test]
fn a_trimmed_log_restarts_from_the_checkpoint() {
    let mut node = Node::start();
    for n in 0..10 {
        node.handle(Input::Propose(turn(u128::from(n), version(n), &n.to_string())));
        node.run();
    }
    let through = node.checkpoint(true);
    node.handle(Input::Trim { through });
    node.run();
    node.handle(Input::Propose(turn(10, version(10), "10")));
    node.run();
    assert_eq!(node.log.recover(0).unwrap().start.index, through);
    node.log.crash(0);
    let node = node.restart().unwrap().elected();
    assert_eq!(node.counter().as_deref(), Some("10"));
}

#[test]
fn a_trim_never_passes_what_is_applied() {
    let mut node = Node::start();
    node.handle(Input::Trim { through: 1_000 });
    node.run();
    assert_eq!(node.log.recover(0).unwrap().start.index, node.partition.stats().applied);
}

/// A delayed invocation starts when log time has reached it, not before, and the shell knows when to wake.
#[test]
fn timers_fire_when_due() {
    let mut node = Node::start();
    let id = InvocationId { partition_key: PartitionKey(0), unique: 1 };
    let target = Target { service: "S".into(), handler: "h".into(), ..Target::default() };
    let invoke = Invoke {
        id: Bytes::copy_from_slice(&id.to_bytes()),
        target: Some(target),
        execute_at: 5_000,
        ..Invoke::default()
    };
    node.handle(Input::Propose(Command::new(Body::Invoke(invoke))));
    node.run();
    assert_eq!(node.partition.poll_timeout(), Some(Millis(5_000)));
    node.now = 4_999;
    node.handle(Input::Wake);
    assert_eq!(node.run(), 0);
    node.now = 5_000;
    node.handle(Input::Wake);
    node.run();
    assert!(node.effects.contains(&Effect::Start { invocation: id }));
    assert_eq!(node.partition.poll_timeout(), None);
}

#[test]
fn an_entry_of_a_newer_build_stops_the_replica() {
    let mut node = Node::start();
    node.handle(Input::Propose(Command::default()));
    let mut failed = false;
    loop {
        match node.partition.poll_output() {
            Ok(Some(Output::Persist { .. })) => {
                if node.partition.handle(Input::Persisted, Millis(1_000)).is_err() {
                    failed = true;
                    break;
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(_) => {
                failed = true;
                break;
            }
        }
    }
    assert!(failed, "a command without a body is of an unknown kind");
}

/// A message to another partition that is lost on its way is shipped again until it is acknowledged.
#[test]
fn a_lost_message_is_shipped_again() {
    let recovered = MemLog::new().recover(0).unwrap();
    let overlay = Overlay::new(0, Arc::new(MemState::new()));
    let settings = PartitionSettings::single(PartitionId(0), 2);
    let mut partition = Partition::open(settings, recovered, overlay).unwrap();
    let step = |partition: &mut Partition<MemState>, input| {
        let mut deliveries = Vec::new();
        partition.handle(input, Millis(1_000)).unwrap();
        while let Some(output) = partition.poll_output().unwrap() {
            match output {
                Output::Persist { .. } => partition.handle(Input::Persisted, Millis(1_000)).unwrap(),
                Output::Deliver { to, delivery } => deliveries.push((to, delivery)),
                _ => {}
            }
        }
        deliveries
    };
    step(&mut partition, Input::Campaign);
    let elsewhere = InvocationId { partition_key: PartitionKey(u64::MAX), unique: 1 };
    let mut command = turn(1, version(0), "1");
    if let Some(Body::Turn(turn)) = &mut command.body {
        let target = Some(Target { service: "S".into(), handler: "h".into(), ..Target::default() });
        turn.sends = vec![Invoke { id: Bytes::copy_from_slice(&elsewhere.to_bytes()), target, ..Invoke::default() }];
    }
    let first = step(&mut partition, Input::Propose(command));
    assert_eq!(first.len(), 1);
    let again: Vec<_> = (0..20).flat_map(|_| step(&mut partition, Input::Tick)).collect();
    assert!(!again.is_empty() && again.iter().all(|delivery| *delivery == first[0]), "{again:?}");
    let ack = abide_model::command::OutboxAck { by: 1, up_to: 1 };
    step(&mut partition, Input::Propose(Command::new(Body::OutboxAck(ack))));
    assert_eq!(partition.stats().unacknowledged, 0);
    assert!((0..40).all(|_| step(&mut partition, Input::Tick).is_empty()));
}

mod group;
