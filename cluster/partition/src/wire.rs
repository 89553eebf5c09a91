//! What replicas of a partition say to each other. The library's own encoding stays inside: bytes of other nodes are
//! decoded by ours, and looked at ([`crate::guard`]) before the library sees them.

use abide_model::id::ReplicaId;
use abide_storage::EntryKind;
use bytes::Bytes;
use prost::Message as _;
use raft::eraftpb as raft_wire;

/// What a message is. The numbers are sent between nodes of different builds, so they must stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Kind {
    /// Unknown to this build; dropped.
    Unknown = 0,
    /// Entries for a follower.
    Append = 1,
    /// How far a follower is.
    AppendResponse = 2,
    /// A candidate asks for a vote.
    Vote = 3,
    /// The answer.
    VoteResponse = 4,
    /// The leader is there.
    Heartbeat = 5,
    /// So is the follower.
    HeartbeatResponse = 6,
    /// State behind which the log goes on.
    Snapshot = 7,
    /// The leader hands over: stand for election at once.
    TimeoutNow = 8,
    /// A follower asks how far a read has to wait.
    ReadIndex = 9,
    /// The answer.
    ReadIndexResponse = 10,
    /// A candidate asks whether it would get a vote.
    PreVote = 11,
    /// The answer.
    PreVoteResponse = 12,
}

/// An entry of a log on its way; its index follows from its place in the message.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WireEntry {
    /// Its term.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// Persisted number of its [`EntryKind`].
    #[prost(uint32, tag = "2")]
    pub kind: u32,
    /// Content.
    #[prost(bytes = "bytes", tag = "3")]
    pub data: Bytes,
}

/// Who belongs to a group. Numbers are those of [`ReplicaId::to_u64`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Members {
    /// Those who decide.
    #[prost(uint64, repeated, tag = "1")]
    pub voters: Vec<u64>,
    /// Those who follow without a vote.
    #[prost(uint64, repeated, tag = "2")]
    pub learners: Vec<u64>,
    /// While members change in two steps: the voters before, of whom a majority has to agree as well.
    #[prost(uint64, repeated, tag = "3")]
    pub voters_outgoing: Vec<u64>,
    /// While members change in two steps: voters that become learners with the second.
    #[prost(uint64, repeated, tag = "4")]
    pub learners_next: Vec<u64>,
    /// Whether the second step follows by itself.
    #[prost(bool, tag = "5")]
    pub auto_leave: bool,
}

/// A point of a log up to which state is there.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SnapshotPoint {
    /// The last entry that the state covers.
    #[prost(uint64, tag = "1")]
    pub index: u64,
    /// Its term.
    #[prost(uint64, tag = "2")]
    pub term: u64,
    /// The members at that entry.
    #[prost(message, optional, tag = "3")]
    pub members: Option<Members>,
}

/// A message from one replica of a group to another.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Message {
    /// What it is.
    #[prost(enumeration = "Kind", tag = "1")]
    pub kind: i32,
    /// Receiver.
    #[prost(uint64, tag = "2")]
    pub to: u64,
    /// Sender.
    #[prost(uint64, tag = "3")]
    pub from: u64,
    /// Term of the sender, or the one it stands for.
    #[prost(uint64, tag = "4")]
    pub term: u64,
    /// Term of the entry at `index`.
    #[prost(uint64, tag = "5")]
    pub log_term: u64,
    /// Of appends, the entry before the first; of responses, how far the follower is; of votes, the candidate's last.
    #[prost(uint64, tag = "6")]
    pub index: u64,
    /// Entries from `index + 1` on.
    #[prost(message, repeated, tag = "7")]
    pub entries: Vec<WireEntry>,
    /// What the sender knows to be committed.
    #[prost(uint64, tag = "8")]
    pub commit: u64,
    /// Term of the entry at `commit`.
    #[prost(uint64, tag = "9")]
    pub commit_term: u64,
    /// Whether what was asked for is refused.
    #[prost(bool, tag = "10")]
    pub reject: bool,
    /// Where a refused append could begin.
    #[prost(uint64, tag = "11")]
    pub reject_hint: u64,
    /// Names a read, or says that a vote is part of a transfer.
    #[prost(bytes = "bytes", tag = "12")]
    pub context: Bytes,
    /// Of snapshots, what the state covers. The state travels beside the message.
    #[prost(message, optional, tag = "13")]
    pub snapshot: Option<SnapshotPoint>,
    /// From which index on the sender of a refusal wants a snapshot.
    #[prost(uint64, tag = "14")]
    pub request_snapshot: u64,
    /// Priority of a candidate.
    #[prost(int64, tag = "15")]
    pub priority: i64,
}

