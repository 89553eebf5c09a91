//! What the tests of the rules share: a partition in memory, checked after every command, and short words for commands.

mod check;
mod words;

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use abide_model::command::{Body, Command, FlowMessage, Next, Target};
use abide_model::effect::Effect;
use abide_model::id::{InvocationId, Millis, PartitionId};
use abide_model::protocol::{Code, Notification, RawMessage};
use abide_model::table::{
    AppliedRow, CompletionRow, Completions, InvocationRow, Invocations, Journals, ObjectRow, Objects, States, Status,
    Table, TimerKey, Timers,
};
use abide_model::view::{RawView, ReadError, View, WriteOp};
use bytes::Bytes;

use crate::Machine;
pub(crate) use words::*;

/// The tables as an ordered map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows(pub(crate) BTreeMap<Box<[u8]>, Bytes>);

impl RawView for Rows {
    fn get_raw(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan_raw(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        for (key, value) in self.0.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to))) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Rows {
    /// All rows of a table.
    pub(crate) fn all<T: Table>(&self) -> Vec<(T::Key, T::Value)> {
        let (from, to) = T::whole();
        let mut rows = Vec::new();
        self.scan_bytes::<T>(&from, &to, &mut |key, value| {
            rows.push((key, value));
            ControlFlow::Continue(())
        })
        .unwrap();
        rows
    }

    pub(crate) fn row<T: Table>(&self, key: &T::Key) -> Option<T::Value> {
        self.get::<T>(key).unwrap()
    }

    /// Carries out writes as a store does, and holds them to what they promise.
    fn write(&mut self, writes: Vec<abide_model::view::Write>) {
        let mut last: Option<Box<[u8]>> = None;
        for write in writes {
            assert!(last.as_ref().is_none_or(|last| *last < write.key), "two writes of one key, or out of order");
            match write.op {
                WriteOp::Put(value) => {
                    self.0.insert(write.key.clone(), value);
                }
                WriteOp::Insert(value) => {
                    let before = self.0.insert(write.key.clone(), value);
                    assert_eq!(before, None, "an Insert of a key that exists: {:02x?}", write.key);
                }
                WriteOp::Delete => {
                    self.0.remove(&write.key);
                }
            }
            last = Some(write.key);
        }
    }
}

/// One partition: its machine and its tables.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) rows: Rows,
    /// When the timers that fired were due, and when they fired.
    pub(crate) fired: Vec<(u64, u64)>,
    /// What the invocations that ended were.
    pub(crate) ended: Vec<Target>,
}

impl World {
    /// The only partition, led since term 1, at time 1,000.
    pub(crate) fn new() -> Self {
        Self::of(0, 1)
    }

