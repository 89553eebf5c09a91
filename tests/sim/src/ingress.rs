//! Requests at a node that does not lead: they are passed on to the leader, and repeated when that is lost.
//!
//! The rules by which nothing is executed twice:
//!
//! 1. An invocation keeps its id in every copy, and each copy says how far the log was known to be applied when no copy
//!    was under way (`since`), and whether it is the only one that may have been taken (`first`).
//! 2. Only a leader whose tables are complete takes a copy, and it takes one of each request.
//! 3. A plain call is looked for among the recent results first, and then among those under way, for which the request
//!    waits: proposed again, it could come behind the end. If the recent results reach back far enough, and it is in
//!    neither, it is proposed. If they do not reach back, nobody knows: a repetition is answered so; a first copy is sent back with the
//!    present index, from which it may begin again.
//! 4. Idempotent requests are proposed: the tables have their results.

use std::collections::BTreeSet;

use abide_model::command::{Body as CommandBody, Command, Form, Invoke, Outcome, Target};
use abide_model::effect::Answer;
use abide_model::id::{InvocationId, Millis, ObjectId};
use abide_model::table::{Completions, Invocations};
use abide_model::view::View as _;
use abide_partition::{Input, Recent};

use crate::app::Fields;
use crate::client::Wait;
use crate::config::Canary;
use crate::host::HostMsg;
use crate::machine::{is_lonely, machine_of};
use crate::net::Body;
use crate::node::output::{fields, unreadable};
use crate::node::{Node, failed};
use crate::violation::Check;
use crate::world::{Event, Step, World};

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    /// An invocation.
    Invoke(Box<Invoke>, Wait),
    /// An order: not repeated once it may have been taken.
    Order(Box<Command>),
    /// The state of an object.
    State(ObjectId),
    /// The result of an invocation, now or when it ends.
    Output(InvocationId),
}

/// A copy of a request on its way to the leader.
#[derive(Clone, Debug)]
pub(crate) struct Errand {
    origin: usize,
    number: u64,
    copy: u32,
    p: u32,
    job: Job,
    since: u64,
    first: bool,
}

/// A request at the node that it came to.
#[derive(Debug)]
pub(crate) struct Pending {
    p: u32,
    job: Job,
    since: u64,
    /// How many copies were sent.
    copies: u32,
    /// Those that may have been taken.
    open: BTreeSet<u32>,
}

/// A request at the leader.
#[derive(Debug)]
pub(crate) struct Serving {
    origin: usize,
    copy: u32,
    id: Option<InvocationId>,
    wait: Wait,
}

/// A read that is to be confirmed.
#[derive(Debug)]
pub(crate) struct Reading {
    origin: usize,
    number: u64,
    copy: u32,
    job: Job,
}

/// What became of a copy.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    number: u64,
    copy: u32,
    /// The leader's applied index.
    applied: u64,
    p: u32,
    said: Said,
}

/// What a node says of a request.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// Not taken: this node does not lead, but perhaps that one.
    Elsewhere(Option<(u64, usize)>),
    /// Not taken: the index from which it may be sent is that of the reply.
    Behind,
    /// Not taken: too much waits.
    Overloaded,
    /// Leadership was lost; it may have been taken.
    Lost,
    /// Whether it was carried out is not known any more.
    Unknown,
    /// It has a place in the log.
    Accepted,
    /// It ended like this.
    Completed(Box<Outcome>, Box<Target>),
    /// The answer to an order, or to a request that was refused.
    Answered,
    /// There is no such invocation.
    NotFound,
    /// The state of an object, and the index as of which it is that.
    State(Fields, u64),
}

impl Pending {
    pub(crate) fn new(p: u32, job: Job) -> Self {
        Self { p, job, since: 0, copies: 0, open: BTreeSet::new() }
    }
}

impl World {
    /// A client's request comes to a node.
    pub(crate) fn comes(&mut self, node: &mut Node, number: u64, pending: Pending) -> Check {
        node.errands.insert(number, pending);
        self.pass_on(node, number)
    }

    /// It is time to repeat a request, unless something else happened since that copy.
    pub(crate) fn retry(&mut self, node: &mut Node, number: u64, copy: u32) -> Check {
        let Some(pending) = node.errands.get(&number).filter(|pending| pending.copies == copy) else { return Ok(()) };
        if matches!(pending.job, Job::Order(_)) && !pending.open.is_empty() {
            return Ok(());
        }
        self.counts.retries += 1;
        self.pass_on(node, number)
    }

