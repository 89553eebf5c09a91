//! The repetition of a completed invocation.

use std::collections::{BTreeMap, BTreeSet};

use abide_model::command::{Access, Control, Form};
use abide_model::id::InvocationId;
use abide_model::protocol::{
    Call, Code, CompletePromise, InvocationTarget, Notification, NotificationId, NotificationResult, OneWayCall,
    PlainCommand, PromiseCommand, Sleep, StateKeyCommand, Void,
};
use bytes::Bytes;
use prost::Message;

use super::append::note;
use super::{Inv, Kept, Note, Part, Status, Terms, binary};

impl Part {
    pub(super) fn restart(&mut self, id: InvocationId, kept: &Kept, control: &Control) {
        let keep = control.keep.max(1) as usize;
        let unfit = kept.target.access() == Access::Workflow || kept.target.form() == Form::Edit;
        if unfit || kept.journal.is_empty() || !self.is_free(&control.new_id) || keep > kept.journal.len() {
            return;
        }
        let (Some(new), Some((mut journal, sleeps))) =
            (InvocationId::from_bytes(&control.new_id), repeated(&kept.journal, keep))
        else {
            return;
        };
        for (completion, due) in sleeps {
            if due > self.log_time {
                self.timers.insert((due, 2, new, completion));
            } else {
                let slept = note(completion, NotificationResult::Void(Void {}));
                journal.push((Code::SLEEP_DONE, slept.encode_to_vec().into()));
            }
        }
        self.lives += 1;
        self.repeated += 1;
        self.ends.entry(new).or_default();
        let pinned = Some(kept.version.clone()).filter(|version| !version.is_empty());
        let version = match &control.version {
            None => pinned,
            Some(wish) => Some(wish.clone()).filter(|version| !version.is_empty()),
        };
        let terms = Terms {
            schedule: String::new(),
            repeats: binary(id),
            idempotency: None,
            by: Bytes::new(),
            ..kept.terms.clone()
        };
        let inv = Inv {
            target: kept.target.clone(),
            status: Status::Queued,
            attempt: 0,
            journal,
            sinks: Vec::new(),
            chain: Vec::new(),
            terms,
            created_at: self.log_time,
            failures: 0,
            last_failure: None,
            history: (Vec::new(), 0),
            seq: None,
            life: self.lives,
            version,
        };
        self.invocations.insert(new, inv);
        self.admit(new);
    }
}

/// The first `keep` entries, the answers to their commands from behind them, and the sleeps among them that go on.
/// `None` when a command has no answer.
fn repeated(journal: &[Note], keep: usize) -> Option<(Vec<Note>, BTreeMap<u32, u64>)> {
    let (head, tail) = journal.split_at(keep);
    let mut wanted: BTreeSet<u32> = head.iter().flat_map(answered_by).collect();
    let mut sleeps: BTreeMap<u32, u64> = BTreeMap::new();
    for (code, payload) in head {
        if *code == Code::SLEEP {
            let sleep = decoded::<Sleep>(payload);
            sleeps.insert(sleep.result_completion_id, sleep.wake_up_time);
        }
    }
    let mut answer = |entry: &Note| {
        let is_answer = entry.0.is_notification() && entry.0 != Code::SIGNAL;
        match decoded::<Notification>(&entry.1).id {
            Some(NotificationId::Completion(of)) if is_answer => wanted.remove(&of) || sleeps.remove(&of).is_some(),
            _ => false,
        }
    };
    let mut entries = head.to_vec();
    for entry in head {
        answer(entry);
    }
    entries.extend(tail.iter().filter(|entry| answer(entry)).cloned());
    wanted.is_empty().then_some((entries, sleeps))
}

/// The completions by which a command is answered, other than by time.
fn answered_by((code, payload): &Note) -> Vec<u32> {
    match *code {
        Code::GET_LAZY_STATE => vec![decoded::<StateKeyCommand>(payload).result_completion_id],
        Code::GET_LAZY_STATE_KEYS | Code::RUN => vec![decoded::<PlainCommand>(payload).result_completion_id],
        Code::GET_PROMISE | Code::PEEK_PROMISE => vec![decoded::<PromiseCommand>(payload).result_completion_id],
        Code::COMPLETE_PROMISE => vec![decoded::<CompletePromise>(payload).result_completion_id],
        Code::ATTACH_INVOCATION | Code::GET_INVOCATION_OUTPUT => {
            vec![decoded::<InvocationTarget>(payload).result_completion_id]
        }
        Code::CALL => {
            let call = decoded::<Call>(payload);
            vec![call.invocation_id_notification_idx, call.result_completion_id]
        }
        Code::ONE_WAY_CALL => vec![decoded::<OneWayCall>(payload).invocation_id_notification_idx],
        _ => Vec::new(),
    }
}

fn decoded<M: Message + Default>(payload: &Bytes) -> M {
    M::decode(payload.clone()).unwrap_or_default()
}
