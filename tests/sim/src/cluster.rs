//! The controller: who belongs to which group. It grows groups while clients work, replaces replicas, removes them and
//! lets them come again, and has leadership handed over. What it knows of members is what is committed.

use std::collections::{BTreeMap, BTreeSet};

use abide_model::id::Millis;
use abide_partition::{Input, Members};

use crate::config::Canary;
use crate::machine::{FOUNDER, machine_of, replica_on};
use crate::node::{Node, failed};
use crate::violation::{Check, Invariant, check};
use crate::world::{Event, World};

/// Fewest voters of which one may lose its disk.
const VOTERS: usize = 3;
/// How many entries a learner may lack when it gets a vote.
const NEARLY: u64 = 8;
/// How long a partition may be without a leader once the faults have stopped, in ms.
const LEADERLESS_MAX: u64 = 5_000;
/// How long members may be changing once the faults have stopped, in ms.
const JOINT_MAX: u64 = 10_000;

/// What the controller knows and wants.
#[derive(Debug)]
pub(crate) struct Cluster {
    groups: Vec<Group>,
    /// How many replicas of a partition were ever on a machine.
    incarnations: BTreeMap<(u32, usize), u32>,
}

#[derive(Debug)]
struct Group {
    /// On which machines it should be.
    wanted: BTreeSet<usize>,
    /// Its members as of the last committed change, and the index of that.
    members: (u64, Members),
    /// Everybody who ever was a member.
    seen: BTreeSet<u64>,
    /// Since when it is changing, or not led, in the calm.
    joint_since: Option<u64>,
    leaderless_since: Option<u64>,
}

impl Cluster {
    pub(crate) fn new(partitions: u32) -> Self {
        let group = || Group {
            wanted: BTreeSet::from([0]),
            members: (0, Members::of([FOUNDER])),
            seen: BTreeSet::from([FOUNDER]),
            joint_since: None,
            leaderless_since: None,
        };
        Self {
            groups: (0..partitions).map(|_| group()).collect(),
            incarnations: (0..partitions).map(|p| ((p, 0), 1)).collect(),
        }
    }
}

impl World {
    /// A change of members is committed.
    pub(crate) fn members_changed(&mut self, node: &Node, p: u32) {
        let Some(slot) = node.slots.get(&p) else { return };
        let (index, members) = (slot.partition.applied_index(), slot.partition.members());
        let group = &mut self.cluster.groups[p as usize];
        if index > group.members.0 {
            group.seen.extend(members.all());
            group.members = (index, members);
            self.counts.changes += 1;
        }
    }

    /// A round of the controller.
    pub(crate) fn control(&mut self) -> Check {
        for p in 0..self.config.partitions {
            self.wish(p);
            self.remove_strangers(p)?;
            self.place(p);
            if let Some(number) = self.leader_of(p) {
                self.with_node(number, |world, node| world.change(node, p))?;
            }
        }
        if self.rng.control.chance(self.faults.wipe) {
            let number = usize::try_from(self.rng.control.below(self.machines.len() as u64)).unwrap_or(0);
            if self.may_be_wiped(number) {
                self.wipe(number)?;
            }
        }
        let delay = self.rng.control.range(100, 400);
        self.after(delay, Event::Control);
        Ok(())
    }

    fn size(&self) -> usize {
        self.config.voters
    }

    /// The group is what it should be, and all of it is there.
    fn is_stable(&self, p: u32) -> bool {
        let group = &self.cluster.groups[p as usize];
        let members = &group.members.1;
        let machines: BTreeSet<usize> = members.voters.iter().map(|id| machine_of(*id)).collect();
        !members.is_joint() && members.learners.is_empty() && machines == group.wanted && self.all_there(p, members)
    }

    fn all_there(&self, p: u32, members: &Members) -> bool {
        members.voters.iter().all(|id| self.machines[machine_of(*id)].replicas.get(&p) == Some(id))
    }

