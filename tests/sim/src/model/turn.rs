//! What turns and failed attempts mean.

use abide_model::command::{AttemptFailed, Form, Invoke, Next, Outcome, ParcelBody, Target, Turn};
use abide_model::id::InvocationId;
use abide_model::limits::FAILURES_KEPT;
use abide_model::table::FailedAttempt;

use super::end::By;
use super::{Part, Status, Terms, binary};
use crate::app;
use crate::rng::Rng;
use crate::violation::{Check, Invariant, check};

impl Part {
    pub(super) fn turn(&mut self, turn: Turn) -> Check {
        let Some(id) = InvocationId::from_bytes(&turn.id) else { return Ok(()) };
        let base = turn.base.map(|base| (base.version, base.writer));
        let outcome = turn.outcome.clone().unwrap_or_default();
        if let Some(invoke) = turn.accept.clone() {
            return self.turn_with_request(id, &invoke, &turn, base, outcome);
        }
        let Some(inv) = self.invocations.get(&id) else { return Ok(()) };
        let (target, ttl) = (inv.target.clone(), inv.terms.ttl);
        let runs = matches!(inv.status, Status::Running | Status::Queued) && target.form() == Form::Turn;
        if !runs || inv.life != turn.life {
            return Ok(());
        }
        if let Some(object) = target.exclusive_object() {
            let Some(obj) = self.objects.get(&object) else { return Ok(()) };
            if obj.queue.front() != Some(&id) || base != Some(obj.version) {
                return Ok(());
            }
        }
        let input = inv.input();
        self.commit(id, &target, &input, &turn, ttl)?;
        self.complete(id, &outcome, By::Itself, true);
        Ok(())
    }

    fn turn_with_request(
        &mut self,
        id: InvocationId,
        invoke: &Invoke,
        turn: &Turn,
        base: Option<(u64, u64)>,
        outcome: Outcome,
    ) -> Check {
        if self.known(id, invoke) {
            return Ok(());
        }
        let Some(target) = invoke.target.clone() else { return Ok(()) };
        if let Some(object) = target.exclusive_object() {
            let (version, idle) =
                self.objects.get(&object).map_or(((0, 0), true), |obj| (obj.version, obj.queue.is_empty()));
            if !idle || base != Some(version) {
                self.accept(invoke);
                return Ok(());
            }
        }
        self.commit(id, &target, &invoke.input, turn, invoke.state_ttl_ms)?;
        self.ends.entry(id).or_default().push(outcome.clone());
        self.letter_at_once(id, invoke, &outcome);
        let now = self.log_time;
        self.keep(id, &target, &outcome, now, 0, "", &Terms::of(invoke), Vec::new());
        if let Some(sink) = &invoke.sink {
            self.respond(id, sink, Some(outcome));
        }
        Ok(())
    }

    /// A turn takes effect: what it did has to be what it does on the state as it is (I2).
    fn commit(&mut self, id: InvocationId, target: &Target, input: &[u8], turn: &Turn, ttl: u64) -> Check {
        if let Some(object) = target.exclusive_object() {
            let now = self.log_time;
            let obj = self.objects.entry(object.clone()).or_default();
            let again = app::turn(target, input, &obj.fields, &mut Rng::stream(0, "again"), now);
            check(
                again.changes == turn.changes && Some(&again.outcome) == turn.outcome.as_ref(),
                Invariant::I2Linearizable,
                || format!("{id} on {object} made {:?} of {:?}", turn.changes, obj.fields),
            )?;
            *obj.turns.entry(target.handler.clone()).or_default() += 1;
            obj.change(&turn.changes);
            if !turn.changes.is_empty() {
                obj.is_now((obj.version.0 + 1, turn.activation), now, ttl);
                self.name(&object);
            }
        }
        for send in &turn.sends {
            self.send(ParcelBody::Invoke(Invoke { invoked_by: binary(id), ..send.clone() }));
        }
        Ok(())
    }

    pub(super) fn failed(&mut self, failed: AttemptFailed) {
        let Some(id) = InvocationId::from_bytes(&failed.id) else { return };
        let mut here = false;
        if let Some(invoke) = &failed.accept {
            if self.known(id, invoke) {
                return;
            }
            here = true;
            self.accept(invoke);
        }
        let Some(inv) = self.invocations.get(&id) else { return };
        let first = match inv.target.exclusive_object().and_then(|object| self.objects.get(&object)) {
            Some(obj) => obj.queue.front() == Some(&id),
            None => false,
        };
        let same_life = here || inv.life == failed.life;
        let current = match inv.status {
            Status::Running if here => true,
            Status::Running => same_life && inv.attempt == failed.attempt && failed.term == self.term,
            Status::Queued => same_life && inv.target.form() == Form::Turn && first,
            _ => false,
        };
        if !current {
            self.fenced += 1;
            return;
        }
        self.remember(id, &failed);
        match failed.next {
            Some(Next::RetryAfter(ms)) => {
                let due = self.log_time + ms.max(1);
                self.set(id, Status::BackingOff(due));
                self.timers.insert((due, 3, id, 0));
            }
            Some(Next::Fail(_)) => {
                self.complete(id, &Outcome::failure(failed.failure.unwrap_or_default()), By::Exhaustion, true);
            }
            Some(Next::Pause(_)) | None => self.set(id, Status::Paused),
        }
    }

    /// Counts a failed attempt, and keeps the last ones.
    fn remember(&mut self, id: InvocationId, failed: &AttemptFailed) {
        let at = self.log_time;
        let Some(inv) = self.invocations.get_mut(&id) else { return };
        inv.failures += u32::from(!failed.uncounted);
        inv.last_failure = Some(failed.failure.clone().unwrap_or_default());
        let journal_len = u32::try_from(inv.journal.len()).unwrap_or(u32::MAX);
        let (attempt, failure, next) = (inv.attempt, failed.failure.clone(), failed.next);
        inv.history.0.push(FailedAttempt { attempt, at, failure, journal_len, next });
        if inv.history.0.len() > FAILURES_KEPT {
            inv.history.0.remove(0);
        }
        inv.history.1 += 1;
    }
}