    fn pass_on(&mut self, node: &mut Node, number: u64) -> Check {
        let Some(p) = node.errands.get(&number).map(|pending| pending.p) else { return Ok(()) };
        let own = node.slots.get(&p).map_or(0, |slot| slot.partition.applied_index());
        let known = own.max(node.known.get(&p).copied().unwrap_or(0));
        let to = self.believed(node, p);
        let Some(pending) = node.errands.get_mut(&number) else { return Ok(()) };
        let first = pending.open.is_empty();
        if first {
            pending.since = pending.since.max(known);
        }
        pending.copies += 1;
        let copy = pending.copies;
        pending.open.insert(copy);
        let (job, since) = (pending.job.clone(), pending.since);
        let delay = self.rng.client.range(400, 1_200);
        self.soon(node, delay, Step::Retry(number, copy));
        let follows = node.slots.get(&p).is_some_and(|slot| slot.partition.leading().is_none());
        if follows && matches!(job, Job::State(_)) && self.rng.client.chance(4_000) {
            // A follower may answer, once its leader says how far it has to be.
            let reading = Reading { origin: node.number, number, copy, job };
            return self.ask_read(node, p, reading);
        }
        let errand = Errand { origin: node.number, number, copy, p, job, since, first };
        if to == node.number {
            return self.serve(node, errand);
        }
        self.send(node.number, node.epoch, to, Body::Errand(Box::new(errand)));
        Ok(())
    }

    /// A copy of a request arrives where its partition is believed to be led.
    pub(crate) fn serve(&mut self, node: &mut Node, errand: Errand) -> Check {
        let Errand { origin, number, copy, p, job, since, first } = errand;
        let leads = node.slots.get(&p).is_some_and(|slot| slot.partition.leading().is_some());
        let Some(slot) = node.slots.get_mut(&p).filter(|_| leads) else {
            let hint = node.views.get(&p).copied().filter(|(_, leader)| *leader != node.number);
            return self.reply(node, origin, number, copy, p, Said::Elsewhere(hint));
        };
        if slot.serving.contains_key(&number) {
            return Ok(());
        }
        if !matches!(job, Job::State(_) | Job::Output(_))
            && slot.partition.stats().pending + slot.inbox.len() >= self.config.inbox_max
        {
            return self.reply(node, origin, number, copy, p, Said::Overloaded);
        }
        match job {
            Job::Invoke(invoke, wait) => {
                let id = invoke.id();
                let plain = id.filter(|_| is_plain(&invoke));
                if let Some(id) = plain
                    && let Some(said) = self.looked_up(node, p, id, since, first, wait)
                {
                    return self.reply(node, origin, number, copy, p, said);
                }
                let Some(slot) = node.slots.get_mut(&p) else { return Ok(()) };
                slot.serving.insert(number, Serving { origin, copy, id, wait });
                let row = plain.map(|id| slot.partition.view().get::<Invocations>(&id)).transpose();
                let under_way = row.map_err(|error| unreadable(&error))?.flatten().is_some();
                if under_way && self.config.canary != Some(Canary::ProposeActive) {
                    self.counts.attached += 1;
                    return self.serve_accepted(node, p, number);
                }
                self.propose_invocation(node, p, number, *invoke, wait);
                Ok(())
            }
            Job::Order(mut command) => {
                slot.serving.insert(number, Serving { origin, copy, id: None, wait: Wait::Answer });
                command.request = number;
                slot.inbox.push_back(*command);
                self.turn_of(node);
                Ok(())
            }
            job => {
                let reading = Reading { origin, number, copy, job };
                let alone = slot.partition.is_alone();
                if alone || self.config.canary == Some(Canary::StaleRead) {
                    return self.read(node, p, reading);
                }
                self.ask_read(node, p, reading)
            }
        }
    }

    /// A read waits until the tables are known to be new enough.
    fn ask_read(&mut self, node: &mut Node, p: u32, reading: Reading) -> Check {
        self.last_read += 1;
        let (now, context) = (Millis(self.wall(node.number)), self.last_read);
        let Some(slot) = node.slots.get_mut(&p) else { return Ok(()) };
        slot.reading.insert(context, reading);
        slot.partition.handle(Input::Read { context }, now).map_err(|error| failed(&error))?;
        self.turn_of(node);
        Ok(())
    }