    /// One of several partitions, led since term 1, at time 1,000.
    pub(crate) fn of(partition: u32, partitions: u32) -> Self {
        let applied = AppliedRow { log_time: 1000, leader_term: 1, ..AppliedRow::default() };
        Self {
            machine: Machine::new(PartitionId(partition), partitions, &applied),
            rows: Rows::default(),
            fired: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// Moves log time.
    pub(crate) fn at(&mut self, ms: u64) -> &mut Self {
        self.machine.advance_time(Millis(ms));
        self
    }

    pub(crate) fn apply(&mut self, body: Body) -> Vec<Effect> {
        self.ask(0, body)
    }

    /// Applies a command that somebody waits for. What only metrics look at is set aside.
    pub(crate) fn ask(&mut self, request: u64, body: Body) -> Vec<Effect> {
        let body = self.with_life(body);
        let transition = self.machine.apply(&self.rows, Command { request, body: Some(body) }).unwrap();
        self.rows.write(transition.writes);
        check::structure(&self.rows);
        let mut effects = transition.effects;
        effects.retain_mut(|effect| match effect {
            Effect::TimerFired { due, at } => {
                self.fired.push((due.0, at.0));
                false
            }
            Effect::Completed { target, .. } => {
                self.ended.push(std::mem::take(target));
                true
            }
            _ => true,
        });
        effects
    }

    /// Fills in the life of the invocation where a test leaves it out, as hosts repeat the one they were told.
    fn with_life(&self, mut body: Body) -> Body {
        let (id, life) = match &mut body {
            Body::Append(append) => (&append.id, &mut append.life),
            Body::AttemptFailed(failed) => (&failed.id, &mut failed.life),
            Body::Turn(turn) => (&turn.id, &mut turn.life),
            _ => return body,
        };
        let row = InvocationId::from_bytes(id).and_then(|id| self.rows.row::<Invocations>(&id));
        if *life == 0 {
            *life = row.map_or(0, |row| row.life);
        }
        body
    }

    /// Applies a command that must change nothing and cause nothing.
    pub(crate) fn ignores(&mut self, body: Body) {
        let before = self.rows.clone();
        let effects = self.apply(body);
        assert_eq!(effects, []);
        assert_eq!(self.rows, before);
    }

    /// As [`World::ask`], but the command may have effects.
    pub(crate) fn changes_nothing(&mut self, request: u64, body: Body) -> Vec<Effect> {
        let before = self.rows.clone();
        let effects = self.ask(request, body);
        assert_eq!(self.rows, before);
        effects
    }

    pub(crate) fn row(&self, id: InvocationId) -> InvocationRow {
        self.rows.row::<Invocations>(&id).unwrap_or_else(|| panic!("{id} has no row"))
    }

    /// The word for where an invocation is.
    pub(crate) fn status(&self, id: InvocationId) -> &'static str {
        match (self.rows.row::<Invocations>(&id), self.rows.row::<Completions>(&id)) {
            (Some(row), None) => row.status.as_ref().map_or("none", Status::word),
            (None, Some(_)) => "completed",
            (None, None) => "unknown",
            (Some(_), Some(_)) => panic!("{id} is both under way and completed"),
        }
    }

    pub(crate) fn completion(&self, id: InvocationId) -> CompletionRow {
        self.rows.row::<Completions>(&id).unwrap_or_else(|| panic!("{id} has no kept result"))
    }

    pub(crate) fn codes(&self, id: InvocationId) -> Vec<Code> {
        self.journal(id).into_iter().map(|message| message.code).collect()
    }

    pub(crate) fn journal(&self, id: InvocationId) -> Vec<RawMessage> {
        (0..self.row(id).journal_len).map(|n| self.rows.row::<Journals>(&(id, n)).unwrap().message()).collect()
    }

    /// The last entry, a notification.
    pub(crate) fn last_notification(&self, id: InvocationId) -> Notification {
        self.journal(id).last().unwrap().decode().unwrap()
    }

    pub(crate) fn object(&self) -> ObjectRow {
        self.rows.row::<Objects>(&object("k")).unwrap_or_default()
    }

    pub(crate) fn field(&self, field: &str) -> Option<Bytes> {
        self.rows.row::<States>(&(object("k"), field.to_owned())).map(|row| row.value)
    }

    pub(crate) fn timers(&self) -> Vec<TimerKey> {
        self.rows.all::<Timers>().into_iter().map(|(key, _)| key).collect()
    }

    /// Starts a flow and returns its attempt, which is 1.
    pub(crate) fn start_flow(&mut self, n: u128, target: Target) -> InvocationId {
        self.apply(invoked(invoke(n, target)));
        assert_eq!(self.status(id(n)), "running");
        id(n)
    }

    /// Appends messages of the current attempt, which has seen the whole journal.
    pub(crate) fn append(&mut self, id: InvocationId, messages: Vec<FlowMessage>) -> Vec<Effect> {
        let row = self.row(id);
        let term = self.machine.leader_term();
        self.apply(appended(id, term, row.attempt, row.journal_len, messages))
    }

    /// Brings the queued or running turn `n` on `target("k")` to a status by way of a failure.
    pub(crate) fn fail(&mut self, id: InvocationId, next: Next) -> Vec<Effect> {
        let row = self.row(id);
        let term = self.machine.leader_term();
        self.apply(failed(id, term, row.attempt, next))
    }
}
