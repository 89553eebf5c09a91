//! What goes to other nodes and what comes from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use abide_model::codec;
use abide_model::command::{Body, Command};
use abide_model::id::{NodeId, PartitionId, ReplicaId};
use abide_partition::{Input, Message};
use abide_storage::{LogStore, StateStore};
use bytes::Bytes;

use super::{Driver, Fatal, PeerInput};
use crate::cluster::wire::{Frame, Letter, NodeStatus, Proposal, Wish};
use crate::cluster::{Cluster, Post, Route, node_of};

/// Bytes of entries after which a frame is closed.
const FRAME_BYTES_SOFT_MAX: usize = 1 << 20;

/// Gathers what goes to each node, so that one frame carries it.
pub(super) struct Outgoing {
    post: Option<Arc<dyn Post>>,
    frames: BTreeMap<NodeId, Frame>,
    bytes: BTreeMap<NodeId, usize>,
}

impl Outgoing {
    pub(super) fn new(post: Option<Arc<dyn Post>>) -> Self {
        Self { post, frames: BTreeMap::new(), bytes: BTreeMap::new() }
    }

    /// A message between replicas.
    pub(super) fn letter(&mut self, partition: PartitionId, message: Message) {
        let (to, bytes) = (node_of(message.to), message.data_bytes());
        self.frames.entry(to).or_default().letters.push(Letter { partition: partition.0, message: Some(message) });
        let sum = self.bytes.entry(to).or_default();
        *sum += bytes;
        if *sum > FRAME_BYTES_SOFT_MAX {
            *sum = 0;
            let frame = self.frames.remove(&to);
            self.send(to, frame);
        }
    }

    /// A command for a partition that another node leads; dropped when nobody does: its sender makes it again.
    pub(super) fn propose(&mut self, cluster: &Cluster, partition: PartitionId, body: Body) {
        if let Route::There(node) = cluster.route(partition) {
            let command = Some(Command::new(body));
            self.frames.entry(node).or_default().proposals.push(Proposal { partition: partition.0, command });
        }
    }

    pub(super) fn status(&mut self, to: NodeId, status: NodeStatus) {
        self.frames.entry(to).or_default().status = Some(status);
    }

    pub(super) fn flush(&mut self) {
        self.bytes.clear();
        for (to, frame) in std::mem::take(&mut self.frames) {
            self.send(to, Some(frame));
        }
    }

    fn send(&self, to: NodeId, frame: Option<Frame>) {
        if let (Some(post), Some(frame)) = (&self.post, frame) {
            post.send(to, codec::encode(&frame));
        }
    }
}

/// What a frame of another node says; nothing for one that is not understood, which its sender's build explains.
pub(crate) fn decode_frame(from: NodeId, bytes: &Bytes) -> Vec<PeerInput> {
    let frame: Frame = match codec::decode("a frame", bytes) {
        Ok(frame) => frame,
        Err(error) => {
            tracing::warn!(%from, %error, "a frame is not understood");
            return Vec::new();
        }
    };
    let mut inputs = Vec::with_capacity(frame.letters.len());
    for letter in frame.letters {
        if let Some(message) = letter.message {
            // A node speaks for its own replicas only.
            if node_of(message.from) == from {
                inputs.push(PeerInput::Letter { partition: PartitionId(letter.partition), message: Box::new(message) });
            }
        }
    }
    for proposal in frame.proposals {
        // Only what one partition's leader tells another's: everything else comes with an answer.
        if let Some(command) = proposal.command
            && matches!(command.body, Some(Body::Deliver(_) | Body::OutboxAck(_)))
        {
            let (partition, command) = (PartitionId(proposal.partition), Box::new(command));
            inputs.push(PeerInput::Propose { partition, command });
        }
    }
    inputs.extend(frame.wishes.into_iter().map(PeerInput::Wish));
    inputs.extend(frame.status.map(|status| PeerInput::Status { from, status: Box::new(status) }));
    inputs
}

impl<L: LogStore, S: StateStore> Driver<L, S> {
    /// Something of another node.
    pub(super) fn peer(&mut self, input: PeerInput) -> Result<(), Fatal> {
        match input {
            PeerInput::Letter { partition, message } => self.letter(partition, message),
            // It is made again; meanwhile it would only wait.
            PeerInput::Propose { .. } if self.is_stuck() => Ok(()),
            PeerInput::Propose { partition, command } => self.propose(partition, *command),
            PeerInput::Wish(wish) => self.wish(wish),
            PeerInput::Status { from, status } => {
                self.cluster.told(from, *status);
                Ok(())
            }
            PeerInput::Disconnected(node) => self.disconnected(node),
            PeerInput::SnapshotSent { partition, replica, arrived } => {
                self.handle(partition, Input::SnapshotSent { replica, arrived })
            }
            PeerInput::BeginRestore { partition, replica, ready } => {
                let _ = ready.send(self.begin_restore(partition, replica)?);
                Ok(())
            }
            PeerInput::Restore { partition, message, generation } => {
                self.handle(partition, Input::Restore { message, generation })
            }
            PeerInput::AbortRestore { partition, generation } => {
                self.discard(partition, generation);
                Ok(())
            }
            PeerInput::Snapshots(wanted) => {
                self.want_snapshots(wanted);
                Ok(())
            }
        }
    }

    fn letter(&mut self, partition: PartitionId, message: Box<Message>) -> Result<(), Fatal> {
        if self.host_replica(partition, ReplicaId::from_u64(message.to))? {
            self.hear(partition, &message);
            self.handle(partition, Input::Receive(message))?;
        }
        Ok(())
    }

    /// Carries out a wish about a group that this node leads.
    pub(super) fn wish(&mut self, wish: Wish) -> Result<(), Fatal> {
        let partition = PartitionId(wish.partition);
        if !self.leads(partition) {
            return Ok(());
        }
        let Wish { voters, learners, transfer_to, .. } = wish;
        if transfer_to > 0 {
            self.handle(partition, Input::Transfer { replica: transfer_to })
        } else {
            self.handle(partition, Input::ChangeMembers { voters, learners })
        }
    }

    /// Messages to a node are lost: its replicas are probed from now on.
    fn disconnected(&mut self, node: NodeId) -> Result<(), Fatal> {
        for id in self.hosted() {
            let members = self.slots[&id].partition.members();
            for replica in members.all().into_iter().filter(|replica| node_of(*replica) == node) {
                self.handle(id, Input::Unreachable { replica })?;
                self.handle(id, Input::LeaderGone { replica })?;
            }
        }
        Ok(())
    }
}