    /// What the recent results say about a plain call; nothing when it is to be proposed.
    fn looked_up(
        &mut self,
        node: &Node,
        p: u32,
        id: InvocationId,
        since: u64,
        first: bool,
        wait: Wait,
    ) -> Option<Said> {
        let partition = &node.slots.get(&p)?.partition;
        let since = if self.config.canary == Some(Canary::UnboundRecent) { u64::MAX } else { since };
        if self.config.canary == Some(Canary::SkipRecent) {
            return None;
        }
        match partition.recent(id, since) {
            Recent::Done(outcome) => {
                self.counts.recent_done += 1;
                // Whoever waits for a place has one, and whoever waits for the end has that.
                if wait == Wait::Acceptance {
                    return Some(Said::Accepted);
                }
                Some(Said::Completed(outcome, Box::default()))
            }
            Recent::NotDone => None,
            Recent::Unknown if !first => {
                self.counts.recent_unknown += 1;
                Some(Said::Unknown)
            }
            Recent::Unknown => (!is_lonely(&partition.members())).then_some(Said::Behind),
        }
    }

    fn propose_invocation(&mut self, node: &mut Node, p: u32, request: u64, invoke: Invoke, wait: Wait) {
        let target = invoke.target.clone().unwrap_or_default();
        let direct = wait == Wait::Result
            && invoke.execute_at == 0
            && target.form() == Form::Turn
            && target.exclusive_object().is_some();
        if direct {
            return self.tell(node, p, HostMsg::Call { request, invoke: Box::new(invoke) });
        }
        if let Some(slot) = node.slots.get_mut(&p) {
            slot.inbox.push_back(Command { request, body: Some(CommandBody::Invoke(invoke)) });
        }
        self.turn_of(node);
    }

    /// A read is confirmed.
    pub(crate) fn confirmed(&mut self, node: &mut Node, p: u32, context: u64) -> Check {
        match node.slots.get_mut(&p).and_then(|slot| slot.reading.remove(&context)) {
            Some(reading) => self.read(node, p, reading),
            None => Ok(()),
        }
    }

    fn read(&mut self, node: &mut Node, p: u32, reading: Reading) -> Check {
        let Reading { origin, number, copy, job } = reading;
        let Some(slot) = node.slots.get_mut(&p) else { return Ok(()) };
        let view = slot.partition.view();
        let said = match job {
            Job::State(object) => {
                let fields = fields(view, &object).map_err(|error| unreadable(&error))?;
                Said::State(fields, slot.partition.applied_index())
            }
            Job::Output(id) => {
                let kept = view.get::<Completions>(&id).map_err(|error| unreadable(&error))?;
                let active = view.get::<Invocations>(&id).map_err(|error| unreadable(&error))?.is_some();
                match kept {
                    Some(row) => {
                        let target = row.target.clone().unwrap_or_default();
                        Said::Completed(Box::new(row.outcome.clone().unwrap_or_default()), Box::new(target))
                    }
                    None if active => {
                        slot.serving.insert(number, Serving { origin, copy, id: Some(id), wait: Wait::Result });
                        return Ok(());
                    }
                    None => Said::NotFound,
                }
            }
            Job::Invoke(..) | Job::Order(_) => return Ok(()),
        };
        self.reply(node, origin, number, copy, p, said)
    }

