//! What arrives at a process from other nodes, and what a replica says to others.

use abide_model::command::Command;
use abide_model::id::{Millis, PartitionId};
use abide_partition::{Input, Kind, Message};

use super::{Node, World, failed};
use crate::ingress::note_leader;
use crate::machine::machine_of;
use crate::net::Body;
use crate::violation::{Check, Invariant, check};
use crate::world::Step;

impl World {
    /// Something of another node.
    pub(crate) fn receive(&mut self, node: &mut Node, from: usize, body: Body) -> Check {
        match body {
            Body::Raft(p, message) => {
                let now = Millis(self.wall(node.number));
                let Some(slot) = node.slots.get_mut(&p) else { return Ok(()) };
                slot.partition.handle(Input::Receive(message), now).map_err(|error| failed(&error))?;
                self.turn_of(node);
            }
            Body::Snapshot(p, transfer) => return self.snapshot_arrives(node, p, *transfer, from),
            Body::SnapshotTaken(p, replica, number) => return self.snapshot_sent(node, p, replica, number, true),
            Body::Ship(p, command) => {
                let leads = node.slots.get(&p).is_some_and(|slot| slot.partition.leading().is_some());
                if leads {
                    self.proposed(node, p, *command);
                }
            }
            Body::Errand(errand) => return self.serve(node, *errand),
            Body::Reply(reply) => return self.replied(node, *reply),
            Body::Gossip(views) => {
                for (p, term, leader) in views {
                    note_leader(node, p, (term, leader));
                }
            }
        }
        Ok(())
    }

    /// A replica says something to another one. What it says is held against what it said before.
    pub(super) fn send_raft(&mut self, node: &mut Node, p: u32, message: Message) -> Check {
        self.overhear(p, node.epoch, &message)?;
        let to = machine_of(message.to);
        self.trace.fold(&[u64::from(p), message.from, message.to, message.kind as u64, message.term, message.index]);
        if self.trace.is_verbose() {
            let (kind, entries, reject) = (message.kind(), message.entries.len(), message.reject);
            self.trace.note(format_args!(
                "  p{p} {:x}->{:x} {kind:?} t{} i{}/{} +{entries} c{} reject {reject}/{}",
                message.from,
                message.to,
                message.term,
                message.index,
                message.log_term,
                message.commit,
                message.reject_hint
            ));
        }
        let gone = self.machines.get(to).is_none_or(|machine| machine.process.is_none());
        if gone && self.rng.net.chance(5_000) {
            let now = Millis(self.wall(node.number));
            let unreachable = Input::Unreachable { replica: message.to };
            if let Some(slot) = node.slots.get_mut(&p) {
                slot.partition.handle(unreachable, now).map_err(|error| failed(&error))?;
            }
        }
        if to < self.machines.len() {
            self.send(node.number, node.epoch, to, Body::Raft(p, Box::new(message)));
        }
        Ok(())
    }

    /// I10: one leader in a term, one vote of a replica in a term. I12: nobody speaks for what was lost.
    pub(crate) fn overhear(&mut self, p: u32, boot: u64, message: &Message) -> Check {
        let (from, term) = (message.from, message.term);
        let kind = message.kind();
        if matches!(kind, Kind::Append | Kind::Heartbeat | Kind::Snapshot) {
            self.leads(p, term, from)?;
        }
        let counts = matches!(kind, Kind::VoteResponse | Kind::AppendResponse) && !message.reject;
        if counts {
            let lost = self.lost.get(&(p, from)).is_some_and(|since| boot > *since);
            check(!lost, Invariant::I12Amnesia, || {
                format!("p{p}: replica {from}, whose disk was lost, says {kind:?} in term {term}")
            })?;
        }
        if kind == Kind::VoteResponse && !message.reject {
            let to = *self.votes.entry((p, from, term)).or_insert(message.to);
            check(to == message.to, Invariant::I10LogAgreement, || {
                format!("p{p}: replica {from} voted for {to} and for {} in term {term}", message.to)
            })?;
        }
        Ok(())
    }

    /// I10: nobody else leads in this term.
    pub(crate) fn leads(&mut self, p: u32, term: u64, replica: u64) -> Check {
        let known = *self.leaders.entry((p, term)).or_insert(replica);
        check(known == replica, Invariant::I10LogAgreement, || {
            format!("p{p}: both {known} and {replica} lead in term {term}")
        })
    }

    /// A message to another partition, for whoever leads that. It may be lost, late or doubled.
    pub(super) fn ship(&mut self, node: &mut Node, to: PartitionId, command: Command) {
        if self.rng.net.chance(self.faults.drop) {
            self.trace.line(format_args!("net: a message to {to} is lost"));
            return;
        }
        let leader = self.believed(node, to.0);
        let copies = 1 + u64::from(self.rng.net.chance(self.faults.duplicate));
        for _ in 0..copies {
            let command = Box::new(command.clone());
            if leader == node.number {
                let delay = self.rng.net.range(0, self.config.delay_ms * 3);
                self.soon(node, delay, Step::Propose(to.0, command));
            } else {
                self.send(node.number, node.epoch, leader, Body::Ship(to.0, command));
            }
        }
    }
}
