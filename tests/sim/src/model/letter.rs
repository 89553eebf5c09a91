//! Dead letters.

use abide_model::command::{Access, Form, Invoke, LetterOrder, Outcome, OutcomeKind, Target};
use abide_model::id::{InvocationId, PartitionId};
use abide_model::limits::LETTERS_MAX;
use abide_model::protocol::{Code, Failure, Input, Notification, NotificationId, SIGNAL_CANCEL};
use abide_model::table::LetterRow;
use prost::Message as _;

use super::end::By;
use super::{Inv, Part, Terms, binary};

impl Part {
    /// Leaves a letter when nobody hears of the failure of `inv`, and nobody wanted it.
    pub(super) fn letter_of(&mut self, id: InvocationId, inv: &Inv, outcome: &Outcome, by: By) {
        let Some(OutcomeKind::Failure(failure)) = &outcome.kind else { return };
        let unheard = inv.terms.one_way || (by == By::Exhaustion && inv.sinks.is_empty());
        let wanted = by == By::Order || (failure.code == 409 && inv.journal.iter().skip(1).any(is_cancel));
        if !unheard || wanted || inv.target.form() == Form::Edit {
            return;
        }
        let input = inv.journal.first().and_then(|(_, input)| Input::decode(input.clone()).ok()).unwrap_or_default();
        let letter = LetterRow {
            input: input.value.unwrap_or_default().content,
            headers: input.headers,
            ..self.blank(id, &inv.target, failure, inv.created_at, inv.attempt, &inv.terms)
        };
        self.leave_letter(letter);
    }

    /// As [`Part::letter_of`], of a turn that was accepted and run by one command.
    pub(super) fn letter_at_once(&mut self, id: InvocationId, invoke: &Invoke, outcome: &Outcome) {
        let (Some(OutcomeKind::Failure(failure)), Some(target)) = (&outcome.kind, &invoke.target) else { return };
        if invoke.one_way {
            let letter = LetterRow {
                input: invoke.input.clone(),
                headers: invoke.headers.clone(),
                ..self.blank(id, target, failure, self.log_time, 0, &Terms::of(invoke))
            };
            self.leave_letter(letter);
        }
    }

    /// Letters that were dropped because there were too many.
    pub(crate) fn dropped(&self) -> u64 {
        self.letter_counts.values().map(|counts| counts.1).sum()
    }

    fn blank(
        &self,
        id: InvocationId,
        target: &Target,
        failure: &Failure,
        created_at: u64,
        attempt: u32,
        terms: &Terms,
    ) -> LetterRow {
        LetterRow {
            invocation: binary(id),
            target: Some(target.clone()),
            failure: Some(failure.clone()),
            created_at,
            failed_at: self.log_time,
            attempt,
            invoked_by: terms.by.clone(),
            retention_ms: terms.retention,
            journal_retention_ms: terms.journal,
            state_ttl_ms: terms.ttl,
            ..LetterRow::default()
        }
    }

    fn leave_letter(&mut self, letter: LetterRow) {
        self.lettered += 1;
        let service = letter.target.as_ref().map(|target| target.service.clone()).unwrap_or_default();
        let of_service = self.letters.keys().filter(|key| key.0 == service);
        if of_service.clone().count() as u64 >= LETTERS_MAX
            && let Some(oldest) = of_service.min().cloned()
        {
            self.letters.remove(&oldest);
            self.letter_counts.entry(service.clone()).or_default().1 += 1;
        }
        let counts = self.letter_counts.entry(service.clone()).or_default();
        self.letters.insert((service, counts.0), letter);
        counts.0 += 1;
    }

    pub(super) fn letter_order(&mut self, order: &LetterOrder) {
        let key = (order.service.clone(), order.seq);
        let Some(letter) = self.letters.get(&key).cloned() else { return };
        if !order.redrive_as.is_empty() {
            let runs = letter.target.as_ref().is_some_and(|target| target.access() == Access::Workflow);
            if runs || !self.is_free(&order.redrive_as) {
                return;
            }
            self.accept(&Invoke {
                id: order.redrive_as.clone(),
                target: letter.target,
                input: letter.input,
                headers: letter.headers,
                retention_ms: letter.retention_ms,
                journal_retention_ms: letter.journal_retention_ms,
                state_ttl_ms: letter.state_ttl_ms,
                one_way: true,
                restarted_from: letter.invocation,
                ..Invoke::default()
            });
            self.repeated += 1;
        }
        self.letters.remove(&key);
    }

    /// Whether a new invocation may have the id in `bytes`.
    pub(super) fn is_free(&self, bytes: &[u8]) -> bool {
        InvocationId::from_bytes(bytes).is_some_and(|id| {
            let here = PartitionId::of(id.partition_key, self.count).0 == self.number;
            here && !self.invocations.contains_key(&id) && !self.kept.contains_key(&id)
        })
    }
}

fn is_cancel((code, payload): &(Code, bytes::Bytes)) -> bool {
    let note = Notification::decode(payload.clone()).unwrap_or_default();
    *code == Code::SIGNAL && note.id == Some(NotificationId::SignalIndex(SIGNAL_CANCEL))
}
