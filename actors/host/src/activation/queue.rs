//! The part of an object's mailbox that is kept in memory.

use std::collections::VecDeque;
use std::time::Duration;

use abide_model::command::{Form, Priority};
use abide_model::effect::Work;
use abide_model::id::InvocationId;
use tokio::time::Instant;

use crate::event::Queued;

/// How long a proposed request may take to appear in the mailbox. After that it is no longer waited for: it was refused.
const PLACING_MAX: Duration = Duration::from_secs(1);

/// Committed invocations that were not run yet, in mailbox order.
pub(crate) struct Queue {
    items: VecDeque<Item>,
    /// Whether the first item is known to hold the key, so that nothing can come before it.
    first_holds: bool,
    /// Whether the mailbox goes on behind the items.
    more: bool,
    /// Own requests on their way into the mailbox, the last of them since when.
    placing: Vec<InvocationId>,
    placed_at: Option<Instant>,
}

pub(crate) struct Item {
    pub(crate) work: Work,
    pub(crate) hold: Hold,
}

/// Whether an item may be run when it is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// A turn that may run.
    Free,
    /// A turn that failed and waits for its next attempt.
    Held,
    /// As `Held`, but its place in the mailbox is not committed yet.
    Unconfirmed,
    /// A flow: it runs elsewhere, and holds the place until it ends.
    Flow,
}

impl Queue {
    pub(crate) fn new(queued: Vec<Queued>, more: bool, mirror: usize) -> Self {
        let more = more || queued.len() > mirror;
        let first_holds = !queued.is_empty();
        let items = queued.into_iter().take(mirror).map(|Queued { work, held }| {
            let hold = match work.target.form() {
                Form::Flow | Form::Edit => Hold::Flow,
                Form::Turn if held => Hold::Held,
                Form::Turn => Hold::Free,
            };
            Item { work, hold }
        });
        Self { items: items.collect(), first_holds, more, placing: Vec::new(), placed_at: None }
    }

    /// A request was accepted into the mailbox. `false` when the order of the mailbox is not known any more.
    ///
    /// It may also come before items that were run already. That needs no care: their records are rejected then.
    pub(crate) fn enqueued(&mut self, work: Work, now: Instant, mirror: usize) -> bool {
        self.placing.retain(|id| *id != work.id);
        self.forget_lost(now);
        if let Some(item) = self.items.iter_mut().find(|item| item.work.id == work.id) {
            if item.hold == Hold::Unconfirmed {
                item.hold = Hold::Held;
                item.work = work;
            }
            return true;
        }
        if self.items.iter().any(|item| item.hold == Hold::Unconfirmed) {
            return false;
        }
        let Some(at) = self.place_of(work.target.class()) else { return false };
        if at == self.items.len() && (self.more || at >= mirror) {
            self.more = true;
            return true;
        }
        let hold = if work.target.form() == Form::Turn { Hold::Free } else { Hold::Flow };
        self.items.insert(at, Item { work, hold });
        if self.items.len() > mirror {
            self.items.pop_back();
            self.more = true;
        }
        true
    }

    /// Where a new item of this class stands: behind its own class and those before it, and behind who holds the key.
    /// `None` when it is not known whether it comes before the first item.
    fn place_of(&self, class: Priority) -> Option<usize> {
        let is_before = |item: &Item| item.work.target.class().rank() <= class.rank();
        if self.items.back().is_none_or(is_before) {
            return Some(self.items.len());
        }
        let behind = self.items.iter().skip(1).take_while(|item| is_before(item)).count();
        (self.first_holds || self.items.front().is_some_and(is_before)).then_some(1 + behind)
    }

    /// An own request is on its way into the mailbox.
    pub(crate) fn placing(&mut self, id: InvocationId, now: Instant) {
        self.placing.push(id);
        self.placed_at = Some(now);
    }

    /// Whether a direct call would overtake nothing.
    pub(crate) fn is_clear(&mut self, now: Instant) -> bool {
        if !self.placing.is_empty() {
            self.forget_lost(now);
        }
        self.items.is_empty() && !self.more && self.placing.is_empty()
    }

    fn forget_lost(&mut self, now: Instant) {
        if self.placed_at.is_some_and(|at| now.duration_since(at) >= PLACING_MAX) {
            self.placing.clear();
            self.placed_at = None;
        }
    }

    /// Whether the mailbox has to be loaded again to know what is next.
    pub(crate) fn is_spent(&self) -> bool {
        self.items.is_empty() && self.more
    }

    /// Whether nothing can be run before an event comes, and the event brings the object back into memory by itself.
    pub(crate) fn is_waiting(&self) -> bool {
        match self.items.front() {
            Some(head) => head.hold != Hold::Free,
            None => !self.more,
        }
    }

    pub(crate) fn head(&self) -> Option<&Item> {
        self.items.front()
    }

    pub(crate) fn pop(&mut self) -> Option<Item> {
        self.first_holds = false;
        self.items.pop_front()
    }

    /// Puts the first item back.
    pub(crate) fn restore(&mut self, item: Item) {
        self.items.push_front(item);
    }

    /// A direct call failed and is on its way into the mailbox, to be tried again.
    pub(crate) fn push_unconfirmed(&mut self, work: Work) {
        self.items.push_back(Item { work, hold: Hold::Unconfirmed });
    }
}
