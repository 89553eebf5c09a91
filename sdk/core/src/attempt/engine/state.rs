//! State of an object as a flow sees it: what it first read, and what it changed since.

use std::collections::BTreeSet;

use abide_model::protocol::{
    Code, EagerStateResult, GetEagerState, GetEagerStateKeys, RawMessage, SetState, StateKeyCommand, StateKeys, Value,
    Void,
};
use bytes::Bytes;

use super::Engine;
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
        let differs = |(field, stored): &(&String, &Bytes)| fields.get(*field) != Some(*stored);
        self.outdated = self.initial.iter().filter(differs).map(|(field, _)| field.clone()).collect();
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
        self.renew(&fields);
        let mut changes = Vec::new();
        let gone = self.seen.keys().filter(|field| !fields.contains_key(*field));
        let set = fields.iter().filter(|(field, value)| self.seen.get(*field) != Some(value)).map(|(field, _)| field);
        let changed: BTreeSet<String> = gone.chain(set).cloned().collect();
        for field in changed {
            let key = Bytes::from(field.clone().into_bytes());
            let value = fields.get(&field).cloned();
            if self.recorded.insert(field) {
                changes.push(eager_state(&key, &self.initial));
            }
            changes.push(match value {
                Some(content) => RawMessage::new(
                    Code::SET_STATE,
                    &SetState { key, value: Some(Value { content }), name: String::new() },
                ),
                None => RawMessage::new(Code::CLEAR_STATE, &StateKeyCommand { key, ..StateKeyCommand::default() }),
            });
        }
        self.seen = fields;
        self.staged.splice(0..0, changes);
    }

    /// State that was stored by code with other fields is brought up to date as a whole together with the first change, as
    /// a turn does it: otherwise a renamed field would be stored under both names. A journal that has nothing of it was
    /// begun by such code, and is followed.
    fn renew(&mut self, fields: &Fields) {
        if self.outdated.is_empty() || *fields == self.seen {
            return;
        }
        let touches = |(_, message): &(u32, RawMessage), field: &str| {
            let read = (message.code == Code::GET_EAGER_STATE).then(|| message.decode::<GetEagerState>());
            read.and_then(Result::ok).is_some_and(|read| read.key == field.as_bytes())
        };
        let renewed = |field: &String| self.replay.iter().any(|recorded| touches(recorded, field));
        if !self.replay.is_empty() && !self.outdated.iter().all(renewed) {
            return;
        }
        self.outdated.clear();
        let mut stored = self.initial.clone();
        for field in &self.recorded {
            match self.seen.remove(field) {
                Some(value) => stored.insert(field.clone(), value),
                None => stored.remove(field),
            };
        }
        self.seen = stored;
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

fn eager_state(key: &Bytes, fields: &Fields) -> RawMessage {
    let stored = std::str::from_utf8(key).ok().and_then(|field| fields.get(field));
    let result = match stored {
        Some(content) => EagerStateResult::Value(Value { content: content.clone() }),
        None => EagerStateResult::Void(Void {}),
    };
    let read = GetEagerState { key: key.clone(), name: String::new(), result: Some(result) };
    RawMessage::new(Code::GET_EAGER_STATE, &read)
}
