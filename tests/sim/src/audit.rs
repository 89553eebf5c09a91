//! The end of a run: everything has ended, and what is left is what it should be.

use std::fmt::Write as _;
use std::sync::Arc;

use abide_model::id::{Millis, ObjectId, PartitionId};
use abide_partition::{Partition, PartitionSettings};
use abide_storage::{HardState, LogPosition, MemState, Overlay, RecoveredLog};

use crate::app;
use crate::machine::{FOUNDER, replica_on};
use crate::model;
use crate::names;
use crate::node::failed;
use crate::store::SimState;
use crate::violation::{Check, Invariant, check};
use crate::world::World;

/// All checks that need the end.
pub(crate) fn audit(world: &mut World) -> Check {
    for number in 0..world.machines.len() {
        world.with_node(number, |world, node| {
            for (p, slot) in &node.slots {
                world.check_hash(*p, &slot.partition)?;
            }
            world.compare(node)
        })?;
    }
    money(world)?;
    counters(world)?;
    acknowledged(world)?;
    executed_once(world)?;
    replay(world)?;
    if world.config.archive.lost { world.rehearse() } else { Ok(()) }
}

/// I4: a plain call is executed at most once, however often it was passed on.
fn executed_once(world: &World) -> Check {
    for id in &world.plain {
        let ends = world.model.part(*id).ends.get(id);
        check(ends.is_none_or(|ends| ends.len() <= 1), Invariant::I4EffectOnce, || {
            format!("{id} was executed more than once: {ends:?}")
        })?;
    }
    Ok(())
}

/// I17: what was paid was received.
fn money(world: &World) -> Check {
    let mut sum = 0;
    for number in 0..world.config.accounts {
        let object = ObjectId { service: names::ACCOUNT.into(), key: names::account(number) };
        let balance = world
            .model
            .object(&object)
            .map_or(names::OPENING_BALANCE, |obj| app::number(&obj.fields, "balance", names::OPENING_BALANCE));
        check(balance >= 0, Invariant::I17Conservation, || format!("{object} has {balance}"))?;
        sum += balance;
    }
    let expected = names::OPENING_BALANCE * i64::try_from(world.config.accounts).unwrap_or(0);
    check(sum == expected, Invariant::I17Conservation, || format!("{sum} is left of {expected}"))
}

/// I2: a counter counts every turn that took effect, and no other.
fn counters(world: &World) -> Check {
    for (object, obj) in world.model.parts.iter().flat_map(|part| &part.objects) {
        if object.service != names::COUNTER {
            continue;
        }
        let sum = app::number(&obj.fields, "n", 0);
        let turns = obj.turns.get("add").copied().unwrap_or(0);
        check(u64::try_from(sum) == Ok(turns), Invariant::I2Linearizable, || {
            format!("{object} counts {sum} after {turns} turns")
        })?;
        let seen = world.ledger.highest_sum(&object.key);
        check(seen <= sum, Invariant::I1NoLostWork, || format!("{object} counts {sum}, a client saw {seen}"))?;
    }
    Ok(())
}

/// I1: what was acknowledged has ended.
fn acknowledged(world: &World) -> Check {
    for id in &world.ledger.acknowledged {
        let ends = world.model.part(*id).ends.get(id);
        check(ends.is_some_and(|ends| !ends.is_empty()), Invariant::I1NoLostWork, || {
            format!("{id} was acknowledged and has no end: {ends:?}")
        })?;
    }
    Ok(())
}

/// I9: the whole log, applied from the start to empty tables, gives the same hash and the same rows.
fn replay(world: &mut World) -> Check {
    for p in 0..world.config.partitions {
        let replica = replayed(world, p, u64::MAX)?;
        model::compare(replica.view(), &world.model.parts[p as usize])?;
    }
    Ok(())
}

/// The log up to an index, applied from the start to empty tables.
pub(crate) fn replayed(world: &mut World, p: u32, index: u64) -> Check<Partition<SimState>> {
    let mut entries = world.tap[p as usize].clone();
    entries.truncate(usize::try_from(index).unwrap_or(usize::MAX));
    let last = entries.last().map_or(LogPosition::default(), |it| LogPosition { index: it.index, term: it.term });
    let log = RecoveredLog {
        start: LogPosition::default(),
        hard_state: HardState { term: last.term, vote: 1, commit: last.index },
        entries,
        generation: 0,
        owner: None,
    };
    // Somebody who is no member, and applies what the members agreed on.
    let observer = replica_on(world.machines.len(), 0);
    let single = PartitionSettings::single(PartitionId(p), world.config.partitions);
    let settings = PartitionSettings { replica: observer, bootstrap_voters: vec![FOUNDER], ..single };
    let overlay = Overlay::new(p, Arc::new(SimState { disk: MemState::new(), canary: None }));
    let mut replica = Partition::open(settings, log, overlay).map_err(|error| failed(&error))?;
    replica.handle(abide_partition::Input::Tick, Millis(0)).map_err(|error| failed(&error))?;
    while replica.poll_output().map_err(|error| failed(&error))?.is_some() {}
    check(replica.stats().applied == last.index, Invariant::I9Determinism, || {
        format!("p{p}: a replay applied {} of {} entries", replica.stats().applied, last.index)
    })?;
    world.check_hash(p, &replica)?;
    Ok(replica)
}

/// What has not ended.
pub(crate) fn stuck(world: &World) -> String {
    let mut text = String::from("not everything ended:");
    for part in &world.model.parts {
        for (id, inv) in part.invocations.iter().take(5) {
            let _ = write!(text, " {id} {} {:?};", inv.target, inv.status);
        }
        for sched in part.schedules.values() {
            let _ = write!(text, " schedule {} due {};", sched.definition.name, sched.due);
        }
        if !part.is_drained() {
            text.push_str(" an outbox is not empty;");
        }
    }
    for (number, machine) in world.machines.iter().enumerate() {
        let name = number + 1;
        match &machine.process {
            Some(node) => {
                let (flows, objects) = node.host_sizes();
                let _ = write!(text, " n{name} quiet: {}, {flows} flows, {objects} objects;", node.is_quiet());
            }
            None => drop(write!(text, " n{name} is down;")),
        }
    }
    text.push_str(&world.unsettled());
    let _ = write!(text, " {} requests open", world.requests.len());
    text
}
