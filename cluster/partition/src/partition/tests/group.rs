//! Several replicas, with a network that a test can cut.

use std::collections::{BTreeMap, BTreeSet};

use abide_storage::{Export, LogStore, drop_rows, load_rows};

use super::*;
use crate::{Kind, Members, SnapshotPoint};

struct Replica {
    log: MemLog,
    state: MemState,
    partition: Partition<MemState>,
    effects: Vec<Effect>,
    reads: Vec<u64>,
    dropped: Vec<Dropped>,
    offered: Option<(SnapshotPoint, Export)>,
    removed: bool,
    /// Its disk answers no more: what it was to write.
    stuck: Option<Vec<LogWrite>>,
}

#[derive(Default)]
struct Group {
    founders: Vec<u64>,
    replicas: BTreeMap<u64, Replica>,
    mail: Vec<Message>,
    /// Pairs that do not hear each other, from and to.
    cut: BTreeSet<(u64, u64)>,
    now: u64,
}

fn settings(replica: u64, voters: &[u64]) -> PartitionSettings {
    PartitionSettings {
        replica,
        bootstrap_voters: voters.to_vec(),
        // All different, so that elections end.
        election_ticks: (5 + usize::try_from(replica % 7).unwrap() * 2, 5 + usize::try_from(replica % 7).unwrap() * 2),
        tail_entries: 2,
        tail_entries_max: 20,
        entry_cache_bytes: 0,
        ..PartitionSettings::single(PartitionId(0), 1)
    }
}

impl Replica {
    fn open(replica: u64, voters: &[u64], mut log: MemLog, state: MemState) -> Self {
        let recovered = log.recover(0).unwrap();
        let overlay = Overlay::open(0, recovered.generation, Arc::new(state.clone()));
        let partition = Partition::open(settings(replica, voters), recovered, overlay).unwrap();
        let (effects, reads, dropped) = (Vec::new(), Vec::new(), Vec::new());
        Self { log, state, partition, effects, reads, dropped, offered: None, removed: false, stuck: None }
    }
}

impl Group {
    fn of(voters: &[u64]) -> Self {
        let mut group = Self { now: 1_000, founders: voters.to_vec(), ..Self::default() };
        for replica in voters {
            let opened = Replica::open(*replica, voters, MemLog::new(), MemState::new());
            group.replicas.insert(*replica, opened);
        }
        group
    }

    fn join(&mut self, replica: u64) {
        let opened = Replica::open(replica, &self.founders, MemLog::new(), MemState::new());
        self.replicas.insert(replica, opened);
    }

    fn restart(&mut self, replica: u64) {
        let Replica { mut log, state, .. } = self.replicas.remove(&replica).unwrap();
        log.crash(0);
        state.crash(0);
        self.replicas.insert(replica, Replica::open(replica, &self.founders, log, state));
    }

    fn handle(&mut self, replica: u64, input: Input) {
        let now = Millis(self.now);
        self.replicas.get_mut(&replica).unwrap().partition.handle(input, now).unwrap();
        self.carry_out(replica);
    }

