//! Snapshots in an object store: nodes save what they lead while the store and they themselves fail.
//!
//! The store's clock runs faster than that of the nodes, so that a run of a minute sees what days bring.

mod again;
mod bucket;
mod post;
mod restore;
mod round;
mod watch;

use std::collections::{BTreeMap, BTreeSet};

use abide_model::codec::FEATURES;
use abide_model::id::{Millis, PartitionId};
use abide_partition::{Partition, SnapshotPoint};
use abide_snapshot::{PointerMove, REUSE_AGE, SnapshotKind, SnapshotMeta, StoreError};
pub(crate) use bucket::Bucket;
pub(crate) use post::{Answered, Request};
use round::{Export, Made};
pub(crate) use round::{Round, Rules, Way};
use watch::Seen;

use crate::config::Canary;
use crate::node::{Node, Offer};
use crate::rng::fold;
use crate::store::SimState;
use crate::violation::{Check, Invariant, check};
use crate::world::{EPOCH_MS, Event, Step, World};

/// Ms of the store's clock in one ms.
pub(crate) const SCALE: u64 = 250;
/// Longest round in ms: one that takes longer is given up, since it may be of parts that are collected.
const ROUND_MAX: u64 = 2_500;
/// Longest way of a request to the store in ms.
const WAY_MAX: u64 = 500;
/// The same in the calm.
const CALM_WAY_MAX: u64 = 4;
/// How long after the faults have stopped an operator looks at all snapshots, in ms.
const MEND_AFTER: u64 = 4_000;
/// How long it may take until every partition is saved again, in ms of calm.
const SAVED_MAX: u64 = 40_000;

/// Shortest grace, in ms: what is used although no snapshot names it, and how long it takes to be named.
pub(crate) const GRACE_MIN: u64 = REUSE_AGE.as_millis() as u64 / SCALE + ROUND_MAX + 2 * WAY_MAX;

/// A request on its way.
#[derive(Debug)]
struct Errand {
    request: Request,
    /// Machine, boot id and the number there; nobody, once it is answered.
    from: Option<(usize, u64, u64)>,
    fate: Fate,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Done,
    /// It fails, and has no effect.
    Lost,
    /// It fails, and has its effect.
    AnswerLost,
    /// It fails, and has its effect this many ms later.
    Late(u64),
}

/// The store, and what is known of it.
pub(crate) struct Archive {
    pub(crate) bucket: Bucket,
    errands: BTreeMap<u64, Errand>,
    sent: u64,
    /// Hash over the rows of a partition at an index, by the tables that were saved.
    rows: BTreeMap<(u32, u64), u64>,
    seen: Seen,
    /// When an operator has looked at all snapshots.
    mended: Option<u64>,
    /// Partitions that were saved since.
    saved: BTreeSet<u32>,
    /// For the timers of attempts, which never fire.
    runtime: tokio::runtime::Runtime,
}

impl Archive {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        Self {
            bucket: Bucket::default(),
            errands: BTreeMap::new(),
            sent: 0,
            rows: BTreeMap::new(),
            seen: Seen::default(),
            mended: None,
            saved: BTreeSet::new(),
            runtime: runtime.expect("a runtime without threads and sockets needs nothing"),
        }
    }
}

impl World {
    /// The store's clock.
    fn store_clock(&self) -> u64 {
        EPOCH_MS.unsigned_abs() + self.time() * SCALE
    }

    /// A process looks whether it has something to save.
    pub(crate) fn save(&mut self, node: &mut Node) -> Check {
        let settled = self.archive.mended.is_some() && self.archive.saved.len() == self.config.partitions as usize;
        if settled {
            return Ok(());
        }
        let longest = if self.is_calm() { 1_000 } else { self.config.archive.interval_ms };
        let delay = self.rng.archive.range(longest / 2, longest);
        self.soon_aside(node, delay, Step::Save);
        if node.round.as_ref().is_some_and(|round| self.time() > round.since + ROUND_MAX) {
            self.give_up(node);
        }
        if node.round.is_some() {
            return Ok(());
        }
        let mut exports = Vec::new();
        for p in node.slots.keys().copied().collect::<Vec<_>>() {
            let Some(slot) = node.slots.get(&p) else { continue };
            // The product saves what it leads. A follower is like a leader who was replaced without knowing.
            let stranger = self.rng.archive.chance(self.config.archive.followers);
            if slot.partition.leading().is_some() || stranger {
                exports.extend(self.export_for_store(node, p)?);
            }
        }
        if exports.is_empty() {
            return Ok(());
        }
        let rules = Rules { partitions: self.config.partitions, ..self.config.archive.rules };
        self.counts.rounds += 1;
        node.round = Some(Round::new(self.time(), &node.way, exports, rules));
        self.go_on(node)
    }

