//! Promises of workflows.

use abide_model::command::{Outcome, Sink};
use abide_model::id::{InvocationId, ObjectId};
use abide_model::protocol::{
    Code, CompletePromise, Failure, NotificationResult, PromiseCommand, PromiseResult, RawMessage, Void,
};

use super::Part;
use super::append::{decode, note};
use crate::violation::Check;

/// A promise that is completed or waited for.
#[derive(Clone, Debug, Default)]
pub(super) struct Promise {
    pub(super) result: Option<PromiseResult>,
    pub(super) waiting: Vec<Sink>,
    pub(super) completed_at: u64,
}

impl Part {
    /// What a message about a promise means.
    pub(super) fn promise(&mut self, id: InvocationId, raw: &RawMessage) -> Check {
        let Some(inv) = self.invocations.get(&id) else { return Ok(()) };
        let Some(workflow) = inv.target.object().filter(|_| inv.target.workflow) else { return Ok(()) };
        let life = inv.life;
        if raw.code == Code::COMPLETE_PROMISE {
            let command: CompletePromise = decode(raw)?;
            let promise = self.promises.entry((workflow, command.key)).or_default();
            let result = if promise.result.is_some() {
                NotificationResult::Failure(Failure::new(409, "promise was already completed"))
            } else {
                promise.result.clone_from(&command.result);
                promise.completed_at = self.log_time;
                self.promised += 1;
                let outcome = match command.result {
                    Some(PromiseResult::Value(value)) => Outcome::success(value.content),
                    Some(PromiseResult::Failure(failure)) => Outcome::failure(failure),
                    None => Outcome::default(),
                };
                for sink in std::mem::take(&mut promise.waiting) {
                    self.respond(id, &sink, Some(outcome.clone()));
                }
                NotificationResult::Void(Void {})
            };
            self.write(id, Code::COMPLETE_PROMISE_DONE, &note(command.result_completion_id, result));
            return Ok(());
        }
        let command: PromiseCommand = decode(raw)?;
        let (key, completion) = ((workflow, command.key), command.result_completion_id);
        let waits = raw.code == Code::GET_PROMISE;
        let result = match self.promises.get(&key).and_then(|promise| promise.result.clone()) {
            Some(PromiseResult::Value(value)) => NotificationResult::Value(value),
            Some(PromiseResult::Failure(failure)) => NotificationResult::Failure(failure),
            None if waits => {
                let sink = Sink::new(id, life, completion, Code::GET_PROMISE_DONE);
                self.promises.entry(key).or_default().waiting.push(sink);
                return Ok(());
            }
            None => NotificationResult::Void(Void {}),
        };
        let code = if waits { Code::GET_PROMISE_DONE } else { Code::PEEK_PROMISE_DONE };
        self.write(id, code, &note(completion, result));
        Ok(())
    }

    /// A workflow is forgotten: whoever waits for a promise of it is told.
    pub(super) fn forget_promises(&mut self, workflow: &ObjectId, run: InvocationId) {
        let gone: Vec<_> = self.promises.keys().filter(|key| key.0 == *workflow).cloned().collect();
        for key in gone {
            let promise = self.promises.remove(&key).unwrap_or_default();
            let text = format!("promise `{}` is gone: the result of workflow {workflow} is not kept any more", key.1);
            for sink in &promise.waiting {
                self.respond(run, sink, Some(Outcome::failure(Failure::new(404, text.clone()))));
            }
        }
    }

    /// Promises that somebody waits for.
    pub(crate) fn open_promises(&self) -> impl Iterator<Item = &(ObjectId, String)> {
        self.promises.iter().filter(|(_, promise)| promise.result.is_none()).map(|(key, _)| key)
    }
}
