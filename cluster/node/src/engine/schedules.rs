//! Schedules: create, look at, pause, run, change, delete.

use std::ops::ControlFlow;
use std::time::Duration;

use abide_host::Refusal;
use abide_model::command::{Body, ScheduleAction, ScheduleDefinition, ScheduleNext, ScheduleOrder};
use abide_model::effect::Answer;
use abide_model::id::{InvocationId, PartitionId, ScheduleId};
use abide_model::table::{Schedules, Table as _};
use abide_model::view::{RawView, ReadError, View as _};
use abide_schedule::Spec;
use bytes::Bytes;

use super::{Engine, EngineError};
use crate::schedule::{Runner, Schedule, ScheduleChange, ScheduleDetails, check_name};

/// Most schedules that one page lists.
pub const SCHEDULES_PER_PAGE_MAX: usize = 100;

/// What became of a schedule that the program declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declared {
    /// There was none of this name.
    Created,
    /// There was another one; it is replaced, and paused if it was.
    Replaced,
    /// It was there already.
    Unchanged,
}

/// How long a triggered run may take to its partition before nobody waits for that any more.
const DELIVERY_TIME: Duration = Duration::from_secs(1);

impl Engine {
    /// Creates a schedule, or replaces the one of this name, which keeps its counters and stays paused if it is. With
    /// `create_only` nothing is replaced.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] points at what is wrong; [`EngineError::ScheduleExists`] with `create_only`;
    /// [`EngineError::UnknownService`] and [`EngineError::UnknownHandler`] when there is nothing to invoke.
    pub async fn schedules_put(&self, schedule: Schedule, create_only: bool) -> Result<(), EngineError> {
        let now = self.clock();
        let (spec, definition) = schedule.definition(now)?;
        self.runner().run(&definition, now, now)?;
        let Some(first_due) = spec.next_after(now) else {
            return Err(EngineError::Invalid {
                reason: format!("schedule `{}` is never due: `{spec}` is in the past", schedule.name),
            });
        };
        let definition = ScheduleDefinition { first_due: first_due.0, create_only, ..definition };
        match self.order_schedule(&schedule.name, ScheduleAction::Put(definition)).await {
            Err(EngineError::Refused(Refusal::Invalid(failure))) if create_only && failure.code == 409 => {
                Err(EngineError::ScheduleExists { name: schedule.name })
            }
            answer => answer,
        }
    }

