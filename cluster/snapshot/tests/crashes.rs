//! Whatever ends a creation or a collection, at whatever step, and whoever else is at work: the newest snapshot is readable, the
//! pointer never moves back, and what is left is collected later.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

mod common;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use abide_snapshot::{MemoryStore, ObjectStore, PointerMove, Repository, SnapshotId};
use futures_util::future::join_all;

use crate::common::{Fate, Faulty, P3, create, read, repository, rows};

const LATEST: &str = "c1/p0003/latest";

/// The process dies at its `n`th operation, which is carried out or not; nothing it asks for afterwards is.
fn die_at(faulty: &Faulty, n: u64, fate: Fate) {
    let mut number = 0;
    faulty.set_rule(move |_, _| {
        number += 1;
        match number - 1 {
            before if before < n => Fate::Done,
            now if now == n => fate,
            _ => Fate::Lost,
        }
    });
}

/// Everything in the store belongs to a snapshot that is kept.
async fn is_clean(memory: &MemoryStore, repository: &Repository) {
    let mut expected: BTreeSet<String> = ["c1/cluster", "c1/probe", LATEST].map(str::to_owned).into();
    for listed in repository.list(P3).await.unwrap() {
        expected.insert(format!("c1/p0003/snapshots/{}", listed.id));
        let manifest = repository.manifest(listed.id).await.unwrap();
        expected.extend(manifest.parts.iter().map(|part| format!("c1/p0003/parts/{}", part.hash)));
    }
    assert_eq!(memory.keys().into_iter().collect::<BTreeSet<_>>(), expected);
}

#[tokio::test]
async fn a_creation_may_end_at_every_step() {
    for fate in [Fate::Lost, Fate::AnswerLost] {
        let mut steps = 0;
        loop {
            let faulty = Faulty::new(MemoryStore::new());
            let store: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
            let repository = repository(&store).await;
            let first = create(&repository, 10, rows(150, 1)).await.unwrap();
            die_at(&faulty, steps, fate);
            let result = create(&repository, 20, rows(150, 2)).await;
            faulty.set_rule(|_, _| Fate::Done);

            let latest = repository.latest(P3).await.unwrap().unwrap();
            assert!(latest.skipped.is_empty());
            let generation = if latest.id == first.id { 1 } else { 2 };
            assert_eq!(read(&repository, &latest.manifest).await.unwrap(), rows(150, generation), "step {steps}");
            assert!(result.is_err() || generation == 2);

            // Another node goes on from there.
            let collected = repository.collect(P3, 1, Duration::from_secs(1), 10_000_000).await.unwrap();
            assert!(collected.kept.contains(&latest.id));
            let third = create(&repository, 30, rows(150, 3)).await.unwrap();
            assert_eq!(third.pointer, PointerMove::Moved);
            repository.collect(P3, 1, Duration::from_secs(1), 10_000_000).await.unwrap();
            is_clean(&faulty.memory, &repository).await;
            assert_eq!(read(&repository, &third.manifest).await.unwrap(), rows(150, 3));
            if result.is_ok() {
                break;
            }
            steps += 1;
        }
        assert!(steps > 15, "{steps} steps");
    }
}

#[tokio::test]
async fn a_first_creation_may_end_at_every_step() {
    let mut steps = 0;
    loop {
        let faulty = Faulty::new(MemoryStore::new());
        let store: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
        die_at(&faulty, steps, Fate::AnswerLost);
        let result = match Repository::open_or_create(Arc::clone(&store), "c1", 8).await {
            Ok(repository) => create(&repository, 10, rows(150, 1)).await,
            Err(error) => Err(error),
        };
        faulty.set_rule(|_, _| Fate::Done);
        let repository = repository(&store).await;
        repository.collect(P3, 1, Duration::from_secs(1), 10_000_000).await.unwrap();
        if let Some(latest) = repository.latest(P3).await.unwrap() {
            assert_eq!(read(&repository, &latest.manifest).await.unwrap(), rows(150, 1));
        }
        create(&repository, 20, rows(150, 2)).await.unwrap();
        repository.collect(P3, 1, Duration::from_secs(1), 10_000_000).await.unwrap();
        is_clean(&faulty.memory, &repository).await;
        if result.is_ok() {
            break;
        }
        steps += 1;
    }
    assert!(steps > 15, "{steps} steps");
}