impl Members {
    /// A group with these voters.
    #[must_use]
    pub fn of(voters: impl IntoIterator<Item = u64>) -> Self {
        Self { voters: voters.into_iter().collect(), ..Self::default() }
    }

    /// Whether members are changing: the second step has not been taken.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.voters_outgoing.is_empty()
    }

    /// Everybody who belongs to the group in one way or another, in ascending order, each once.
    #[must_use]
    pub fn all(&self) -> Vec<u64> {
        let lists = [&self.voters, &self.learners, &self.voters_outgoing, &self.learners_next];
        let all: std::collections::BTreeSet<u64> = lists.into_iter().flatten().copied().collect();
        all.into_iter().collect()
    }

    /// Whether a replica belongs to the group.
    #[must_use]
    pub fn contains(&self, replica: u64) -> bool {
        [&self.voters, &self.learners, &self.voters_outgoing, &self.learners_next]
            .into_iter()
            .any(|list| list.contains(&replica))
    }

    pub(crate) fn to_raft(&self) -> raft_wire::ConfState {
        raft_wire::ConfState {
            voters: self.voters.clone(),
            learners: self.learners.clone(),
            voters_outgoing: self.voters_outgoing.clone(),
            learners_next: self.learners_next.clone(),
            auto_leave: self.auto_leave,
            ..raft_wire::ConfState::default()
        }
    }

    pub(crate) fn from_raft(state: &raft_wire::ConfState) -> Self {
        let sorted = |ids: &[u64]| {
            let mut ids = ids.to_vec();
            ids.sort_unstable();
            ids
        };
        Self {
            voters: sorted(&state.voters),
            learners: sorted(&state.learners),
            voters_outgoing: sorted(&state.voters_outgoing),
            learners_next: sorted(&state.learners_next),
            auto_leave: state.auto_leave,
        }
    }
}

impl std::fmt::Display for Members {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list =
            |ids: &[u64]| ids.iter().map(|id| ReplicaId::from_u64(*id).to_string()).collect::<Vec<_>>().join(",");
        write!(f, "{}", list(&self.voters))?;
        if !self.learners.is_empty() {
            write!(f, " learning {}", list(&self.learners))?;
        }
        if self.is_joint() {
            write!(f, " leaving {}", list(&self.voters_outgoing))?;
        }
        Ok(())
    }
}

const KINDS: [(Kind, raft_wire::MessageType); 12] = [
    (Kind::Append, raft_wire::MessageType::MsgAppend),
    (Kind::AppendResponse, raft_wire::MessageType::MsgAppendResponse),
    (Kind::Vote, raft_wire::MessageType::MsgRequestVote),
    (Kind::VoteResponse, raft_wire::MessageType::MsgRequestVoteResponse),
    (Kind::Heartbeat, raft_wire::MessageType::MsgHeartbeat),
    (Kind::HeartbeatResponse, raft_wire::MessageType::MsgHeartbeatResponse),
    (Kind::Snapshot, raft_wire::MessageType::MsgSnapshot),
    (Kind::TimeoutNow, raft_wire::MessageType::MsgTimeoutNow),
    (Kind::ReadIndex, raft_wire::MessageType::MsgReadIndex),
    (Kind::ReadIndexResponse, raft_wire::MessageType::MsgReadIndexResp),
    (Kind::PreVote, raft_wire::MessageType::MsgRequestPreVote),
    (Kind::PreVoteResponse, raft_wire::MessageType::MsgRequestPreVoteResponse),
];

