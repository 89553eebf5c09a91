//! What nodes say to each other. Every message travels in the versioned envelope of [`abide_model::codec`]; the numbers
//! are those of all builds that may run side by side.

use abide_host::{Completion, Refusal};
use abide_model::command::{Command, Invoke, Outcome};
use abide_model::effect::Answer;
use abide_model::id::{InvocationId, Millis, NodeId};
use abide_model::protocol::Failure;
use abide_partition::Message as RaftMessage;
use bytes::Bytes;
use prost::Message;

mod loan;

pub(crate) use loan::{AttemptDeeds, AttemptNews, CodeStatus, WireAttempt, WireNews};

use super::Saved;
use crate::engine::Accepted;

/// One way, in order, may be lost.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Frame {
    /// Messages between replicas.
    #[prost(message, repeated, tag = "1")]
    pub(crate) letters: Vec<Letter>,
    /// Commands for the log of a partition that the receiver leads.
    #[prost(message, repeated, tag = "2")]
    pub(crate) proposals: Vec<Proposal>,
    /// What the sender says of itself.
    #[prost(message, optional, tag = "3")]
    pub(crate) status: Option<NodeStatus>,
    /// What the receiver, as leader, should do to its groups.
    #[prost(message, repeated, tag = "4")]
    pub(crate) wishes: Vec<Wish>,
}

/// A message between two replicas of a partition.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Letter {
    #[prost(uint32, tag = "1")]
    pub(crate) partition: u32,
    #[prost(message, optional, tag = "2")]
    pub(crate) message: Option<RaftMessage>,
}

/// A command of another partition: a delivery, or an acknowledgement of one. Lost ones are made again.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Proposal {
    #[prost(uint32, tag = "1")]
    pub(crate) partition: u32,
    #[prost(message, optional, tag = "2")]
    pub(crate) command: Option<Command>,
}

/// A change of a group, carried out if the receiver leads it.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Wish {
    #[prost(uint32, tag = "1")]
    pub(crate) partition: u32,
    /// Wanted voters; empty for a transfer.
    #[prost(uint64, repeated, tag = "2")]
    pub(crate) voters: Vec<u64>,
    #[prost(uint64, repeated, tag = "3")]
    pub(crate) learners: Vec<u64>,
    /// The replica that is to lead; 0 for a change of members.
    #[prost(uint64, tag = "4")]
    pub(crate) transfer_to: u64,
}

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct NodeStatus {
    #[prost(uint64, tag = "1")]
    pub(crate) boot: u64,
    #[prost(message, repeated, tag = "2")]
    pub(crate) replicas: Vec<ReplicaStatus>,
    /// Whether it is stopping, and gives its leaderships away.
    #[prost(bool, tag = "3")]
    pub(crate) stopping: bool,
    /// The code that it has.
    #[prost(message, repeated, tag = "5")]
    pub(crate) code: Vec<CodeStatus>,
    /// How long syncs of its log take, in ms, while its disk is not healthy; 0 while it is, and of builds that do not look.
    #[prost(uint64, tag = "4")]
    pub(crate) disk_delay_ms: u64,
}

/// What a node says of one of its replicas.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ReplicaStatus {
    #[prost(uint32, tag = "1")]
    pub(crate) partition: u32,
    #[prost(uint64, tag = "2")]
    pub(crate) replica: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) term: u64,
    #[prost(bool, tag = "4")]
    pub(crate) leads: bool,
    #[prost(uint64, tag = "5")]
    pub(crate) first: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) last: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) committed: u64,
    #[prost(uint64, tag = "8")]
    pub(crate) applied: u64,
    /// Applied index that is synced in the tables.
    #[prost(uint64, tag = "9")]
    pub(crate) durable: u64,
    /// The members as of `applied`, said by leaders.
    #[prost(message, optional, tag = "10")]
    pub(crate) members: Option<abide_partition::Members>,
    /// How far the others are, said by leaders.
    #[prost(message, repeated, tag = "11")]
    pub(crate) progress: Vec<FollowerStatus>,
    /// The last points at which state hashes can be compared.
    #[prost(message, repeated, tag = "12")]
    pub(crate) hashes: Vec<HashPoint>,
    /// Since when it leads, in ms.
    #[prost(uint64, tag = "13")]
    pub(crate) leads_for_ms: u64,
    /// Its newest snapshot outside of the nodes, as far as the node knows.
    #[prost(message, optional, tag = "14")]
    pub(crate) saved: Option<SavedStatus>,
}