#[tokio::test]
async fn a_collection_may_end_at_every_step() {
    for fate in [Fate::Lost, Fate::AnswerLost] {
        let mut steps = 0;
        loop {
            let faulty = Faulty::new(MemoryStore::new());
            let store: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
            let repository = repository(&store).await;
            for index in 1..=4 {
                create(&repository, index * 10, rows(150, u32::try_from(index).unwrap())).await.unwrap();
            }
            die_at(&faulty, steps, fate);
            let result = repository.collect(P3, 2, Duration::from_secs(1), 10_000_000).await;
            faulty.set_rule(|_, _| Fate::Done);
            for listed in repository.list(P3).await.unwrap() {
                assert!(repository.verify(listed.id, true).await.unwrap().is_sound(), "step {steps}");
            }
            let collected = repository.collect(P3, 2, Duration::from_secs(1), 10_000_000).await.unwrap();
            assert_eq!(collected.kept.iter().map(|id| id.index).collect::<Vec<_>>(), [40, 30]);
            is_clean(&faulty.memory, &repository).await;
            if result.is_ok() {
                break;
            }
            steps += 1;
        }
        assert!(steps > 8, "{steps} steps");
    }
}

#[tokio::test]
async fn what_is_young_is_not_collected() {
    let memory = MemoryStore::new();
    let store: Arc<dyn ObjectStore> = Arc::new(memory.clone());
    let repository = repository(&store).await;
    memory.set_now(1_000_000);
    create(&repository, 10, rows(150, 1)).await.unwrap();
    let orphan = format!("c1/p0003/parts/{}", abide_snapshot::PartHash::of(b"orphan"));
    memory.overwrite(&orphan, "orphan");
    memory.overwrite("c1/p0003/parts/README", "not a part");
    let collect = async |now_ms| repository.collect(P3, 1, Duration::from_secs(60), now_ms).await.unwrap();
    for now_ms in [0, 1_000_000, 1_060_000] {
        assert_eq!(collect(now_ms).await.removed_parts, 0, "{now_ms}");
    }
    let collected = collect(1_060_001).await;
    assert_eq!((collected.removed_parts, collected.removed_bytes), (1, 6));
    assert!(memory.content(&orphan).is_none());
    assert!(memory.content("c1/p0003/parts/README").is_some(), "who put it there may want it");
}

#[tokio::test]
async fn what_a_damaged_snapshot_names_is_not_collected() {
    let memory = MemoryStore::new();
    let store: Arc<dyn ObjectStore> = Arc::new(memory.clone());
    let repository = repository(&store).await;
    let mut created = Vec::new();
    for index in 1..=4 {
        created.push(create(&repository, index * 10, rows(2500, u32::try_from(index).unwrap())).await.unwrap());
    }
    let damaged = format!("c1/p0003/snapshots/{}", created[2].id);
    let content = memory.content(&damaged).unwrap();
    memory.overwrite(&damaged, "damaged");
    let collect = async |keep| repository.collect(P3, keep, Duration::ZERO, 10_000_000).await.unwrap();
    let collected = collect(2).await;
    assert_eq!((collected.kept, collected.damaged), (vec![created[3].id, created[1].id], vec![created[2].id]));
    assert_eq!((collected.removed, collected.removed_parts), (vec![created[0].id], 0));
    // It was a bad day of the store.
    memory.overwrite(&damaged, content);
    let collected = collect(2).await;
    assert_eq!(collected.kept, [created[3].id, created[2].id]);
    assert!(collected.removed_parts > 0);
    assert!(repository.verify(created[2].id, true).await.unwrap().is_sound());
    // Damage in what is not kept holds nothing up.
    memory.overwrite(&damaged, "damaged");
    let collected = collect(1).await;
    assert_eq!((collected.removed, collected.damaged), (vec![created[2].id], vec![]));
}

