//! What operators ask: orders in any state, edits, schedules, dead letters; and what they do when the faults have stopped.

use abide_model::command::{
    Body, CatchUp, Command, Control, FieldChange, Form, Invoke, LetterOrder, Overlap, ScheduleAction,
    ScheduleDefinition, ScheduleNext, ScheduleOrder, StateEdit, StateVersion, Target, Verb,
};
use abide_model::id::{InvocationId, Millis, ObjectId, PartitionKey, ScheduleId};
use bytes::Bytes;
use prost::Message as _;

use super::{Request, Wait};
use crate::ingress::Job;
use crate::model::{Part, Status};
use crate::names::{self, Callee};
use crate::program::{RESOLVE, promise_name};
use crate::rng::Rng;
use crate::violation::Check;
use crate::world::{Event, World};

/// Orders that an operator gives, more often those that do more.
const VERBS: [Verb; 14] = [
    Verb::Kill,
    Verb::Cancel,
    Verb::Cancel,
    Verb::Resume,
    Verb::Resume,
    Verb::Pause,
    Verb::Pause,
    Verb::Pause,
    Verb::Purge,
    Verb::PurgeJournal,
    Verb::Restart,
    Verb::Restart,
    Verb::Restart,
    Verb::Reschedule,
];

impl World {
    /// An order about one of the last invocations, in whatever state it is.
    pub(super) fn order(&mut self, client: u64, at: usize) -> Check {
        let verb = VERBS[pick(&mut self.rng.client, VERBS.len())];
        let Some(id) = self.recent(verb) else { return self.idle(client) };
        let now = self.wall(at);
        let journal = self.model.part(id).kept_journal(id) as u64;
        let rng = &mut self.rng.client;
        let mut control = Control::new(id, verb);
        match verb {
            Verb::Restart => {
                let new = InvocationId::fresh(id.partition_key, Millis(now), rng.u128());
                control.new_id = Bytes::copy_from_slice(&new.to_bytes());
                control.keep = u32::try_from(rng.range(0, journal + 1)).unwrap_or(0);
                self.targets.push(new);
            }
            Verb::Reschedule => control.execute_at = if rng.chance(3_000) { 0 } else { now + rng.range(0, 1_000) },
            _ => {}
        }
        if matches!(verb, Verb::Resume | Verb::Restart) && self.rng.client.chance(2_000) {
            control.version = Some(if self.rng.client.chance(5_000) { "v2".into() } else { String::new() });
        }
        self.ask(client, at, id, Body::Control(control));
        Ok(())
    }

    /// One of the last invocations, more often one that is in a state to which the order fits.
    fn recent(&mut self, verb: Verb) -> Option<InvocationId> {
        let last = &self.targets[self.targets.len().saturating_sub(12)..];
        let fitting: Vec<_> = last.iter().filter(|id| fits(self.model.part(**id), **id, verb)).copied().collect();
        let among = if fitting.is_empty() || self.rng.client.chance(4_000) { last.to_vec() } else { fitting };
        among.get(pick(&mut self.rng.client, among.len())).copied()
    }