/// A snapshot outside of the nodes.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct SavedStatus {
    #[prost(uint64, tag = "1")]
    pub(crate) index: u64,
    /// When it was made, in ms since the Unix epoch.
    #[prost(uint64, tag = "2")]
    pub(crate) created_at: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) bytes: u64,
}

impl From<Saved> for SavedStatus {
    fn from(saved: Saved) -> Self {
        Self { index: saved.index, created_at: saved.created_at.0, bytes: saved.bytes }
    }
}

impl From<SavedStatus> for Saved {
    fn from(saved: SavedStatus) -> Self {
        Self { index: saved.index, created_at: Millis(saved.created_at), bytes: saved.bytes }
    }
}

/// How far a follower is, as its leader knows it.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct FollowerStatus {
    #[prost(uint64, tag = "1")]
    pub(crate) replica: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) matched: u64,
    #[prost(bool, tag = "3")]
    pub(crate) active: bool,
    #[prost(bool, tag = "4")]
    pub(crate) snapshot: bool,
}

/// The chained hash of all writes up to an index.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct HashPoint {
    #[prost(uint64, tag = "1")]
    pub(crate) index: u64,
    #[prost(fixed64, tag = "2")]
    pub(crate) hash: u64,
}

/// A request that is answered.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(oneof = "Ask", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11")]
    pub(crate) ask: Option<Ask>,
}

/// What is asked.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Ask {
    /// To belong to the cluster.
    #[prost(message, tag = "1")]
    Join(Join),
    /// To invoke, and wait for the result.
    #[prost(message, tag = "2")]
    Call(Forwarded),
    /// To invoke, and wait for the acceptance.
    #[prost(message, tag = "3")]
    Send(Forwarded),
    /// To wait for a result.
    #[prost(message, tag = "4")]
    Attach(Known),
    /// For a result that is there.
    #[prost(message, tag = "5")]
    Output(Known),
    /// To carry out a signal or an order.
    #[prost(message, tag = "6")]
    Control(Proposal),
    /// For rows of a partition.
    #[prost(message, tag = "7")]
    Rows(Rows),
    /// To save the state of partitions outside of the nodes.
    #[prost(message, tag = "8")]
    Save(Save),
    /// To run an attempt; answered when it is over.
    #[prost(message, tag = "9")]
    Run(WireAttempt),
    /// To pass news on to an attempt that runs here.
    #[prost(message, tag = "10")]
    News(AttemptNews),
    /// To put what an attempt did into the log.
    #[prost(message, tag = "11")]
    Deeds(AttemptDeeds),
}

/// A node that wants to belong to the cluster.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Join {
    #[prost(string, tag = "1")]
    pub(crate) store_uuid: String,
    /// Where the others reach it.
    #[prost(string, tag = "2")]
    pub(crate) address: String,
    #[prost(string, tag = "3")]
    pub(crate) zone: String,
    #[prost(string, tag = "4")]
    pub(crate) build: String,
    #[prost(uint32, tag = "5")]
    pub(crate) features: u32,
}

/// An invocation on its way to the node that leads its partition.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Forwarded {
    #[prost(uint32, tag = "1")]
    pub(crate) partition: u32,
    #[prost(message, optional, tag = "2")]
    pub(crate) invoke: Option<Invoke>,
    /// Whether it was sent before, and may have been executed.
    #[prost(bool, tag = "3")]
    pub(crate) repeated: bool,
    /// An applied index from before it was first sent.
    #[prost(uint64, tag = "4")]
    pub(crate) since: u64,
}

/// An invocation that is thought to be known.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Known {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) id: Bytes,
}

/// Rows of a partition's tables, as of a moment in which the answering replica had everything acknowledged before.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Rows {
    #[prost(uint32, tag = "1")]
    pub(crate) partition: u32,
    /// First key.
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) from: Bytes,
    /// Behind the last key; empty for the one row at `from`.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) to: Bytes,
    #[prost(uint32, tag = "4")]
    pub(crate) limit: u32,
}