    fn carry_out(&mut self, id: u64) {
        let now = Millis(self.now);
        let mut snapshots = Vec::new();
        let Some(replica) = self.replicas.get_mut(&id) else { return };
        while let Some(output) = replica.partition.poll_output().unwrap() {
            match output {
                Output::Persist { write, sync } => {
                    if let Some(writes) = &mut replica.stuck {
                        writes.push(write);
                        continue;
                    }
                    replica.log.commit(&LogBatch { writes: vec![write], sync }).unwrap();
                    replica.partition.handle(Input::Persisted, now).unwrap();
                }
                Output::Effect(effect) => replica.effects.push(effect),
                Output::Send(message) => self.mail.push(*message),
                Output::SnapshotWanted => {
                    let checkpoint = replica.partition.begin_checkpoint();
                    let point = replica.partition.snapshot_point();
                    let export = replica.partition.view().export().unwrap();
                    if let Some((checkpoint, _)) = checkpoint {
                        abide_storage::StateStore::write(&replica.state, checkpoint.writes()).unwrap();
                        replica.partition.end_checkpoint();
                    }
                    replica.partition.handle(Input::Offer(point.clone()), now).unwrap();
                    replica.offered = Some((point, export));
                }
                Output::SendSnapshot(message) => snapshots.push(message),
                Output::Fetch { low, high, max_bytes } => {
                    let entries = replica.log.entries(0, low, high, max_bytes).unwrap_or_default();
                    replica.partition.handle(Input::Fetched { low, entries }, now).unwrap();
                }
                Output::ReadReady { context } => replica.reads.push(context),
                Output::Removed => replica.removed = true,
                Output::Restored { discard: generation, .. } | Output::Discard { generation } => {
                    drop_rows(&replica.state, 0, generation, usize::MAX).unwrap();
                }
                Output::Dropped(dropped) => replica.dropped.push(dropped),
                Output::Leading { .. }
                | Output::Following { .. }
                | Output::Applied { .. }
                | Output::MembersChanged(_) => {}
                Output::Deliver { .. } | Output::Acknowledge { .. } => panic!("one partition ships nothing"),
            }
        }
        for message in snapshots {
            self.send_snapshot(message);
        }
    }

    fn send_snapshot(&mut self, message: Box<Message>) {
        let (from, to) = (message.from, message.to);
        let arrived = !self.cut.contains(&(from, to)) && self.replicas.contains_key(&to);
        if arrived {
            let (point, export) = self.replicas[&from].offered.as_ref().unwrap();
            assert_eq!(Some(point), message.snapshot.as_ref());
            let rows = export.page(None, usize::MAX).unwrap();
            let receiver = self.replicas.get_mut(&to).unwrap();
            let generation = (receiver.partition.generation() + 1) % 64;
            load_rows(&receiver.state, 0, generation, rows).unwrap();
            abide_storage::StateStore::sync(&receiver.state).unwrap();
            self.handle(to, Input::Restore { message, generation });
        }
        self.handle(from, Input::SnapshotSent { replica: to, arrived });
    }

    /// Delivers what is under way until nothing is.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mail = std::mem::take(&mut self.mail);
            if mail.is_empty() {
                return;
            }
            for message in mail {
                let (from, to) = (message.from, message.to);
                if !self.cut.contains(&(from, to)) && self.replicas.contains_key(&to) {
                    self.handle(to, Input::Receive(Box::new(message)));
                }
            }
        }
        panic!("messages go on for ever");
    }

    fn tick(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.now += 100;
            for replica in self.replicas.keys().copied().collect::<Vec<_>>() {
                self.handle(replica, Input::Tick);
            }
            self.settle();
        }
    }

    fn isolate(&mut self, replica: u64) {
        for other in self.replicas.keys().copied().filter(|other| *other != replica) {
            self.cut.extend([(replica, other), (other, replica)]);
        }
    }

    fn leader(&self) -> Option<u64> {
        let leads = |replica: &&u64| self.replicas[replica].partition.leading().is_some();
        let leaders: Vec<_> = self.replicas.keys().filter(leads).collect();
        leaders.into_iter().max_by_key(|replica| self.replicas[replica].partition.stats().term).copied()
    }

    fn elected(mut self) -> Self {
        self.tick(40);
        assert!(self.leader().is_some());
        self
    }

    fn propose(&mut self, command: Command) {
        let leader = self.leader().unwrap();
        self.handle(leader, Input::Propose(command));
        self.settle();
    }

    /// Turns that count up from `from`, each an entry of its own.
    fn count(&mut self, from: u64, to: u64) {
        for n in from..=to {
            self.propose(turn(u128::from(n), version(n - 1), &n.to_string()));
        }
    }

    fn value(&self, replica: u64) -> Option<String> {
        let key = (ObjectId { service: "Counter".into(), key: "a".into() }, "n".to_owned());
        let row = self.replicas[&replica].partition.view().get::<States>(&key).unwrap()?;
        Some(String::from_utf8(row.value.to_vec()).unwrap())
    }

    fn stats(&self, replica: u64) -> Stats {
        self.replicas[&replica].partition.stats()
    }

    fn checkpoint(&mut self, id: u64) {
        let replica = self.replicas.get_mut(&id).unwrap();
        let Some((checkpoint, through)) = replica.partition.begin_checkpoint() else { return };
        abide_storage::StateStore::write(&replica.state, checkpoint.writes()).unwrap();
        abide_storage::StateStore::sync(&replica.state).unwrap();
        replica.partition.end_checkpoint();
        self.handle(id, Input::Trim { through });
    }

    fn agree(&self, replicas: &[u64]) {
        let first = self.stats(replicas[0]);
        for replica in replicas {
            let stats = self.stats(*replica);
            assert_eq!((stats.applied, stats.state_hash), (first.applied, first.state_hash), "replica {replica}");
        }
    }
}