    /// The state of a partition as of now, unless a checkpoint is in its way.
    fn export_for_store(&mut self, node: &mut Node, p: u32) -> Check<Option<Export>> {
        let Some(Offer { point, mut rows }) = self.export(node, p)? else { return Ok(None) };
        let Some(slot) = node.slots.get(&p) else { return Ok(None) };
        // A replica that just came, and has nothing.
        if point.index == 0 || rows.is_empty() {
            return Ok(None);
        }
        self.check_hash(p, &slot.partition)?;
        let digest = digest(&rows);
        let known = *self.archive.rows.entry((p, point.index)).or_insert(digest);
        check(known == digest, Invariant::I9Determinism, || {
            format!("p{p}: two replicas have other rows at index {}", point.index)
        })?;
        if self.config.canary == Some(Canary::PartialSave) && rows.len() > 2 {
            // Not the first row, which says how far the state is.
            let at = self.rng.archive.range(1, rows.len() as u64 - 1);
            rows.remove(usize::try_from(at).unwrap_or(1));
        }
        let meta = self.meta_of(p, &point, &slot.partition, node.number);
        self.trace.line(format_args!("n{} p{p} saves its state at {}", node.number + 1, point.index));
        Ok(Some(Export { meta, rows }))
    }

    fn meta_of(&self, p: u32, point: &SnapshotPoint, partition: &Partition<SimState>, node: usize) -> SnapshotMeta {
        SnapshotMeta {
            kind: SnapshotKind::Partition,
            partition: PartitionId(p),
            index: point.index,
            term: point.term,
            log_time: partition.log_time(),
            state_hash: partition.stats().state_hash,
            node_id: node as u64 + 1,
            features: FEATURES,
            created_at: Millis(self.store_clock_of(node)),
        }
    }

    /// The store's clock as a node has it: clocks differ by seconds.
    fn store_clock_of(&self, number: usize) -> u64 {
        let ahead = (self.machines[number].skew - EPOCH_MS).clamp(0, 3_000);
        self.store_clock() + ahead.unsigned_abs()
    }

    fn give_up(&mut self, node: &mut Node) {
        node.round = None;
        self.counts.rounds_late += 1;
        self.trace.line(format_args!("n{} gives its round up", node.number + 1));
    }

    /// A round goes on up to its next requests.
    fn go_on(&mut self, node: &mut Node) -> Check {
        let now_ms = self.store_clock_of(node.number);
        let Some(round) = &mut node.round else { return Ok(()) };
        if self.time() > round.since + ROUND_MAX {
            self.give_up(node);
            return Ok(());
        }
        let context = self.archive.runtime.enter();
        let made = round.go_on(now_ms);
        drop(context);
        for (number, request) in node.way.post.take_fresh() {
            self.send_request(node, number, request);
        }
        if let Some(made) = made {
            let since = node.round.take().map_or(0, |round| round.since);
            for made in made {
                self.made(node, since, &made)?;
            }
        }
        Ok(())
    }

    /// A request begins its way. What becomes of it is decided here.
    fn send_request(&mut self, node: &Node, number: u64, request: Request) {
        // A large state in small parts has to be saved within a round.
        let way_ms = self.config.archive.way_ms.min(if self.is_calm() { CALM_WAY_MAX } else { WAY_MAX });
        let rng = &mut self.rng.archive;
        let faults = &self.faults;
        let fate = if rng.chance(faults.store_lost) {
            Fate::Lost
        } else if rng.chance(faults.store_unknown) {
            Fate::AnswerLost
        } else if request.has_effect() && rng.chance(faults.store_late) {
            Fate::Late(rng.range(1, WAY_MAX))
        } else {
            Fate::Done
        };
        let slow = rng.chance(faults.store_slow);
        let delay = rng.range(1, if slow { WAY_MAX } else { way_ms });
        self.archive.sent += 1;
        let errand = Errand { request, from: Some((node.number, node.epoch, number)), fate };
        self.archive.errands.insert(self.archive.sent, errand);
        self.counts.store_requests += 1;
        self.after_aside(delay, Event::Store(self.archive.sent));
    }

