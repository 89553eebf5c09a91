//! What is remembered for a while, and how it is forgotten.

use abide_model::command::{Outcome, Target};
use abide_model::id::InvocationId;

use super::{Kept, Note, Part, Terms, is_run};

impl Part {
    #[expect(clippy::too_many_arguments, reason = "what is known of a completed invocation")]
    pub(super) fn keep(
        &mut self,
        id: InvocationId,
        target: &Target,
        outcome: &Outcome,
        created_at: u64,
        attempt: u32,
        version: &str,
        terms: &Terms,
        journal: Vec<Note>,
    ) {
        let mut longest = terms.retention.max(terms.journal);
        // A workflow is forgotten with the record of its run, so there always is one.
        if longest == 0 && is_run(target) {
            longest = 1;
        }
        if longest == 0 {
            return;
        }
        let first = !journal.is_empty() && terms.journal < longest;
        let kept = Kept {
            target: target.clone(),
            outcome: outcome.clone(),
            created_at,
            ended_at: self.log_time,
            until: self.log_time + longest,
            journal,
            journal_until: if first { self.log_time + terms.journal } else { 0 },
            attempt,
            version: version.to_owned(),
            terms: terms.clone(),
        };
        self.kept.insert(id, kept);
    }

    /// Forgets everything that is due by now.
    pub(super) fn forget_due(&mut self) {
        let now = self.log_time;
        let journals = self.kept.iter().filter(|(_, kept)| (1..=now).contains(&kept.journal_until));
        let journals: Vec<_> = journals.map(|(id, _)| *id).collect();
        for id in journals {
            self.forget_journal(id);
        }
        let mut results: Vec<_> =
            self.kept.iter().filter(|(_, kept)| kept.until <= now).map(|(id, kept)| (kept.until, *id)).collect();
        results.sort_unstable();
        for (_, id) in results {
            self.forget(id);
        }
        let expired = self.objects.iter().filter(|(_, obj)| (1..=now).contains(&obj.expires));
        let expired: Vec<_> = expired.map(|(object, _)| object.clone()).collect();
        for object in expired {
            let run = InvocationId::workflow(&object.service, &object.key);
            let runs = self.invocations.contains_key(&run);
            let Some(obj) = self.objects.get_mut(&object) else { continue };
            if runs || !obj.queue.is_empty() {
                obj.expires = now + obj.ttl.max(1);
            } else {
                self.forgotten += 1;
                self.forget_object(&object);
            }
        }
    }

    /// Forgets the journal of a completed invocation.
    pub(super) fn forget_journal(&mut self, id: InvocationId) {
        if let Some(kept) = self.kept.get_mut(&id) {
            kept.journal.clear();
            kept.journal_until = 0;
            self.forgotten += 1;
        }
    }

    /// Forgets a completed invocation, and a workflow with its run.
    pub(super) fn forget(&mut self, id: InvocationId) {
        let Some(kept) = self.kept.remove(&id) else { return };
        self.forgotten += 1;
        if let Some(object) = kept.target.object().filter(|_| is_run(&kept.target)) {
            self.forget_promises(&object, id);
            self.forget_object(&object);
        }
    }

    /// Whether something should have been forgotten before the log time `at`, or a timer fired.
    pub(crate) fn is_late(&self, at: u64) -> bool {
        self.kept.values().any(|kept| kept.until < at || (1..at).contains(&kept.journal_until))
            || self.objects.values().any(|obj| (1..at).contains(&obj.expires))
            || self.timers.first().is_some_and(|timer| timer.0 < at)
    }
}
