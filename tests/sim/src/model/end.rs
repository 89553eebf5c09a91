//! The end of an invocation, and who comes next.

use abide_model::command::{Form, Outcome};
use abide_model::id::InvocationId;

use super::{Inv, Part};

/// What ended it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Its own outcome.
    Itself,
    /// The last of its attempts.
    Exhaustion,
    /// An operator or a parent.
    Order,
}

impl Part {
    /// Ends an invocation; `keep` says whether it may be remembered.
    pub(super) fn complete(&mut self, id: InvocationId, outcome: &Outcome, by: By, keep: bool) {
        if let Some(inv) = self.end_of(id, outcome, by, keep) {
            self.leave(id, &inv);
        }
    }

    fn end_of(&mut self, id: InvocationId, outcome: &Outcome, by: By, keep: bool) -> Option<Inv> {
        let inv = self.invocations.remove(&id)?;
        self.timers.retain(|timer| timer.2 != id);
        self.ends.entry(id).or_default().push(outcome.clone());
        self.letter_of(id, &inv, outcome, by);
        if keep {
            let journal = if inv.terms.journal > 0 { inv.journal.clone() } else { Vec::new() };
            let version = inv.version.clone().unwrap_or_default();
            self.keep(id, &inv.target, outcome, inv.created_at, inv.attempt, &version, &inv.terms, journal);
        }
        for sink in &inv.sinks {
            self.respond(id, sink, Some(outcome.clone()));
        }
        Some(inv)
    }

    /// Frees the key that `inv` held or waited for.
    fn leave(&mut self, id: InvocationId, inv: &Inv) {
        let Some(object) = inv.target.exclusive_object() else { return };
        let Some(obj) = self.objects.get_mut(&object) else { return };
        let was_first = obj.queue.front() == Some(&id);
        obj.queue.retain(|queued| *queued != id);
        if !was_first {
            return;
        }
        let mut emptied = false;
        while let Some(next) = self.objects.get(&object).and_then(|obj| obj.queue.front().copied()) {
            match self.invocations.get(&next).map(|inv| inv.target.form()) {
                Some(Form::Flow) => return self.start(next),
                Some(Form::Edit) => {}
                Some(Form::Turn) | None => return,
            }
            let (outcome, empty) = self.edit(next, &object);
            emptied = empty || (emptied && outcome.is_failure());
            self.end_of(next, &outcome, By::Itself, true);
            if let Some(obj) = self.objects.get_mut(&object) {
                obj.queue.pop_front();
            }
        }
        if emptied {
            self.forget_object(&object);
        }
    }
}
