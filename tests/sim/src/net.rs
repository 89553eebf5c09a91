//! The network: links that lose, delay, double and reorder what they carry, and that are cut in four ways.

use std::collections::BTreeMap;

use abide_model::command::Command;
use abide_partition::Message;
use bytes::Bytes;

use crate::config::Canary;
use crate::ingress::{Errand, Reply};
use crate::violation::{Check, Invariant, check};
use crate::world::{Event, HELD_MS, World};

/// Longest backlog of a link, in ms: what comes on top is lost.
const BACKLOG_MAX: u64 = 2_000;
/// Most links or nodes that are cut at the same time.
const CUTS_MAX: usize = 2;

/// Something on its way.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: usize,
    /// Boot id of the sender's process.
    pub(crate) boot: u64,
    pub(crate) to: usize,
    pub(crate) body: Body,
}

/// What nodes say to each other.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// From one replica of a partition to another.
    Raft(u32, Box<Message>),
    /// The state of a partition, and the message behind it.
    Snapshot(u32, Box<Transfer>),
    /// A snapshot arrived: the partition, the receiver, the number of the transfer.
    SnapshotTaken(u32, u64, u64),
    /// A message of another partition, for the leader of this one.
    Ship(u32, Box<Command>),
    /// A request that is passed on to the leader.
    Errand(Box<Errand>),
    /// What became of it.
    Reply(Box<Reply>),
    /// Who leads which partition in which term, as far as the sender knows.
    Gossip(Vec<(u32, u64, usize)>),
}

/// A snapshot under way.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) number: u64,
    pub(crate) message: Message,
    pub(crate) rows: Vec<(Bytes, Bytes)>,
}

/// A cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// A node hears nobody, and nobody hears it.
    Isolated(usize),
    /// A node hears nobody.
    Deaf(usize),
    /// Nobody hears a node.
    Mute(usize),
    /// Two nodes do not hear each other; others hear both.
    Pair(usize, usize),
    /// One node is not heard by one other.
    OneWay(usize, usize),
    /// A node is isolated every other so many ms.
    Flaps(usize, u64),
}

/// The state of all links.
#[derive(Debug, Default)]
pub(crate) struct Net {
    /// With begin and end.
    cuts: Vec<(Cut, u64, u64)>,
    /// When a link has sent everything that it was given.
    free_at: BTreeMap<(usize, usize), u64>,
}

impl Net {
    /// Whether nothing comes from one node to the other.
    fn is_cut(&self, from: usize, to: usize, now: u64) -> bool {
        self.cuts.iter().filter(|(_, begin, end)| (*begin..*end).contains(&now)).any(|(cut, begin, _)| match *cut {
            Cut::Isolated(node) => from == node || to == node,
            Cut::Deaf(node) => to == node,
            Cut::Mute(node) => from == node,
            Cut::Pair(a, b) => (from, to) == (a, b) || (from, to) == (b, a),
            Cut::OneWay(a, b) => (from, to) == (a, b),
            Cut::Flaps(node, period) => (from == node || to == node) && ((now - begin) / period).is_multiple_of(2),
        })
    }

    /// All links work, from now on.
    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
        self.free_at.clear();
    }
}

impl World {
    /// Sends something from a process of machine `from` to whatever process is on machine `to`.
    pub(crate) fn send(&mut self, from: usize, boot: u64, to: usize, body: Body) {
        self.counts.messages += 1;
        let now = self.time();
        if self.net.is_cut(from, to, now) || self.rng.net.chance(self.faults.loss) {
            self.counts.lost += 1;
            return;
        }
        // Requests are passed on over connections, which double nothing.
        let doubles = matches!(body, Body::Raft(..) | Body::Ship(..)) && self.rng.net.chance(self.faults.double);
        for _ in 0..1 + u64::from(doubles) {
            let Some(delay) = self.transit(from, to, &body, now) else {
                self.counts.lost += 1;
                continue;
            };
            let packet = Packet { from, boot, to, body: body.clone() };
            self.after(delay, Event::Arrives(Box::new(packet)));
        }
    }

