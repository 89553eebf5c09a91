//! Recent writes of one partition, in memory above the shared state store.
//!
//! A row costs the engine microseconds each time it is written, but most rows of a command live for milliseconds (an
//! invocation, its place in a mailbox) and counters are overwritten many times. So writes gather in an ordered map; a
//! checkpoint freezes the map, writes it as one atomic batch on another thread, and drops it. Rows that were born and
//! deleted between two checkpoints never reach the disk, not even as a tombstone.
//!
//! Reads look at the active map, the frozen one, and the store, in this order. The owner bounds the memory: it stops
//! accepting commands when [`Overlay::bytes`] is too high.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, btree_map},
    iter::Peekable,
    mem,
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use abide_model::view::{RawView, ReadError, Write, WriteOp};
use bytes::Bytes;

use crate::{PARTITIONS_MAX, StateSnapshot, StateStore, StateWrite, StorageError};

/// Bytes that a row in the overlay is counted with beyond its key and value: the slot, its share of the map and two heap
/// blocks.
pub const SLOT_OVERHEAD_BYTES: usize = 96;

/// Write-back overlay of one partition.
///
/// Invariant: what a reader sees equals the store with all writes ever applied, also while a checkpoint is in flight.
#[derive(Debug)]
pub struct Overlay<S> {
    prefix: [u8; 2],
    active: Layer,
    frozen: Option<Arc<Layer>>,
    base: Arc<S>,
}

impl<S: StateStore> Overlay<S> {
    /// An empty overlay of `partition` (lower than [`crate::PARTITIONS_MAX`]) above its first generation in `base`.
    pub fn new(partition: u32, base: Arc<S>) -> Self {
        Self::open(partition, 0, base)
    }

    /// As [`Overlay::new`], above a later generation (lower than [`crate::GENERATIONS`]): the rows of one snapshot and
    /// what was written since.
    pub fn open(partition: u32, generation: u8, base: Arc<S>) -> Self {
        Self { prefix: prefix(partition, generation), active: Layer::default(), frozen: None, base }
    }

    /// Leaves everything behind and looks at another generation.
    pub fn reopen(&mut self, partition: u32, generation: u8) {
        *self = Self::open(partition, generation, Arc::clone(&self.base));
    }

    /// The store below.
    #[must_use]
    pub fn base(&self) -> &Arc<S> {
        &self.base
    }

    /// The rows as of the checkpoint that was just begun, for reading on another thread. Called between
    /// [`Overlay::freeze`] and the writing of its checkpoint.
    ///
    /// # Errors
    /// Any [`StorageError`] is fatal.
    pub fn export(&self) -> Result<Export, StorageError> {
        Ok(Export { prefix: self.prefix, layer: self.frozen.clone(), base: self.base.snapshot()? })
    }

    /// Applies the writes of a command, in order.
    ///
    /// An [`WriteOp::Insert`] of a key without a slot in the active map makes a *fresh* slot: deleting it again before the
    /// next checkpoint removes the slot without a tombstone. A slot that exists keeps its freshness.
    pub fn apply(&mut self, writes: Vec<Write>) {
        for write in writes {
            self.active.apply(write);
        }
    }

    /// Memory in use by both maps, in bytes, estimated: keys, values and [`SLOT_OVERHEAD_BYTES`] each.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.active.bytes + self.frozen.as_ref().map_or(0, |layer| layer.bytes)
    }

    /// As [`Overlay::bytes`], of the writes since the last [`Overlay::freeze`].
    #[must_use]
    pub fn active_bytes(&self) -> usize {
        self.active.bytes
    }

    /// Whether a checkpoint is in flight.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// Starts a checkpoint: the writes so far, to be written to the base store as one batch. `None` while another one is
    /// in flight or if there is nothing to write.
    pub fn freeze(&mut self) -> Option<Checkpoint> {
        if self.frozen.is_some() || self.active.slots.is_empty() {
            return None;
        }
        let layer = Arc::new(mem::take(&mut self.active));
        self.frozen = Some(Arc::clone(&layer));
        Some(Checkpoint { prefix: self.prefix, layer })
    }

    /// Ends the checkpoint: its batch is in the base store (not necessarily synced), so reads no longer need the frozen
    /// map. Does nothing if none is in flight.
    pub fn checkpointed(&mut self) {
        self.frozen = None;
    }
}

