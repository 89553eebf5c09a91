//! State of an object as a flow sees it: what it first read, and what it changed since.

use std::collections::BTreeSet;

use abide_model::protocol::{
    Code, EagerStateResult, GetEagerState, GetEagerStateKeys, RawMessage, SetState, StateKeyCommand, StateKeys, Value,
    Void,
};
use bytes::Bytes;

use super::Engine;
use crate::attempt::compare;
use crate::service::Fields;

impl Engine {
    /// The state that the flow saw when it first began.
    pub(in crate::attempt) fn initial_state(&self) -> &Fields {
        &self.initial
    }

    pub(in crate::attempt) fn is_exclusive(&self) -> bool {
        self.key.is_some() && !self.shared
    }

    /// What the state looks like before the handler runs: only differences from it are changes.
    pub(in crate::attempt) fn saw_state(&mut self, fields: Fields) {
        self.outdated = self.initial.iter().any(|(field, stored)| fields.get(field) != Some(stored));
        self.seen = fields;
    }

    pub(super) fn restore_state(&mut self) -> Result<(), String> {
        let introduction = self.replay.front().is_some_and(|(_, first)| first.code == Code::GET_EAGER_STATE_KEYS);
        if self.shared && introduction {
            self.initial.clear();
            self.introduced = true;
            self.replay.pop_front();
        }
        for (_, message) in &self.replay {
            if message.code != Code::GET_EAGER_STATE {
                continue;
            }
            let read: GetEagerState = message.decode().map_err(|error| error.to_string())?;
            let field = String::from_utf8_lossy(&read.key).into_owned();
            match read.result {
                Some(EagerStateResult::Value(value)) => self.initial.insert(field, value.content),
                Some(EagerStateResult::Void(_)) | None => self.initial.remove(&field),
            };
        }
        if self.introduced {
            self.replay.retain(|(_, message)| message.code != Code::GET_EAGER_STATE);
        }
        Ok(())
    }

    /// Stages the changes from the state last seen to `fields`, before everything that is staged.
    pub(crate) fn stage_state(&mut self, fields: Fields) {
        let changes = match self.renewal(&fields) {
            Some(renewal) => {
                self.outdated = false;
                renewal
            }
            None => self.changes(&self.seen, &fields),
        };
        self.recorded.extend(changes.touched);
        self.seen = fields;
        self.staged.splice(0..0, changes.messages);
    }

    /// The changes that also bring state up to date that was stored by code with other fields: as a whole and together
    /// with the first change, as a turn does it. Otherwise a renamed field would be stored under both names. `None` when
    /// there is nothing of it to be done, or the journal shows that it was not done here: that was code with other fields.
    fn renewal(&self, fields: &Fields) -> Option<Changes> {
        if !self.outdated || *fields == self.seen {
            return None;
        }
        let mut stored = self.initial.clone();
        for field in &self.recorded {
            match self.seen.get(field) {
                Some(value) => stored.insert(field.clone(), value.clone()),
                None => stored.remove(field),
            };
        }
        let changes = self.changes(&stored, fields);
        let mut issued = changes.messages.iter();
        let mut told = self.replay.iter().zip(&mut issued);
        let as_recorded =
            told.all(|((index, recorded), issued)| compare::difference(*index, recorded, issued).is_none());
        (self.replay.is_empty() || as_recorded && issued.next().is_none()).then_some(changes)
    }

    /// What leads from `before` to `after`.
    fn changes(&self, before: &Fields, after: &Fields) -> Changes {
        let gone = before.keys().filter(|field| !after.contains_key(*field));
        let set = after.iter().filter(|(field, value)| before.get(*field) != Some(value)).map(|(field, _)| field);
        let touched: BTreeSet<String> = gone.chain(set).cloned().collect();
        let mut messages = Vec::new();
        for field in &touched {
            let key = Bytes::from(field.clone().into_bytes());
            if !self.recorded.contains(field) {
                messages.push(eager_state(&key, &self.initial));
            }
            messages.push(match after.get(field).cloned() {
                Some(content) => RawMessage::new(
                    Code::SET_STATE,
                    &SetState { key, value: Some(Value { content }), name: String::new() },
                ),
                None => RawMessage::new(Code::CLEAR_STATE, &StateKeyCommand { key, ..StateKeyCommand::default() }),
            });
        }
        Changes { touched, messages }
    }

    /// A shared flow that journals anything first journals all it may read.
    pub(super) fn introduce(&mut self) {
        if self.introduced || !self.shared || self.key.is_none() {
            return;
        }
        self.introduced = true;
        let keys = self.initial.keys().map(|field| Bytes::from(field.clone().into_bytes())).collect::<Vec<_>>();
        let values: Vec<_> = keys.iter().map(|key| eager_state(key, &self.initial)).collect();
        let listing = GetEagerStateKeys { name: String::new(), value: Some(StateKeys { keys }) };
        self.out.push(RawMessage::new(Code::GET_EAGER_STATE_KEYS, &listing));
        self.out.extend(values);
    }
}

/// Changes of state, as they are journaled.
struct Changes {
    /// Names of the changed fields.
    touched: BTreeSet<String>,
    messages: Vec<RawMessage>,
}

fn eager_state(key: &Bytes, fields: &Fields) -> RawMessage {
    let stored = std::str::from_utf8(key).ok().and_then(|field| fields.get(field));
    let result = match stored {
        Some(content) => EagerStateResult::Value(Value { content: content.clone() }),
        None => EagerStateResult::Void(Void {}),
    };
    let read = GetEagerState { key: key.clone(), name: String::new(), result: Some(result) };
    RawMessage::new(Code::GET_EAGER_STATE, &read)
}