    /// How long something is on its way, unless the link has too much to carry.
    fn transit(&mut self, from: usize, to: usize, body: &Body, now: u64) -> Option<u64> {
        let mut delay = self.rng.net.range(0, self.config.delay_ms * 2);
        if self.rng.net.chance(self.faults.slow) {
            // Each doubling is half as likely as the one before.
            let doublings = self.rng.net.next().trailing_zeros().min(6);
            delay += self.rng.net.range(1, self.config.slow_ms) << doublings;
        }
        if let Some(busy) = size(body).checked_div(self.faults.bytes_per_ms) {
            let free_at = self.net.free_at.entry((from, to)).or_default();
            let begin = now.max(*free_at);
            if begin > now + BACKLOG_MAX {
                return None;
            }
            *free_at = begin + busy;
            delay += *free_at - now;
        }
        Some(delay)
    }

    /// Something arrives, if there is somebody. What an earlier process of the sender said counts no more (I11).
    pub(crate) fn arrives(&mut self, packet: Packet) -> Check {
        let Packet { from, boot, to, body } = packet;
        if self.net.is_cut(from, to, self.time()) {
            self.counts.lost += 1;
            return Ok(());
        }
        // A process that goes on finds everything in its sockets.
        if let Some(until) = self.machines[to].paused {
            let delay = until.saturating_sub(self.time()).clamp(1, HELD_MS);
            self.after(delay, Event::Arrives(Box::new(Packet { from, boot, to, body })));
            return Ok(());
        }
        self.with_node(to, |world, node| {
            let known = node.boots.entry(from).or_default();
            if boot < *known {
                world.counts.old_boots += 1;
                if world.config.canary != Some(Canary::OldBoots) {
                    return Ok(());
                }
            }
            *known = boot.max(*known);
            let heard = world.heard.entry((node.epoch, from)).or_default();
            check(boot >= *heard, Invariant::I11Transport, || {
                format!("n{} takes what process {boot} of n{} said, after {heard}", node.number + 1, from + 1)
            })?;
            *heard = boot;
            world.receive(node, from, body)
        })
    }

    /// The weather: links are cut and heal.
    pub(crate) fn weather(&mut self) {
        let now = self.time();
        self.net.cuts.retain(|(_, _, end)| *end > now);
        let nodes = self.machines.len() as u64;
        let rng = &mut self.rng.net;
        if self.net.cuts.len() < CUTS_MAX && rng.chance(self.faults.cut) {
            let a = usize::try_from(rng.below(nodes)).unwrap_or(0);
            let b = (a + usize::try_from(rng.range(1, nodes - 1)).unwrap_or(1)) % self.machines.len();
            let cut = match rng.below(7) {
                0 | 1 => Cut::Isolated(a),
                2 => Cut::Deaf(a),
                3 => Cut::Mute(a),
                4 => Cut::Pair(a, b),
                5 => Cut::OneWay(a, b),
                _ => Cut::Flaps(a, rng.range(500, 2_000)),
            };
            let length = if rng.chance(3_000) { rng.range(4_000, 10_000) } else { rng.range(100, 3_000) };
            self.net.cuts.push((cut, now, now + length));
            self.counts.cuts += 1;
            self.trace.line(format_args!("net: {cut:?} for {length} ms"));
        }
        if !self.is_calm() {
            self.after(100, Event::Weather);
        }
    }
}

/// Bytes that something takes on the wire, roughly.
fn size(body: &Body) -> u64 {
    let bytes = match body {
        Body::Raft(_, message) => message.wire_bytes(),
        Body::Snapshot(_, transfer) => transfer.rows.iter().map(|(key, value)| key.len() + value.len()).sum(),
        Body::Ship(_, command) => prost::Message::encoded_len(&**command),
        Body::SnapshotTaken(..) | Body::Errand(_) | Body::Reply(_) | Body::Gossip(_) => 100,
    };
    bytes as u64
}