impl<S: StateStore> RawView for Overlay<S> {
    fn get_raw(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        if let Some(slot) = self.active.slots.get(key) {
            return Ok(slot.value.clone());
        }
        if let Some(slot) = self.frozen.as_ref().and_then(|layer| layer.slots.get(key)) {
            return Ok(slot.value.clone());
        }
        with_prefix(self.prefix, key, |full| self.base.get(full)).map_err(read_error)
    }

    fn scan_raw(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        if from >= to {
            return Ok(());
        }
        let mut upper = Upper {
            active: self.active.range(from, to).peekable(),
            frozen: self.frozen.as_ref().map(|layer| layer.range(from, to).peekable()),
        };
        let mut flow = ControlFlow::Continue(());
        self.base
            .scan(&join(self.prefix, from), &join(self.prefix, to), &mut |full, value| {
                let key = full.get(self.prefix.len()..).unwrap_or_default();
                flow = upper.visit_below(key, visit);
                if flow.is_continue() && !upper.take_hidden(key, visit, &mut flow) {
                    flow = visit(key, value);
                }
                flow
            })
            .map_err(read_error)?;
        if flow.is_continue() {
            let _ = upper.visit_rest(visit);
        }
        Ok(())
    }
}

/// The frozen writes of one checkpoint. Cheap to send to another thread.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    prefix: [u8; 2],
    layer: Arc<Layer>,
}

impl Checkpoint {
    /// The batch for the base store, in key order. Copies the keys, shares the values.
    #[must_use]
    pub fn writes(&self) -> Vec<StateWrite> {
        let slots = self.layer.slots.iter();
        slots.map(|(key, slot)| (join(self.prefix, key).into(), slot.value.clone())).collect()
    }

    /// Number of rows in the batch.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.layer.slots.len()
    }

    /// Memory held, as [`Overlay::bytes`] counts it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.layer.bytes
    }
}

/// The rows of a partition at one moment. See [`Overlay::export`].
pub struct Export {
    prefix: [u8; 2],
    layer: Option<Arc<Layer>>,
    base: Box<dyn StateSnapshot>,
}

/// Rows with their keys, without the partition's prefix.
pub type ExportedRows = Vec<(Bytes, Bytes)>;