/// A snapshot is finished while another node collects: its parts stay, however old they are.
#[tokio::test]
async fn a_collection_sees_what_was_finished_meanwhile() {
    let memory = MemoryStore::new();
    let store: Arc<dyn ObjectStore> = Arc::new(memory.clone());
    let other = repository(&store).await;
    let old = create(&other, 10, rows(500, 1)).await.unwrap();
    create(&other, 20, rows(20, 0)).await.unwrap();
    // While it lists the parts, a manifest appears that names the old ones.
    let faulty = Faulty::new(memory.clone());
    let mut manifest = old.manifest.clone();
    manifest.meta.index = 30;
    let key = format!("c1/p0003/snapshots/{}", manifest.id());
    let stored = manifest.encode().0;
    faulty.set_rule(move |action, prefix| {
        if action == "list" && prefix.ends_with("/parts/") {
            memory.overwrite(&key, stored.clone());
        }
        Fate::Done
    });
    let collecting = Repository::open(Arc::new(faulty), "c1").await.unwrap();
    let collected = collecting.collect(P3, 1, Duration::ZERO, 10_000_000).await.unwrap();
    assert_eq!(collected.removed, [old.id]);
    assert!(other.verify(manifest.id(), true).await.unwrap().is_sound());
}

/// Two nodes save the same index. One collects when the other has written its manifest, and moves the pointer next.
#[tokio::test]
async fn a_collection_leaves_what_the_pointer_may_move_to() {
    let memory = MemoryStore::new();
    let store: Arc<dyn ObjectStore> = Arc::new(memory.clone());
    let repository = repository(&store).await;
    memory.set_now(1_000_000);
    let collect = async |now_ms| repository.collect(P3, 1, Duration::from_hours(1), now_ms).await.unwrap();
    for node in 1..=20 {
        let created = create(&repository, 10, rows(20, node)).await.unwrap();
        // Whichever of them looks newer by its name.
        assert!(collect(1_000_000).await.removed.is_empty(), "{}", created.id);
    }
    let newer = create(&repository, 20, rows(20, 0)).await.unwrap();
    // It does not go back to a lower index.
    let collected = collect(1_000_000).await;
    assert_eq!((collected.kept, collected.removed.len()), (vec![newer.id], 20));
    // Nobody takes that long.
    create(&repository, 20, rows(20, 1)).await.unwrap();
    let last = create(&repository, 20, rows(20, 2)).await.unwrap();
    let collected = collect(3_000_000).await;
    assert!(collected.kept.contains(&last.id));
    assert!(!collected.removed.is_empty());
}

/// Snapshots whose parts are gone do not count: what is behind them is kept instead.
#[tokio::test]
async fn what_is_not_sound_does_not_count() {
    let memory = MemoryStore::new();
    let store: Arc<dyn ObjectStore> = Arc::new(memory.clone());
    let repository = repository(&store).await;
    let mut created = Vec::new();
    for index in 1..=4 {
        created.push(create(&repository, index * 10, rows(2500, u32::try_from(index).unwrap())).await.unwrap());
    }
    let ids: Vec<_> = created.iter().map(|created| created.id).collect();
    let part_of = |own: usize, other: usize| {
        let others = &created[other].manifest.parts;
        let part = created[own].manifest.parts.iter().find(|part| !others.contains(part)).unwrap();
        format!("c1/p0003/parts/{}", part.hash)
    };
    memory.remove(&part_of(2, 3));
    let collected = repository.collect(P3, 2, Duration::ZERO, 10_000_000).await.unwrap();
    assert_eq!((collected.kept, collected.damaged), (vec![ids[3], ids[1]], vec![ids[2]]));
    assert_eq!(collected.removed, [ids[0]]);
    assert!(collected.removed_parts > 0);
    // The pointer's own: nothing is removed until there is another.
    memory.overwrite(&part_of(3, 2), "short");
    let collected = repository.collect(P3, 1, Duration::ZERO, 10_000_000).await.unwrap();
    assert_eq!((collected.kept, collected.removed), (vec![ids[1]], vec![]));
    let new = create(&repository, 50, rows(2500, 5)).await.unwrap();
    let collected = repository.collect(P3, 1, Duration::ZERO, 10_000_000).await.unwrap();
    assert_eq!((collected.kept, collected.removed), (vec![new.id], vec![ids[3], ids[2], ids[1]]));
    is_clean(&memory, &repository).await;
}

