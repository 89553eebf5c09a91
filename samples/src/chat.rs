//! A chat: many small objects. A room knows its members and its last messages; every member has an inbox of its own.

use std::collections::BTreeSet;

use abide::prelude::*;

/// Most members of a room.
const MEMBERS_MAX: usize = 500;
/// Most messages that a room and an inbox remember.
const MESSAGES_MAX: usize = 100;

/// A room, by its name.
#[object]
pub struct Room {
    members: BTreeSet<String>,
    said: Vec<Message>,
    count: u64,
}

/// Something that was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// In which room.
    pub room: String,
    /// Its number there, from 1.
    pub number: u64,
    /// By whom.
    pub from: String,
    /// What.
    pub text: String,
}

/// What somebody wants to say.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Say {
    /// Who.
    pub from: String,
    /// What.
    pub text: String,
}

/// Why a room says no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum RoomError {
    /// The room is full.
    #[error("the room has {MEMBERS_MAX} members, which is the most there can be")]
    Full,
    /// Only members may speak.
    #[error("{0} is not in the room")]
    NotAMember(String),
}

impl HandlerError for RoomError {
    fn code(&self) -> u16 {
        match self {
            Self::Full => 409,
            Self::NotAMember(_) => 403,
        }
    }
}

#[handlers]
impl Room {
    /// Lets somebody in; answers how many there are.
    fn join(&mut self, _cx: &mut Turn, name: String) -> Result<usize, RoomError> {
        if self.members.len() >= MEMBERS_MAX && !self.members.contains(&name) {
            return Err(RoomError::Full);
        }
        self.members.insert(name);
        Ok(self.members.len())
    }

    /// Lets somebody go; answers how many are left.
    fn leave(&mut self, _cx: &mut Turn, name: String) -> usize {
        self.members.remove(&name);
        self.members.len()
    }

    /// Says something: it is remembered here, and a message goes to every other member. All of that is one commit, so
    /// everybody hears the same, in the same order.
    #[handler(key_rate = "50/s")]
    fn say(&mut self, cx: &mut Turn, say: Say) -> Result<u64, RoomError> {
        if !self.members.contains(&say.from) {
            return Err(RoomError::NotAMember(say.from));
        }
        self.count += 1;
        let message = Message { room: cx.key().to_owned(), number: self.count, from: say.from.clone(), text: say.text };
        for member in self.members.iter().filter(|member| **member != say.from) {
            cx.object::<Inbox>(member).hear(message.clone()).send();
        }
        self.said.push(message);
        let surplus = self.said.len().saturating_sub(MESSAGES_MAX);
        self.said.drain(..surplus);
        Ok(self.count)
    }

    /// The last messages, oldest first.
    fn said(&self, _cx: &Read) -> Vec<Message> {
        self.said.clone()
    }

    /// Who is in the room.
    fn members(&self, _cx: &Read) -> BTreeSet<String> {
        self.members.clone()
    }
}

/// What one person has heard and not read. It is forgotten when nothing came for a month.
#[object(state_ttl = "30d")]
pub struct Inbox {
    unread: Vec<Message>,
}

#[handlers]
impl Inbox {
    /// Takes a message; the oldest ones go when nobody reads them.
    #[handler(private)]
    fn hear(&mut self, _cx: &mut Turn, message: Message) {
        self.unread.push(message);
        let surplus = self.unread.len().saturating_sub(MESSAGES_MAX);
        self.unread.drain(..surplus);
    }

    /// Takes out everything that is unread.
    fn read(&mut self, _cx: &mut Turn) -> Vec<Message> {
        std::mem::take(&mut self.unread)
    }

    /// How many are unread.
    fn count(&self, _cx: &Read) -> usize {
        self.unread.len()
    }
}
