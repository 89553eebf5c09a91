//! What is damaged, swapped, forged or missing never passes, and the snapshot before it is found.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

mod common;

use std::{sync::Arc, time::Duration};

use abide_model::id::PartitionId;
use abide_snapshot::{
    Created, Depth, Manifest, MemoryStore, Object, ObjectInfo, ObjectStore, Page, PartDescriptor, PointerMove,
    Repository, Tag, store::Answer,
};
use bytes::Bytes;
use futures_util::StreamExt as _;

use crate::common::{P3, Rows, create, read, repository, rows};

const LATEST: &str = "c1/p0003/latest";

struct World {
    memory: MemoryStore,
    store: Arc<dyn ObjectStore>,
    repository: Repository,
    first: Created,
    second: Created,
}

impl World {
    async fn new() -> Self {
        let memory = MemoryStore::new();
        let store: Arc<dyn ObjectStore> = Arc::new(memory.clone());
        let repository = repository(&store).await;
        let first = create(&repository, 10, rows(2500, 1)).await.unwrap();
        let second = create(&repository, 20, rows(2500, 2)).await.unwrap();
        Self { memory, store, repository, first, second }
    }

    fn manifest_key(created: &Created) -> String {
        format!("c1/p0003/snapshots/{}", created.id)
    }

    fn part_key(part: &PartDescriptor) -> String {
        format!("c1/p0003/parts/{}", part.hash)
    }

    /// A part of the second snapshot that the first one does not have.
    fn new_part(&self) -> &PartDescriptor {
        let is_new = |part: &&PartDescriptor| !self.first.manifest.parts.contains(part);
        self.second.manifest.parts.iter().find(is_new).unwrap()
    }

    fn damage(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut content = self.memory.content(key).unwrap().to_vec();
        change(&mut content);
        self.memory.overwrite(key, content);
    }

    /// The newest usable snapshot is the first, the second is skipped for this reason.
    async fn falls_back(&self, code: &str) {
        let latest = self.repository.latest(P3).await.unwrap().unwrap();
        assert_eq!(latest.id, self.first.id);
        assert_eq!(latest.skipped.len(), 1);
        assert_eq!((latest.skipped[0].id, latest.skipped[0].error.code()), (Some(self.second.id), code));
        assert_eq!(read(&self.repository, &latest.manifest).await.unwrap(), rows(2500, 1));
    }
}

#[tokio::test]
async fn a_missing_part() {
    let world = World::new().await;
    assert!(world.memory.remove(&World::part_key(world.new_part())));
    world.falls_back("SN001").await;
    for deep in [false, true] {
        let verified = world.repository.verify(world.second.id, deep).await.unwrap();
        assert_eq!(verified.faults.iter().map(|fault| fault.code()).collect::<Vec<_>>(), ["SN001"]);
        assert!(world.repository.verify(world.first.id, deep).await.unwrap().is_sound());
    }
}

#[tokio::test]
async fn a_truncated_part() {
    let world = World::new().await;
    world.damage(&World::part_key(world.new_part()), |content| content.truncate(content.len() - 1));
    world.falls_back("SN011").await;
    world.damage(&World::part_key(world.new_part()), |content| content.extend([0, 0]));
    world.falls_back("SN011").await;
}

