//! Who waits for what: requests of this node, known to it alone. A waiter that went away is answered into the void.

use std::collections::HashMap;

use abide_host::{Completion, Refusal, Responder};
use abide_model::effect::Answer;
use abide_model::error::MAILBOX_FULL;
use abide_model::id::{InvocationId, Millis, PartitionId};
use tokio::sync::oneshot;

use crate::engine::Accepted;

#[derive(Default)]
pub(super) struct Waiters {
    last_request: u64,
    completions: HashMap<InvocationId, Vec<Waiting>>,
    requests: HashMap<u64, (PartitionId, Request)>,
}

/// Somebody who wants the result of an invocation.
struct Waiting {
    /// The request that invoked it; 0 for those who attached to it.
    request: u64,
    responder: Responder,
}

/// What a request number stands for.
enum Request {
    Call(InvocationId),
    Send(oneshot::Sender<Result<Accepted, Refusal>>),
    Control(oneshot::Sender<Result<Answer, Refusal>>),
}

impl Waiters {
    /// A call: answered on completion, or when it is refused.
    pub(super) fn call(&mut self, partition: PartitionId, id: InvocationId, responder: Responder) -> u64 {
        let request = self.request(partition, Request::Call(id));
        self.wait(id, request, responder);
        request
    }

    pub(super) fn send(
        &mut self,
        partition: PartitionId,
        responder: oneshot::Sender<Result<Accepted, Refusal>>,
    ) -> u64 {
        self.request(partition, Request::Send(responder))
    }

    pub(super) fn control(
        &mut self,
        partition: PartitionId,
        responder: oneshot::Sender<Result<Answer, Refusal>>,
    ) -> u64 {
        self.request(partition, Request::Control(responder))
    }

    pub(super) fn attach(&mut self, id: InvocationId, responder: Responder) {
        self.wait(id, 0, responder);
    }

    fn wait(&mut self, id: InvocationId, request: u64, responder: Responder) {
        let waiting = self.completions.entry(id).or_default();
        if waiting.len() == waiting.capacity() {
            // Those who went away make room before the list grows: its length follows the live ones.
            waiting.retain(|waiting| !waiting.responder.is_closed());
        }
        waiting.push(Waiting { request, responder });
    }

    pub(super) fn accepted(&mut self, request: u64, invocation: InvocationId, known: bool, execute_at: Option<Millis>) {
        match self.requests.remove(&request).map(|(_, request)| request) {
            Some(Request::Send(responder)) => {
                let _ = responder.send(Ok(Accepted { invocation, known, execute_at }));
            }
            // A call waits on for its completion.
            Some(Request::Call(_) | Request::Control(_)) | None => {}
        }
    }

    pub(super) fn answered(&mut self, request: u64, answer: Answer) {
        match (self.requests.remove(&request).map(|(_, request)| request), answer) {
            (Some(Request::Control(responder)), answer) => {
                let _ = responder.send(Ok(answer));
            }
            (Some(Request::Send(responder)), answer) => {
                let _ = responder.send(Err(refusal(answer)));
            }
            (Some(Request::Call(id)), answer) => {
                // Others may wait for the same invocation, which another request of theirs may have created.
                let Some(waiting) = self.completions.get_mut(&id) else { return };
                if let Some(at) = waiting.iter().position(|waiting| waiting.request == request) {
                    let _ = waiting.remove(at).responder.send(Err(refusal(answer)));
                }
                if waiting.is_empty() {
                    self.completions.remove(&id);
                }
            }
            (None, _) => {}
        }
    }

    pub(super) fn completed(&mut self, completion: &Completion) {
        for waiting in self.completions.remove(&completion.invocation).unwrap_or_default() {
            let _ = waiting.responder.send(Ok(completion.clone()));
        }
    }

    /// Leadership of a partition is gone: nobody here will hear how it ends.
    pub(super) fn lose(&mut self, partition: PartitionId, partitions: u32, refusal: &Refusal) {
        for (_, (_, request)) in self.requests.extract_if(|_, (of, _)| *of == partition) {
            match request {
                Request::Send(responder) => drop(responder.send(Err(refusal.clone()))),
                Request::Control(responder) => drop(responder.send(Err(refusal.clone()))),
                // Told below.
                Request::Call(_) => {}
            }
        }
        let of = |id: &InvocationId| PartitionId::of(id.partition_key, partitions) == partition;
        for (_, waiting) in self.completions.extract_if(|id, _| of(id)) {
            for waiting in waiting {
                let _ = waiting.responder.send(Err(refusal.clone()));
            }
        }
    }