#[test]
fn replicas_agree_and_only_the_leader_acts() {
    let mut group = Group::of(&[1, 2, 3]).elected();
    let leader = group.leader().unwrap();
    group.count(1, 5);
    group.tick(2);
    group.agree(&[1, 2, 3]);
    for replica in [1, 2, 3] {
        assert_eq!(group.value(replica).as_deref(), Some("5"));
        assert_eq!(group.replicas[&replica].effects.is_empty(), replica != leader);
        assert_eq!(group.stats(replica).leader, Some(leader));
    }
}

/// Scenario 18: a leader that hears nobody steps down, and what it took does not come about twice.
#[test]
fn an_isolated_leader_gives_up() {
    let mut group = Group::of(&[1, 2, 3]).elected();
    let old = group.leader().unwrap();
    group.count(1, 2);
    group.isolate(old);
    group.handle(old, Input::Propose(turn(3, version(2), "lost")));
    group.tick(60);
    assert_eq!(group.replicas[&old].partition.leading(), None);
    let new = group.leader().unwrap();
    assert_ne!(new, old);
    group.count(3, 4);
    group.cut.clear();
    group.tick(60);
    group.agree(&[1, 2, 3]);
    assert_eq!(group.value(old).as_deref(), Some("4"));
}

/// A request that is repeated after a failover is answered from what the new leader has applied.
#[test]
fn a_new_leader_knows_recent_results() {
    let mut group = Group::of(&[1, 2, 3]).elected();
    let old = group.leader().unwrap();
    let before = group.stats(old).applied;
    group.count(1, 1);
    group.tick(1);
    group.isolate(old);
    group.tick(60);
    let new = &group.replicas[&group.leader().unwrap()].partition;
    let id = |n| InvocationId { partition_key: PartitionKey(0), unique: n };
    let found = Effect::Completed {
        invocation: InvocationId { partition_key: PartitionKey::of("a"), unique: 1 },
        target: Target::default(),
        outcome: Outcome::default(),
        expires_at: None,
    };
    let Effect::Completed { invocation, .. } = found else { unreachable!() };
    assert!(
        matches!(new.recent(invocation, before), Recent::Done(_))
            || matches!(new.recent(id(1), before), Recent::Done(_))
    );
    assert_eq!(new.recent(id(77), before), Recent::NotDone);
}

/// Scenarios 5 and 3: whatever restarts, everything acknowledged is there.
#[test]
fn replicas_restart_from_their_disks() {
    let mut group = Group::of(&[1, 2, 3]).elected();
    group.count(1, 5);
    for replica in [1, 2, 3] {
        group.restart(replica);
    }
    group.tick(60);
    group.count(6, 6);
    group.tick(2);
    group.agree(&[1, 2, 3]);
    assert_eq!(group.value(2).as_deref(), Some("6"));
}