    /// A request reaches the store.
    pub(crate) fn reaches_store(&mut self, number: u64) -> Check {
        let Some(Errand { request, from, fate }) = self.archive.errands.remove(&number) else { return Ok(()) };
        self.archive.bucket.memory.set_now(self.store_clock());
        if self.rng.archive.chance(self.faults.store_down) {
            self.archive.bucket.down_until = self.time() + self.rng.archive.range(200, 4_000);
            self.counts.store_outages += 1;
            self.trace.line(format_args!("the store is down until {}", self.archive.bucket.down_until));
        }
        let (action, key) = request.label();
        let (key, down) = (key.to_owned(), self.time() < self.archive.bucket.down_until);
        let unavailable = StoreError::Unavailable { action, key: key.clone(), reason: "by order of the seed".into() };
        let answered = match fate {
            Fate::Late(delay) if from.is_some() && !down => {
                let later = Errand { request, from: None, fate };
                self.archive.errands.insert(number, later);
                self.after_aside(delay, Event::Store(number));
                Err(unavailable)
            }
            _ if down || fate == Fate::Lost => Err(unavailable),
            _ => {
                let answered = self.carry_out(request, from.is_some())?;
                if fate == Fate::AnswerLost { Err(unavailable) } else { answered }
            }
        };
        if answered.as_ref().is_err_and(StoreError::is_retryable) {
            self.counts.store_failures += 1;
        }
        self.trace.line(format_args!("store: {action} {key} {fate:?} {}", outcome(&answered)));
        if let Some((machine, epoch, number)) = from {
            let delay = self.rng.archive.range(0, 3);
            let step = Step::Answer(number, Box::new(answered));
            self.after_aside(delay, Event::Process(machine, epoch, step));
        }
        Ok(())
    }

    /// A process hears from the store. Now and then that is the last it hears.
    pub(crate) fn store_answers(&mut self, node: &mut Node, number: u64, answered: Answered) -> Check {
        if node.round.is_some() && self.rng.archive.chance(self.faults.store_crash) {
            self.counts.rounds_cut += 1;
            self.exits = true;
            return Ok(());
        }
        node.way.post.answer(number, answered);
        self.go_on(node)
    }

    /// What became of a partition in a round.
    fn made(&mut self, node: &Node, since: u64, made: &Made) -> Check {
        let (n, p) = (node.number + 1, made.partition);
        match &made.created {
            Ok(created) => {
                self.trace.line(format_args!("n{n} p{p} saved {} {:?}", created.id, created.pointer));
                self.counts.saved += 1;
                match created.pointer {
                    PointerMove::Moved => self.counts.pointed += 1,
                    PointerMove::Kept(_) => self.counts.overtaken += 1,
                }
                self.counts.parts_reused += created.reused_parts;
                if self.archive.mended.is_some_and(|mended| since >= mended) {
                    self.archive.saved.insert(p);
                }
            }
            Err(error) => {
                self.trace.line(format_args!("n{n} p{p} is not saved: {} {error}", error.code()));
                self.counts.unsaved += 1;
            }
        }
        match &made.collected {
            Some(Ok(collected)) => {
                self.counts.snapshots_removed += collected.removed.len() as u64;
                self.counts.parts_removed += collected.removed_parts;
            }
            Some(Err(error)) => self.trace.line(format_args!("n{n} p{p} is not collected: {}", error.code())),
            None => {}
        }
        Ok(())
    }

    /// What the archive has to have done by now, in the calm.
    pub(crate) fn archive_heals(&mut self, calm: u64) -> Check {
        if !self.config.archive.on {
            return Ok(());
        }
        if calm >= MEND_AFTER && self.archive.mended.is_none() {
            self.mend()?;
            self.archive.mended = Some(self.time());
        }
        check(self.is_archived() || calm < SAVED_MAX, Invariant::L7Saved, || {
            format!("{calm} ms after the faults stopped only {:?} are saved", self.archive.saved)
        })
    }

    /// Whether every partition was saved since an operator looked.
    pub(crate) fn is_archived(&self) -> bool {
        !self.config.archive.on || self.archive.saved.len() == self.config.partitions as usize
    }

    /// Something happens that draws from the archive's own stream only, so that it shifts nothing else.
    fn after_aside(&mut self, delay: u64, event: Event) {
        let tie = self.rng.archive.next();
        self.at(delay, tie, event);
    }

    pub(crate) fn soon_aside(&mut self, node: &Node, delay: u64, step: Step) {
        self.after_aside(delay, Event::Process(node.number, node.epoch, step));
    }
}

fn outcome(answered: &Answered) -> &'static str {
    answered.as_ref().map_or_else(StoreError::code, |_| "is done")
}

/// Hash over rows.
fn digest(rows: &[(bytes::Bytes, bytes::Bytes)]) -> u64 {
    rows.iter().fold(0, |hash, (key, value)| fold(fold(hash, key), value))
}
