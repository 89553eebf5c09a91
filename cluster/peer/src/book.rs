//! What is known of other nodes' processes: the newest boot of each, and which connection may deliver its frames.
//!
//! This is what keeps invariant I11, that nothing of an older boot is delivered: delivery happens under the lock that a
//! newer boot takes to make itself known.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio_util::sync::CancellationToken;

use crate::{identity::NodeId, metrics::Incoming, refusal::Refusal};

/// Most nodes that are remembered. Only a stranger on a plain network could name so many.
const MEMBERS_MAX: usize = 4_096;

/// One stream of frames of a node's process: newer processes have greater boots, newer streams of one process greater
/// links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) boot: u64,
    pub(crate) link: u64,
}

/// All nodes that were heard of.
#[derive(Debug, Default)]
pub(crate) struct Book(Mutex<HashMap<NodeId, Arc<Member>>>);

impl Book {
    /// The page of a node.
    pub(crate) fn member(&self, node: NodeId) -> Result<Arc<Member>, Refusal> {
        let mut members = self.0.lock().expect("nothing panics while it holds the lock");
        if let Some(member) = members.get(&node) {
            return Ok(member.clone());
        }
        if members.len() >= MEMBERS_MAX {
            return Err(Refusal::Overloaded);
        }
        let member = Arc::new(Member::new(node));
        members.insert(node, member.clone());
        Ok(member)
    }
}

/// What is known of one node.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) metrics: Incoming,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    banned: bool,
    /// The newest boot that was seen, and the newest stream of frames of that boot.
    newest: Option<Origin>,
    /// Open connections, in either direction, with their boots.
    connections: Vec<(u64, CancellationToken)>,
    /// The connection whose frames are delivered.
    stream: Option<CancellationToken>,
}

impl Member {
    fn new(node: NodeId) -> Self {
        Self { metrics: Incoming::new(node), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Delivery runs the node's code under the lock: its panic must not end the transport with it.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A connection with this boot of the node is open; `cut` ends it when a newer boot is heard of. Says whether this boot
    /// is newer than all before.
    pub(crate) fn admit(&self, boot: u64, cut: &CancellationToken) -> Result<bool, Refusal> {
        let mut state = self.state();
        if state.banned {
            return Err(Refusal::Banned);
        }
        let known = state.newest.map(|newest| newest.boot);
        if known.is_some_and(|known| boot < known) {
            return Err(Refusal::OldBoot);
        }
        let newer = known != Some(boot);
        if newer {
            state.newest = Some(Origin { boot, link: 0 });
            state.stream = None;
            for (_, older) in state.connections.drain(..) {
                older.cancel();
            }
        }
        state.connections.retain(|(_, cut)| !cut.is_cancelled());
        state.connections.push((boot, cut.clone()));
        Ok(newer)
    }

    /// A stream of frames begins; the one before it is over.
    pub(crate) fn begin(&self, origin: Origin, cut: &CancellationToken) -> Result<(), Refusal> {
        let mut state = self.state();
        state.judge(origin.boot)?;
        if state.newest.is_some_and(|newest| origin.link <= newest.link) {
            return Err(Refusal::Superseded);
        }
        state.newest = Some(origin);
        if let Some(older) = state.stream.replace(cut.clone()) {
            older.cancel();
        }
        Ok(())
    }

    /// Delivers frames of a stream, unless it is no longer the one whose frames are delivered.
    pub(crate) fn deliver(&self, origin: Origin, deliver: impl FnOnce()) -> Result<(), Refusal> {
        let state = self.state();
        state.judge(origin.boot)?;
        if state.newest != Some(origin) {
            return Err(Refusal::Superseded);
        }
        deliver();
        Ok(())
    }

    /// Whether a request of a process of this boot may be handled.
    pub(crate) fn judge(&self, boot: u64) -> Result<(), Refusal> {
        self.state().judge(boot)
    }

    /// The node was removed: its connections end, and it gets no new ones.
    pub(crate) fn ban(&self) {
        let mut state = self.state();
        state.banned = true;
        for (_, connection) in state.connections.drain(..) {
            connection.cancel();
        }
    }
}

impl State {
    fn judge(&self, boot: u64) -> Result<(), Refusal> {
        match self.newest {
            _ if self.banned => Err(Refusal::Banned),
            Some(newest) if newest.boot == boot => Ok(()),
            _ => Err(Refusal::OldBoot),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(boot: u64, link: u64) -> Origin {
        Origin { boot, link }
    }

    #[test]
    fn a_newer_boot_ends_the_older() {
        let book = Book::default();
        let member = book.member(1).unwrap();
        let (old, new) = (CancellationToken::new(), CancellationToken::new());
        assert_eq!(member.admit(5, &old), Ok(true));
        assert_eq!(member.admit(5, &CancellationToken::new()), Ok(false));
        member.begin(origin(5, 1), &old).unwrap();
        member.deliver(origin(5, 1), || {}).unwrap();
        assert_eq!(member.admit(6, &new), Ok(true));
        assert!(old.is_cancelled() && !new.is_cancelled());
        assert_eq!(member.deliver(origin(5, 1), || panic!("of an older boot")), Err(Refusal::OldBoot));
        assert_eq!(member.begin(origin(5, 2), &old), Err(Refusal::OldBoot));
        assert_eq!(member.judge(5), Err(Refusal::OldBoot));
        assert_eq!(member.admit(5, &old), Err(Refusal::OldBoot));
        // Links count anew in each process.
        member.begin(origin(6, 1), &new).unwrap();
        assert!(Arc::ptr_eq(&member, &book.member(1).unwrap()));
    }

    #[test]
    fn a_newer_stream_takes_over() {
        let member = Member::new(1);
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        member.admit(1, &first).unwrap();
        member.admit(1, &second).unwrap();
        member.begin(origin(1, 7), &first).unwrap();
        member.begin(origin(1, 9), &second).unwrap();
        assert!(first.is_cancelled() && !second.is_cancelled());
        assert_eq!(member.deliver(origin(1, 7), || panic!("superseded")), Err(Refusal::Superseded));
        assert_eq!(member.begin(origin(1, 8), &first), Err(Refusal::Superseded));
        member.deliver(origin(1, 9), || {}).unwrap();
    }

    #[test]
    fn who_is_banned_stays_out() {
        let member = Member::new(1);
        let cut = CancellationToken::new();
        member.admit(1, &cut).unwrap();
        member.begin(origin(1, 1), &cut).unwrap();
        member.ban();
        assert!(cut.is_cancelled());
        assert_eq!(member.deliver(origin(1, 1), || panic!("banned")), Err(Refusal::Banned));
        assert_eq!(member.admit(2, &CancellationToken::new()), Err(Refusal::Banned));
    }

    #[test]
    fn the_book_has_a_last_page() {
        let book = Book::default();
        for node in 0..4_096 {
            book.member(node).unwrap();
        }
        assert_eq!(book.member(5_000).unwrap_err(), Refusal::Overloaded);
        book.member(7).unwrap();
    }
}
