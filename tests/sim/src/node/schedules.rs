//! The leader's answer when a schedule is due.

use abide_model::command::{Body, Command, Invoke, ScheduleAction, ScheduleOrder};
use abide_model::id::{InvocationId, Millis, PartitionKey, ScheduleId};
use abide_model::table::ScheduleRow;
use bytes::Bytes;

use super::{Node, World};
use crate::config::Canary;
use crate::names;
use crate::timetable;
use crate::world::Step;

impl World {
    /// Reckons what a schedule that is due runs, and proposes that after a while.
    pub(super) fn schedule_due(&mut self, node: &Node, p: u32, id: ScheduleId, row: &ScheduleRow) {
        let now = self.wall(node.number);
        let definition = row.definition.clone().unwrap_or_default();
        let (rng, retention_ms) = (&mut self.rng.host, self.config.flow_retention);
        let mut fire = timetable::fire(&definition, row.due, now, |_| {
            let place = definition.key.as_deref().map_or_else(|| PartitionKey(rng.next()), PartitionKey::of);
            let id = InvocationId::fresh(place, Millis(now), rng.u128());
            // Each run has another program.
            let mut input = definition.input.to_vec();
            if definition.service != names::NOTE {
                input.extend(rng.next().to_le_bytes());
            }
            Invoke {
                id: Bytes::copy_from_slice(&id.to_bytes()),
                target: Some(names::target(&definition.service, &definition.handler, definition.key.clone())),
                input: input.into(),
                headers: definition.headers.clone(),
                retention_ms,
                ..Invoke::default()
            }
        });
        if definition.service == names::NOWHERE {
            fire.skipped += fire.runs.len() as u64;
            fire.runs.clear();
            fire.fault = format!("there is no service `{}`", definition.service);
        }
        if self.config.canary == Some(Canary::FireTwice)
            && let Some(first) = fire.runs.first().cloned()
        {
            fire.runs.push(first);
        }
        self.counts.scheduled += fire.runs.len() as u64;
        let order =
            ScheduleOrder { id: Bytes::copy_from_slice(&id.to_bytes()), action: Some(ScheduleAction::Fire(fire)) };
        let delay = self.rng.net.range(0, self.config.delay_ms);
        self.soon(node, delay, Step::Propose(p, Box::new(Command::new(Body::Schedule(order)))));
    }
}
