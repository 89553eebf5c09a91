//! The rules: what one command costs in the machine, its writes into the overlay included.

mod common;

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::Arc;

use abide_machine::Machine;
use abide_model::command::Command;
use abide_model::effect::Effect;
use abide_model::id::{PartitionId, PartitionKey};
use abide_model::table::AppliedRow;
use abide_storage::{MemState, Overlay, StateStore as _};
use criterion::{Criterion, criterion_group, criterion_main};

/// Bytes of the overlay at which it is written out, as the driver does it all the time.
const OVERLAY_BYTES: usize = 4 << 20;

/// A partition without a log.
struct World {
    machine: Machine,
    base: Arc<MemState>,
    overlay: Overlay<MemState>,
    /// Invocations that ended.
    completed: u64,
}

impl World {
    fn new() -> Self {
        let applied = AppliedRow { log_time: 1, leader_term: common::TERM, ..AppliedRow::default() };
        let base = Arc::new(MemState::new());
        let overlay = Overlay::new(0, Arc::clone(&base));
        Self { machine: Machine::new(PartitionId(0), 1, &applied), base, overlay, completed: 0 }
    }

    fn apply(&mut self, command: Command) {
        let transition = self.machine.apply(&self.overlay, command).expect("the overlay can be read");
        self.overlay.apply(transition.writes);
        let ended = transition.effects.iter().filter(|effect| matches!(effect, Effect::Completed { .. }));
        self.completed += ended.count() as u64;
        black_box(transition.effects);
    }

    /// Writes the overlay out when it is large.
    fn checkpoint(&mut self) {
        if self.overlay.active_bytes() > OVERLAY_BYTES
            && let Some(checkpoint) = self.overlay.freeze()
        {
            self.base.write(checkpoint.writes()).expect("memory can be written");
            self.overlay.checkpointed();
        }
    }
}

fn apply(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("apply");
    for objects in [1, 10_000] {
        let world = RefCell::new(World::new());
        let (mut before, mut number) = (vec![0_u64; objects], 0);
        group.bench_function(format!("turn on a warm object, {objects} objects"), |bencher| {
            let mut next = || {
                number += 1;
                let object = usize::try_from(number * 7919).expect("64 bit") % objects;
                before[object] += 1;
                common::turn(object as u64, before[object] - 1, number)
            };
            let mut chunk = |count| {
                world.borrow_mut().checkpoint();
                (0..count).map(|_| next()).collect()
            };
            bencher.iter_custom(|times| common::timed(times, &mut chunk, |turn| world.borrow_mut().apply(turn)));
        });
        assert_eq!(world.borrow().completed, number, "a turn was not applied");
    }
    let world = RefCell::new(World::new());
    let mut number = 0;
    group.bench_function("append of a run step", |bencher| {
        let mut steps = |count: usize| {
            number += 1;
            let id = common::id(PartitionKey(number), number);
            let mut world = world.borrow_mut();
            world.checkpoint();
            world.apply(common::invoke(id));
            world.apply(common::append(id, 1, vec![common::run(1)]));
            let step = |step: u32| common::append(id, 2 * step, vec![common::ran(step), common::run(step + 1)]);
            (1..=u32::try_from(count).expect("a chunk is small")).map(step).collect()
        };
        bencher.iter_custom(|times| common::timed(times, &mut steps, |step| world.borrow_mut().apply(step)));
    });
    let world = RefCell::new(World::new());
    let mut number = 0;
    group.bench_function("three-step flow, four commands", |bencher| {
        let mut flow = || {
            number += 1;
            common::three_steps(common::id(PartitionKey(number), number))
        };
        let mut chunk = |count| {
            world.borrow_mut().checkpoint();
            (0..count).map(|_| flow()).collect()
        };
        let run = |flow: Vec<Command>| flow.into_iter().for_each(|command| world.borrow_mut().apply(command));
        bencher.iter_custom(|times| common::timed(times, &mut chunk, run));
    });
    assert_eq!(world.borrow().completed, number, "a flow has not ended");
    group.finish();
}

criterion_group!(benches, apply);
criterion_main!(benches);