/// A follower that comes back later than the log reaches gets the state itself.
#[test]
fn a_follower_behind_the_log_gets_a_snapshot() {
    let mut group = Group::of(&[1, 2, 3]).elected();
    let leader = group.leader().unwrap();
    let late = *group.replicas.keys().find(|replica| **replica != leader).unwrap();
    group.isolate(late);
    group.count(1, 40);
    group.tick(10);
    group.checkpoint(leader);
    assert!(group.stats(leader).first > group.stats(late).last + 1, "the log does not reach back");
    group.cut.clear();
    group.tick(60);
    group.count(41, 45);
    group.tick(5);
    group.agree(&[1, 2, 3]);
    assert_eq!(group.replicas[&late].partition.generation(), 1);
    // What was installed survives a loss of power.
    group.restart(late);
    group.tick(60);
    group.agree(&[1, 2, 3]);
    assert_eq!(group.value(late).as_deref(), Some("45"));
}

/// One that lags less is served from the disk of the leader, whose memory holds nothing that is applied.
#[test]
fn a_follower_within_the_log_is_served_from_disk() {
    let mut group = Group::of(&[1, 2, 3]).elected();
    let leader = group.leader().unwrap();
    let late = *group.replicas.keys().find(|replica| **replica != leader).unwrap();
    group.isolate(late);
    group.count(1, 12);
    group.cut.clear();
    group.tick(60);
    group.agree(&[1, 2, 3]);
    assert_eq!(group.replicas[&late].partition.generation(), 0, "no snapshot was needed");
}

/// Growth: a group of one becomes one of three, learners first, while it works.
#[test]
fn a_group_of_one_grows_to_three() {
    let mut group = Group::of(&[1]).elected();
    group.count(1, 30);
    group.checkpoint(1);
    for replica in [2, 3] {
        group.join(replica);
    }
    group.handle(1, Input::ChangeMembers { voters: vec![1], learners: vec![2, 3] });
    group.tick(5);
    group.count(31, 35);
    group.tick(30);
    assert_eq!(group.stats(1).members.learners, [2, 3]);
    group.agree(&[1, 2, 3]);
    group.handle(1, Input::ChangeMembers { voters: vec![1, 2, 3], learners: vec![] });
    group.tick(20);
    assert_eq!(group.stats(1).members, Members::of([1, 2, 3]));
    group.count(36, 36);
    group.isolate(1);
    group.tick(60);
    assert!(group.leader().is_some_and(|leader| leader != 1));
    group.count(37, 37);
    assert_eq!(group.value(2).as_deref(), Some("37"));
}

/// A replica that joins after others is sent the log from its beginning, in which it is no member yet: it stays.
#[test]
fn replicas_join_one_after_the_other() {
    let mut group = Group::of(&[1]).elected();
    group.count(1, 3);
    for (replica, learners) in [(2, vec![2]), (3, vec![2, 3])] {
        group.join(replica);
        group.handle(1, Input::ChangeMembers { voters: vec![1], learners });
        group.tick(10);
    }
    assert!(group.replicas.values().all(|replica| !replica.removed));
    group.agree(&[1, 2, 3]);
}

/// Row B.8: a leader that is to go hands over first, and is told when it is out.
#[test]
fn a_leader_is_not_removed_by_itself() {
    let mut group = Group::of(&[1, 2, 3]).elected();
    let old = group.leader().unwrap();
    let rest: Vec<u64> = [1, 2, 3].into_iter().filter(|replica| *replica != old).collect();
    group.count(1, 3);
    for _ in 0..3 {
        let leader = group.leader().unwrap();
        group.handle(leader, Input::ChangeMembers { voters: rest.clone(), learners: vec![] });
        group.settle();
        group.tick(5);
    }
    assert_ne!(group.leader(), Some(old));
    assert_eq!(group.stats(group.leader().unwrap()).members, Members::of(rest.clone()));
    group.isolate(old);
    group.tick(30);
    group.count(4, 4);
    group.agree(&rest);
}