impl Message {
    /// The library's message; `None` for one that never travels (rows B.3, B.7), or whose entries are not those behind
    /// its index (see [`straighten`]): the receiver would take them for others.
    pub(crate) fn from_raft(mut message: raft_wire::Message) -> Option<Self> {
        let (kind, _) = KINDS.into_iter().find(|(_, raft)| *raft == message.msg_type)?;
        if kind == Kind::Append && !is_straight(&message) {
            return None;
        }
        let mut entries = std::mem::take(&mut message.entries).into_vec();
        // A read's name is the data of the one entry of its messages.
        let context = match kind {
            Kind::ReadIndex | Kind::ReadIndexResponse => entries.pop().map(|entry| entry.data).unwrap_or_default(),
            _ => std::mem::take(&mut message.context),
        };
        Some(Self {
            kind: kind as i32,
            to: message.to,
            from: message.from,
            term: message.term,
            log_term: message.log_term,
            index: message.index,
            entries: entries.into_iter().map(entry_from_raft).collect(),
            commit: message.commit,
            commit_term: message.commit_term,
            reject: message.reject,
            reject_hint: message.reject_hint,
            context,
            snapshot: message.snapshot.as_ref().filter(|_| kind == Kind::Snapshot).map(|snapshot| {
                let metadata = snapshot.get_metadata();
                SnapshotPoint {
                    index: metadata.index,
                    term: metadata.term,
                    members: Some(Members::from_raft(metadata.get_conf_state())),
                }
            }),
            request_snapshot: message.request_snapshot,
            priority: message.priority,
        })
    }

    /// The library's form of a message that was looked at. `None` for an unknown kind or kind of entry.
    pub(crate) fn into_raft(self) -> Option<raft_wire::Message> {
        let kind = self.kind();
        let (_, msg_type) = KINDS.into_iter().find(|(known, _)| *known == kind)?;
        let mut message = raft_wire::Message {
            msg_type,
            to: self.to,
            from: self.from,
            term: self.term,
            log_term: self.log_term,
            index: self.index,
            commit: self.commit,
            commit_term: self.commit_term,
            reject: self.reject,
            reject_hint: self.reject_hint,
            request_snapshot: self.request_snapshot,
            priority: self.priority,
            ..raft_wire::Message::default()
        };
        if matches!(kind, Kind::ReadIndex | Kind::ReadIndexResponse) {
            let entry = raft_wire::Entry { data: self.context, ..raft_wire::Entry::default() };
            message.entries.push(entry);
            return Some(message);
        }
        message.context = self.context;
        for (offset, entry) in (1..).zip(self.entries) {
            message.entries.push(entry_to_raft(self.index.checked_add(offset)?, entry)?);
        }
        if let Some(point) = self.snapshot {
            message.set_snapshot(point.to_raft());
        }
        Some(message)
    }

    /// Length of its entries' content, in bytes.
    #[must_use]
    pub fn data_bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.data.len()).sum()
    }

    /// Bytes of the message on the wire.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        self.encoded_len()
    }
}

impl SnapshotPoint {
    pub(crate) fn to_raft(&self) -> raft_wire::Snapshot {
        let mut snapshot = raft_wire::Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = self.index;
        metadata.term = self.term;
        metadata.set_conf_state(self.members.clone().unwrap_or_default().to_raft());
        snapshot
    }
}

fn is_straight(append: &raft_wire::Message) -> bool {
    let places = append.index.saturating_add(1)..;
    places.zip(append.entries.iter()).all(|(place, entry)| place == entry.index)
}

/// Makes the entries of an append follow its index. The library batches entries into an append that waits to be sent,
/// and forgets to compare when that one is empty: it may speak of a later index than the entries begin at, when a
/// follower was found to have less meanwhile. `term_at` is the term of an entry of the sender's log.
pub(crate) fn straighten(message: &mut raft_wire::Message, term_at: impl Fn(u64) -> Option<u64>) {
    if message.msg_type != raft_wire::MessageType::MsgAppend || is_straight(message) {
        return;
    }
    let before = message.entries.first().map_or(0, |entry| entry.index.saturating_sub(1));
    if let Some(term) = term_at(before) {
        message.index = before;
        message.log_term = term;
    }
}

fn entry_from_raft(entry: raft_wire::Entry) -> WireEntry {
    let kind = match entry.get_entry_type() {
        raft_wire::EntryType::EntryNormal => EntryKind::Normal,
        raft_wire::EntryType::EntryConfChange => EntryKind::ConfChange,
        raft_wire::EntryType::EntryConfChangeV2 => EntryKind::ConfChangeV2,
    };
    WireEntry { term: entry.term, kind: u32::from(kind.tag()), data: entry.data }
}

