//! What a data directory refuses, and that a refusal writes nothing.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path};

use abide_storage::{DataDir, DataDirError, Expected, IDENTITY_FORMAT};

fn expected() -> Expected {
    Expected {
        cluster: None,
        node: None,
        partitions: 8,
        cluster_id_if_new: "new-cluster".into(),
        node_id_if_new: 1,
        store_uuid_if_new: "new-store".into(),
    }
}

/// Names, modes and contents of everything below a directory.
fn image(dir: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut image = BTreeMap::new();
    image.insert(".".into(), (fs::metadata(dir).unwrap().permissions().mode(), Vec::new()));
    for file in fs::read_dir(dir).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        image.insert(file.file_name().into_string().unwrap(), (mode, fs::read(file.path()).unwrap_or_default()));
    }
    image
}

/// The error for a directory, which has to stay as it was.
fn refusal(dir: &Path, expected: &Expected) -> DataDirError {
    let before = image(dir);
    let error = DataDir::open_or_create(dir, expected).unwrap_err();
    assert_eq!(image(dir), before, "{error}");
    error
}

#[test]
fn a_new_directory_gets_an_identity_and_keeps_it() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("some/data");
    let dir = DataDir::open_or_create(&path, &expected()).unwrap();
    assert!(dir.is_new());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    let identity = dir.identity().clone();
    drop(dir);
    let other = Expected { store_uuid_if_new: "other".into(), cluster_id_if_new: "other".into(), ..expected() };
    let dir = DataDir::open_or_create(&path, &other).unwrap();
    assert!(!dir.is_new());
    assert_eq!(*dir.identity(), identity);
    assert_eq!((dir.log_dir(), dir.state_dir()), (path.join("log"), path.join("state")));
}

#[test]
fn the_identity_file_is_golden() {
    let dir = tempfile::tempdir().unwrap();
    let told = Expected { cluster: Some("c1".into()), node: Some(3), ..expected() };
    DataDir::open_or_create(dir.path(), &told).unwrap();
    let content = fs::read_to_string(dir.path().join("IDENTITY")).unwrap();
    let golden = "{\n  \"format\": 1,\n  \"cluster_id\": \"c1\",\n  \"node_id\": 3,\n  \"store_uuid\": \"new-store\",\n  \
                  \"partitions\": 8\n}";
    assert_eq!(content, golden);
}

#[test]
fn a_directory_is_used_once() {
    let dir = tempfile::tempdir().unwrap();
    let open = DataDir::open_or_create(dir.path(), &expected()).unwrap();
    assert_eq!(refusal(dir.path(), &expected()).code(), "DD001");
    drop(open);
    DataDir::open_or_create(dir.path(), &expected()).unwrap();
}

#[test]
fn a_directory_of_someone_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(DataDir::open_or_create(dir.path(), &expected()).unwrap());
    let cases = [
        (Expected { cluster: Some("mine".into()), ..expected() }, "DD002"),
        (Expected { node: Some(9), ..expected() }, "DD003"),
        (Expected { partitions: 12, ..expected() }, "DD005"),
        (Expected { partitions: 0, ..expected() }, "DD006"),
        (Expected { partitions: 1025, ..expected() }, "DD006"),
    ];
    for (expected, code) in cases {
        assert_eq!(refusal(dir.path(), &expected).code(), code);
    }
    let told = Expected { cluster: Some("new-cluster".into()), node: Some(1), ..expected() };
    DataDir::open_or_create(dir.path(), &told).unwrap();
}

#[test]
fn what_is_no_data_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.txt"), "x").unwrap();
    assert_eq!(refusal(dir.path(), &expected()).code(), "DD007");
    let file = dir.path().join("notes.txt");
    assert_eq!(DataDir::open_or_create(&file, &expected()).unwrap_err().code(), "DD007");
    assert_eq!(fs::read(file).unwrap(), b"x");
}

#[test]
fn an_identity_that_cannot_be_read_is_refused() {
    let newer = format!(r#"{{"format":{},"shape":"unknown"}}"#, IDENTITY_FORMAT + 1);
    for (content, code) in [(newer.as_str(), "DD004"), ("", "DD008"), (r#"{"format":1}"#, "DD008")] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("IDENTITY"), content).unwrap();
        assert_eq!(refusal(dir.path(), &expected()).code(), code);
    }
}

#[test]
fn an_interrupted_creation_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("LOCK"), "").unwrap();
    fs::write(dir.path().join("IDENTITY.tmp"), "{").unwrap();
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    assert!(DataDir::open_or_create(dir.path(), &expected()).unwrap().is_new());
}

#[test]
fn errors_say_what_happened_where_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    drop(DataDir::open_or_create(dir.path(), &expected()).unwrap());
    let error = refusal(dir.path(), &Expected { cluster: Some("mine".into()), ..expected() }).to_string();
    for part in [dir.path().to_str().unwrap(), "`new-cluster`", "`mine`", "correct the directory"] {
        assert!(error.contains(part), "{error}");
    }
}