/// Partitions that the receiver leads, and is to save outside of the nodes.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Save {
    #[prost(uint32, repeated, tag = "1")]
    pub(crate) partitions: Vec<u32>,
}

/// What became of them.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct SavedAll {
    #[prost(message, repeated, tag = "1")]
    pub(crate) partitions: Vec<SavedPartition>,
}

/// What became of the order to save a partition: a snapshot, or the reason why there is none.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct SavedPartition {
    #[prost(uint32, tag = "1")]
    pub(crate) partition: u32,
    /// Why there is none; empty when there is one.
    #[prost(string, tag = "2")]
    pub(crate) failure: String,
    /// Its name.
    #[prost(string, tag = "3")]
    pub(crate) id: String,
    #[prost(uint64, tag = "4")]
    pub(crate) index: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) created_at: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) rows: u64,
    /// Stored bytes of its parts.
    #[prost(uint64, tag = "7")]
    pub(crate) bytes: u64,
    /// Stored bytes of those that were not there before.
    #[prost(uint64, tag = "8")]
    pub(crate) uploaded_bytes: u64,
    #[prost(uint64, tag = "9")]
    pub(crate) uploaded_parts: u64,
    #[prost(uint64, tag = "10")]
    pub(crate) reused_parts: u64,
    /// The node that made it.
    #[prost(uint32, tag = "11")]
    pub(crate) node: u32,
}

/// The answer to a [`Request`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Reply {
    #[prost(oneof = "Told", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10")]
    pub(crate) told: Option<Told>,
}

/// What is answered.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Told {
    #[prost(message, tag = "1")]
    Joined(Joined),
    #[prost(message, tag = "2")]
    Completed(WireCompletion),
    #[prost(message, tag = "3")]
    Accepted(WireAccepted),
    /// There is no result yet.
    #[prost(bool, tag = "4")]
    NoResult(bool),
    #[prost(message, tag = "5")]
    Answered(WireAnswer),
    #[prost(message, tag = "6")]
    Rows(RowsFound),
    #[prost(message, tag = "7")]
    Refused(WireRefusal),
    /// What became of each partition.
    #[prost(message, tag = "8")]
    Saved(SavedAll),
    /// A first copy was not taken, since it may have been overtaken by a second one. Begin again from this index.
    #[prost(uint64, tag = "9")]
    Overtaken(u64),
    /// What was told is taken note of.
    #[prost(bool, tag = "10")]
    Noted(bool),
}

/// Welcome.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Joined {
    #[prost(string, tag = "1")]
    pub(crate) cluster_id: String,
    #[prost(uint32, tag = "2")]
    pub(crate) node: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) partitions: u32,
    /// The other nodes, by which the new one finds the cluster again.
    #[prost(message, repeated, tag = "4")]
    pub(crate) nodes: Vec<NodeAddress>,
}

/// Where a node is reached.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct NodeAddress {
    #[prost(uint32, tag = "1")]
    pub(crate) node: u32,
    #[prost(string, tag = "2")]
    pub(crate) address: String,
}

/// The end of an invocation.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct WireCompletion {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) id: Bytes,
    #[prost(message, optional, tag = "2")]
    pub(crate) outcome: Option<Outcome>,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) expires_at: Option<u64>,
}

/// An invocation is in the log.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct WireAccepted {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) id: Bytes,
    #[prost(bool, tag = "2")]
    pub(crate) known: bool,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) execute_at: Option<u64>,
}

/// What became of an order.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct WireAnswer {
    /// 1 done, 2 appended, 3 not found, 4 already completed, 5 created `id`, 6 refused, 7 node.
    #[prost(uint32, tag = "1")]
    pub(crate) kind: u32,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) id: Bytes,
    #[prost(message, optional, tag = "3")]
    pub(crate) failure: Option<Failure>,
    #[prost(uint32, tag = "4")]
    pub(crate) node: u32,
}

