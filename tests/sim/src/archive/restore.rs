//! All nodes are gone, and the cluster comes from the store alone.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use abide_model::codec::FEATURES;
use abide_model::command::{Body, Command};
use abide_model::id::{Millis, PartitionId};
use abide_model::table::{Applied, Direction, Outbox, Sequences, Table};
use abide_model::view::{RawView, ReadError, View};
use abide_partition::{Input, Output, Partition, PartitionSettings};
use abide_restore::{FillOrder, Filled, Gap, Report, RestoreError, fill};
use abide_storage::{LogBatch, LogStore as _, MemLog, MemState, Overlay, StateStore as _};
use bytes::Bytes;

use super::bucket::CLUSTER;
use crate::audit::replayed;
use crate::machine::FOUNDER;
use crate::node::{failed, stopped};
use crate::store::SimState;
use crate::violation::{Check, Invariant, Violation, check};
use crate::world::World;

/// Most steps of the partitions until all messages between them have arrived.
const STEPS_MAX: usize = 100_000;

type Rows = BTreeMap<Bytes, Bytes>;

impl World {
    /// Restores everything into a new machine beside the others, and has it begin.
    pub(crate) fn rehearse(&mut self) -> Check {
        let keeps_id = self.rng.archive.chance(5_000);
        let cluster_id = if keeps_id { CLUSTER.to_owned() } else { "another".to_owned() };
        let expected: Vec<_> = (0..self.config.partitions).map(|p| self.newest_sound(p)).collect();
        let Ok(repository) = self.archive.bucket.repository() else {
            // Nobody saved anything.
            return Ok(());
        };
        let store = Arc::new(SimState { disk: MemState::new(), canary: None });
        let order = FillOrder { as_of: None, cluster_id, features: FEATURES };
        let filled = self.archive.runtime.block_on(fill(&repository, &order, &store));
        let Filled { log, report } = match (filled, expected.iter().position(Option::is_none)) {
            (Ok(filled), None) => filled,
            (Err(RestoreError::NothingSound { partition, .. }), Some(p)) if partition.0 as usize == p => return Ok(()),
            (Ok(_), Some(p)) => return wrong(format!("p{p} has no sound snapshot, and was restored")),
            (Err(error), _) => return wrong(format!("{} {error}, expected is {expected:?}", error.code())),
        };
        self.counts.rehearsals += 1;
        let mut tables = Vec::new();
        for (restored, expected) in report.partitions.iter().zip(&expected) {
            self.counts.passed_over += restored.passed.len() as u64;
            let p = restored.id.partition.0;
            check(Some(restored.id.index) == *expected, Invariant::I24Restored, || {
                format!("{} was restored, the newest sound one is at {expected:?}: {:?}", restored.id, restored.passed)
            })?;
            let replica = replayed(self, p, restored.id.index)?;
            tables.push(rows(replica.view()).map_err(|error| unreadable(&error))?);
        }
        self.counts.gaps += report.gaps.len() as u64;
        self.trace.line(format_args!("restored: {expected:?}, {} gaps", report.gaps.len()));
        fits(&report, &tables)?;
        for (p, before) in tables.iter().enumerate() {
            let p = u32::try_from(p).unwrap_or(0);
            same_rows(p, &report, before, &Overlay::new(p, Arc::clone(&store)))?;
        }
        let mut disk = MemLog::new();
        disk.commit(&LogBatch { writes: log, sync: true }).map_err(|error| stopped(&error))?;
        store.sync().map_err(|error| stopped(&error))?;
        let mut partitions = self.begin_anew(disk, &store)?;
        // While the others go on, they would find the snapshots of a stranger.
        if self.over && keeps_id { self.save_again(&mut partitions) } else { Ok(()) }
    }

    /// The index of the newest snapshot that can be read to its end, by what became of its objects.
    fn newest_sound(&self, p: u32) -> Option<u64> {
        let bucket = &self.archive.bucket;
        let is_sound = |key: &String| bucket.memory.content(key).is_some() && !bucket.damaged.contains_key(key);
        let snapshots = self.archive.seen.manifests.iter().filter(|(id, _)| id.partition.0 == p);
        snapshots.filter(|(_, (parts, _))| parts.iter().all(is_sound)).map(|(id, _)| id.index).max()
    }

    /// The restored partitions begin, and all messages between them arrive.
    fn begin_anew(&self, mut log: MemLog, store: &Arc<SimState>) -> Check<Vec<Partition<SimState>>> {
        // Later than everything that was.
        let now = Millis(self.latest_wall + 1);
        let mut partitions = Vec::new();
        for p in 0..self.config.partitions {
            let recovered = log.recover(p).map_err(|error| stopped(&error))?;
            let overlay = Overlay::open(p, recovered.generation, Arc::clone(store));
            let single = PartitionSettings::single(PartitionId(p), self.config.partitions);
            let settings = PartitionSettings { replica: FOUNDER, bootstrap_voters: vec![FOUNDER], ..single };
            let mut partition = Partition::open(settings, recovered, overlay).map_err(|error| failed(&error))?;
            check(partition.is_alone(), Invariant::I24Restored, || format!("p{p} was restored and is not alone"))?;
            partition.handle(Input::Campaign, now).map_err(|error| failed(&error))?;
            partitions.push(partition);
        }
        for _ in 0..STEPS_MAX {
            let mut mail = Vec::new();
            let mut worked = false;
            for partition in &mut partitions {
                while let Some(output) = partition.poll_output().map_err(|error| failed(&error))? {
                    worked = true;
                    match output {
                        Output::Persist { write, .. } => {
                            let batch = LogBatch { writes: vec![write], sync: true };
                            log.commit(&batch).map_err(|error| stopped(&error))?;
                            partition.handle(Input::Persisted, now).map_err(|error| failed(&error))?;
                        }
                        Output::Deliver { to, delivery } => mail.push((to, Command::new(Body::Deliver(delivery)))),
                        Output::Acknowledge { to, ack } => mail.push((to, Command::new(Body::OutboxAck(ack)))),
                        _ => {}
                    }
                }
            }
            for (to, command) in mail {
                if let Some(partition) = partitions.get_mut(to.0 as usize) {
                    partition.handle(Input::Propose(command), now).map_err(|error| failed(&error))?;
                }
            }
            if !worked {
                break;
            }
        }
        for (p, partition) in partitions.iter().enumerate() {
            check(partition.leading().is_some(), Invariant::I24Restored, || {
                format!("p{p} was restored and is not led")
            })?;
            let mut left = 0;
            let (from, to) = Outbox::whole();
            let counted = partition.view().scan_bytes::<Outbox>(&from, &to, &mut |_, _| {
                left += 1;
                ControlFlow::Continue(())
            });
            counted.map_err(|error| unreadable(&error))?;
            check(left == 0, Invariant::I24Restored, || {
                format!("p{p} was restored, and {left} of its messages do not arrive")
            })?;
        }
        Ok(partitions)
    }
}