    /// Changes its mind about where a group should be.
    fn wish(&mut self, p: u32) {
        let (size, calm, stable) = (self.size(), self.is_calm(), self.is_stable(p));
        let count = self.machines.len() as u64;
        let rng = &mut self.rng.control;
        let wanted = &mut self.cluster.groups[p as usize].wanted;
        if !stable {
            return;
        }
        if wanted.len() < size {
            if !(calm || rng.chance(self.config.growth)) {
                return;
            }
            while wanted.len() < size {
                wanted.insert(usize::try_from(rng.below(count)).unwrap_or(0));
            }
        } else if rng.chance(self.faults.members) && wanted.len() >= VOTERS {
            let all: Vec<usize> = wanted.iter().copied().collect();
            let gone = all[usize::try_from(rng.below(all.len() as u64)).unwrap_or(0)];
            wanted.remove(&gone);
            // Another one in its place, or none for a while.
            if count > size as u64 && rng.chance(6_000) {
                while wanted.len() < size {
                    let other = usize::try_from(rng.below(count)).unwrap_or(0);
                    if other != gone {
                        wanted.insert(other);
                    }
                }
            }
        } else {
            return;
        }
        self.trace.line(format_args!("p{p} should be on {wanted:?}"));
    }

    /// Replicas that were members and are not any more are removed.
    fn remove_strangers(&mut self, p: u32) -> Check {
        let members = self.cluster.groups[p as usize].members.1.clone();
        for number in 0..self.machines.len() {
            let wanted = self.cluster.groups[p as usize].wanted.contains(&number);
            let machine = &mut self.machines[number];
            let Some(replica) = machine.replicas.get(&p).copied() else { continue };
            if members.is_joint() || members.contains(replica) || (wanted && !self.cluster.was_member(p, replica)) {
                continue;
            }
            machine.replicas.remove(&p);
            machine.dirty.insert(p);
            if machine.process.is_none() {
                self.forget_replica(number, p)?;
            }
        }
        Ok(())
    }

    /// Places a replica on each machine that should have one.
    fn place(&mut self, p: u32) {
        let Cluster { groups, incarnations } = &mut self.cluster;
        for number in groups[p as usize].wanted.iter().copied() {
            let machine = &mut self.machines[number];
            if machine.replicas.contains_key(&p) || machine.dirty.contains(&p) {
                continue;
            }
            let incarnation = incarnations.entry((p, number)).or_default();
            machine.replicas.insert(p, replica_on(number, *incarnation));
            *incarnation += 1;
        }
    }

    /// One step towards the members that the group should have, by its leader.
    fn change(&mut self, node: &mut Node, p: u32) -> Check {
        let wanted: Vec<u64> = self.cluster.groups[p as usize]
            .wanted
            .iter()
            .filter_map(|number| {
                if *number == node.number {
                    return node.slots.get(&p).map(|slot| slot.partition.replica());
                }
                self.machines[*number].replicas.get(&p).copied()
            })
            .collect();
        let complete = wanted.len() == self.cluster.groups[p as usize].wanted.len();
        let Some(slot) = node.slots.get_mut(&p).filter(|_| complete) else { return Ok(()) };
        let stats = slot.partition.stats();
        let members = stats.members.clone();
        if members.is_joint() {
            return Ok(());
        }
        let now = Millis(self.machines[node.number].wall(self.time()));
        let same = members.voters.len() == wanted.len() && wanted.iter().all(|id| members.voters.contains(id));
        let strangers: Vec<u64> = wanted.iter().copied().filter(|id| !members.contains(*id)).collect();
        let ready = wanted.iter().filter(|id| !members.voters.contains(id)).all(|id| {
            let progress = stats.progress.iter().find(|progress| progress.replica == *id);
            progress.is_some_and(|it| it.active && !it.snapshot && it.matched + NEARLY >= stats.last)
        });
        let input = if same && members.learners.is_empty() {
            if !self.rng.control.chance(self.faults.transfer) || wanted.len() < 2 {
                return Ok(());
            }
            self.counts.transfers += 1;
            let at = usize::try_from(self.rng.control.below(wanted.len() as u64)).unwrap_or(0);
            Input::Transfer { replica: wanted[at] }
        } else if strangers.is_empty() && ready {
            Input::ChangeMembers { voters: wanted, learners: Vec::new() }
        } else if strangers.is_empty() {
            return Ok(());
        } else {
            let learners = wanted.into_iter().filter(|id| !members.voters.contains(id)).collect();
            Input::ChangeMembers { voters: members.voters, learners }
        };
        slot.partition.handle(input, now).map_err(|error| failed(&error))?;
        self.turn_of(node);
        Ok(())
    }

