//! Sleeps in a journal: which have not ended, and what ends one.

use std::collections::BTreeSet;

use abide_model::codec::CodecError;
use abide_model::id::Millis;
use abide_model::protocol::{Code, Notification, NotificationId, NotificationResult, RawMessage, Sleep, Void};

/// The open sleeps of the entries that were read so far.
#[derive(Default)]
pub(crate) struct OpenSleeps(BTreeSet<(u32, u64)>);

impl OpenSleeps {
    /// Reads the next entry. Entries that are not about sleeps change nothing.
    pub(crate) fn read(&mut self, message: &RawMessage) -> Result<(), CodecError> {
        if message.code == Code::SLEEP {
            let sleep: Sleep = message.decode()?;
            self.0.insert((sleep.result_completion_id, sleep.wake_up_time));
        } else if message.code == Code::SLEEP_DONE {
            let done: Notification = message.decode()?;
            self.end(&done);
        }
        Ok(())
    }

    /// Ends the sleep that `done` speaks of; false when none of them is open.
    pub(crate) fn end(&mut self, done: &Notification) -> bool {
        let Some(NotificationId::Completion(completion)) = done.id else { return false };
        // Of sleeps with one completion, the one that was due first has ended.
        let ended = self.0.range((completion, 0)..=(completion, u64::MAX)).next().copied();
        ended.is_some_and(|ended| self.0.remove(&ended))
    }

    /// The completions of the open ones, and when they are due.
    pub(crate) fn into_due(self) -> impl Iterator<Item = (u32, Millis)> {
        self.0.into_iter().map(|(completion, due)| (completion, Millis(due)))
    }
}

/// The notification that ends a sleep.
pub(crate) fn slept(completion: u32) -> Notification {
    Notification { id: Some(NotificationId::Completion(completion)), result: Some(NotificationResult::Void(Void {})) }
}