#[tokio::test]
async fn a_flipped_bit_in_a_part() {
    let world = World::new().await;
    let parts = &world.second.manifest.parts;
    let at = parts.iter().position(|part| part == world.new_part()).unwrap();
    world.damage(&World::part_key(&parts[at]), |content| content[20] ^= 1);
    assert!(world.repository.verify(world.second.id, false).await.unwrap().is_sound(), "its size is right");
    let verified = world.repository.verify(world.second.id, true).await.unwrap();
    assert_eq!(verified.faults.iter().map(|fault| fault.code()).collect::<Vec<_>>(), ["SN011"]);
    // A reader gets the parts before it and the error, and nothing behind it.
    let items: Vec<_> = world.repository.read(&world.second.manifest).collect().await;
    assert_eq!(items.len(), at + 1);
    assert!(items[..at].iter().all(Result::is_ok));
    assert_eq!(items[at].as_ref().unwrap_err().code(), "SN011");
    let before = world.repository.latest_before(world.second.id).await.unwrap().unwrap();
    assert_eq!(read(&world.repository, &before.manifest).await.unwrap(), rows(2500, 1));
    assert!(world.repository.latest_before(world.first.id).await.unwrap().is_none());
    // Whoever makes the next snapshot sends what the store has in another size, and deep damage is found by `verify`.
    world.damage(&World::part_key(&parts[at]), |content| content.truncate(3));
    let third = create(&world.repository, 30, rows(2500, 2)).await.unwrap();
    assert_eq!(third.uploaded_parts, 1);
    assert!(world.repository.verify(world.second.id, true).await.unwrap().is_sound(), "that repairs older ones too");
}

#[tokio::test]
async fn swapped_parts() {
    let world = World::new().await;
    let parts = &world.second.manifest.parts;
    let (one, other) = (World::part_key(&parts[2]), World::part_key(&parts[3]));
    let (content, other_content) = (world.memory.content(&one).unwrap(), world.memory.content(&other).unwrap());
    world.memory.overwrite(&one, other_content);
    world.memory.overwrite(&other, content);
    let verified = world.repository.verify(world.second.id, true).await.unwrap();
    assert_eq!(verified.faults.len(), 2);
    assert!(read(&world.repository, &world.second.manifest).await.unwrap_err().is_about_snapshot());
}

#[tokio::test]
async fn a_damaged_manifest() {
    for at in [0, 1, 40, 100] {
        let world = World::new().await;
        world.damage(&World::manifest_key(&world.second), |content| content[at] ^= 0x40);
        world.falls_back(if at == 0 { "SN017" } else { "SN016" }).await;
        // The next one goes past it.
        let third = create(&world.repository, 30, rows(2500, 3)).await.unwrap();
        assert_eq!(world.repository.latest(P3).await.unwrap().unwrap().id, third.id);
    }
    let world = World::new().await;
    assert!(world.memory.remove(&World::manifest_key(&world.second)));
    world.falls_back("SN001").await;
}

#[tokio::test]
async fn nothing_sound_is_an_error() {
    let world = World::new().await;
    for part in &world.second.manifest.parts {
        world.memory.remove(&World::part_key(part));
    }
    assert_eq!(world.repository.latest(P3).await.unwrap_err().code(), "SN001");
}

/// Forges a manifest and its name, as somebody with access to the bucket can.
fn plant(world: &World, change: impl FnOnce(&mut Manifest)) -> Manifest {
    let mut manifest = world.second.manifest.clone();
    manifest.meta.index = 99;
    change(&mut manifest);
    let mut id = manifest.id();
    id.partition = P3;
    world.memory.overwrite(&format!("c1/p0003/snapshots/{id}"), manifest.encode().0);
    manifest
}

#[tokio::test]
async fn a_manifest_of_somebody_else() {
    type Change = fn(&mut Manifest);
    let cases: [(&str, Change); 4] = [
        ("SN018", |manifest| manifest.cluster_id = "c2".into()),
        ("SN018", |manifest| manifest.partitions = 16),
        ("SN018", |manifest| manifest.meta.partition = PartitionId(4)),
        ("SN016", |manifest| manifest.meta.partition = PartitionId(9)),
    ];
    for (code, change) in cases {
        let world = World::new().await;
        plant(&world, change);
        let latest = world.repository.latest(P3).await.unwrap().unwrap();
        assert_eq!(latest.id, world.second.id);
        assert_eq!(latest.skipped.iter().map(|skipped| skipped.error.code()).collect::<Vec<_>>(), [code]);
    }
    // Under another name.
    let world = World::new().await;
    let stored = world.memory.content(&World::manifest_key(&world.first)).unwrap();
    world.memory.overwrite("c1/p0003/snapshots/snap_p3_000000000099_89abcdef", stored);
    let latest = world.repository.latest(P3).await.unwrap().unwrap();
    assert_eq!((latest.id, latest.skipped[0].error.code()), (world.second.id, "SN018"));
    // Given by hand.
    let mut manifest = world.second.manifest.clone();
    manifest.cluster_id = "c2".into();
    assert_eq!(read(&world.repository, &manifest).await.unwrap_err().code(), "SN018");
}

