//! One suite over all stores: what a store promises, each of them does.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

mod common;

use std::{path::PathBuf, sync::Arc, time::Duration};

use abide_snapshot::{
    Depth, FolderStore, Location, MemoryStore, ObjectStore, Retry, RetryPolicy, S3Credentials, StoreError, Tag,
    store::{open, probe_conditions},
};
use bytes::Bytes;
use futures_util::future::join_all;
use tempfile::TempDir;
use test_s3::{Fault, TestS3};

use crate::common::{Fate, Faulty};

fn quick() -> RetryPolicy {
    RetryPolicy {
        attempts: 4,
        attempt_timeout: Duration::from_secs(5),
        pause: Duration::from_millis(1),
        pause_max: Duration::from_millis(5),
    }
}

fn once() -> RetryPolicy {
    RetryPolicy { attempts: 1, ..quick() }
}

fn credentials() -> S3Credentials {
    S3Credentials::Static {
        access_key_id: test_s3::ACCESS_KEY_ID.into(),
        secret_access_key: test_s3::SECRET_ACCESS_KEY.into(),
        session_token: None,
    }
}

async fn s3_store(s3: &TestS3, policy: RetryPolicy) -> Arc<dyn ObjectStore> {
    let location: Location = s3.location("a/prefix").parse().unwrap();
    open(&location, credentials(), policy).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_conforms() {
    conforms(Arc::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_conforms() {
    let dir = TempDir::new().unwrap();
    let location: Location = format!("file://{}/a/b", dir.path().display()).parse().unwrap();
    conforms(open(&location, S3Credentials::Chain, quick()).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_conforms() {
    let s3 = TestS3::start();
    conforms(s3_store(&s3, quick()).await).await;
    assert!(s3.keys().iter().all(|key| key.starts_with("a/prefix/")), "{:?}", s3.keys());
}

/// Attempts that are lost, and answers that are lost, change nothing for whoever asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_conform() {
    for fate in [Fate::Lost, Fate::AnswerLost] {
        let faulty = Faulty::new(MemoryStore::new());
        let mut number = 0u32;
        faulty.set_rule(move |_, _| {
            number += 1;
            if number.is_multiple_of(3) { fate } else { Fate::Done }
        });
        let policy = RetryPolicy { attempts: 20, ..quick() };
        conforms_but_races(&*Arc::new(Retry::new(Arc::new(faulty), policy))).await;
    }
}

async fn conforms(store: Arc<dyn ObjectStore>) {
    conforms_but_races(&*store).await;
    one_wins(store).await;
}

async fn conforms_but_races(store: &dyn ObjectStore) {
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    let code = |error: StoreError| error.code();

    // What is not there.
    assert_eq!(code(store.get("a/b", 10).await.unwrap_err()), "SN001");
    assert_eq!(code(store.head("a/b").await.unwrap_err()), "SN001");
    store.delete("a/b").await.unwrap();
    assert_eq!(code(store.put_if_match("a/b", bytes("x"), &Tag("\"0\"".into())).await.unwrap_err()), "SN002");
    assert_eq!(store.list("", Depth::All, None).await.unwrap().objects.len(), 0);
    assert_eq!(store.list("a/", Depth::Children, None).await.unwrap(), abide_snapshot::Page::default());

    // Writes, whatever is there.
    store.put("a/b", bytes("one")).await.unwrap();
    let one = store.get("a/b", 3).await.unwrap();
    assert_eq!(one.bytes, "one");
    assert_eq!(code(store.get("a/b", 2).await.unwrap_err()), "SN006");
    store.put("a/b", bytes("twelve")).await.unwrap();
    let info = store.head("a/b").await.unwrap();
    assert_eq!((info.key.as_str(), info.bytes), ("a/b", 6));
    store.put("a/empty", Bytes::new()).await.unwrap();
    assert_eq!(store.get("a/empty", 0).await.unwrap().bytes, "");

    // Writes under conditions.
    assert_eq!(code(store.put_if_absent("a/b", bytes("x")).await.unwrap_err()), "SN002");
    assert_eq!(code(store.put_if_match("a/b", bytes("x"), &one.tag).await.unwrap_err()), "SN002");
    assert_eq!(store.get("a/b", 10).await.unwrap().bytes, "twelve");
    let twelve = store.get("a/b", 10).await.unwrap();
    store.put_if_match("a/b", bytes("three"), &twelve.tag).await.unwrap();
    assert_eq!(code(store.put_if_match("a/b", bytes("x"), &twelve.tag).await.unwrap_err()), "SN002");
    assert_eq!(store.get("a/b", 10).await.unwrap().bytes, "three");
    store.put_if_absent("a/c", bytes("new")).await.unwrap();
    assert_eq!(store.get("a/c", 10).await.unwrap().bytes, "new");
    probe_conditions(store, "probe").await.unwrap();
    probe_conditions(store, "probe").await.unwrap();
    store.delete("probe").await.unwrap();

    // Removal.
    store.delete("a/c").await.unwrap();
    assert_eq!(code(store.get("a/c", 10).await.unwrap_err()), "SN001");

    // Keys that are none.
    for key in ["", "/a", "../a", "a/../b", ".lock", "a/.tmp", "a b", "a/"] {
        assert_eq!(code(store.put(key, bytes("x")).await.unwrap_err()), "SN007", "{key}");
        assert_eq!(code(store.put_if_absent(key, bytes("x")).await.unwrap_err()), "SN007", "{key}");
        assert_eq!(code(store.get(key, 10).await.unwrap_err()), "SN007", "{key}");
        assert_eq!(code(store.head(key).await.unwrap_err()), "SN007", "{key}");
        assert_eq!(code(store.delete(key).await.unwrap_err()), "SN007", "{key}");
    }
    assert_eq!(code(store.list("a", Depth::All, None).await.unwrap_err()), "SN007");

    // Large content.
    let large: Bytes = (0..3_000_000u32).map(|number| number.to_le_bytes()[1]).collect();
    store.put("large", large.clone()).await.unwrap();
    assert_eq!(store.get("large", large.len() as u64).await.unwrap().bytes, large);
    store.delete("large").await.unwrap();

    lists(store).await;
}

async fn lists(store: &dyn ObjectStore) {
    let mut expected = Vec::new();
    for folder in 0..60 {
        for object in 0..3 {
            let key = format!("many/f{folder:02}/o{object}");
            store.put(&key, Bytes::from_static(b"12345")).await.unwrap();
            expected.push(key);
        }
    }
    // Sorts between the folders `f05` and `f06`, and is not in `f05`.
    store.put("many/f05-", Bytes::from_static(b"1")).await.unwrap();
    expected.push("many/f05-".into());
    expected.sort();
    let (all, folders) = list(store, "many/", Depth::All).await;
    assert_eq!(all, expected);
    assert_eq!(folders, [""; 0]);
    let (children, folders) = list(store, "many/", Depth::Children).await;
    assert_eq!(children, ["many/f05-"]);
    assert_eq!(folders, (0..60).map(|folder| format!("f{folder:02}")).collect::<Vec<_>>());
    let (one, _) = list(store, "many/f05/", Depth::All).await;
    assert_eq!(one, ["many/f05/o0", "many/f05/o1", "many/f05/o2"]);
    for object in 0..3 {
        store.delete(&format!("many/f00/o{object}")).await.unwrap();
    }
    let (_, folders) = list(store, "many/", Depth::Children).await;
    assert_eq!(folders[0], "f01", "a folder without objects is none");
    let info = &store.list("many/f01/", Depth::All, None).await.unwrap().objects[0];
    assert_eq!(info.bytes, 5);
}

async fn list(store: &dyn ObjectStore, prefix: &str, depth: Depth) -> (Vec<String>, Vec<String>) {
    let (mut keys, mut folders, mut next) = (Vec::new(), Vec::new(), None);
    loop {
        let page = store.list(prefix, depth, next.as_deref()).await.unwrap();
        keys.extend(page.objects.into_iter().map(|object| object.key));
        folders.extend(page.folders);
        next = page.next;
        if next.is_none() {
            return (keys, folders);
        }
    }
}

/// Of many who write under the same condition, one wins, and what it wrote is there.
async fn one_wins(store: Arc<dyn ObjectStore>) {
    let mut expected = None;
    for round in 0..10 {
        let tag = match expected {
            None => None,
            Some(_) => Some(store.get("race", 100).await.unwrap().tag),
        };
        let writers = (0..8).map(|writer| {
            let (store, tag) = (Arc::clone(&store), tag.clone());
            tokio::spawn(async move {
                let bytes = Bytes::from(format!("round {round} writer {writer}"));
                let result = match &tag {
                    None => store.put_if_absent("race", bytes.clone()).await,
                    Some(tag) => store.put_if_match("race", bytes.clone(), tag).await,
                };
                match result {
                    Ok(_) => Some(bytes),
                    Err(StoreError::PreconditionFailed { .. }) => None,
                    Err(error) => panic!("{error}"),
                }
            })
        });
        let winners: Vec<_> = join_all(writers).await.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(store.get("race", 100).await.unwrap().bytes, winners[0]);
        expected = Some(winners);
    }
}

#[tokio::test]
async fn a_folder_forgets_what_was_interrupted() {
    let dir = TempDir::new().unwrap();
    let store = FolderStore::open(dir.path()).await.unwrap();
    store.put("a/b", Bytes::from_static(b"x")).await.unwrap();
    let (left, written) = (dir.path().join(".tmp/1-left"), dir.path().join(".tmp/2-written"));
    std::fs::write(&left, "half").unwrap();
    std::fs::write(&written, "half").unwrap();
    let file = std::fs::File::open(&written).unwrap();
    file.lock().unwrap();
    let again = FolderStore::open(dir.path()).await.unwrap();
    assert!(!left.exists(), "nobody writes it");
    assert!(written.exists(), "somebody writes it");
    assert_eq!(again.get("a/b", 1).await.unwrap().bytes, "x");
    let files: Vec<PathBuf> =
        std::fs::read_dir(dir.path().join(".tmp")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files, [written]);
}

#[tokio::test]
async fn a_folder_says_what_is_in_its_way() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(FolderStore::open(&file).await.is_err());
    let store = FolderStore::open(dir.path()).await.unwrap();
    store.put("a", Bytes::new()).await.unwrap();
    assert_eq!(store.put("a/b", Bytes::new()).await.unwrap_err().code(), "SN007");
    assert_eq!(store.get("a/b", 10).await.unwrap_err().code(), "SN001");
}

#[tokio::test]
async fn a_bucket_says_what_is_wrong() {
    let s3 = TestS3::start();
    let store = s3_store(&s3, once()).await;
    s3.put_object("a/prefix/key", "content");
    for (fault, code) in [(Fault::Refused, "SN003"), (Fault::Unavailable, "SN003"), (Fault::Denied, "SN004")] {
        s3.set_fault(Some(fault));
        assert_eq!(store.get("key", 10).await.unwrap_err().code(), code, "{fault:?}");
        assert_eq!(store.put("key", Bytes::new()).await.unwrap_err().code(), code, "{fault:?}");
        assert_eq!(store.head("key").await.unwrap_err().code(), code, "{fault:?}");
        assert_eq!(store.list("", Depth::All, None).await.unwrap_err().code(), code, "{fault:?}");
        assert_eq!(store.delete("key").await.unwrap_err().code(), code, "{fault:?}");
    }
    s3.set_fault(Some(Fault::BrokenGets));
    assert_eq!(store.get("key", 10).await.unwrap_err().code(), "SN003");
    s3.set_fault(Some(Fault::LostPuts));
    assert_eq!(store.put("key2", Bytes::from_static(b"x")).await.unwrap_err().code(), "SN003");
    s3.set_fault(None);
    assert_eq!(store.get("key2", 1).await.unwrap().bytes, "x", "it was written");

    let policy = RetryPolicy { attempt_timeout: Duration::from_millis(50), ..once() };
    let impatient = s3_store(&s3, policy).await;
    s3.set_fault(Some(Fault::Slow(Duration::from_millis(500))));
    let error = impatient.get("key", 10).await.unwrap_err();
    assert!(error.to_string().contains("no answer within 50ms"), "{error}");
    s3.set_fault(None);

    let location = s3.location("").replace("//bucket/", "//other-bucket/");
    let other = open(&location.parse().unwrap(), credentials(), once()).await.unwrap();
    assert_eq!(other.get("key", 10).await.unwrap_err().code(), "SN007");
    let credentials = S3Credentials::Static {
        access_key_id: test_s3::ACCESS_KEY_ID.into(),
        secret_access_key: "geheim".into(),
        session_token: None,
    };
    let stranger = open(&s3.location("").parse().unwrap(), credentials, once()).await.unwrap();
    let error = stranger.get("key", 10).await.unwrap_err();
    assert_eq!(error.code(), "SN004");
    assert!(!format!("{error} {error:?}").contains("geheim"));
    drop(s3);
    assert_eq!(store.get("key", 10).await.unwrap_err().code(), "SN003", "nobody listens");
}

/// The encrypted client starts without the help of a crypto library that has to be installed first.
#[tokio::test]
async fn an_encrypted_bucket_that_is_not_there() {
    let location: Location = "s3://bucket?endpoint=https://127.0.0.1:1&path_style=true".parse().unwrap();
    let store = open(&location, credentials(), once()).await.unwrap();
    assert_eq!(store.get("key", 10).await.unwrap_err().code(), "SN003");
    let plain = TestS3::start();
    let location = format!("s3://bucket?endpoint={}&path_style=true", plain.endpoint().replace("http", "https"));
    let store = open(&location.parse().unwrap(), credentials(), once()).await.unwrap();
    assert_eq!(store.get("key", 10).await.unwrap_err().code(), "SN003");
    assert_eq!(plain.requests(), 0, "nothing was sent in the clear");
}

#[tokio::test]
async fn a_bucket_without_conditions_is_refused() {
    let s3 = TestS3::start();
    let store = s3_store(&s3, quick()).await;
    for fault in [Fault::NoConditions, Fault::IgnoredConditions] {
        s3.set_fault(Some(fault));
        let error = probe_conditions(&*store, "probe").await.unwrap_err();
        assert_eq!(error.code(), "SN005", "{error}");
    }
    s3.set_fault(Some(Fault::NoConditions));
    assert_eq!(store.put_if_absent("key", Bytes::new()).await.unwrap_err().code(), "SN005");
    assert!(s3.object("a/prefix/key").is_none(), "it was not written without the condition");
    s3.set_fault(None);
    probe_conditions(&*store, "probe").await.unwrap();
}

/// What was written by an attempt whose answer was lost is found, and is not taken for somebody else's.
#[tokio::test]
async fn lost_answers_are_found() {
    let s3 = TestS3::start();
    let store = s3_store(&s3, quick()).await;
    for fault in [Fault::LostPuts, Fault::Refused, Fault::Unavailable] {
        let key = format!("{fault:?}");
        s3.set_fault_once(fault, 2);
        let one = Bytes::from_static(b"one");
        store.put_if_absent(&key, one.clone()).await.unwrap();
        let found = store.get(&key, 10).await.unwrap();
        assert_eq!(found.bytes, one);
        s3.set_fault_once(fault, 2);
        store.put_if_match(&key, Bytes::from_static(b"two"), &found.tag).await.unwrap();
        assert_eq!(store.get(&key, 10).await.unwrap().bytes, "two");
        s3.set_fault_once(fault, 1);
        let lost = store.put_if_match(&key, Bytes::from_static(b"three"), &found.tag).await.unwrap_err();
        assert_eq!(lost.code(), "SN002", "the answer is lost, and so is the race");
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_end() {
    let faulty = Faulty::new(MemoryStore::new());
    let count = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counter = Arc::clone(&count);
    faulty.set_rule(move |_, _| {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Fate::Lost
    });
    let store = Retry::new(Arc::new(faulty.clone()), RetryPolicy::default());
    let start = tokio::time::Instant::now();
    assert_eq!(store.get("key", 10).await.unwrap_err().code(), "SN003");
    assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 6);
    assert!(start.elapsed() < Duration::from_secs(16));
    faulty.set_rule(|_, _| Fate::Done);
    assert_eq!(store.get("key", 10).await.unwrap_err().code(), "SN001", "what fails for good is not tried again");
}
