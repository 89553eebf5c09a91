//! Snapshots come back as they were made, from every store, and an unchanged state is not sent again.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

mod common;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use abide_model::id::PartitionId;
use abide_snapshot::{
    FolderStore, Location, MemoryStore, ObjectStore, PointerMove, Repository, RetryPolicy, S3Credentials,
    SnapshotError, SnapshotKind, SnapshotMeta, store::open,
};
use bytes::Bytes;
use futures_util::FutureExt as _;
use tempfile::TempDir;
use test_s3::{Fault, TestS3};

use crate::common::{Fate, Faulty, P3, SIZES, create, meta, read, repository, rows};

async fn s3_store(s3: &TestS3) -> Arc<dyn ObjectStore> {
    let location: Location = s3.location("").parse().unwrap();
    let credentials = S3Credentials::Static {
        access_key_id: test_s3::ACCESS_KEY_ID.into(),
        secret_access_key: test_s3::SECRET_ACCESS_KEY.into(),
        session_token: None,
    };
    let policy = RetryPolicy { pause: Duration::from_millis(1), ..RetryPolicy::default() };
    open(&location, credentials, policy).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_come_back_from_memory() {
    come_back(Arc::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_come_back_from_a_folder() {
    let dir = TempDir::new().unwrap();
    come_back(Arc::new(FolderStore::open(dir.path()).await.unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_come_back_from_a_bucket() {
    let s3 = TestS3::start();
    come_back(s3_store(&s3).await).await;
}

/// A simulator polls it by hand: no runtime, no thread.
#[test]
fn all_of_it_can_be_done_on_the_calling_thread() {
    let memory = MemoryStore::new();
    let store: Arc<dyn ObjectStore> = Arc::new(memory.clone());
    let all = async {
        let repository = repository(&store).await.on_calling_thread();
        assert_eq!(repository.pointed(P3).await.unwrap(), None);
        let created = create(&repository, 10, rows(150, 1)).await.unwrap();
        assert!(created.manifest.parts.len() > 3);
        assert_eq!(repository.pointed(P3).await.unwrap(), Some(created.id));
        assert_eq!(read(&repository, &created.manifest).await.unwrap(), rows(150, 1));
        assert!(repository.verify(created.id, true).await.unwrap().is_sound());
        let failing = [Ok((Bytes::from("a"), Bytes::new())), Err("gone")].into_iter();
        assert_eq!(repository.create(meta(20), failing).await.unwrap_err().code(), "SN020");
        memory.overwrite("c1/p0003/latest", "damaged");
        assert_eq!(repository.pointed(P3).await.unwrap_err().code(), "SN017");
    };
    all.now_or_never().unwrap();
}

async fn come_back(store: Arc<dyn ObjectStore>) {
    assert!(Repository::clusters(&*store).await.unwrap().is_empty());
    let nothing = Repository::open(Arc::clone(&store), "c1").await.map(|_| ()).unwrap_err();
    assert_eq!(nothing.code(), "SN019");
    let repository = repository(&store).await;
    assert!(repository.latest(P3).await.unwrap().is_none());

    let first = create(&repository, 10, rows(3000, 1)).await.unwrap();
    assert_eq!((first.reused_parts, first.pointer), (0, PointerMove::Moved));
    assert_eq!(first.uploaded_parts as usize, first.manifest.parts.len());
    assert_eq!(first.uploaded_bytes, first.manifest.stored_bytes());
    assert!(first.uploaded_parts > 50);
    assert_eq!(first.manifest.rows(), 3000);

    let second = create(&repository, 20, rows(3000, 2)).await.unwrap();
    assert!((1..20).contains(&second.uploaded_parts), "{}", second.uploaded_parts);
    assert_eq!((second.uploaded_parts + second.reused_parts) as usize, second.manifest.parts.len());

    // Whoever comes with nothing but the store finds everything.
    let clusters = Repository::clusters(&*store).await.unwrap();
    assert_eq!(clusters.len(), 1);
    let cluster = clusters[0].1.as_ref().unwrap();
    assert_eq!((cluster.cluster_id.as_str(), cluster.partitions), ("c1", 8));
    let repository = Repository::open(store, "c1").await.unwrap();
    let latest = repository.latest(P3).await.unwrap().unwrap();
    assert_eq!((latest.id, &latest.manifest), (second.id, &second.manifest));
    assert!(latest.skipped.is_empty());
    assert_eq!(latest.manifest.meta, meta(20));
    assert_eq!(read(&repository, &latest.manifest).await.unwrap(), rows(3000, 2));
    let listed: Vec<_> = repository.list(P3).await.unwrap().into_iter().map(|listed| listed.id).collect();
    assert_eq!(listed, [second.id, first.id]);
    assert_eq!(repository.list(PartitionId(4)).await.unwrap(), []);
    assert_eq!(read(&repository, &repository.manifest(first.id).await.unwrap()).await.unwrap(), rows(3000, 1));
    for deep in [false, true] {
        assert!(repository.verify(first.id, deep).await.unwrap().is_sound());
    }

    let now_ms = 4_000_000_000_000;
    let collected = repository.collect(P3, 1, Duration::from_hours(1), now_ms).await.unwrap();
    assert_eq!((collected.kept, collected.removed), (vec![second.id], vec![first.id]));
    assert!(collected.removed_parts > 0);
    assert!(repository.verify(second.id, true).await.unwrap().is_sound());
    assert_eq!(repository.manifest(first.id).await.unwrap_err().code(), "SN001");
}

#[tokio::test]
async fn nothing_and_one_row_are_snapshots_too() {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    for (index, count) in [(1, 0), (2, 1)] {
        let created = create(&repository, index, rows(count, 0)).await.unwrap();
        assert_eq!(created.manifest.parts.len(), count as usize);
        assert_eq!(repository.latest(P3).await.unwrap().unwrap().id, created.id);
        assert_eq!(read(&repository, &created.manifest).await.unwrap(), rows(count, 0));
    }
}

#[tokio::test]
async fn the_meta_group_has_snapshots_too() {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let partition = PartitionId(u32::MAX);
    let of = |kind, partition| SnapshotMeta { kind, partition, ..meta(1) };
    let nothing = std::iter::empty::<Result<_, Infallible>>;
    repository.create(of(SnapshotKind::Meta, partition), nothing()).await.unwrap();
    assert_eq!(repository.latest(partition).await.unwrap().unwrap().manifest.meta.kind, SnapshotKind::Meta);
    for (kind, partition) in [(SnapshotKind::Meta, P3), (SnapshotKind::Partition, PartitionId(8))] {
        assert_eq!(repository.create(of(kind, partition), nothing()).await.unwrap_err().code(), "SN023");
    }
}

/// Callers spawn these.
#[test]
fn answers_can_be_sent_between_threads() {
    fn is_send<T: Send>(_: impl FnOnce(Repository, Arc<dyn ObjectStore>) -> T) {}
    let id = abide_snapshot::SnapshotId { partition: P3, index: 1, tag: 1 };
    is_send(|r, _| async move { r.latest(P3).await.map(|_| ()) });
    is_send(|r, _| async move { r.list(P3).await.map(|_| ()) });
    is_send(|r, _| async move { r.verify(id, true).await.map(|_| ()) });
    is_send(|r, _| async move { r.collect(P3, 1, Duration::ZERO, 0).await.map(|_| ()) });
    is_send(|r, _| async move { create(&r, 1, rows(1, 1)).await.map(|_| ()) });
    is_send(|_, s| async move { Repository::clusters(&*s).await.map(|_| ()) });
    is_send(|_, s| async move { Repository::open_or_create(s, "c1", 8).await.map(|_| ()) });
    is_send(|r, _| async move { read(&r, &r.manifest(id).await.unwrap()).await.map(|_| ()) });
}

#[tokio::test]
async fn clusters_that_are_not_possible_are_refused() {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let open = |id: &'static str, partitions| Repository::open_or_create(Arc::clone(&store), id, partitions);
    for id in ["", "a/b", "..", ".a", "a b"] {
        assert_eq!(open(id, 8).await.map(|_| ()).unwrap_err().code(), "SN023", "{id}");
    }
    assert_eq!(open("c1", 0).await.map(|_| ()).unwrap_err().code(), "SN023");
    open("c1", 8).await.unwrap();
    open("c1", 8).await.unwrap();
    let error = open("c1", 16).await.map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "SN018");
    assert!(error.to_string().contains("number of partitions `8`, expected is `16`"), "{error}");
}

#[tokio::test]
async fn a_store_without_conditions_is_refused() {
    let s3 = TestS3::start();
    let store = s3_store(&s3).await;
    for fault in [Fault::NoConditions, Fault::IgnoredConditions] {
        s3.set_fault(Some(fault));
        let error = Repository::open_or_create(Arc::clone(&store), "c1", 8).await.map(|_| ()).unwrap_err();
        assert_eq!(error.code(), "SN005");
        assert!(s3.object("c1/cluster").is_none());
    }
}

#[tokio::test]
async fn rows_that_fail_make_no_snapshot() {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    create(&repository, 10, rows(100, 0)).await.unwrap();
    let failing = rows(1000, 0).into_iter().map(Ok).chain([Err("the disk is gone")]);
    let error = repository.create_with_sizes(meta(20), failing, SIZES).await.unwrap_err();
    assert_eq!(error.code(), "SN020");
    assert!(error.to_string().contains("the disk is gone"));
    let mut unordered = rows(1000, 0);
    unordered.swap(700, 701);
    assert_eq!(create(&repository, 20, unordered).await.unwrap_err().code(), "SN013");
    assert!(matches!(
        repository.create(meta(20), std::iter::once_with(|| -> Result<_, Infallible> { panic!("by order") })).await,
        Err(SnapshotError::Interrupted { .. })
    ));
    assert_eq!(repository.list(P3).await.unwrap().len(), 1);
    assert_eq!(repository.latest(P3).await.unwrap().unwrap().id.index, 10);
}

#[tokio::test]
async fn an_older_snapshot_comes_too_late() {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let newest = create(&repository, 20, rows(100, 0)).await.unwrap();
    let error = create(&repository, 19, rows(100, 0)).await.unwrap_err();
    assert!(matches!(error, SnapshotError::Superseded { newest: id, .. } if id == newest.id));
    // The same index again replaces it: that is how a damaged one is made good.
    let again = create(&repository, 20, rows(100, 0)).await.unwrap();
    assert_eq!(again.pointer, PointerMove::Moved);
}

/// What lies in the store without a snapshot that names it may be about to be collected, unless it is young.
#[tokio::test]
async fn only_what_will_stay_is_used_again() {
    let memory = MemoryStore::new();
    let store: Arc<dyn ObjectStore> = Arc::new(memory.clone());
    let repository = repository(&store).await;
    let minute = 60_000;
    let at = |minutes: u64| SnapshotMeta { created_at: abide_model::id::Millis(minutes * minute), ..meta(minutes) };
    let create = |minutes, count| {
        memory.set_now(minutes * minute);
        let rows = rows(count, 0).into_iter().map(Ok::<_, Infallible>);
        let repository = repository.clone();
        async move { repository.create_with_sizes(at(minutes), rows, SIZES).await.unwrap() }
    };
    let whole = create(100, 1000).await;
    assert_eq!(whole.reused_parts, 0);
    let half = create(110, 500).await;
    assert!(half.reused_parts > 5 && half.uploaded_parts <= 1);
    // Ten minutes old, of no snapshot that will stay.
    let young = create(113, 1000).await;
    assert_eq!(young.uploaded_parts, 0);
    create(114, 500).await;
    // An hour old: those of the newest snapshot are used, the others are sent again.
    let old = create(160, 1000).await;
    assert!(old.reused_parts > 5 && old.uploaded_parts > 5, "{old:?}");
}

/// However slow the store is, only some parts are made ahead.
#[tokio::test]
async fn rows_are_read_no_faster_than_they_are_sent() {
    let faulty = Faulty::new(MemoryStore::new());
    let store: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
    let repository = repository(&store).await;
    let slow = abide_snapshot::Retry::new(
        Arc::new(faulty.clone()),
        RetryPolicy { attempts: u32::MAX, ..RetryPolicy::default() },
    );
    let slow: Arc<dyn ObjectStore> = Arc::new(slow);
    let slow = Repository::open(slow, "c1").await.unwrap();
    faulty.set_rule(|action, key| if action == "put" && key.contains("/parts/") { Fate::Lost } else { Fate::Done });
    let taken = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&taken);
    let rows = rows(20_000, 0).into_iter().inspect(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let creation = slow.create_with_sizes(meta(10), rows.map(Ok::<_, Infallible>), SIZES);
    assert!(tokio::time::timeout(Duration::from_millis(500), creation).await.is_err());
    let rows_of_a_part = SIZES.max / 60;
    let most = 7 * rows_of_a_part;
    let taken = taken.load(Ordering::Relaxed);
    assert!((100..most).contains(&taken), "{taken} rows were taken, {most} fit into seven parts");
    assert!(repository.list(P3).await.unwrap().is_empty(), "what was given up is no snapshot");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_have_their_usual_size() {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let rows = (0..50_000u32).map(|number| {
        let value = blake3::hash(&number.to_le_bytes()).as_bytes().repeat(10);
        Ok::<_, Infallible>((Bytes::from(format!("{number:08}")), Bytes::from(value)))
    });
    let created = repository.create(meta(10), rows).await.unwrap();
    assert!((5..20).contains(&created.uploaded_parts), "{}", created.uploaded_parts);
    assert!(repository.verify(created.id, true).await.unwrap().is_sound());
}

/// What happens to a bucket while a snapshot is made and read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_has_bad_days() {
    let s3 = TestS3::start();
    let store = s3_store(&s3).await;
    let repository = repository(&store).await;
    let first = create(&repository, 10, rows(500, 0)).await.unwrap();
    for (index, fault) in
        [(20, Fault::Unavailable), (30, Fault::Refused), (40, Fault::LostPuts), (50, Fault::BrokenGets)]
    {
        s3.set_fault_once(fault, 4);
        let created = create(&repository, index, rows(500, index.try_into().unwrap())).await.unwrap();
        assert_eq!(created.pointer, PointerMove::Moved);
    }
    let newest = repository.latest(P3).await.unwrap().unwrap();
    assert_eq!(newest.id.index, 50);
    for fault in [Fault::CorruptGets, Fault::TruncatedGets] {
        s3.set_fault(Some(fault));
        assert_eq!(read(&repository, &newest.manifest).await.unwrap_err().code(), "SN011");
        assert_eq!(repository.manifest(first.id).await.unwrap_err().code(), "SN016");
        assert_eq!(create(&repository, 60, rows(500, 60)).await.unwrap_err().code(), "SN016", "it cannot be verified");
        s3.set_fault(None);
        let latest = repository.latest(P3).await.unwrap().unwrap();
        assert_eq!(read(&repository, &latest.manifest).await.unwrap().len(), 500);
    }
    assert_eq!(create(&repository, 60, rows(500, 60)).await.unwrap().pointer, PointerMove::Moved);
}