/// Rows that were found, without the partition's prefix.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RowsFound {
    #[prost(message, repeated, tag = "1")]
    pub(crate) rows: Vec<Row>,
    /// Whether there are more behind the last one.
    #[prost(bool, tag = "2")]
    pub(crate) more: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Row {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct WireRefusal {
    /// 1 overloaded, 2 mailbox full, 3 rate limited, 4 shutting down, 5 outcome unknown, 6 not leader, 7 not found,
    /// 8 invalid, 9 interrupted.
    #[prost(uint32, tag = "1")]
    pub(crate) kind: u32,
    #[prost(uint64, tag = "2")]
    pub(crate) retry_after_ms: u64,
    #[prost(message, optional, tag = "3")]
    pub(crate) failure: Option<Failure>,
}

/// What goes before the rows of a snapshot.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct SnapshotHeader {
    #[prost(uint32, tag = "1")]
    pub(crate) partition: u32,
    /// The message behind which the rows stand.
    #[prost(message, optional, tag = "2")]
    pub(crate) message: Option<RaftMessage>,
}

impl From<&Completion> for WireCompletion {
    fn from(completion: &Completion) -> Self {
        Self {
            id: Bytes::copy_from_slice(&completion.invocation.to_bytes()),
            outcome: Some(completion.outcome.clone()),
            expires_at: completion.expires_at.map(|at| at.0),
        }
    }
}

impl WireCompletion {
    pub(crate) fn read(self) -> Option<Completion> {
        Some(Completion {
            invocation: InvocationId::from_bytes(&self.id)?,
            outcome: self.outcome?,
            expires_at: self.expires_at.map(Millis),
        })
    }
}

impl From<&Accepted> for WireAccepted {
    fn from(accepted: &Accepted) -> Self {
        Self {
            id: Bytes::copy_from_slice(&accepted.invocation.to_bytes()),
            known: accepted.known,
            execute_at: accepted.execute_at.map(|at| at.0),
        }
    }
}

impl WireAccepted {
    pub(crate) fn read(self) -> Option<Accepted> {
        Some(Accepted {
            invocation: InvocationId::from_bytes(&self.id)?,
            known: self.known,
            execute_at: self.execute_at.map(Millis),
        })
    }
}

impl From<Answer> for WireAnswer {
    fn from(answer: Answer) -> Self {
        let of = |kind| Self { kind, ..Self::default() };
        match answer {
            Answer::Done => of(1),
            Answer::Appended => of(2),
            Answer::NotFound => of(3),
            Answer::AlreadyCompleted => of(4),
            Answer::Created(id) => Self { id: Bytes::copy_from_slice(&id.to_bytes()), ..of(5) },
            Answer::Refused(failure) => Self { failure: Some(failure), ..of(6) },
            Answer::Node(node) => Self { node: node.0, ..of(7) },
        }
    }
}

impl WireAnswer {
    pub(crate) fn read(self) -> Option<Answer> {
        Some(match self.kind {
            1 => Answer::Done,
            2 => Answer::Appended,
            3 => Answer::NotFound,
            4 => Answer::AlreadyCompleted,
            5 => Answer::Created(InvocationId::from_bytes(&self.id)?),
            6 => Answer::Refused(self.failure?),
            7 => Answer::Node(NodeId(self.node)),
            _ => return None,
        })
    }
}

impl From<Refusal> for WireRefusal {
    fn from(refusal: Refusal) -> Self {
        let of = |kind| Self { kind, ..Self::default() };
        match refusal {
            Refusal::Overloaded => of(1),
            Refusal::MailboxFull => of(2),
            Refusal::RateLimited { retry_after } => Self { retry_after_ms: Millis::of(retry_after), ..of(3) },
            Refusal::ShuttingDown => of(4),
            Refusal::OutcomeUnknown => of(5),
            Refusal::NotLeader => of(6),
            Refusal::NotFound => of(7),
            Refusal::Invalid(failure) => Self { failure: Some(failure), ..of(8) },
            Refusal::Interrupted => of(9),
        }
    }
}