    /// An edit of a state, which somebody may change meanwhile.
    pub(super) fn edit(&mut self, client: u64, at: usize) -> Check {
        let now = self.wall(at);
        let rng = &mut self.rng.client;
        let service = if rng.chance(7_000) { names::CART } else { names::ORDER };
        let object = ObjectId { service: service.into(), key: format!("k{}", rng.below(self.config.keys)) };
        let version = self.model.object(&object).map(|obj| obj.version).unwrap_or_default();
        let expected = StateVersion { version: version.0, writer: version.1 };
        let mut changes = Vec::new();
        for _ in 0..rng.below(3) {
            let value = (!rng.chance(3_000)).then(|| Bytes::copy_from_slice(&rng.next().to_le_bytes()[..2]));
            changes.push(FieldChange { field: ["a", "b", "c"][pick(rng, 3)].into(), value });
        }
        let expected = rng.chance(6_000).then_some(expected);
        let edit = StateEdit { expected, replace: rng.chance(4_000), changes };
        let run = names::target(service, "run", Some(object.key.clone()));
        let target = Target { handler: "edit".into(), form: Form::Edit as i32, ..run };
        let id = InvocationId::fresh(PartitionKey::of(&object.key), Millis(now), rng.u128());
        let invoke = Invoke {
            id: Bytes::copy_from_slice(&id.to_bytes()),
            target: Some(target.clone()),
            input: edit.encode_to_vec().into(),
            retention_ms: names::retention(rng),
            state_ttl_ms: names::ttl(rng, service),
            ..Invoke::default()
        };
        let wait = if rng.chance(5_000) { Wait::Result } else { Wait::Acceptance };
        self.targets.push(id);
        let request = Request::new(client, at, id, target, wait, None, Some(invoke.clone()));
        self.submit(request, invoke);
        Ok(())
    }

    /// Something about a schedule.
    pub(super) fn schedule(&mut self, client: u64, at: usize) -> Check {
        let now = self.wall(at);
        let rng = &mut self.rng.client;
        let name = format!("n{}", rng.below(3));
        let (id, soon) = (ScheduleId::of(&name), now + rng.range(1, 1_500));
        let known = self.model.part(id.as_invocation()).schedules.get(&id);
        let action = match rng.below(8) {
            _ if known.is_none() => ScheduleAction::Put(definition(rng, name, soon)),
            0 | 1 => ScheduleAction::Put(definition(rng, name, soon)),
            2 => ScheduleAction::Pause(true),
            3 | 4 => ScheduleAction::Resume(ScheduleNext { due: soon }),
            5 | 6 => {
                let run = Callee::note(rng).invoke(rng, now);
                ScheduleAction::Trigger(run)
            }
            _ => ScheduleAction::Delete(true),
        };
        self.ask(client, at, id.as_invocation(), order(id, action));
        Ok(())
    }

    /// A dead letter is dropped or invoked again.
    pub(super) fn letter(&mut self, client: u64, at: usize) -> Check {
        let letters: Vec<_> = self
            .model
            .parts
            .iter()
            .flat_map(|part| &part.letters)
            .filter_map(|(key, letter)| Some((key.clone(), InvocationId::from_bytes(&letter.invocation)?)))
            .collect();
        if letters.is_empty() {
            return self.idle(client);
        }
        let now = self.wall(at);
        let rng = &mut self.rng.client;
        let ((service, seq), failed) = letters[pick(rng, letters.len())].clone();
        let new = InvocationId::fresh(failed.partition_key, Millis(now), rng.u128());
        let redrive = rng.chance(7_000);
        let redrive_as = if redrive { Bytes::copy_from_slice(&new.to_bytes()) } else { Bytes::new() };
        if redrive && service != names::ACCOUNT {
            self.targets.push(new);
        }
        self.ask(client, at, failed, Body::Letter(LetterOrder { service, seq, redrive_as }));
        Ok(())
    }

    /// Asks for something that is answered at once, in the partition of `id`.
    fn ask(&mut self, client: u64, at: usize, id: InvocationId, body: Body) {
        let request = Request::new(client, at, id, Target::default(), Wait::Answer, None, None);
        self.hand_in(request, Job::Order(Box::new(Command::new(body))));
    }

    /// There is nothing to do for this client.
    fn idle(&mut self, client: u64) -> Check {
        self.after(1, Event::Client(client));
        Ok(())
    }

