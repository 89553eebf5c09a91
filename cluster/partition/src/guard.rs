//! What a message has to be before the library sees it. raft-rs 0.7 trusts its peers: some messages make it panic
//! (rows B.3, B.4), others would have it forward, forget or vote for nothing. What does not pass is dropped and counted.

use abide_model::limits::RAFT_MESSAGE_BYTES_MAX;
use abide_storage::EntryKind;

use crate::wire::{Kind, Message};

/// Longest content of an entry that changes members, in bytes: a dozen replicas take less than 200.
const CHANGE_BYTES_MAX: usize = 1 << 10;
/// Longest name of a read or of a transfer, in bytes.
const CONTEXT_BYTES_MAX: usize = 64;

/// Why a message was not taken. The names are those of the metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dropped {
    /// For another replica, from nobody, or from this one.
    Address,
    /// A kind that this build does not know, or that does not travel this way.
    Kind,
    /// Without a term.
    Term,
    /// Entries that do not follow each other, or are too large.
    Entries,
    /// It says that something is committed which this log does not have: acknowledged entries were lost here.
    BeyondLog,
    /// It contradicts what is committed here.
    Conflict,
    /// A response that speaks of entries this leader never sent.
    Response,
    /// Too many wait already.
    Full,
}

impl Dropped {
    /// The label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Kind => "kind",
            Self::Term => "term",
            Self::Entries => "entries",
            Self::BeyondLog => "beyond_log",
            Self::Conflict => "conflict",
            Self::Response => "response",
            Self::Full => "full",
        }
    }
}

/// What the receiving replica knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receiver {
    pub(crate) replica: u64,
    pub(crate) last: u64,
    pub(crate) committed: u64,
}

/// Whether the message may be handed on. `term_at` is the term of an entry of the receiver's log, if it is known.
pub(crate) fn check(
    message: &Message,
    receiver: Receiver,
    term_at: impl Fn(u64) -> Option<u64>,
) -> Result<(), Dropped> {
    if message.to != receiver.replica || message.from == 0 || message.from == receiver.replica {
        return Err(Dropped::Address);
    }
    if message.context.len() > CONTEXT_BYTES_MAX {
        return Err(Dropped::Kind);
    }
    let kind = message.kind();
    if message.term == 0 && !matches!(kind, Kind::ReadIndex | Kind::ReadIndexResponse) {
        return Err(Dropped::Term);
    }
    if kind != Kind::Append && !message.entries.is_empty() {
        return Err(Dropped::Entries);
    }
    match kind {
        // A snapshot comes with its state, and is handed in with it.
        Kind::Unknown | Kind::Snapshot => Err(Dropped::Kind),
        Kind::Append => {
            check_entries(message)?;
            check_committed(message, receiver, term_at)
        }
        // The leader says no more than what this replica has acknowledged.
        Kind::Heartbeat if message.commit > receiver.last => Err(Dropped::BeyondLog),
        Kind::AppendResponse if !message.reject && message.index > receiver.last => Err(Dropped::Response),
        _ => Ok(()),
    }
}

fn check_entries(message: &Message) -> Result<(), Dropped> {
    let mut term = message.log_term;
    let mut bytes = 0;
    for entry in &message.entries {
        let kind = u8::try_from(entry.kind).ok().and_then(EntryKind::from_tag).ok_or(Dropped::Entries)?;
        if entry.term < term || entry.term > message.term {
            return Err(Dropped::Entries);
        }
        if kind != EntryKind::Normal && entry.data.len() > CHANGE_BYTES_MAX {
            return Err(Dropped::Entries);
        }
        term = entry.term;
        bytes += entry.data.len();
    }
    let fits = bytes <= RAFT_MESSAGE_BYTES_MAX || message.entries.len() == 1;
    let ends = message.index.checked_add(message.entries.len() as u64).is_some();
    if fits && ends { Ok(()) } else { Err(Dropped::Entries) }
}