#[tokio::test]
async fn parts_in_another_order() {
    let world = World::new().await;
    let lies = plant(&world, |manifest| {
        let (one, other) = (manifest.parts[1].first_key.clone(), manifest.parts[2].first_key.clone());
        manifest.parts.swap(1, 2);
        manifest.parts[1].first_key = one;
        manifest.parts[2].first_key = other;
    });
    assert_eq!(read(&world.repository, &lies).await.unwrap_err().code(), "SN011");
    assert_eq!(world.repository.verify(lies.id(), true).await.unwrap().faults.len(), 2);
    let twice = plant(&world, |manifest| {
        // The same rows once more, behind a key that they do not begin with.
        let mut again = manifest.parts.last().unwrap().clone();
        again.first_key = Bytes::from("zzz");
        manifest.parts.push(again);
    });
    assert_eq!(read(&world.repository, &twice).await.unwrap_err().code(), "SN011");
}

#[tokio::test]
async fn overlapping_parts() {
    // Two sound parts whose keys interleave: only the sequence can find it.
    let world = World::new().await;
    let split = |rows: Rows, odd: bool| -> Rows {
        rows.into_iter().enumerate().filter(|(at, _)| (at % 2 == 1) == odd).map(|(_, row)| row).collect()
    };
    let all = rows(20, 0);
    let mut parts = Vec::new();
    for (index, half) in [(30, split(all.clone(), false)), (31, split(all, true))] {
        parts.extend(create(&world.repository, index, half).await.unwrap().manifest.parts);
    }
    assert_eq!(parts.len(), 2);
    let planted = plant(&world, |manifest| manifest.parts = parts);
    assert_eq!(read(&world.repository, &planted).await.unwrap_err().code(), "SN011");
    assert_eq!(world.repository.verify(planted.id(), true).await.unwrap().faults.len(), 1);
}

#[tokio::test]
async fn a_stale_pointer() {
    let world = World::new().await;
    let stale = {
        let other = World::new().await;
        let memory = MemoryStore::new();
        let store: Arc<dyn ObjectStore> = Arc::new(memory.clone());
        let repository = repository(&store).await;
        create(&repository, 10, rows(2500, 1)).await.unwrap();
        assert_eq!(other.first.id, world.first.id);
        memory.content(LATEST).unwrap()
    };
    world.memory.overwrite(LATEST, stale);
    let latest = world.repository.latest(P3).await.unwrap().unwrap();
    assert_eq!(latest.id, world.second.id, "it hides nothing");
    // A collection keeps what it names, and what is newest.
    let collected = world.repository.collect(P3, 1, Duration::ZERO, u64::MAX).await.unwrap();
    assert_eq!(collected.kept, [world.second.id, world.first.id]);
}