    /// Whether every replica of a group knows its present members for good: one that does not may need those who left.
    fn all_know(&self, p: u32) -> bool {
        let members = &self.cluster.groups[p as usize].members.1;
        members.voters.iter().all(|id| {
            let node = self.machines[machine_of(*id)].process.as_ref();
            let slot = node.filter(|node| !node.is_writing()).and_then(|node| node.slots.get(&p));
            slot.is_some_and(|slot| slot.partition.members() == *members)
        })
    }

    /// At most a minority of a group may lose what it promised, and its others have to be there: no other change is under
    /// way, and all know of the last one (the fault atlas).
    fn may_be_wiped(&self, number: usize) -> bool {
        if self.config.canary == Some(Canary::AmnesiacVote) && self.counts.wipes > 0 {
            return false;
        }
        let mut hosts = self.machines[number].replicas.keys();
        let healthy = |p: &u32| {
            let wanted = &self.cluster.groups[*p as usize].wanted;
            self.is_stable(*p) && self.all_know(*p) && (wanted.len() >= VOTERS || !wanted.contains(&number))
        };
        self.machines[number].process.is_some() && hosts.all(healthy)
    }

    /// What has to be so, and stay so, once the faults have stopped for `calm` ms.
    pub(crate) fn groups_heal(&mut self, calm: u64) -> Check {
        let now = self.time();
        for p in 0..self.config.partitions {
            let led = self.leader_of(p).is_some();
            let group = &mut self.cluster.groups[p as usize];
            let leaderless = if led { None } else { group.leaderless_since.or(Some(now)) };
            let joint = if group.members.1.is_joint() { group.joint_since.or(Some(now)) } else { None };
            (group.leaderless_since, group.joint_since) = (leaderless, joint);
            check(leaderless.is_none_or(|since| now - since <= LEADERLESS_MAX), Invariant::L1Leaders, || {
                format!("p{p} has no leader, {calm} ms after the faults stopped")
            })?;
            check(joint.is_none_or(|since| now - since <= JOINT_MAX), Invariant::L5NotJoint, || {
                format!("p{p}: members are still changing after {JOINT_MAX} ms: {}", group.members.1)
            })?;
        }
        Ok(())
    }

    /// Whether all groups are where they should be, and all their replicas have everything.
    pub(crate) fn is_settled(&self) -> bool {
        (0..self.config.partitions).all(|p| {
            let committed = self.tap[p as usize].len() as u64;
            let group = &self.cluster.groups[p as usize];
            let whole = self.config.nodes == 1 || (group.wanted.len() == self.size() && self.is_stable(p));
            let up_to_date = |number: &usize| {
                let slot = self.machines[*number].process.as_ref().and_then(|node| node.slots.get(&p));
                slot.is_some_and(|slot| slot.partition.applied_index() == committed)
            };
            whole && group.wanted.iter().all(up_to_date)
        })
    }

    /// What is not settled, for the report.
    pub(crate) fn unsettled(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        for p in 0..self.config.partitions {
            let group = &self.cluster.groups[p as usize];
            let committed = self.tap[p as usize].len();
            let _ = write!(text, " p{p} wants {:?}, has {}, {committed} committed:", group.wanted, group.members.1);
            for (number, machine) in self.machines.iter().enumerate() {
                if let Some(slot) = machine.process.as_ref().and_then(|node| node.slots.get(&p)) {
                    let it = slot.partition.stats();
                    let replica = slot.partition.replica();
                    let (term, first, last) = (it.term, it.first, it.last);
                    let applied = it.applied;
                    let _ = write!(text, " n{} {replica:x} t{term} {first}..{last} @{applied};", number + 1);
                    if it.leading {
                        let _ = write!(text, " leads {:?};", it.progress);
                    }
                }
            }
        }
        text
    }
}

impl Cluster {
    fn was_member(&self, p: u32, replica: u64) -> bool {
        self.groups[p as usize].seen.contains(&replica)
    }
}
