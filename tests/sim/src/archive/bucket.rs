//! The store itself: the snapshot crate's model of one, which objects may not reach as they were sent.

use std::collections::BTreeMap;

use abide_model::id::PartitionId;
use abide_snapshot::{
    MemoryStore, ObjectInfo, ObjectStore as _, Repository, SnapshotError, SnapshotId, StoreError, Tag,
};
use bytes::Bytes;
use futures_util::FutureExt as _;

use super::post::{Answered, Reply, Request};
use crate::config::Canary;
use crate::rng::Rng;

/// The id of the cluster.
pub(crate) const CLUSTER: &str = "sim";

/// An object store.
#[derive(Default)]
pub(crate) struct Bucket {
    pub(crate) memory: MemoryStore,
    /// Until when it answers nobody.
    pub(crate) down_until: u64,
    /// Number of the last write that took effect.
    pub(crate) writes: u64,
    /// Objects that are not what was sent, or were taken away by an operator.
    pub(crate) damaged: BTreeMap<String, Damage>,
    /// Sizes as they were sent; only of a canary.
    sent: BTreeMap<String, u64>,
}

/// What is wrong with an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Damage {
    /// Number of the write that did it.
    pub(crate) write: u64,
    /// Whether its size tells.
    pub(crate) resized: bool,
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Part(u32),
    Manifest(SnapshotId),
    Pointer(u32),
    /// The cluster's description, and the probe.
    Other,
}

impl Kind {
    pub(crate) fn of(key: &str) -> Self {
        let mut segments = key.split('/').skip(1);
        let partition = segments.next().and_then(|folder| folder.strip_prefix('p')?.parse().ok());
        match (partition, segments.next(), segments.next()) {
            (Some(p), Some("parts"), _) => Self::Part(p),
            (Some(_), Some("snapshots"), Some(id)) => id.parse().map_or(Self::Other, Self::Manifest),
            (Some(p), Some("latest"), _) => Self::Pointer(p),
            _ => Self::Other,
        }
    }
}

/// What is certain to be answered at once.
pub(crate) fn at_once<T>(answer: impl Future<Output = T>) -> T {
    answer.now_or_never().expect("a store in memory answers at once")
}

impl Bucket {
    /// Does what is asked. `rng` decides how an object is damaged, if it is to be.
    pub(crate) fn carry_out(&mut self, request: Request, rng: Option<&mut Rng>, canary: Option<Canary>) -> Answered {
        let memory = self.memory.clone();
        match request {
            Request::Get(key, bytes_max) => at_once(memory.get(&key, bytes_max)).map(Reply::Object),
            Request::Put(key, bytes) => self.write(&key, bytes, rng, |bytes| at_once(memory.put(&key, bytes))),
            Request::PutIfAbsent(key, bytes) => {
                self.write(&key, bytes, rng, |bytes| at_once(memory.put_if_absent(&key, bytes)))
            }
            Request::PutIfMatch(key, bytes, _)
                if canary == Some(Canary::BlindPointer) && matches!(Kind::of(&key), Kind::Pointer(_)) =>
            {
                self.write(&key, bytes, rng, |bytes| at_once(memory.put(&key, bytes)))
            }
            Request::PutIfMatch(key, bytes, tag) => {
                self.write(&key, bytes, rng, |bytes| at_once(memory.put_if_match(&key, bytes, &tag)))
            }
            Request::Head(key) => {
                let found = at_once(memory.head(&key));
                match (canary, self.sent.get(&key)) {
                    (Some(Canary::BlindUpload), Some(sent)) => {
                        found.map(|info| Reply::Info(ObjectInfo { bytes: *sent, ..info }))
                    }
                    (Some(Canary::PointerFirst), Some(sent)) if found.is_err() => {
                        Ok(Reply::Info(ObjectInfo { key, bytes: *sent, modified_ms: 0 }))
                    }
                    _ => found.map(Reply::Info),
                }
            }
            Request::List(prefix, depth, next) => {
                at_once(memory.list(&prefix, depth, next.as_deref())).map(Reply::Page)
            }
            Request::Delete(key) => {
                at_once(memory.delete(&key))?;
                self.damaged.remove(&key);
                Ok(Reply::Deleted)
            }
        }
    }

    fn write(
        &mut self,
        key: &str,
        bytes: Bytes,
        rng: Option<&mut Rng>,
        put: impl FnOnce(Bytes) -> Result<Tag, StoreError>,
    ) -> Answered {
        // Without the description there are no snapshots, and the probe is nobody's.
        let rng = rng.filter(|_| !bytes.is_empty() && Kind::of(key) != Kind::Other);
        let sent = bytes.len() as u64;
        let (bytes, resized) = match rng {
            Some(rng) => {
                let (bytes, resized) = damaged(&bytes, rng);
                (bytes, Some(resized))
            }
            None => (bytes, None),
        };
        let tag = put(bytes)?;
        self.writes += 1;
        self.sent.insert(key.to_owned(), sent);
        match resized {
            Some(resized) => self.damaged.insert(key.to_owned(), Damage { write: self.writes, resized }),
            None => self.damaged.remove(key),
        };
        Ok(Reply::Written(tag))
    }

    /// A canary: what is sent is acknowledged, and comes later.
    pub(crate) fn promise(&mut self, request: &Request) -> Answered {
        if let Request::Put(key, bytes) = request {
            self.sent.insert(key.clone(), bytes.len() as u64);
        }
        Ok(Reply::Written(Tag("promised".into())))
    }

    /// An operator takes an object away.
    pub(crate) fn take_away(&mut self, key: &str) {
        self.memory.remove(key);
        self.writes += 1;
        self.damaged.insert(key.to_owned(), Damage { write: self.writes, resized: true });
    }

    /// What is in it, past all faults.
    pub(crate) fn repository(&self) -> Result<Repository, SnapshotError> {
        let opened = at_once(Repository::open(std::sync::Arc::new(self.memory.clone()), CLUSTER));
        opened.map(Repository::on_calling_thread)
    }

    /// The key of a part.
    pub(crate) fn part_key(partition: PartitionId, hash: abide_snapshot::PartHash) -> String {
        format!("{CLUSTER}/p{:04}/parts/{hash}", partition.0)
    }
}

/// The content as it arrives on a bad day, and whether its size tells.
fn damaged(bytes: &Bytes, rng: &mut Rng) -> (Bytes, bool) {
    let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap_or(0);
    if rng.chance(5_000) {
        return (bytes.slice(..at), true);
    }
    let mut flipped = bytes.to_vec();
    flipped[at] ^= 1 << rng.below(8);
    (Bytes::from(flipped), false)
}
