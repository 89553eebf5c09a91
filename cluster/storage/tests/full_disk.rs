//! A disk that takes no more bytes, in a process of its own: a limit on the size of files stands for it.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

mod common;

use std::{env, fs, path::PathBuf, process::Command};

use abide_storage::LogStore;
use common::{batch, open_log};

const DIR: &str = "ABIDE_TEST_FULL_DISK_DIR";
const ENTRY_BYTES: usize = 3_000;

#[test]
fn nothing_is_acknowledged_after_a_failed_write_and_nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    drop(open_log(dir.path()).unwrap());
    // The second open cuts the preallocated rest off the journal, so that it grows from a small size.
    drop(open_log(dir.path()).unwrap());

    // Blocks of 512 bytes: 400 KiB, above the size of the watermark.
    let script =
        r#"trap "" XFSZ; ulimit -f 800; exec "$0" --exact commits_until_the_disk_is_full --ignored --nocapture"#;
    let child = Command::new("sh").arg("-c").arg(script).arg(env::current_exe().unwrap()).env(DIR, dir.path()).output();
    let child = match child {
        Ok(child) => child,
        Err(error) => {
            eprintln!("skipped: no shell to limit the size of files with: {error}");
            return;
        }
    };
    let output = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{output}");
    let acknowledged: u64 = fs::read_to_string(dir.path().join("acknowledged")).unwrap().parse().unwrap();
    assert!(acknowledged > 10, "{acknowledged}");

    let mut log = open_log(dir.path()).unwrap();
    let last = log.recover(0).unwrap().last().index;
    assert!(last == acknowledged || last == acknowledged + 1, "{acknowledged} acknowledged, {last} found");
    log.commit(&batch(last + 1, ENTRY_BYTES)).unwrap();
    drop(log);
    assert_eq!(open_log(dir.path()).unwrap().recover(0).unwrap().last().index, last + 1);
}

#[test]
#[ignore = "runs as a child of the test above"]
fn commits_until_the_disk_is_full() {
    let dir = PathBuf::from(env::var_os(DIR).unwrap());
    let mut log = open_log(&dir).unwrap();
    let mut index = 1;
    let error = loop {
        match log.commit(&batch(index, ENTRY_BYTES)) {
            Ok(()) => index += 1,
            Err(error) => break error,
        }
        assert!(index < 1_000, "the limit had no effect");
    };
    assert_eq!(error.code(), "ST010", "{error}");
    assert_eq!(log.commit(&batch(index, 1)).unwrap_err().code(), "ST011");
    assert_eq!(log.entries(0, 1, 2, 0).unwrap_err().code(), "ST011");
    assert_eq!(log.recover(0).unwrap_err().code(), "ST011");
    fs::write(dir.join("acknowledged"), (index - 1).to_string()).unwrap();
}
