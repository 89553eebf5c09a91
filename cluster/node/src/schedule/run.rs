//! The invocations that schedules make.

use abide_model::command::{
    Access, Body, Command, Invoke, Priority, ScheduleAction, ScheduleDefinition, ScheduleFire, ScheduleOrder, Target,
};
use abide_model::id::{InvocationId, Millis, PartitionKey, ScheduleId};
use abide_model::limits;
use abide_model::protocol::Header;
use abide_model::table::ScheduleRow;
use abide_schedule::{Plan, Spec, plan};
use abide_sdk::service::Kind;
use abide_sdk::{Registry, UnknownTarget};
use bytes::Bytes;

use crate::date::rfc3339;
use crate::engine::{EngineError, Retention};
use crate::random;

/// Headers of a run that the platform sets: the name of its schedule, and the time for which it runs.
pub(super) const PLATFORM_HEADERS: [&str; 2] = ["x-abide-schedule", "x-abide-scheduled-at"];

/// Makes the invocations of schedules.
pub(crate) struct Runner {
    registry: Registry,
    /// How long results are kept where the handler does not say.
    retention: Retention,
}

impl Runner {
    pub(crate) fn new(registry: Registry, retention: Retention) -> Self {
        Self { registry, retention }
    }

    /// The run of a schedule for the time `at`.
    ///
    /// # Errors
    /// [`EngineError`] when there is no such handler, or it cannot be invoked in this way.
    pub(crate) fn run(
        &self,
        definition: &ScheduleDefinition,
        at: Millis,
        now: Millis,
    ) -> Result<(InvocationId, Invoke), EngineError> {
        let ScheduleDefinition { name, service, handler, key, input, .. } = definition;
        let invalid = |reason: String| Err(EngineError::Invalid { reason });
        let (executable, index) = self.registry.handler(service, handler).map_err(|error| match error {
            UnknownTarget::Service { name } => EngineError::UnknownService { service: name },
            UnknownTarget::Handler { service, name } => EngineError::UnknownHandler { service, handler: name },
        })?;
        let descriptor = executable.descriptor();
        match (descriptor.kind, key) {
            (Kind::Service, Some(_)) => return invalid(format!("`{service}` is a service: it takes no key")),
            (Kind::Object | Kind::Workflow, None) => return invalid(format!("`{service}` has keys: name one")),
            (Kind::Service, None) | (Kind::Object | Kind::Workflow, Some(_)) => {}
        }
        let found = &descriptor.handlers[index];
        if found.access == Access::Workflow {
            return invalid(format!(
                "`{service}/{handler}` runs once per key: schedule a handler that starts workflows with keys of their own"
            ));
        }
        let options = descriptor.options_of(index);
        let wished = Priority::of_headers(&definition.headers);
        let wished = wished.map_err(|error| EngineError::Invalid { reason: error.to_string() })?;
        let priority = wished.or(options.priority).unwrap_or_default();
        let place = key.as_ref().map_or_else(|| PartitionKey(random::u64()), |key| PartitionKey::of(key));
        let id = InvocationId::fresh(place, now, random::u128());
        let mut headers = definition.headers.clone();
        for (key, value) in PLATFORM_HEADERS.into_iter().zip([name.clone(), rfc3339(at)]) {
            headers.push(Header { key: key.into(), value });
        }
        let target = Target {
            service: service.clone(),
            handler: handler.clone(),
            key: key.clone(),
            access: found.access as i32,
            form: found.form as i32,
            workflow: descriptor.kind == Kind::Workflow,
            priority: priority as i32,
        };
        let invoke = Invoke {
            id: Bytes::copy_from_slice(&id.to_bytes()),
            target: Some(target),
            input: input.clone(),
            headers,
            retention_ms: options.retention.map_or(self.retention.completed_ms, Millis::of),
            journal_retention_ms: options.journal_retention.map_or(self.retention.journal_ms, Millis::of),
            state_ttl_ms: options.state_ttl.map_or(0, Millis::of),
            schedule: name.clone(),
            ..Invoke::default()
        };
        Ok((id, invoke))
    }

    /// The answer to a schedule that is due. What cannot be run is skipped, with the reason; a rule that cannot be read
    /// is never due again.
    pub(crate) fn fire(&self, row: &ScheduleRow, now: Millis) -> ScheduleFire {
        let definition = row.definition.clone().unwrap_or_default();
        let due = Millis(row.due);
        let fire = match definition.spec.parse::<Spec>() {
            Ok(spec) => self.carry_out(&definition, due, now, plan(&spec, due, now, definition.catch_up())),
            Err(error) => {
                let fault = format!("it cannot be told when the schedule is due: {error}; give it another time");
                ScheduleFire { due: due.0, skipped: 1, fault, ..ScheduleFire::default() }
            }
        };
        if !fire.fault.is_empty() {
            tracing::warn!(schedule = definition.name, fault = fire.fault, "a schedule is due and cannot be run");
        }
        fire
    }

    fn carry_out(&self, definition: &ScheduleDefinition, due: Millis, now: Millis, plan: Plan) -> ScheduleFire {
        let next = plan.next.map_or(0, |next| next.0);
        let runs: Result<Vec<Invoke>, EngineError> =
            plan.runs.iter().map(|at| self.run(definition, *at, now).map(|(_, invoke)| invoke)).collect();
        match runs {
            Ok(runs) => ScheduleFire { due: due.0, runs, next, skipped: plan.skipped, fault: String::new() },
            Err(error) => {
                let skipped = plan.skipped.saturating_add(plan.runs.len() as u64);
                ScheduleFire { due: due.0, runs: Vec::new(), next, skipped, fault: error.to_string() }
            }
        }
    }
}

/// An order about a schedule.
pub(crate) fn order(id: ScheduleId, action: ScheduleAction) -> Command {
    let id = Bytes::copy_from_slice(&id.to_bytes());
    Command::new(Body::Schedule(ScheduleOrder { id, action: Some(action) }))
}

/// All runs of one firing travel in one raft message, with room to spare.
const _: () = assert!(
    limits::SCHEDULE_CATCH_UP_MAX
        * (limits::SCHEDULE_INPUT_BYTES_MAX
            + limits::HEADER_BYTES_MAX
            + limits::KEY_BYTES_MAX
            + 4 * limits::NAME_BYTES_MAX)
        < 16 << 20
);