impl WireRefusal {
    /// An unknown kind is unknown.
    pub(crate) fn read(self) -> Refusal {
        match self.kind {
            1 => Refusal::Overloaded,
            2 => Refusal::MailboxFull,
            3 => Refusal::RateLimited { retry_after: std::time::Duration::from_millis(self.retry_after_ms) },
            4 => Refusal::ShuttingDown,
            6 => Refusal::NotLeader,
            7 => Refusal::NotFound,
            8 => Refusal::Invalid(self.failure.unwrap_or_default()),
            9 => Refusal::Interrupted,
            _ => Refusal::OutcomeUnknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abide_model::codec;
    use abide_model::id::PartitionKey;

    #[test]
    fn frames_are_golden() {
        let frame = Frame {
            letters: vec![Letter {
                partition: 3,
                message: Some(RaftMessage { kind: 5, to: 2, ..RaftMessage::default() }),
            }],
            wishes: vec![Wish { partition: 1, voters: vec![1, 2], learners: vec![], transfer_to: 7 }],
            ..Frame::default()
        };
        let bytes = [1, 10, 8, 8, 3, 18, 4, 8, 5, 16, 2, 34, 8, 8, 1, 18, 2, 1, 2, 32, 7];
        assert_eq!(codec::encode(&frame), bytes[..]);
        let status = NodeStatus { boot: 9, stopping: true, ..NodeStatus::default() };
        assert_eq!(codec::encode(&Frame { status: Some(status), ..Frame::default() }), [1, 26, 4, 8, 9, 24, 1][..]);
        let status = NodeStatus { boot: 9, disk_delay_ms: 600, ..NodeStatus::default() };
        assert_eq!(
            codec::encode(&Frame { status: Some(status), ..Frame::default() }),
            [1, 26, 5, 8, 9, 32, 216, 4][..]
        );
    }

    #[test]
    fn requests_are_golden() {
        let ask = |ask| codec::encode(&Request { ask: Some(ask) });
        let join = Join { store_uuid: "u".into(), address: "a:1".into(), features: 2, ..Join::default() };
        assert_eq!(ask(Ask::Join(join)), [1, 10, 10, 10, 1, b'u', 18, 3, b'a', b':', b'1', 40, 2][..]);
        let call = Forwarded { partition: 1, invoke: None, repeated: true, since: 5 };
        assert_eq!(ask(Ask::Call(call)), [1, 18, 6, 8, 1, 24, 1, 32, 5][..]);
        let rows = Rows { partition: 1, from: Bytes::from_static(b"a"), to: Bytes::new(), limit: 3 };
        let save = Save { partitions: vec![0, 3] };
        assert_eq!(ask(Ask::Save(save)), [1, 66, 4, 10, 2, 0, 3][..]);
        assert_eq!(ask(Ask::Rows(rows)), [1, 58, 7, 8, 1, 18, 1, b'a', 32, 3][..]);
    }

    #[test]
    fn replies_are_golden_and_come_back() {
        for (told, bytes) in [
            (Told::NoResult(true), &[1, 32, 1][..]),
            (Told::Refused(Refusal::NotLeader.into()), &[1, 58, 2, 8, 6]),
            (Told::Overtaken(300), &[1, 72, 172, 2]),
        ] {
            let reply = Reply { told: Some(told) };
            assert_eq!(codec::encode(&reply), bytes);
            assert_eq!(codec::decode::<Reply>("a reply", &codec::encode(&reply)).unwrap(), reply);
        }
    }

    #[test]
    fn answers_and_refusals_survive() {
        let id = InvocationId { partition_key: PartitionKey(1), unique: 2 };
        for answer in [
            Answer::Done,
            Answer::Appended,
            Answer::NotFound,
            Answer::AlreadyCompleted,
            Answer::Created(id),
            Answer::Refused(Failure::new(400, "no")),
            Answer::Node(NodeId(3)),
        ] {
            assert_eq!(WireAnswer::from(answer.clone()).read(), Some(answer));
        }
        for refusal in [
            Refusal::Overloaded,
            Refusal::MailboxFull,
            Refusal::RateLimited { retry_after: std::time::Duration::from_millis(7) },
            Refusal::ShuttingDown,
            Refusal::OutcomeUnknown,
            Refusal::NotLeader,
            Refusal::Interrupted,
            Refusal::NotFound,
            Refusal::Invalid(Failure::new(422, "no")),
        ] {
            assert_eq!(WireRefusal::from(refusal.clone()).read(), refusal);
        }
        assert_eq!(WireRefusal { kind: 99, ..WireRefusal::default() }.read(), Refusal::OutcomeUnknown);
    }
}