    /// The faults have stopped: operators let everything go on that waits for them, and end what would go on for ever.
    pub(crate) fn calm_down(&mut self) {
        let mut orders: Vec<(InvocationId, Body)> = Vec::new();
        let now = self.wall(0);
        for part in &self.model.parts {
            for (id, inv) in &part.invocations {
                if inv.status == Status::Paused {
                    orders.push((*id, Body::Control(Control::new(*id, Verb::Resume))));
                }
            }
            for (id, sched) in &part.schedules {
                let mark = *self.fired.entry(*id).or_insert(sched.accounted);
                if sched.paused {
                    orders
                        .push((id.as_invocation(), order(*id, ScheduleAction::Resume(ScheduleNext { due: now + 1 }))));
                } else if sched.due == 0 || sched.accounted > mark + 1 {
                    orders.push((id.as_invocation(), order(*id, ScheduleAction::Delete(true))));
                }
            }
            for (workflow, name) in part.open_promises() {
                let Some(number) = (0..3).find(|number| promise_name(*number) == *name) else { continue };
                let last = self.resolved.insert((workflow.clone(), name.clone()), self.ticks).unwrap_or(0);
                if last + 20 > self.ticks {
                    self.resolved.insert((workflow.clone(), name.clone()), last);
                    continue;
                }
                let id = InvocationId::fresh(PartitionKey::of(&workflow.key), Millis(now), self.rng.client.u128());
                let invoke = Invoke {
                    id: Bytes::copy_from_slice(&id.to_bytes()),
                    target: Some(names::target(&workflow.service, RESOLVE, Some(workflow.key.clone()))),
                    input: Bytes::copy_from_slice(&[number]),
                    ..Invoke::default()
                };
                orders.push((id, Body::Invoke(invoke)));
            }
        }
        for (id, body) in orders {
            self.propose_from_outside(id, Command::new(body));
        }
    }
}

/// Whether the order does something in the state that `id` is in.
fn fits(part: &Part, id: InvocationId, verb: Verb) -> bool {
    let status = part.invocations.get(&id).map(|inv| &inv.status);
    match verb {
        Verb::Restart | Verb::PurgeJournal => part.kept_journal(id) > 0,
        Verb::Purge => part.kept_until(id).is_some(),
        Verb::Reschedule => matches!(status, Some(Status::Scheduled(_))),
        Verb::Resume => matches!(status, Some(Status::Paused | Status::Suspended(_) | Status::BackingOff(_))),
        Verb::Pause => !matches!(status, None | Some(Status::Scheduled(_) | Status::Queued | Status::Paused)),
        Verb::Kill | Verb::Cancel => status.is_some(),
    }
}

fn definition(rng: &mut Rng, name: String, first_due: u64) -> ScheduleDefinition {
    let (service, handler, key) = match rng.below(9) {
        8 => (names::NOWHERE, "run", None),
        0 | 1 => (names::COUNTER, "add", Some(format!("k{}", rng.below(3)))),
        2 | 3 => (names::JOB, "run", None),
        4 | 5 => (names::CART, "run", Some(format!("k{}", rng.below(3)))),
        _ => (names::NOTE, "send", None),
    };
    let period = rng.range(300, 3_000);
    let once = rng.chance(2_000);
    ScheduleDefinition {
        name,
        spec: if once { format!("at {first_due}") } else { format!("every {period} from {first_due}") },
        service: service.into(),
        handler: handler.into(),
        key,
        // Of flows, the depth at which they call nobody.
        input: if service == names::NOTE { Bytes::from_static(b"k1") } else { Bytes::from_static(&[3]) },
        headers: Vec::new(),
        catch_up: [CatchUp::Skip, CatchUp::One, CatchUp::All][pick(rng, 3)] as i32,
        overlap: [Overlap::Allow, Overlap::Skip, Overlap::CancelOther][pick(rng, 3)] as i32,
        first_due,
        create_only: rng.chance(1_000),
        paused: rng.chance(1_000),
    }
}

fn order(id: ScheduleId, action: ScheduleAction) -> Body {
    Body::Schedule(ScheduleOrder { id: Bytes::copy_from_slice(&id.to_bytes()), action: Some(action) })
}

fn pick(rng: &mut Rng, count: usize) -> usize {
    usize::try_from(rng.below(count.max(1) as u64)).unwrap_or(0)
}