    /// Makes sure that the schedule is there as described; for programs that declare their schedules when they start. One
    /// that is there already is not touched, so that nothing it missed is forgotten.
    ///
    /// # Errors
    /// As [`Engine::schedules_put`].
    pub async fn schedules_declare(&self, schedule: Schedule) -> Result<Declared, EngineError> {
        let known = match self.schedules_describe(&schedule.name).await {
            Ok(known) => Some(known.definition()),
            Err(EngineError::UnknownSchedule { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(known) = known else {
            self.schedules_put(schedule, false).await?;
            return Ok(Declared::Created);
        };
        if schedule.describes(&known, self.clock())? {
            return Ok(Declared::Unchanged);
        }
        self.schedules_put(schedule, false).await?;
        Ok(Declared::Replaced)
    }

    /// At most `limit` schedules after the one named `after`, in an order of the platform's own that does not change.
    /// There may be more when `limit` are returned; at most [`SCHEDULES_PER_PAGE_MAX`] are.
    ///
    /// # Errors
    /// [`EngineError::Refused`].
    pub async fn schedules_list(&self, after: Option<&str>, limit: usize) -> Result<Vec<ScheduleDetails>, EngineError> {
        let after = after.map(ScheduleId::of);
        let limit = limit.clamp(1, SCHEDULES_PER_PAGE_MAX);
        let first = after.map_or(0, |after| PartitionId::of(after.partition_key(), self.0.partitions).0);
        let mut found = Vec::new();
        for partition in (first..self.0.partitions).map(PartitionId) {
            let (start, left) = (after.filter(|_| partition.0 == first), limit - found.len());
            found.extend(self.look(partition, move |view| scan(view, start, left)).await?);
            if found.len() == limit {
                break;
            }
        }
        Ok(found)
    }

    /// Everything known about a schedule.
    ///
    /// # Errors
    /// [`EngineError::UnknownSchedule`].
    pub async fn schedules_describe(&self, name: &str) -> Result<ScheduleDetails, EngineError> {
        check_name(name)?;
        let id = ScheduleId::of(name);
        let partition = PartitionId::of(id.partition_key(), self.0.partitions);
        let found = self.look(partition, move |view| view.get::<Schedules>(&id)).await?;
        let row = found.ok_or_else(|| EngineError::UnknownSchedule { name: name.to_owned() })?;
        Ok(ScheduleDetails { id, row })
    }

    /// Skips everything that becomes due until the schedule is resumed.
    ///
    /// # Errors
    /// [`EngineError::UnknownSchedule`].
    pub async fn schedules_pause(&self, name: &str) -> Result<(), EngineError> {
        self.order_schedule(name, ScheduleAction::Pause(true)).await
    }

    /// Goes on with the first time to come.
    ///
    /// # Errors
    /// [`EngineError::UnknownSchedule`]; [`EngineError::Invalid`] when its rule cannot be read.
    pub async fn schedules_resume(&self, name: &str) -> Result<(), EngineError> {
        let known = self.schedules_describe(name).await?.definition();
        let spec: Spec = known.spec.parse().map_err(|error: abide_schedule::SpecError| EngineError::Invalid {
            reason: format!("{error}; give schedule `{name}` another time"),
        })?;
        let due = spec.next_after(self.clock()).map_or(0, |next| next.0);
        self.order_schedule(name, ScheduleAction::Resume(ScheduleNext { due })).await
    }

    /// Runs a schedule now, beside its times, also while it is paused. Returns the id of the run.
    ///
    /// # Errors
    /// [`EngineError::UnknownSchedule`], or why its handler cannot be invoked.
    pub async fn schedules_trigger(&self, name: &str) -> Result<InvocationId, EngineError> {
        let known = self.schedules_describe(name).await?.definition();
        let now = self.clock();
        let (id, invoke) = self.runner().run(&known, now, now)?;
        self.order_schedule(name, ScheduleAction::Trigger(invoke)).await?;
        self.until_known(id).await?;
        Ok(id)
    }

    /// Waits until the partition of `id` has taken it: it travels there from the schedule's, and whoever triggered it may
    /// ask for it next. Gives up after [`DELIVERY_TIME`]; then it is still on its way, or over and not kept.
    async fn until_known(&self, id: InvocationId) -> Result<(), EngineError> {
        let deadline = tokio::time::Instant::now() + DELIVERY_TIME;
        while self.describe(id).await?.is_none() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(DELIVERY_TIME / 200).await;
        }
        Ok(())
    }

    /// Changes a schedule; it keeps its counters and stays paused if it is.
    ///
    /// # Errors
    /// As [`Engine::schedules_put`], and [`EngineError::UnknownSchedule`].
    pub async fn schedules_reschedule(&self, name: &str, change: ScheduleChange) -> Result<(), EngineError> {
        let mut schedule = Schedule::of(self.schedules_describe(name).await?.definition());
        change.apply(&mut schedule);
        self.schedules_put(schedule, false).await
    }

    /// Forgets a schedule. Runs under way go on.
    ///
    /// # Errors
    /// [`EngineError::UnknownSchedule`].
    pub async fn schedules_delete(&self, name: &str) -> Result<(), EngineError> {
        self.order_schedule(name, ScheduleAction::Delete(true)).await
    }

    fn runner(&self) -> Runner {
        Runner::new(self.0.registry.clone(), self.0.retention)
    }

    async fn order_schedule(&self, name: &str, action: ScheduleAction) -> Result<(), EngineError> {
        check_name(name)?;
        let id = ScheduleId::of(name);
        let order = ScheduleOrder { id: Bytes::copy_from_slice(&id.to_bytes()), action: Some(action) };
        let partition = PartitionId::of(id.partition_key(), self.0.partitions);
        match self.order_in(partition, Body::Schedule(order)).await? {
            Answer::NotFound => Err(EngineError::UnknownSchedule { name: name.to_owned() }),
            Answer::Refused(failure) => Err(Refusal::Invalid(failure).into()),
            Answer::Done | Answer::Appended | Answer::AlreadyCompleted | Answer::Created(_) | Answer::Node(_) => Ok(()),
        }
    }
}

/// The next `limit` schedules of a partition behind `after`.
fn scan(view: &dyn RawView, after: Option<ScheduleId>, limit: usize) -> Result<Vec<ScheduleDetails>, ReadError> {
    let (mut from, to) = Schedules::whole();
    if let Some(after) = &after {
        from = Schedules::encode_key(after);
    }
    let mut found = Vec::new();
    view.scan_bytes::<Schedules>(&from, &to, &mut |id, row| {
        if Some(id) != after && found.len() < limit {
            found.push(ScheduleDetails { id, row });
        }
        if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(found)
}