impl Export {
    /// The next rows behind the key `after` (from the first one, if `None`), in key order: as many as have `bytes` bytes
    /// together, at least one. Empty at the end.
    ///
    /// # Errors
    /// Any [`StorageError`] is fatal.
    pub fn page(&self, after: Option<&[u8]>, bytes: usize) -> Result<ExportedRows, StorageError> {
        // The smallest key behind another one is that key and a zero byte.
        let from = after.map_or_else(Vec::new, |after| [after, &[0]].concat());
        let empty = Layer::default();
        let layer = self.layer.as_deref().unwrap_or(&empty);
        let range = layer.slots.range::<[u8], _>((Bound::Included(&*from), Bound::Unbounded));
        let mut upper = Upper { active: range.peekable(), frozen: None };
        let (mut rows, mut taken) = (ExportedRows::new(), 0);
        let mut take = |key: &[u8], value: &Bytes| {
            taken += key.len() + value.len();
            rows.push((Bytes::copy_from_slice(key), value.clone()));
            if taken < bytes { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let mut flow = ControlFlow::Continue(());
        self.base.scan(&join(self.prefix, &from), &end(self.prefix), &mut |full, value| {
            let key = full.get(self.prefix.len()..).unwrap_or_default();
            flow = upper.visit_below(key, &mut take);
            if flow.is_continue() && !upper.take_hidden(key, &mut take, &mut flow) {
                flow = take(key, value);
            }
            flow
        })?;
        if flow.is_continue() {
            let _ = upper.visit_rest(&mut take);
        }
        Ok(rows)
    }
}

/// The rows of an export as one stream: `page` gives those behind a key, as [`Export::page`] does. Ends behind an error.
pub fn paged_rows(
    mut page: impl FnMut(Option<&[u8]>) -> Result<ExportedRows, StorageError>,
) -> impl Iterator<Item = Result<(Bytes, Bytes), StorageError>> {
    let mut rows = Vec::new().into_iter();
    let (mut after, mut is_over) = (None::<Bytes>, false);
    std::iter::from_fn(move || {
        if rows.len() == 0 && !is_over {
            match page(after.as_deref()) {
                Ok(next) => {
                    after = next.last().map(|(key, _)| key.clone());
                    is_over = next.is_empty();
                    rows = next.into_iter();
                }
                Err(error) => {
                    is_over = true;
                    return Some(Err(error));
                }
            }
        }
        rows.next().map(Ok)
    })
}

/// Writes the rows of a snapshot into a generation that nobody reads yet.
///
/// # Errors
/// As [`StateStore::write`].
pub fn load_rows<S: StateStore + ?Sized>(
    store: &S,
    partition: u32,
    generation: u8,
    rows: impl IntoIterator<Item = (Bytes, Bytes)>,
) -> Result<(), StorageError> {
    let prefix = prefix(partition, generation);
    store.write(rows.into_iter().map(|(key, value)| (join(prefix, &key).into(), Some(value))).collect())
}

/// Removes the first rows of a generation that nobody reads any more, at most `limit`. Whether there may be more.
///
/// # Errors
/// As [`StateStore::write`].
pub fn drop_rows<S: StateStore + ?Sized>(
    store: &S,
    partition: u32,
    generation: u8,
    limit: usize,
) -> Result<bool, StorageError> {
    let prefix = prefix(partition, generation);
    let mut doomed: Vec<StateWrite> = Vec::new();
    store.scan(&prefix, &end(prefix), &mut |key, _| {
        doomed.push((key.into(), None));
        if doomed.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let more = doomed.len() >= limit;
    if !doomed.is_empty() {
        store.write(doomed)?;
    }
    Ok(more)
}

/// What the overlay knows about a key.
#[derive(Debug)]
struct Slot {
    /// `None` is a tombstone: the key does not exist, whatever lower layers say.
    value: Option<Bytes>,
    /// No lower layer holds the key, so a delete needs no tombstone.
    fresh: bool,
}

#[derive(Debug, Default)]
struct Layer {
    slots: BTreeMap<Box<[u8]>, Slot>,
    /// Sum of `cost` over all slots.
    bytes: usize,
}

impl Layer {
    fn apply(&mut self, write: Write) {
        let (value, insert) = match write.op {
            WriteOp::Put(value) => (Some(value), false),
            WriteOp::Insert(value) => (Some(value), true),
            WriteOp::Delete => (None, false),
        };
        let added = cost(write.key.len(), value.as_ref());
        match self.slots.entry(write.key) {
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(Slot { value, fresh: insert });
                self.bytes += added;
            }
            btree_map::Entry::Occupied(mut occupied) => {
                self.bytes -= cost(occupied.key().len(), occupied.get().value.as_ref());
                if value.is_none() && occupied.get().fresh {
                    occupied.remove();
                } else {
                    occupied.get_mut().value = value;
                    self.bytes += added;
                }
            }
        }
    }

    fn range(&self, from: &[u8], to: &[u8]) -> Slots<'_> {
        self.slots.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)))
    }
}

type Slots<'a> = btree_map::Range<'a, Box<[u8]>, Slot>;

/// The two maps of an overlay, merged while the base store is scanned: the active one wins.
struct Upper<'a> {
    active: Peekable<Slots<'a>>,
    frozen: Option<Peekable<Slots<'a>>>,
}

impl<'a> Upper<'a> {
    /// The lowest key left, with the slot that decides about it.
    fn peek(&mut self) -> Option<(&'a [u8], &'a Slot)> {
        let active = self.active.peek().map(|(key, slot)| (&***key, *slot));
        let frozen = self.frozen.as_mut().and_then(Peekable::peek).map(|(key, slot)| (&***key, *slot));
        match (active, frozen) {
            (Some(active), Some(frozen)) => Some(if active.0 <= frozen.0 { active } else { frozen }),
            (active, frozen) => active.or(frozen),
        }
    }

    /// Drops `key` from both maps.
    fn advance(&mut self, key: &[u8]) {
        self.active.next_if(|(at, _)| &***at == key);
        if let Some(frozen) = &mut self.frozen {
            frozen.next_if(|(at, _)| &***at == key);
        }
    }