#[tokio::test]
async fn a_lost_or_damaged_pointer() {
    let world = World::new().await;
    world.memory.remove(LATEST);
    assert_eq!(world.repository.latest(P3).await.unwrap().unwrap().id, world.second.id);

    let foreign = {
        let store = Arc::new(world.memory.clone());
        let other = Repository::open_or_create(store, "c2", 8).await.unwrap();
        create(&other, 70, rows(10, 0)).await.unwrap();
        world.memory.content("c2/p0003/latest").unwrap()
    };
    let cases = [Bytes::new(), Bytes::from_static(b"\x01nonsense"), Bytes::from(vec![1; 5000]), foreign];
    for (case, content) in cases.into_iter().enumerate() {
        let world = World::new().await;
        world.memory.overwrite(LATEST, content.clone());
        let latest = world.repository.latest(P3).await.unwrap().unwrap();
        assert_eq!(latest.id, world.second.id);
        assert_eq!(latest.skipped.iter().map(|skipped| skipped.id).collect::<Vec<_>>(), [None]);
        assert!(world.repository.collect(P3, 1, Duration::ZERO, u64::MAX).await.is_err(), "it may name any");
        if content.len() < 4096 {
            // An older snapshot does not take its place, a newer one does.
            let late = create(&world.repository, 15, rows(100, 0)).await.unwrap();
            assert_eq!(late.pointer, PointerMove::Kept(world.second.id));
            let third = create(&world.repository, 30, rows(100, 0)).await.unwrap();
            assert_eq!(third.pointer, PointerMove::Moved, "case {case}");
            assert!(world.repository.latest(P3).await.unwrap().unwrap().skipped.is_empty());
        }
    }
}

#[tokio::test]
async fn a_pointer_knows_what_the_listing_does_not() {
    let world = World::new().await;
    let late = create(&world.repository, 30, rows(2500, 3)).await.unwrap();
    let lagging = Lagging { inner: Arc::clone(&world.store), hidden: World::manifest_key(&late) };
    let repository = Repository::open(Arc::new(lagging), "c1").await.unwrap();
    assert_eq!(repository.list(P3).await.unwrap().len(), 2);
    assert_eq!(repository.latest(P3).await.unwrap().unwrap().id, late.id);
    // Its parts are safe from a collection, which rather removes nothing.
    let collected = repository.collect(P3, 1, Duration::ZERO, u64::MAX).await.unwrap();
    assert_eq!((collected.removed.len(), collected.removed_parts), (0, 0));
}

/// A store whose listings do not show one object yet.
struct Lagging {
    inner: Arc<dyn ObjectStore>,
    hidden: String,
}

impl ObjectStore for Lagging {
    fn describe(&self) -> String {
        "lagging".into()
    }

    fn get<'a>(&'a self, key: &'a str, bytes_max: u64) -> Answer<'a, Object> {
        self.inner.get(key, bytes_max)
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answer<'a, Tag> {
        self.inner.put(key, bytes)
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answer<'a, Tag> {
        self.inner.put_if_absent(key, bytes)
    }

    fn put_if_match<'a>(&'a self, key: &'a str, bytes: Bytes, tag: &'a Tag) -> Answer<'a, Tag> {
        self.inner.put_if_match(key, bytes, tag)
    }

    fn head<'a>(&'a self, key: &'a str) -> Answer<'a, ObjectInfo> {
        self.inner.head(key)
    }

    fn list<'a>(&'a self, prefix: &'a str, depth: Depth, next: Option<&'a str>) -> Answer<'a, Page> {
        Box::pin(async move {
            let mut page = self.inner.list(prefix, depth, next).await?;
            page.objects.retain(|object| object.key != self.hidden);
            Ok(page)
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        self.inner.delete(key)
    }
}

#[tokio::test]
async fn a_cluster_description_of_somebody_else() {
    let world = World::new().await;
    let open = || Repository::open(Arc::clone(&world.store), "c1");
    world.memory.overwrite("c2/cluster", world.memory.content("c1/cluster").unwrap());
    world.memory.overwrite("other/readme", Bytes::from_static(b"somebody else's"));
    let found = Repository::clusters(&*world.store).await.unwrap();
    let found: Vec<_> =
        found.iter().map(|(id, cluster)| (id.as_str(), cluster.as_ref().err().map(|error| error.code()))).collect();
    assert_eq!(found, [("c1", None), ("c2", Some("SN018"))]);
    world.damage("c1/cluster", |content| content[40] ^= 1);
    assert_eq!(open().await.map(|_| ()).unwrap_err().code(), "SN016");
}