/// Row B.5: a change while another one is pending is not lost without a word: it is not made, and asked for again.
#[test]
fn changes_come_one_after_the_other() {
    let mut group = Group::of(&[1]).elected();
    for replica in [2, 3] {
        group.join(replica);
    }
    group
        .replicas
        .get_mut(&1)
        .unwrap()
        .partition
        .handle(Input::ChangeMembers { voters: vec![1], learners: vec![2] }, Millis(group.now))
        .unwrap();
    group.handle(1, Input::ChangeMembers { voters: vec![1], learners: vec![2, 3] });
    group.tick(5);
    assert_eq!(group.stats(1).members.learners, [2]);
    group.handle(1, Input::ChangeMembers { voters: vec![1], learners: vec![2, 3] });
    group.tick(5);
    assert_eq!(group.stats(1).members.learners, [2, 3]);
}

/// Row B.9 and scenario 26: a leader that dies between the two steps of a change is followed by one that takes the second.
#[test]
fn a_change_in_two_steps_survives_its_leader() {
    let mut group = Group::of(&[1, 2, 3]).elected();
    let old = group.leader().unwrap();
    for replica in [4, 5] {
        group.join(replica);
    }
    group.handle(old, Input::ChangeMembers { voters: vec![1, 2, 3], learners: vec![4, 5] });
    group.tick(20);
    let mut voters = vec![4, 5];
    voters.push(old);
    group.handle(old, Input::ChangeMembers { voters: voters.clone(), learners: vec![] });
    // The first step is committed, and then the leader is gone.
    for _ in 0..4 {
        let mail = std::mem::take(&mut group.mail);
        for message in mail {
            let to = message.to;
            group.handle(to, Input::Receive(Box::new(message)));
        }
        if group.stats(4).members.is_joint() {
            break;
        }
    }
    group.mail.clear();
    group.isolate(old);
    group.tick(120);
    let leader = group.leader().unwrap();
    assert_ne!(leader, old);
    assert!(!group.stats(leader).members.is_joint(), "{}", group.stats(leader).members);
}

/// Leadership is handed over without an election timeout.
#[test]
fn leadership_is_transferred() {
    let mut group = Group::of(&[1, 2, 3]).elected();
    group.count(1, 3);
    let old = group.leader().unwrap();
    let next = *group.replicas.keys().find(|replica| **replica != old).unwrap();
    group.handle(old, Input::Transfer { replica: next });
    group.settle();
    assert_eq!(group.leader(), Some(next));
    group.count(4, 4);
    group.tick(2);
    group.agree(&[1, 2, 3]);
}

/// A leader whose disk does not answer hands over all the same, and what it had under way is not lost.
#[test]
fn a_leader_that_waits_for_its_disk_hands_over() {
    let mut group = Group::of(&[1, 2, 3]).elected();
    group.count(1, 3);
    let old = group.leader().unwrap();
    let next = *group.replicas.keys().find(|replica| **replica != old).unwrap();
    group.replicas.get_mut(&old).unwrap().stuck = Some(Vec::new());
    group.count(4, 4);
    assert!(group.replicas[&old].partition.is_writing());
    assert_eq!(group.value(old).as_deref(), Some("3"), "it applies nothing that it does not have itself");
    group.handle(old, Input::Transfer { replica: next });
    group.settle();
    assert_eq!(group.leader(), Some(next));
    assert_eq!(group.value(next).as_deref(), Some("4"), "the others have it");
    group.count(5, 5);
    // It has heard of its successor, but may not act on it before the disk has answered.
    assert!(group.replicas[&old].partition.leading().is_some());
    let writes = group.replicas.get_mut(&old).unwrap().stuck.take().unwrap();
    assert_eq!(writes.len(), 1, "one write at a time");
    let now = Millis(group.now);
    let replica = group.replicas.get_mut(&old).unwrap();
    replica.log.commit(&LogBatch { writes, sync: true }).unwrap();
    replica.partition.handle(Input::Persisted, now).unwrap();
    group.carry_out(old);
    group.settle();
    assert!(group.replicas[&old].partition.leading().is_none());
    group.tick(4);
    assert_eq!(group.leader(), Some(next));
    group.agree(&[1, 2, 3]);
}

