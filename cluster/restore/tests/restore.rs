//! Folders from snapshots that were made by hand: what is in them, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::path::Path;
use std::sync::Arc;

use abide_model::codec::FEATURES;
use abide_model::command::Parcel;
use abide_model::id::{Millis, PartitionId};
use abide_model::table::{Applied, AppliedRow, Direction, Outbox, SequenceRow, Sequences, SettingRow, Settings, Table};
use abide_model::view::View;
use abide_partition::{Partition, PartitionSettings};
use abide_restore::{Gap, RestoreOrder, restore};
use abide_snapshot::{MemoryStore, ObjectStore, Repository, SnapshotId, SnapshotKind, SnapshotMeta};
use abide_storage::{DataDir, FjallLog, FjallLogSettings, FjallState, FjallStateSettings, LogStore, Overlay};
use bytes::Bytes;

const P0: PartitionId = PartitionId(0);
const P1: PartitionId = PartitionId(1);

type Rows = Vec<(Bytes, Bytes)>;

fn row<T: Table>(key: &T::Key, value: &T::Value) -> (Bytes, Bytes) {
    (T::encode_key(key).into_vec().into(), T::encode_value(value))
}

/// Of a group of three.
fn applied(index: u64) -> AppliedRow {
    let voters = vec![1, 2, 3];
    AppliedRow {
        index,
        term: 4,
        log_time: index * 10,
        state_hash: 7,
        voters,
        learners: vec![4],
        ..AppliedRow::default()
    }
}

fn sequences(direction: Direction, other: PartitionId, last: u64) -> (Bytes, Bytes) {
    row::<Sequences>(&(direction, other), &SequenceRow { last })
}

async fn save(repository: &Repository, id: PartitionId, index: u64, features: u32, mut rows: Rows) -> SnapshotId {
    rows.push(row::<Applied>(&(), &applied(index)));
    rows.sort();
    let meta = SnapshotMeta {
        kind: if id == PartitionId::META { SnapshotKind::Meta } else { SnapshotKind::Partition },
        partition: id,
        index,
        term: 4,
        log_time: Millis(index * 10),
        state_hash: 7,
        node_id: 2,
        features,
        created_at: Millis(index * 1000),
    };
    let rows = rows.into_iter().map(Ok::<_, std::convert::Infallible>);
    repository.create(meta, rows).await.unwrap().id
}

async fn repository() -> Repository {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::default());
    Repository::open_or_create(store, "old", 2).await.unwrap()
}

fn order(data: &Path) -> RestoreOrder {
    RestoreOrder {
        data: data.to_path_buf(),
        as_of: None,
        cluster_id: "new".into(),
        store_uuid: "disk".into(),
        features: FEATURES,
    }
}

/// What a node finds there.
struct Found {
    log: FjallLog,
    state: Arc<FjallState>,
}

impl Found {
    fn open(data: &Path) -> Self {
        let log = FjallLog::open(&data.join("log"), FjallLogSettings::default()).unwrap();
        let state = FjallState::open(&data.join("state"), FjallStateSettings::default()).unwrap();
        Self { log, state: Arc::new(state) }
    }

    fn view(&self, id: PartitionId) -> Overlay<FjallState> {
        Overlay::new(id.0, Arc::clone(&self.state))
    }

    fn sequence(&self, id: PartitionId, direction: Direction, other: PartitionId) -> u64 {
        self.view(id).get::<Sequences>(&(direction, other)).unwrap().unwrap_or_default().last
    }

    /// Opens the replica as a node does.
    fn partition(&mut self, id: PartitionId) -> Partition<FjallState> {
        let recovered = self.log.recover(id.0).unwrap();
        Partition::open(PartitionSettings::single(id, 2), recovered, self.view(id)).unwrap()
    }
}

#[tokio::test]
async fn a_folder_is_that_of_a_founding_node() {
    let (repository, folder) = (repository().await, tempfile::tempdir().unwrap());
    save(&repository, P0, 70, FEATURES, vec![]).await;
    save(&repository, P1, 90, FEATURES, vec![]).await;
    let setting =
        row::<Settings>(&"snapshot_keep".to_owned(), &SettingRow { value: "7".into(), ..SettingRow::default() });
    save(&repository, PartitionId::META, 30, FEATURES, vec![setting]).await;
    let data = folder.path().join("data");
    let report = restore(&repository, &order(&data)).await.unwrap();
    assert_eq!((report.from.as_str(), report.settings, report.gaps.len()), ("old", 1, 0));
    assert_eq!(report.span(), (Millis(70_000), Millis(90_000)));
    let identity = DataDir::look(&data).unwrap().unwrap();
    assert_eq!((identity.cluster_id.as_str(), identity.node_id, identity.partitions), ("new", 1, 2));
    let mut found = Found::open(&data);
    for (id, index) in [(P0, 70), (P1, 90), (PartitionId::META, 1)] {
        let partition = found.partition(id);
        assert!(partition.is_alone() && partition.applied_index() == index, "{id}");
        assert_eq!(partition.log_start(), index);
    }
    let setting = found.view(PartitionId::META).get::<Settings>(&"snapshot_keep".to_owned()).unwrap();
    assert_eq!(setting.unwrap().value, "7");
    drop(found);
    // Nobody is restored over somebody.
    assert_eq!(restore(&repository, &order(&data)).await.unwrap_err().code(), "RS001");
}