/// Entries at or below the commit index are what they are; an append that says otherwise makes the library panic.
fn check_committed(message: &Message, receiver: Receiver, term_at: impl Fn(u64) -> Option<u64>) -> Result<(), Dropped> {
    for (index, entry) in (message.index + 1..).zip(&message.entries) {
        if index > receiver.committed {
            break;
        }
        if term_at(index).is_some_and(|term| term != entry.term) {
            return Err(Dropped::Conflict);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::WireEntry;
    use bytes::Bytes;

    const RECEIVER: Receiver = Receiver { replica: 2, last: 10, committed: 8 };

    fn entry(term: u64) -> WireEntry {
        WireEntry { term, kind: 0, data: Bytes::new() }
    }

    fn append() -> Message {
        let entries = vec![entry(3), entry(4)];
        Message {
            kind: Kind::Append as i32,
            to: 2,
            from: 1,
            term: 4,
            log_term: 3,
            index: 10,
            entries,
            ..Message::default()
        }
    }

    fn checked(message: &Message) -> Result<(), Dropped> {
        check(message, RECEIVER, |index| (index <= 10).then_some(3))
    }

    #[test]
    fn sound_messages_pass() {
        assert_eq!(checked(&append()), Ok(()));
        for kind in [Kind::Vote, Kind::PreVote, Kind::Heartbeat, Kind::HeartbeatResponse, Kind::TimeoutNow] {
            let message = Message { kind: kind as i32, entries: Vec::new(), commit: 10, ..append() };
            assert_eq!(checked(&message), Ok(()), "{kind:?}");
        }
        let read = Message { kind: Kind::ReadIndex as i32, term: 0, entries: Vec::new(), ..append() };
        assert_eq!(checked(&read), Ok(()));
    }

    #[test]
    fn nobody_else_is_believed() {
        for message in [Message { to: 3, ..append() }, Message { from: 0, ..append() }, Message { from: 2, ..append() }]
        {
            assert_eq!(checked(&message), Err(Dropped::Address));
        }
        assert_eq!(checked(&Message { term: 0, ..append() }), Err(Dropped::Term));
        let long = Message { context: vec![0; 65].into(), ..append() };
        assert_eq!(checked(&long), Err(Dropped::Kind));
    }

    /// Rows B.3 and B.7: proposals and local messages have no kind; a snapshot without its state is refused.
    #[test]
    fn kinds_that_do_not_travel_are_refused() {
        for kind in [0, 7, 13, 99, -1] {
            assert_eq!(checked(&Message { kind, entries: Vec::new(), ..append() }), Err(Dropped::Kind), "{kind}");
        }
    }

    /// Row B.4: the library panics on a commit index beyond its log.
    #[test]
    fn a_commit_beyond_the_log_is_refused() {
        let heartbeat = Message { kind: Kind::Heartbeat as i32, entries: Vec::new(), commit: 11, ..append() };
        assert_eq!(checked(&heartbeat), Err(Dropped::BeyondLog));
    }

    #[test]
    fn entries_have_to_fit() {
        let falling = Message { entries: vec![entry(4), entry(3)], ..append() };
        let future = Message { entries: vec![entry(5)], ..append() };
        let unknown = Message { entries: vec![WireEntry { kind: 9, ..entry(4) }], ..append() };
        let large = Bytes::from(vec![0; RAFT_MESSAGE_BYTES_MAX]);
        let large = Message { entries: vec![WireEntry { data: large, ..entry(4) }; 2], ..append() };
        let change = WireEntry { kind: 2, data: vec![0; CHANGE_BYTES_MAX + 1].into(), ..entry(4) };
        let endless = Message { index: u64::MAX - 1, ..append() };
        let elsewhere = Message { kind: Kind::Vote as i32, ..append() };
        for message in
            [falling, future, unknown, large, Message { entries: vec![change], ..append() }, endless, elsewhere]
        {
            assert_eq!(checked(&message), Err(Dropped::Entries), "{message:?}");
        }
    }

    #[test]
    fn what_is_committed_cannot_be_contradicted() {
        let message = Message { index: 6, log_term: 3, entries: vec![entry(3), entry(4)], ..append() };
        assert_eq!(checked(&message), Err(Dropped::Conflict));
        let message = Message { index: 8, log_term: 3, entries: vec![entry(4)], ..append() };
        assert_eq!(checked(&message), Ok(()), "entry 9 is not committed");
    }

    #[test]
    fn a_response_beyond_the_leaders_log_is_refused() {
        let response = Message { kind: Kind::AppendResponse as i32, entries: Vec::new(), index: 11, ..append() };
        assert_eq!(checked(&response), Err(Dropped::Response));
        assert_eq!(checked(&Message { reject: true, ..response }), Ok(()));
    }
}