/// What does not fit between partitions is what was told, by the numbers in their tables.
fn fits(report: &Report, tables: &[Rows]) -> Check {
    let last = |p: usize, direction, other: usize| {
        let key = Sequences::encode_key(&(direction, partition(other)));
        let row = tables.get(p).and_then(|rows| rows.get(&key[..]));
        row.and_then(|row| Sequences::decode_value(row).ok()).map_or(0, |row| row.last)
    };
    let mut expected = Vec::new();
    for from in 0..tables.len() {
        for to in 0..tables.len() {
            let (sent, taken) = (last(from, Direction::Sent, to), last(to, Direction::Taken, from));
            let forgotten = oldest_kept(&tables[from], partition(to)).map_or(sent, |kept| kept - 1);
            let (lost, unknown) = (forgotten.saturating_sub(taken), taken.saturating_sub(sent));
            if lost > 0 || unknown > 0 {
                expected.push(Gap { from: partition(from), to: partition(to), lost, unknown });
            }
        }
    }
    check(report.gaps == expected, Invariant::I24Restored, || {
        format!("the restore tells of {:?}, expected {expected:?}", report.gaps)
    })
}

/// The number of the first message that is kept for another partition.
fn oldest_kept(rows: &Rows, to: PartitionId) -> Option<u64> {
    let all = rows.keys().filter(|key| key.first() == Some(&Outbox::TAG));
    let keys = all.filter_map(|key| Outbox::decode_key(key).ok());
    keys.filter(|(receiver, _)| *receiver == to).map(|(_, number)| number).min()
}

fn partition(p: usize) -> PartitionId {
    PartitionId(u32::try_from(p).unwrap_or(0))
}

/// The tables are those of the log at that index; only who decides may differ, and numbers that were made to fit.
fn same_rows(p: u32, report: &Report, before: &Rows, view: &Overlay<SimState>) -> Check {
    let mut found = rows(view).map_err(|error| unreadable(&error))?;
    let mut expected = before.clone();
    let gap = |direction: Direction, other: PartitionId| {
        report.gaps.iter().any(|gap| match direction {
            Direction::Sent => (gap.from.0, gap.to) == (p, other) && gap.unknown > 0,
            Direction::Taken => (gap.to.0, gap.from) == (p, other) && gap.lost > 0,
        })
    };
    for rows in [&mut found, &mut expected] {
        rows.retain(|key, _| {
            let number = (key.first() == Some(&Sequences::TAG)).then(|| Sequences::decode_key(key).ok()).flatten();
            !number.is_some_and(|(direction, other)| gap(direction, other))
        });
    }
    let key = Bytes::from(Applied::encode_key(&()).into_vec());
    let row = |rows: &mut Rows| rows.remove(&key).and_then(|row| Applied::decode_value(&row).ok());
    let (Some(mine), Some(theirs)) = (row(&mut found), row(&mut expected)) else {
        return wrong(format!("p{p} does not know how far it is applied"));
    };
    let kept = |row: &abide_model::table::AppliedRow| {
        (row.log_time, row.leader_term, row.state_hash, row.lives, row.forgotten_version)
    };
    check(kept(&mine) == kept(&theirs) && mine.index >= theirs.index, Invariant::I24Restored, || {
        format!("p{p} was restored to {mine:?}, expected {theirs:?}")
    })?;
    check(mine.voters == [FOUNDER], Invariant::I24Restored, || format!("p{p} was restored with {:?}", mine.voters))?;
    check(found == expected, Invariant::I24Restored, || {
        let other = found.iter().find(|(key, value)| expected.get(*key) != Some(value));
        let gone = expected.keys().find(|key| !found.contains_key(*key));
        format!("p{p} was restored with other rows: {other:?} is there, {gone:?} is not")
    })
}

fn rows(view: &impl RawView) -> Result<Rows, ReadError> {
    let mut rows = Rows::new();
    view.scan_raw(&[], &[u8::MAX], &mut |key, value| {
        rows.insert(Bytes::copy_from_slice(key), value.clone());
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

fn unreadable(error: &ReadError) -> Violation {
    Violation { invariant: Invariant::I24Restored, text: error.to_string() }
}

fn wrong(text: String) -> Check {
    Err(Violation { invariant: Invariant::I24Restored, text })
}