    fn request(&mut self, partition: PartitionId, request: Request) -> u64 {
        self.last_request += 1;
        self.requests.insert(self.last_request, (partition, request));
        self.last_request
    }
}

fn refusal(answer: Answer) -> Refusal {
    match answer {
        Answer::Refused(failure) if failure.code == u32::from(MAILBOX_FULL.0) => Refusal::MailboxFull,
        Answer::Refused(failure) => Refusal::Invalid(failure),
        Answer::NotFound => Refusal::NotFound,
        Answer::Done | Answer::Appended | Answer::Created(_) | Answer::AlreadyCompleted | Answer::Node(_) => {
            Refusal::OutcomeUnknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abide_model::command::Outcome;
    use abide_model::id::PartitionKey;
    use abide_model::protocol::Failure;

    fn id() -> InvocationId {
        InvocationId { partition_key: PartitionKey(1), unique: 1 }
    }

    #[test]
    fn all_who_wait_for_an_invocation_get_its_result() {
        let mut waiters = Waiters::default();
        let (first, mut one) = oneshot::channel();
        let (second, mut two) = oneshot::channel();
        let request = waiters.call(PartitionId(0), id(), first);
        waiters.attach(id(), second);
        waiters.accepted(request, id(), false, None);
        let completion = Completion { invocation: id(), outcome: Outcome::default(), expires_at: None };
        waiters.completed(&completion);
        assert_eq!(one.try_recv().unwrap(), Ok(completion.clone()));
        assert_eq!(two.try_recv().unwrap(), Ok(completion));
        assert!(waiters.completions.is_empty() && waiters.requests.is_empty());
    }

    #[test]
    fn a_refused_call_is_answered() {
        let mut waiters = Waiters::default();
        let (sender, mut receiver) = oneshot::channel();
        let request = waiters.call(PartitionId(0), id(), sender);
        waiters.answered(request, Answer::Refused(Failure::new(u32::from(MAILBOX_FULL.0), "full")));
        assert_eq!(receiver.try_recv().unwrap(), Err(Refusal::MailboxFull));
    }

    /// A refusal is for the request that was refused, not for others with the same id.
    #[test]
    fn a_refusal_does_not_answer_others() {
        let mut waiters = Waiters::default();
        let (first, mut one) = oneshot::channel();
        let (second, mut two) = oneshot::channel();
        let refused = waiters.call(PartitionId(0), id(), first);
        waiters.call(PartitionId(0), id(), second);
        waiters.answered(refused, Answer::Refused(Failure::new(u32::from(MAILBOX_FULL.0), "full")));
        assert_eq!(one.try_recv().unwrap(), Err(Refusal::MailboxFull));
        assert!(two.try_recv().is_err());
        let completion = Completion { invocation: id(), outcome: Outcome::default(), expires_at: None };
        waiters.completed(&completion);
        assert_eq!(two.try_recv().unwrap(), Ok(completion));
    }

    #[test]
    fn who_waits_in_a_lost_partition_is_told() {
        let mut waiters = Waiters::default();
        let (call, mut one) = oneshot::channel();
        let (control, mut two) = oneshot::channel();
        let (other, mut three) = oneshot::channel();
        waiters.call(PartitionId(0), id(), call);
        waiters.control(PartitionId(0), control);
        waiters.control(PartitionId(1), other);
        waiters.lose(PartitionId(0), 2, &Refusal::OutcomeUnknown);
        assert_eq!(one.try_recv().unwrap(), Err(Refusal::OutcomeUnknown));
        assert_eq!(two.try_recv().unwrap(), Err(Refusal::OutcomeUnknown));
        assert!(three.try_recv().is_err());
        assert_eq!((waiters.requests.len(), waiters.completions.len()), (1, 0));
    }

    #[test]
    fn those_who_went_away_are_forgotten() {
        let mut waiters = Waiters::default();
        for _ in 0..10_000 {
            let (sender, receiver) = oneshot::channel();
            waiters.attach(id(), sender);
            drop(receiver);
        }
        assert!(waiters.completions[&id()].capacity() < 16);
    }
}