    /// The leader's machine accepted a request.
    pub(crate) fn serve_accepted(&mut self, node: &mut Node, p: u32, number: u64) -> Check {
        let Some(slot) = node.slots.get_mut(&p) else { return Ok(()) };
        match slot.serving.remove(&number) {
            Some(it) if it.wait == Wait::Acceptance => self.reply(node, it.origin, number, it.copy, p, Said::Accepted),
            Some(it) => {
                slot.serving.insert(number, it);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// An invocation ended: everybody who waits for it at this leader is told.
    pub(crate) fn serve_completed(
        &mut self,
        node: &mut Node,
        p: u32,
        id: InvocationId,
        outcome: &Outcome,
        target: &Target,
    ) -> Check {
        let Some(slot) = node.slots.get_mut(&p) else { return Ok(()) };
        let waits = |it: &Serving| it.id == Some(id) && it.wait == Wait::Result;
        let numbers: Vec<u64> = slot.serving.iter().filter(|(_, it)| waits(it)).map(|(number, _)| *number).collect();
        for number in numbers {
            self.results(number, id, outcome)?;
            let Some(it) = node.slots.get_mut(&p).and_then(|slot| slot.serving.remove(&number)) else { continue };
            let said = Said::Completed(Box::new(outcome.clone()), Box::new(target.clone()));
            self.reply(node, it.origin, number, it.copy, p, said)?;
        }
        Ok(())
    }

    /// The machine answered an order or refused a request.
    pub(crate) fn serve_answered(&mut self, node: &mut Node, p: u32, number: u64, answer: &Answer) -> Check {
        match node.slots.get_mut(&p).and_then(|slot| slot.serving.remove(&number)) {
            Some(it) => self.reply(node, it.origin, number, it.copy, p, Said::Answered),
            None => {
                self.answered(number, answer);
                Ok(())
            }
        }
    }

    /// Leadership is lost: whoever waits here has to ask the next leader.
    pub(crate) fn serve_no_more(&mut self, node: &mut Node, p: u32) -> Check {
        let Some(slot) = node.slots.get_mut(&p) else { return Ok(()) };
        let mut all: Vec<_> =
            std::mem::take(&mut slot.serving).into_iter().map(|(number, it)| (it.origin, number, it.copy)).collect();
        let reads = std::mem::take(&mut slot.reading);
        all.extend(reads.into_values().map(|it| (it.origin, it.number, it.copy)));
        for (origin, number, copy) in all {
            self.reply(node, origin, number, copy, p, Said::Lost)?;
        }
        Ok(())
    }

    fn reply(&mut self, node: &mut Node, origin: usize, number: u64, copy: u32, p: u32, said: Said) -> Check {
        let applied = node.slots.get(&p).map_or(0, |slot| slot.partition.applied_index());
        let reply = Reply { number, copy, applied, p, said };
        if origin == node.number {
            return self.replied(node, reply);
        }
        self.send(node.number, node.epoch, origin, Body::Reply(Box::new(reply)));
        Ok(())
    }

    /// The node that a request came to hears what became of a copy.
    pub(crate) fn replied(&mut self, node: &mut Node, reply: Reply) -> Check {
        let Reply { number, copy, applied, p, said } = reply;
        let Some(pending) = node.errands.get_mut(&number) else { return Ok(()) };
        if !matches!(said, Said::Elsewhere(_)) {
            let known = node.known.entry(p).or_default();
            *known = applied.max(*known);
        }
        let copies = pending.copies;
        match said {
            Said::Elsewhere(hint) => {
                pending.open.remove(&copy);
                match hint {
                    Some(hint) => note_leader(node, p, hint),
                    None => drop(node.views.remove(&p)),
                }
                let delay = self.rng.client.range(20, 150);
                self.soon(node, delay, Step::Retry(number, copies));
            }
            Said::Behind => {
                pending.open.remove(&copy);
                if pending.open.is_empty() {
                    pending.since = applied;
                    self.soon(node, 0, Step::Retry(number, copies));
                }
            }
            Said::Overloaded => {
                pending.open.remove(&copy);
                if pending.open.is_empty() {
                    node.errands.remove(&number);
                    self.refused(number);
                }
            }
            Said::Lost => {
                let delay = self.rng.client.range(20, 300);
                self.soon(node, delay, Step::Retry(number, copies));
            }
            Said::Unknown => {
                node.errands.remove(&number);
                return self.unknown(number);
            }
            said => {
                node.errands.remove(&number);
                return self.told(number, said);
            }
        }
        Ok(())
    }

    /// Where a partition is led, as far as a node knows: somewhere, if it knows nothing.
    pub(crate) fn believed(&mut self, node: &Node, p: u32) -> usize {
        if node.slots.get(&p).is_some_and(|slot| slot.partition.leading().is_some()) {
            return node.number;
        }
        let told = node.slots.get(&p).and_then(|slot| slot.partition.leader()).map(machine_of);
        let heard = node.views.get(&p).map(|(_, leader)| *leader);
        match told.or(heard).filter(|leader| *leader != node.number) {
            Some(leader) => leader,
            None => usize::try_from(self.rng.net.below(self.machines.len() as u64)).unwrap_or(0),
        }
    }

    /// Something happens to a process after a while.
    pub(crate) fn soon(&mut self, node: &Node, delay: u64, step: Step) {
        self.after(delay, Event::Process(node.number, node.epoch, step));
    }
}

/// A node hears who leads.
pub(crate) fn note_leader(node: &mut Node, p: u32, (term, leader): (u64, usize)) {
    let view = node.views.entry(p).or_insert((term, leader));
    if term >= view.0 {
        *view = (term, leader);
    }
}

/// Whether nothing in the tables remembers the invocation once it has ended.
pub(crate) fn is_plain(invoke: &Invoke) -> bool {
    let workflow = invoke.target.as_ref().is_some_and(|target| target.run_object().is_some());
    invoke.idempotency_key.is_none() && !workflow
}