#[tokio::test]
async fn ends_of_different_moments_are_made_to_fit() {
    let (repository, folder) = (repository().await, tempfile::tempdir().unwrap());
    // p0 has had 5 of its 9 messages acknowledged, p1 is from when it had taken 2; p1 is from before it sent the last 3.
    let waiting = (6..=9).map(|seq| row::<Outbox>(&(P1, seq), &Parcel::default()));
    let mut rows: Rows = waiting.collect();
    rows.extend([sequences(Direction::Sent, P1, 9), sequences(Direction::Taken, P1, 8)]);
    save(&repository, P0, 70, FEATURES, rows).await;
    save(&repository, P1, 60, FEATURES, vec![sequences(Direction::Taken, P0, 2), sequences(Direction::Sent, P0, 5)])
        .await;
    let report = restore(&repository, &order(folder.path())).await.unwrap();
    let gaps = [Gap { from: P0, to: P1, lost: 3, unknown: 0 }, Gap { from: P1, to: P0, lost: 0, unknown: 3 }];
    assert_eq!(report.gaps, gaps);
    let found = Found::open(folder.path());
    assert_eq!(found.sequence(P1, Direction::Taken, P0), 5, "the next one to be taken is 6");
    assert_eq!(found.sequence(P1, Direction::Sent, P0), 8, "the next one to be sent is 9");
    assert_eq!((found.sequence(P0, Direction::Sent, P1), found.sequence(P0, Direction::Taken, P1)), (9, 8));
}

#[tokio::test]
async fn a_moment_can_be_chosen_and_there_has_to_be_one() {
    let (repository, folder) = (repository().await, tempfile::tempdir().unwrap());
    for index in [50, 60] {
        save(&repository, P0, index, FEATURES, vec![]).await;
    }
    let first = folder.path().join("first");
    let error = restore(&repository, &order(&first)).await.unwrap_err();
    assert_eq!(error.code(), "RS002", "{error}");
    assert!(error.to_string().contains("p1"), "{error}");
    // What it has begun is no node's.
    assert_eq!(DataDir::look(&first).unwrap_err().code(), "DD007");
    save(&repository, P1, 55, FEATURES, vec![]).await;
    let as_of = Some(Millis(55_000));
    let second = folder.path().join("second");
    let report = restore(&repository, &RestoreOrder { as_of, ..order(&second) }).await.unwrap();
    assert_eq!(report.partitions.iter().map(|restored| restored.id.index).collect::<Vec<_>>(), [50, 55]);
    let too_early = RestoreOrder { as_of: Some(Millis(1)), ..order(&folder.path().join("third")) };
    assert_eq!(restore(&repository, &too_early).await.unwrap_err().code(), "RS002");
}

#[tokio::test]
async fn a_kept_id_begins_above_all_that_was_saved() {
    let (repository, folder) = (repository().await, tempfile::tempdir().unwrap());
    save(&repository, P1, 55, FEATURES, vec![]).await;
    for index in [50, 60] {
        save(&repository, P0, index, FEATURES, vec![]).await;
    }
    let order = RestoreOrder { as_of: Some(Millis(55_000)), cluster_id: "old".into(), ..order(folder.path()) };
    restore(&repository, &order).await.unwrap();
    let mut found = Found::open(folder.path());
    assert_eq!((found.partition(P0).applied_index(), found.partition(P1).applied_index()), (60, 55));
    let recovered = found.log.recover(P0.0).unwrap();
    assert_eq!((recovered.start.term, recovered.hard_state.vote), (5, 0));
}

#[tokio::test]
async fn what_a_newer_version_made_is_not_guessed_at() {
    let (repository, folder) = (repository().await, tempfile::tempdir().unwrap());
    save(&repository, P0, 50, FEATURES, vec![]).await;
    save(&repository, P0, 60, FEATURES + 1, vec![]).await;
    save(&repository, P1, 60, FEATURES, vec![]).await;
    assert_eq!(restore(&repository, &order(folder.path())).await.unwrap_err().code(), "RS004");
}