fn entry_to_raft(index: u64, entry: WireEntry) -> Option<raft_wire::Entry> {
    let kind = u8::try_from(entry.kind).ok().and_then(EntryKind::from_tag)?;
    let mut raft_entry = raft_wire::Entry { index, term: entry.term, data: entry.data, ..raft_wire::Entry::default() };
    raft_entry.set_entry_type(match kind {
        EntryKind::Normal => raft_wire::EntryType::EntryNormal,
        EntryKind::ConfChange => raft_wire::EntryType::EntryConfChange,
        EntryKind::ConfChangeV2 => raft_wire::EntryType::EntryConfChangeV2,
    });
    Some(raft_entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use abide_model::codec;

    fn append() -> Message {
        Message {
            kind: Kind::Append as i32,
            to: 2,
            from: 1,
            term: 5,
            log_term: 4,
            index: 9,
            entries: vec![
                WireEntry { term: 5, kind: 0, data: Bytes::from_static(b"ab") },
                WireEntry { term: 5, kind: 2, data: Bytes::new() },
            ],
            commit: 8,
            ..Message::default()
        }
    }

    #[test]
    fn messages_are_golden() {
        let bytes =
            [1, 8, 1, 16, 2, 24, 1, 32, 5, 40, 4, 48, 9, 58, 6, 8, 5, 26, 2, b'a', b'b', 58, 4, 8, 5, 16, 2, 64, 8];
        assert_eq!(codec::encode(&append()), bytes[..]);
        let snapshot = SnapshotPoint { index: 7, term: 3, members: Some(Members::of([1, 2])) };
        let message = Message { kind: Kind::Snapshot as i32, snapshot: Some(snapshot), ..Message::default() };
        assert_eq!(codec::encode(&message), [1, 8, 7, 106, 10, 8, 7, 16, 3, 26, 4, 10, 2, 1, 2][..]);
    }

    #[test]
    fn messages_survive_the_library() {
        let read = Message { kind: Kind::ReadIndex as i32, context: Bytes::from_static(b"ctx"), ..append() };
        let read = Message { entries: Vec::new(), ..read };
        let snapshot = SnapshotPoint { index: 7, term: 3, members: Some(Members::of([1, 2])) };
        let snapshot =
            Message { kind: Kind::Snapshot as i32, snapshot: Some(snapshot), entries: Vec::new(), ..append() };
        for message in [append(), read, snapshot] {
            assert_eq!(Message::from_raft(message.clone().into_raft().unwrap()), Some(message));
        }
    }

    /// What `try_batching` of the library makes of an empty append at index 9 and entries from 7 on.
    fn crooked() -> raft_wire::Message {
        let entry = |index| raft_wire::Entry { index, term: 4, ..raft_wire::Entry::default() };
        let mut message = raft_wire::Message { index: 9, log_term: 4, term: 5, ..raft_wire::Message::default() };
        message.msg_type = raft_wire::MessageType::MsgAppend;
        message.entries = vec![entry(7), entry(8)].into();
        message
    }

    /// The simulator found two entries at one index and term: entries took the places of others on their way.
    #[test]
    fn entries_keep_their_places() {
        assert_eq!(Message::from_raft(crooked()), None);
        let mut message = crooked();
        straighten(&mut message, |index| (index == 6).then_some(3));
        assert_eq!((message.index, message.log_term), (6, 3));
        let sent = Message::from_raft(message.clone()).unwrap();
        assert_eq!(sent.into_raft().unwrap().entries, message.entries);
        let mut message = crooked();
        straighten(&mut message, |_| None);
        assert_eq!(Message::from_raft(message), None, "the entry before is not known any more");
    }

    #[test]
    fn what_never_travels_has_no_form() {
        for msg_type in [
            raft_wire::MessageType::MsgHup,
            raft_wire::MessageType::MsgPropose,
            raft_wire::MessageType::MsgTransferLeader,
            raft_wire::MessageType::MsgUnreachable,
        ] {
            assert_eq!(Message::from_raft(raft_wire::Message { msg_type, ..raft_wire::Message::default() }), None);
        }
        assert_eq!(Message { kind: 99, ..append() }.into_raft(), None);
        assert_eq!(Message { kind: 0, ..append() }.into_raft(), None);
    }
}