/// Only a voter is told to stand, and only by who leads.
#[test]
fn nobody_else_hands_over() {
    let mut group = Group::of(&[1, 2, 3]).elected();
    let leader = group.leader().unwrap();
    let follower = *group.replicas.keys().find(|replica| **replica != leader).unwrap();
    group.replicas.get_mut(&leader).unwrap().stuck = Some(Vec::new());
    group.replicas.get_mut(&follower).unwrap().stuck = Some(Vec::new());
    group.count(1, 1);
    assert!(group.replicas[&follower].partition.is_writing());
    for (of, to) in [(leader, leader), (leader, 9), (follower, leader)] {
        group.handle(of, Input::Transfer { replica: to });
        assert!(group.mail.is_empty(), "{of} to {to}");
    }
}

/// A replica that yields stands only when nobody else has.
#[test]
fn who_yields_stands_last() {
    let mut group = Group::of(&[1, 2, 3]).elected();
    group.count(1, 3);
    let old = group.leader().unwrap();
    let others: Vec<u64> = group.replicas.keys().copied().filter(|replica| *replica != old).collect();
    group.handle(others[0], Input::Yield(true));
    group.isolate(old);
    for other in &others {
        group.handle(*other, Input::LeaderGone { replica: old });
    }
    group.tick(4);
    assert_eq!(group.leader(), Some(others[1]));
}

/// Something is written and synced, and nothing changes by it.
#[test]
fn a_probe_writes_what_is_known() {
    let mut group = Group::of(&[1, 2, 3]).elected();
    group.count(1, 3);
    let (replica, before) = (2, group.stats(2));
    let commits = group.replicas[&replica].log.commits();
    group.handle(replica, Input::Probe);
    assert_eq!(group.replicas[&replica].log.commits(), commits + 1);
    assert_eq!(group.stats(replica), before);
    group.restart(replica);
    assert_eq!(group.stats(replica).term, before.term);
}

/// A leader whose process dies is followed by another one within a few ticks, if a majority has lost it.
#[test]
fn a_dead_leader_is_replaced_at_once() {
    let mut group = Group::of(&[1, 2, 3]).elected();
    group.count(1, 3);
    let old = group.leader().unwrap();
    let others: Vec<u64> = group.replicas.keys().copied().filter(|replica| *replica != old).collect();
    // One that still hears the leader does not help to depose it.
    group.handle(others[0], Input::LeaderGone { replica: old });
    group.settle();
    group.tick(3);
    assert_eq!(group.leader(), Some(old));
    group.isolate(old);
    for other in &others {
        group.handle(*other, Input::LeaderGone { replica: old });
    }
    group.tick(4);
    assert!(group.leader().is_some_and(|leader| leader != old), "within {} ticks", 4);
    group.count(4, 4);
}

/// Scenario 31: two replicas think they lead; only the one with a quorum answers reads.
#[test]
fn a_read_needs_a_quorum() {
    let mut group = Group::of(&[1, 2, 3]).elected();
    let old = group.leader().unwrap();
    group.handle(old, Input::Read { context: 7 });
    assert!(group.replicas[&old].reads.is_empty(), "not before the others agree");
    group.settle();
    assert_eq!(group.replicas[&old].reads, [7]);
    let follower = *group.replicas.keys().find(|replica| **replica != old).unwrap();
    group.handle(follower, Input::Read { context: 9 });
    group.settle();
    group.tick(1);
    assert_eq!(group.replicas[&follower].reads, [9], "a follower asks the leader");
    group.isolate(old);
    group.handle(old, Input::Read { context: 8 });
    group.tick(3);
    assert_eq!(group.replicas[&old].reads, [7]);
}

