//! What is checked of the store, at each write that takes effect in it.

use std::collections::BTreeMap;

use abide_model::id::PartitionId;
use abide_snapshot::{Manifest, PartError, Repository, SnapshotError, SnapshotId};
use futures_util::TryStreamExt as _;

use super::bucket::{Bucket, CLUSTER, Kind, at_once};
use super::{Request, World, digest};
use crate::config::Canary;
use crate::violation::{Check, Invariant, Violation, check};

/// What was seen in the store.
#[derive(Default)]
pub(super) struct Seen {
    /// The manifests that are there and can be read, with their parts' keys and the number of the write.
    pub(super) manifests: BTreeMap<SnapshotId, (Vec<String>, u64)>,
    /// What each pointer named last.
    pub(super) pointed: BTreeMap<u32, SnapshotId>,
}

impl World {
    /// A request has its effect; `awaited` if somebody still waits for the answer.
    pub(super) fn carry_out(&mut self, request: Request, awaited: bool) -> Check<super::Answered> {
        let (key, writes, deletes) =
            (request.label().1.to_owned(), request.is_write(), matches!(request, Request::Delete(_)));
        if deletes {
            self.deleted(&key)?;
        }
        if self.config.canary == Some(Canary::ExpireParts) && key.ends_with("/parts/") {
            self.expire_parts(&key)?;
        }
        let is_part = matches!(Kind::of(&key), Kind::Part(_)) && writes;
        if self.config.canary == Some(Canary::PointerFirst) && is_part && awaited {
            return Ok(self.put_off(&request));
        }
        let damage = writes && self.rng.archive.chance(self.faults.store_damage);
        let rng = damage.then_some(&mut self.rng.archive);
        let answered = self.archive.bucket.carry_out(request, rng, self.config.canary);
        if writes && answered.is_ok() {
            if let Some(damage) = self.archive.bucket.damaged.get(&key) {
                self.counts.store_damaged += 1;
                self.trace.line(format_args!("store: {key} is damaged, {damage:?}"));
            }
            self.written(&key)?;
        }
        Ok(answered)
    }

    fn written(&mut self, key: &str) -> Check {
        match Kind::of(key) {
            Kind::Manifest(id) => {
                let stored = self.archive.bucket.memory.content(key).unwrap_or_default();
                if let Ok((manifest, _)) = Manifest::decode(key, stored) {
                    let parts = manifest.parts.iter().map(|part| Bucket::part_key(id.partition, part.hash));
                    self.archive.seen.manifests.insert(id, (parts.collect(), self.archive.bucket.writes));
                }
                Ok(())
            }
            Kind::Pointer(p) => self.pointer_moved(p),
            Kind::Part(_) | Kind::Other => Ok(()),
        }
    }

    /// Whatever the pointer names is whole, is newer than what it named before, and is the state at its index.
    fn pointer_moved(&mut self, p: u32) -> Check {
        let repository = self.archive.bucket.repository().map_err(|error| broken(p, &error))?;
        // A pointer that was damaged on its way names nothing, which is no lie.
        let Ok(Some(id)) = at_once(repository.pointed(PartitionId(p))) else { return Ok(()) };
        let before = self.archive.seen.pointed.insert(p, id);
        check(before.is_none_or(|before| before.index <= id.index), Invariant::I23Bucket, || {
            format!("p{p}: the pointer goes back from {before:?} to {id}")
        })?;
        self.counts.verified += 1;
        if self.is_whole(&repository, id)? {
            self.is_the_state(&repository, id)?;
        }
        Ok(())
    }

    /// Whether a snapshot can be read. All of it has to be there, unless the store damaged what was sent in a way that only
    /// its content tells, or damaged it later.
    fn is_whole(&self, repository: &Repository, id: SnapshotId) -> Check<bool> {
        let p = id.partition.0;
        let verified = at_once(repository.verify(id, true)).map_err(|error| broken(p, &error))?;
        let (_, write) = self.archive.seen.manifests.get(&id).cloned().unwrap_or_default();
        for fault in &verified.faults {
            let excused = part_of(id.partition, fault).is_some_and(|key| {
                let damage = self.archive.bucket.damaged.get(&key);
                damage.is_some_and(|damage| !damage.resized || damage.write > write)
            });
            check(excused, Invariant::I23Bucket, || format!("p{p}: the pointer names {id}, and {fault}"))?;
        }
        Ok(verified.is_sound())
    }

