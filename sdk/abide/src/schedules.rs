//! Schedules in the hands of a program.

use abide_node::engine::{Engine, EngineError};
use abide_node::schedule::{Schedule, ScheduleChange, ScheduleDetails};
use abide_sdk::prelude::InvocationId;

/// The schedules of a node: looks at them and changes them. See [`Running::schedules`](crate::Running::schedules).
///
/// When a node stops, what was asked and not answered ends with [`EngineError::Refused`]; it may or may not have been done.
#[derive(Clone)]
pub struct Schedules(Engine);

impl Schedules {
    pub(crate) fn new(engine: Engine) -> Self {
        Self(engine)
    }

    /// At most `limit` schedules, from 1 to 1000, after the one named `after`. Their order is the platform's own, and does
    /// not change. There may be more when `limit` are returned.
    ///
    /// # Errors
    /// [`EngineError::Refused`].
    pub async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<ScheduleDetails>, EngineError> {
        self.0.schedules_list(after, limit).await
    }

    /// Everything known about a schedule.
    ///
    /// # Errors
    /// [`EngineError::UnknownSchedule`].
    pub async fn describe(&self, name: &str) -> Result<ScheduleDetails, EngineError> {
        self.0.schedules_describe(name).await
    }

    /// Creates a schedule. One of the same name is replaced; it keeps its counters, and stays paused if it is.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] points at what is wrong; [`EngineError::UnknownService`] and
    /// [`EngineError::UnknownHandler`] when there is nothing to invoke.
    pub async fn put(&self, schedule: Schedule) -> Result<(), EngineError> {
        self.0.schedules_put(schedule, false).await
    }

    /// Creates a schedule, unless there is one of this name.
    ///
    /// # Errors
    /// [`EngineError::ScheduleExists`], and as [`Schedules::put`].
    pub async fn create(&self, schedule: Schedule) -> Result<(), EngineError> {
        self.0.schedules_put(schedule, true).await
    }

    /// Skips everything that becomes due until the schedule is resumed.
    ///
    /// # Errors
    /// [`EngineError::UnknownSchedule`].
    pub async fn pause(&self, name: &str) -> Result<(), EngineError> {
        self.0.schedules_pause(name).await
    }

    /// Goes on with the first time to come.
    ///
    /// # Errors
    /// [`EngineError::UnknownSchedule`]; [`EngineError::Invalid`] when its rule cannot be read.
    pub async fn resume(&self, name: &str) -> Result<(), EngineError> {
        self.0.schedules_resume(name).await
    }

    /// Runs a schedule now, beside its times, also while it is paused. Returns the id of the run.
    ///
    /// # Errors
    /// [`EngineError::UnknownSchedule`], or why its handler cannot be invoked.
    pub async fn trigger(&self, name: &str) -> Result<InvocationId, EngineError> {
        self.0.schedules_trigger(name).await
    }

    /// Changes a schedule; it keeps its counters, and stays paused if it is.
    ///
    /// # Errors
    /// As [`Schedules::put`], and [`EngineError::UnknownSchedule`].
    pub async fn reschedule(&self, name: &str, change: ScheduleChange) -> Result<(), EngineError> {
        self.0.schedules_reschedule(name, change).await
    }

    /// Forgets a schedule. Runs under way go on.
    ///
    /// # Errors
    /// [`EngineError::UnknownSchedule`].
    pub async fn delete(&self, name: &str) -> Result<(), EngineError> {
        self.0.schedules_delete(name).await
    }
}