/// The store says that it has written a part, and has not: found before anything relies on it.
#[tokio::test]
async fn an_upload_that_did_not_take_place_is_found() {
    let faulty = Faulty::new(MemoryStore::new());
    let store: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
    let repository = repository(&store).await;
    let first = create(&repository, 10, rows(500, 1)).await.unwrap();
    let before = faulty.memory.content(LATEST);
    let mut number = 0;
    faulty.set_rule(move |action, _| {
        number += u32::from(action == "swallow");
        if action == "swallow" && number == 1 { Fate::Swallowed } else { Fate::Done }
    });
    assert_eq!(create(&repository, 20, rows(500, 2)).await.unwrap_err().code(), "SN001");
    assert_eq!(faulty.memory.content(LATEST), before);
    let latest = repository.latest(P3).await.unwrap().unwrap();
    assert_eq!((latest.id, latest.skipped.len()), (first.id, 1));
    let third = create(&repository, 30, rows(500, 2)).await.unwrap();
    assert_eq!(third.uploaded_parts, 1, "only that one is missing");
}

fn pointed(memory: &MemoryStore) -> u64 {
    // The message of the pointer: the index is its third field, behind the cluster and the partition.
    memory.content(LATEST).map_or(0, |stored| {
        let index = &stored[33 + 4 + 2 + 1..];
        assert_eq!(stored[33 + 4 + 2], 24);
        index.iter().take_while(|byte| **byte >= 128).count();
        let mut value = 0;
        for (at, byte) in index.iter().enumerate() {
            value |= u64::from(byte & 127) << (7 * at);
            if byte & 128 == 0 {
                break;
            }
        }
        value
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pointer_never_moves_back() {
    for round in 0..10 {
        let memory = MemoryStore::new();
        let faulty = Faulty::new(memory.clone());
        let store: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
        let repository = repository(&store).await;
        let highest = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&highest);
        let watched = Mutex::new(memory.clone());
        faulty.set_rule(move |_, _| {
            let index = pointed(&watched.lock().unwrap());
            let before = seen.fetch_max(index, Ordering::SeqCst);
            assert!(before <= index, "from {before} back to {index}");
            Fate::Done
        });
        let writers = (1..=6u64).map(|writer| {
            let repository = repository.clone();
            tokio::spawn(async move {
                let mut results = Vec::new();
                for step in 0..4u64 {
                    let index = step * 7 + (writer * (round + 3)) % 11 + 1;
                    let result = create(&repository, index, rows(100, u32::try_from(writer).unwrap())).await;
                    match result {
                        Ok(created) => results.push((created.id, created.pointer)),
                        Err(error) => assert_eq!(error.code(), "SN021", "{error}"),
                    }
                }
                results
            })
        });
        let results: Vec<(SnapshotId, PointerMove)> =
            join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
        let most = results.iter().map(|(id, _)| id.index).max().unwrap();
        assert_eq!(pointed(&memory), most);
        assert_eq!(repository.latest(P3).await.unwrap().unwrap().id.index, most);
        for (id, moved) in results {
            if let PointerMove::Kept(newer) = moved {
                assert!(newer.index > id.index);
            }
        }
    }
}

/// A node that slept since before its upload wakes up, and others have gone on.
#[tokio::test]
async fn a_zombie_does_not_win() {
    let memory = MemoryStore::new();
    let store: Arc<dyn ObjectStore> = Arc::new(memory.clone());
    let other = repository(&store).await;
    create(&other, 10, rows(100, 1)).await.unwrap();
    let faulty = Faulty::new(memory.clone());
    let zombie = Repository::open(Arc::new(faulty.clone()), "c1").await.unwrap();
    let newer = {
        let ahead = MemoryStore::new();
        let store: Arc<dyn ObjectStore> = Arc::new(ahead.clone());
        let repository = repository(&store).await;
        (create(&repository, 30, rows(100, 3)).await.unwrap(), ahead)
    };
    // Between its last look at the pointer and its write, the other's snapshot is finished.
    let (created, ahead) = newer;
    faulty.set_rule(move |action, _| {
        if action == "put_if_match" {
            for key in ahead.keys() {
                memory.overwrite(&key, ahead.content(&key).unwrap());
            }
        }
        Fate::Done
    });
    let late = create(&zombie, 20, rows(100, 2)).await.unwrap();
    assert_eq!(late.pointer, PointerMove::Kept(created.id));
    assert_eq!(other.latest(P3).await.unwrap().unwrap().id, created.id);
}