    fn visit_below(&mut self, bound: &[u8], visit: &mut Visit<'_>) -> ControlFlow<()> {
        while let Some((key, slot)) = self.peek() {
            if key.cmp(bound) != Ordering::Less {
                break;
            }
            self.advance(key);
            if let Some(value) = &slot.value {
                visit(key, value)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// If the maps decide about `key`, visits their value (a tombstone has none) and answers true.
    fn take_hidden(&mut self, key: &[u8], visit: &mut Visit<'_>, flow: &mut ControlFlow<()>) -> bool {
        let Some((at, slot)) = self.peek() else { return false };
        if at != key {
            return false;
        }
        self.advance(at);
        if let Some(value) = &slot.value {
            *flow = visit(at, value);
        }
        true
    }

    fn visit_rest(&mut self, visit: &mut Visit<'_>) -> ControlFlow<()> {
        while let Some((key, slot)) = self.peek() {
            self.advance(key);
            if let Some(value) = &slot.value {
                visit(key, value)?;
            }
        }
        ControlFlow::Continue(())
    }
}

type Visit<'a> = dyn FnMut(&[u8], &Bytes) -> ControlFlow<()> + 'a;

fn cost(key_len: usize, value: Option<&Bytes>) -> usize {
    key_len + value.map_or(0, Bytes::len) + SLOT_OVERHEAD_BYTES
}

/// Ten bits of partition below six of generation, so that the first generation has the partition's number alone.
fn prefix(partition: u32, generation: u8) -> [u8; 2] {
    let number = u32::from(generation) * PARTITIONS_MAX + partition;
    u16::try_from(number).expect("partitions and generations are below their bounds").to_be_bytes()
}

/// Behind all keys with a prefix: no table has this tag.
fn end(prefix: [u8; 2]) -> Vec<u8> {
    join(prefix, &[0xFF])
}

fn join(prefix: [u8; 2], key: &[u8]) -> Vec<u8> {
    [&prefix, key].concat()
}

/// Calls `read` with the full key, built on the stack when it is short, as nearly all are.
fn with_prefix<T>(prefix: [u8; 2], key: &[u8], read: impl FnOnce(&[u8]) -> T) -> T {
    let mut stack = [0_u8; 128];
    let len = prefix.len() + key.len();
    if len > stack.len() {
        return read(&join(prefix, key));
    }
    stack[..prefix.len()].copy_from_slice(&prefix);
    stack[prefix.len()..len].copy_from_slice(key);
    read(&stack[..len])
}

fn read_error(error: StorageError) -> ReadError {
    ReadError(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemState;

    fn put(key: &str) -> Write {
        Write { key: key.as_bytes().into(), op: WriteOp::Put(Bytes::from_static(b"value")) }
    }

    fn insert(key: &str) -> Write {
        Write { key: key.as_bytes().into(), op: WriteOp::Insert(Bytes::from_static(b"value")) }
    }

    fn delete(key: &str) -> Write {
        Write { key: key.as_bytes().into(), op: WriteOp::Delete }
    }

    /// The rows that a checkpoint writes after `writes`, as key and whether it has a value.
    fn rows(writes: Vec<Write>) -> Vec<(Vec<u8>, bool)> {
        let mut overlay = Overlay::new(0x0102, Arc::new(MemState::new()));
        overlay.apply(writes);
        let rows = overlay.freeze().map(|checkpoint| checkpoint.writes()).unwrap_or_default();
        rows.into_iter().map(|(key, value)| (key.into(), value.is_some())).collect()
    }

    fn row(key: &str, value: bool) -> (Vec<u8>, bool) {
        ([&[1, 2], key.as_bytes()].concat(), value)
    }

    #[test]
    fn a_fresh_row_that_dies_leaves_nothing() {
        assert_eq!(rows(vec![insert("a"), delete("a")]), []);
        assert_eq!(rows(vec![insert("a"), put("a"), delete("a")]), []);
        assert_eq!(rows(vec![insert("a"), delete("a"), insert("a")]), [row("a", true)]);
    }

    #[test]
    fn a_row_that_may_lie_below_leaves_a_tombstone() {
        assert_eq!(rows(vec![put("a"), delete("a")]), [row("a", false)]);
        assert_eq!(rows(vec![delete("a")]), [row("a", false)]);
        assert_eq!(rows(vec![put("a"), insert("a"), delete("a")]), [row("a", false)]);
        assert_eq!(rows(vec![delete("a"), insert("a"), delete("a")]), [row("a", false)]);
    }

    #[test]
    fn freshness_ends_with_the_checkpoint() {
        let base = Arc::new(MemState::new());
        let mut overlay = Overlay::new(0, Arc::clone(&base));
        overlay.apply(vec![insert("a")]);
        let checkpoint = overlay.freeze().unwrap();
        overlay.apply(vec![delete("a")]);
        assert_eq!(overlay.get_raw(b"a").unwrap(), None);
        base.write(checkpoint.writes()).unwrap();
        overlay.checkpointed();
        assert_eq!(overlay.get_raw(b"a").unwrap(), None);
        base.write(overlay.freeze().unwrap().writes()).unwrap();
        overlay.checkpointed();
        assert_eq!(overlay.get_raw(b"a").unwrap(), None);
    }

    /// Pages of any size give the rows as of the freeze, whatever is written later.
    #[test]
    fn an_export_is_the_state_as_of_the_freeze() {
        for size in [1, 7, 1_000] {
            let base = Arc::new(MemState::new());
            let mut overlay = Overlay::open(3, 2, Arc::clone(&base));
            overlay.apply(vec![put("a"), put("c"), put("d")]);
            base.write(overlay.freeze().unwrap().writes()).unwrap();
            overlay.checkpointed();
            overlay.apply(vec![put("b"), delete("c"), put("e")]);
            let checkpoint = overlay.freeze().unwrap();
            let export = overlay.export().unwrap();
            overlay.apply(vec![put("aa"), delete("d")]);
            base.write(checkpoint.writes()).unwrap();
            let mut keys: Vec<Bytes> = Vec::new();
            loop {
                let page = export.page(keys.last().map(|key| &**key), size).unwrap();
                if page.is_empty() {
                    break;
                }
                keys.extend(page.into_iter().map(|(key, _)| key));
            }
            assert_eq!(keys, ["a", "b", "d", "e"]);
        }
    }

    #[test]
    fn generations_do_not_see_each_other() {
        let base = Arc::new(MemState::new());
        let rows = |keys: &[&'static str]| -> Vec<(Bytes, Bytes)> {
            keys.iter().map(|key| (Bytes::from(*key), Bytes::from_static(b"v"))).collect()
        };
        load_rows(&*base, 1023, 63, rows(&["x"])).unwrap();
        load_rows(&*base, 7, 0, rows(&["a", "b"])).unwrap();
        load_rows(&*base, 7, 1, rows(&["c", "d", "e"])).unwrap();
        let mut overlay = Overlay::new(7, Arc::clone(&base));
        assert!(overlay.get_raw(b"a").unwrap().is_some() && overlay.get_raw(b"c").unwrap().is_none());
        overlay.apply(vec![put("z")]);
        overlay.reopen(7, 1);
        assert!(overlay.get_raw(b"c").unwrap().is_some() && overlay.get_raw(b"z").unwrap().is_none());
        assert!(drop_rows(&*base, 7, 0, 1).unwrap());
        assert!(!drop_rows(&*base, 7, 0, 10).unwrap());
        assert!(!drop_rows(&*base, 1023, 63, 10).unwrap());
        assert!(overlay.get_raw(b"e").unwrap().is_some());
        assert_eq!(Overlay::new(7, base).get_raw(b"b").unwrap(), None);
    }

    #[test]
    fn bytes_follow_the_rows() {
        let mut overlay = Overlay::new(0, Arc::new(MemState::new()));
        overlay.apply(vec![insert("a"), put("bc")]);
        let expected = 2 * SLOT_OVERHEAD_BYTES + 1 + 2 + 5 + 5;
        assert_eq!((overlay.bytes(), overlay.active_bytes()), (expected, expected));
        overlay.apply(vec![put("bc"), delete("a")]);
        let expected = SLOT_OVERHEAD_BYTES + 2 + 5;
        assert_eq!(overlay.active_bytes(), expected);
        let checkpoint = overlay.freeze().unwrap();
        assert_eq!((checkpoint.rows(), checkpoint.bytes()), (1, expected));
        assert_eq!((overlay.bytes(), overlay.active_bytes()), (expected, 0));
        assert!(overlay.is_frozen());
        overlay.apply(vec![put("d")]);
        assert!(overlay.freeze().is_none(), "one checkpoint at a time");
        overlay.checkpointed();
        assert_eq!(overlay.bytes(), SLOT_OVERHEAD_BYTES + 1 + 5);
    }

    #[test]
    fn long_keys_are_found_too() {
        let base = Arc::new(MemState::new());
        let long = [7; 200];
        base.write(vec![(join([0, 0], &long).into(), Some(Bytes::from_static(b"value")))]).unwrap();
        assert!(Overlay::new(0, base).get_raw(&long).unwrap().is_some());
    }

    #[test]
    fn an_overlay_and_its_checkpoint_can_change_threads() {
        fn is_send<T: Send>() {}
        is_send::<Overlay<MemState>>();
        is_send::<Checkpoint>();
    }
}