    /// A snapshot is what its partition's tables were.
    fn is_the_state(&self, repository: &Repository, id: SnapshotId) -> Check {
        let p = id.partition.0;
        let manifest = at_once(repository.manifest(id)).map_err(|error| broken(p, &error))?;
        let known = self.hashes.get(&(p, id.index));
        check(known == Some(&manifest.meta.state_hash), Invariant::I23Bucket, || {
            format!("{id} says its hash is {:016x}, it was {known:?}", manifest.meta.state_hash)
        })?;
        let parts: Vec<_> = at_once(repository.read(&manifest).try_collect()).map_err(|error| broken(p, &error))?;
        let rows: Vec<_> = parts.into_iter().flatten().collect();
        check(self.archive.rows.get(&(p, id.index)) == Some(&digest(&rows)), Invariant::I23Bucket, || {
            format!("{id} has other rows than the tables had")
        })
    }

    /// Nothing that a snapshot consists of is removed before the snapshot.
    fn deleted(&mut self, key: &str) -> Check {
        match Kind::of(key) {
            Kind::Part(_) => {
                let mut manifests = self.archive.seen.manifests.iter();
                let owner = manifests.find(|(_, (parts, _))| parts.iter().any(|part| part == key));
                check(owner.is_none(), Invariant::I23Bucket, || {
                    format!(
                        "`{key}` is removed, {} consists of it",
                        owner.map_or_else(String::new, |it| it.0.to_string())
                    )
                })
            }
            Kind::Manifest(id) => {
                self.archive.seen.manifests.remove(&id);
                let pointed = self.archive.seen.pointed.get(&id.partition.0);
                check(pointed != Some(&id), Invariant::I23Bucket, || format!("{id} is removed, the pointer names it"))
            }
            Kind::Pointer(_) | Kind::Other => Ok(()),
        }
    }

    /// An operator reads all snapshots, and takes away the parts whose content is wrong, so that they are sent again.
    pub(super) fn mend(&mut self) -> Check {
        // Nobody saved anything.
        let Ok(repository) = self.archive.bucket.repository() else { return Ok(()) };
        for id in self.archive.seen.manifests.keys().copied().collect::<Vec<_>>() {
            let verified = at_once(repository.verify(id, true)).map_err(|error| broken(id.partition.0, &error))?;
            for fault in verified.faults {
                if let SnapshotError::Part(PartError::Damaged { hash, .. }) = fault {
                    let key = Bucket::part_key(id.partition, hash);
                    check(self.archive.bucket.damaged.contains_key(&key), Invariant::I23Bucket, || {
                        format!("`{key}` is damaged, and nobody did that")
                    })?;
                    self.trace.line(format_args!("an operator takes {key} away"));
                    self.counts.mended += 1;
                    self.archive.bucket.take_away(&key);
                }
            }
        }
        Ok(())
    }

    /// A canary: parts are removed by their age, whoever needs them.
    fn expire_parts(&mut self, prefix: &str) -> Check {
        let old = self.store_clock().saturating_sub(3_000 * super::SCALE);
        for key in self.archive.bucket.memory.keys() {
            let request = Request::Head(key.clone());
            let info = self.archive.bucket.carry_out(request, None, None);
            if let (true, Ok(super::post::Reply::Info(info))) = (key.starts_with(prefix), info)
                && info.modified_ms < old
            {
                self.deleted(&key)?;
                self.archive.bucket.memory.remove(&key);
            }
        }
        Ok(())
    }

    /// A canary: a part is said to be there, and comes when the pointer has long moved.
    fn put_off(&mut self, request: &Request) -> super::Answered {
        let delay = self.rng.archive.range(500, 3_000);
        self.archive.sent += 1;
        let later = super::Errand { request: request.clone(), from: None, fate: super::Fate::Done };
        self.archive.errands.insert(self.archive.sent, later);
        self.after_aside(delay, super::Event::Store(self.archive.sent));
        self.archive.bucket.promise(request)
    }
}

/// The part that an error is about.
fn part_of(partition: PartitionId, error: &SnapshotError) -> Option<String> {
    match error {
        SnapshotError::Part(PartError::Damaged { hash, .. }) => Some(Bucket::part_key(partition, *hash)),
        SnapshotError::Store(
            abide_snapshot::StoreError::NotFound { key } | abide_snapshot::StoreError::Corrupt { key, .. },
        ) => Some(key.clone()),
        _ => None,
    }
}

pub(super) fn broken(p: u32, error: &SnapshotError) -> Violation {
    Violation { invariant: Invariant::I23Bucket, text: format!("p{p} of `{CLUSTER}`: {} {error}", error.code()) }
}
