//! Reminders: messages to be delivered later, and a digest every morning.

use std::collections::BTreeMap;

use abide::prelude::*;

/// Most reminders that one person may have open.
const OPEN_MAX: usize = 100;
/// Most reminders that have rung and are kept.
const RUNG_MAX: usize = 100;

/// The reminders of one person.
#[object]
pub struct Reminders {
    next: u64,
    open: BTreeMap<u64, Reminder>,
    rung: Vec<Reminder>,
    digests: Vec<String>,
}

/// What to be reminded of, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reminder {
    /// What.
    pub text: String,
    /// In how many seconds from when it was asked for.
    pub in_seconds: u64,
}

/// Why a reminder cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ReminderError {
    /// There are too many.
    #[error("there are {OPEN_MAX} open reminders already")]
    TooMany,
    /// It has rung, was dropped, or never was.
    #[error("there is no open reminder {0}")]
    Unknown(u64),
}

impl HandlerError for ReminderError {
    fn code(&self) -> u16 {
        match self {
            Self::TooMany => 409,
            Self::Unknown(_) => 404,
        }
    }
}

#[handlers]
impl Reminders {
    /// Sets a reminder and answers its number. It rings by a delayed message to this very object, which commits together
    /// with it.
    fn remind(&mut self, cx: &mut Turn, reminder: Reminder) -> Result<u64, ReminderError> {
        if self.open.len() >= OPEN_MAX {
            return Err(ReminderError::TooMany);
        }
        self.next += 1;
        let number = self.next;
        let delay = Duration::from_secs(reminder.in_seconds);
        self.open.insert(number, reminder);
        cx.object::<Self>(cx.key()).ring(number).send_after(delay);
        Ok(number)
    }

    /// Drops an open reminder. Its message will find nothing.
    fn drop_reminder(&mut self, _cx: &mut Turn, number: u64) -> Result<(), ReminderError> {
        self.open.remove(&number).map(drop).ok_or(ReminderError::Unknown(number))
    }

    /// The time of a reminder has come.
    #[handler(private)]
    fn ring(&mut self, _cx: &mut Turn, number: u64) {
        if let Some(reminder) = self.open.remove(&number) {
            self.rung.push(reminder);
            let surplus = self.rung.len().saturating_sub(RUNG_MAX);
            self.rung.drain(..surplus);
        }
    }

    /// Sums up what is open. Called by a schedule, once a day.
    fn digest(&mut self, _cx: &mut Turn) -> String {
        let texts: Vec<_> = self.open.values().map(|reminder| reminder.text.as_str()).collect();
        let digest = if texts.is_empty() { "nothing to do".to_owned() } else { texts.join(", ") };
        self.digests.push(digest.clone());
        let surplus = self.digests.len().saturating_sub(RUNG_MAX);
        self.digests.drain(..surplus);
        digest
    }

    /// What is open, by number.
    fn open(&self, _cx: &Read) -> BTreeMap<u64, Reminder> {
        self.open.clone()
    }

    /// What has rung, in its order.
    fn rung(&self, _cx: &Read) -> Vec<Reminder> {
        self.rung.clone()
    }

    /// The digests, oldest first.
    fn digests(&self, _cx: &Read) -> Vec<String> {
        self.digests.clone()
    }
}