/// Row 43: whatever a peer says, the replica lives.
#[test]
fn unsound_messages_are_dropped() {
    let mut group = Group::of(&[1, 2, 3]).elected();
    group.count(1, 3);
    group.tick(1);
    let (leader, term) = (group.leader().unwrap(), group.stats(1).term);
    let follower = *group.replicas.keys().find(|replica| **replica != leader).unwrap();
    let from = leader;
    for message in [
        Message { kind: Kind::Heartbeat as i32, to: follower, from, term, commit: 1_000, ..Message::default() },
        Message { kind: Kind::Snapshot as i32, to: follower, from, term, ..Message::default() },
        Message { kind: 0, to: follower, from, term, ..Message::default() },
        Message { kind: Kind::Append as i32, to: 9, from, term, ..Message::default() },
    ] {
        group.handle(follower, Input::Receive(Box::new(message)));
    }
    let expected = [Dropped::BeyondLog, Dropped::Kind, Dropped::Kind, Dropped::Address];
    assert_eq!(group.replicas[&follower].dropped, expected);
    group.count(4, 4);
    group.tick(1);
    group.agree(&[1, 2, 3]);
}

/// A snapshot that is older than the tables changes nothing.
#[test]
fn an_old_snapshot_is_discarded() {
    let mut group = Group::of(&[1, 2, 3]).elected();
    group.count(1, 5);
    group.tick(1);
    let (leader, term) = (group.leader().unwrap(), group.stats(1).term);
    let follower = *group.replicas.keys().find(|replica| **replica != leader).unwrap();
    let snapshot = Some(SnapshotPoint { index: 3, term, members: Some(Members::of([1, 2, 3])) });
    let message =
        Message { kind: Kind::Snapshot as i32, to: follower, from: leader, term, snapshot, ..Message::default() };
    let before = group.stats(follower);
    group.handle(follower, Input::Restore { message: Box::new(message), generation: 1 });
    assert_eq!((group.stats(follower).applied, group.replicas[&follower].partition.generation()), (before.applied, 0));
}

/// A leader that does not know how far a follower is sends what that has cut from its log. The follower says how far it
/// is; refused as a contradiction, it would never hear anything else.
#[test]
fn entries_from_before_the_log_are_answered() {
    let mut group = Group::of(&[1, 2, 3]).elected();
    group.count(1, 40);
    group.tick(2);
    let leader = group.leader().unwrap();
    let follower = *group.replicas.keys().find(|replica| **replica != leader).unwrap();
    group.checkpoint(follower);
    let stats = group.stats(follower);
    assert!(stats.first > 10);
    let entries = group.replicas[&leader].log.entries(0, 5, stats.last + 1, u64::MAX).unwrap();
    let entry = |entry: abide_storage::LogEntry| crate::WireEntry {
        term: entry.term,
        kind: u32::from(entry.kind.tag()),
        data: entry.data,
    };
    let message = Message {
        kind: Kind::Append as i32,
        to: follower,
        from: leader,
        term: stats.term,
        index: 4,
        log_term: entries[0].term,
        entries: entries.into_iter().map(entry).collect(),
        commit: stats.committed,
        ..Message::default()
    };
    group.handle(follower, Input::Receive(Box::new(message)));
    assert_eq!(group.replicas[&follower].dropped, []);
    let answers: Vec<_> = group.mail.iter().filter(|it| it.from == follower).collect();
    assert!(answers.iter().any(|it| it.kind() == Kind::AppendResponse && it.index == stats.committed), "{answers:?}");
}

/// Members that everybody knew are known after a loss of power, although nothing was written behind their change: one of
/// three may be lost for good.
#[test]
fn a_change_of_members_survives_a_loss_of_power() {
    let mut group = Group::of(&[1]).elected();
    for replica in [2, 3] {
        group.join(replica);
    }
    group.handle(1, Input::ChangeMembers { voters: vec![1], learners: vec![2, 3] });
    group.tick(5);
    group.handle(1, Input::ChangeMembers { voters: vec![1, 2, 3], learners: vec![] });
    while (1..=3).any(|replica| group.stats(replica).members != Members::of([1, 2, 3])) {
        group.tick(1);
    }
    group.replicas.remove(&1);
    group.mail.clear();
    for replica in [2, 3] {
        group.restart(replica);
    }
    group.tick(60);
    assert!(group.leader().is_some());
}
