//! What the documents of the repository claim, compared with what is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository is two folders up")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The rows of the Markdown table under `heading`, cell by cell.
fn table(text: &str, heading: &str) -> Vec<Vec<String>> {
    let body = text.split(heading).nth(1).unwrap_or_else(|| panic!("no `{heading}`"));
    body.lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

#[test]
fn the_code_map_is_the_dependency_graph() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut actual: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut folders = BTreeMap::new();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeSet<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
        folders.insert(name.to_owned(), folder.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
        let used = package["dependencies"].as_array().unwrap().iter();
        let used = used.map(|used| used["name"].as_str().unwrap()).filter(|used| names.contains(used));
        actual.insert(name.to_owned(), used.map(str::to_owned).collect());
    }
    let mut drawn = BTreeSet::new();
    for row in table(&read("ARCHITECTURE.md"), "## Code map") {
        let [name, folder, _, may_use] = row.as_slice() else {
            panic!("a row of the code map has other cells: {row:?}")
        };
        let allowed: BTreeSet<String> = may_use.split_whitespace().map(str::to_owned).collect();
        let used = actual.get(name).unwrap_or_else(|| panic!("the code map has `{name}`, the workspace has not"));
        let undrawn: Vec<_> = used.difference(&allowed).collect();
        assert!(undrawn.is_empty(), "`{name}` uses {undrawn:?}, which the code map does not draw");
        assert_eq!(folders[name], *folder, "folder of `{name}`");
        drawn.insert(name.clone());
    }
    let missing: Vec<_> = actual.keys().filter(|name| !drawn.contains(*name)).collect();
    assert!(missing.is_empty(), "the code map lacks {missing:?}");
}

#[test]
fn every_error_code_has_its_line() {
    let text = read("ops/runbooks/errors.md");
    let headings = ["## Requests", "## Storage", "## Data directory", "## Peers", "## Snapshots", "## Restore"];
    let documented: BTreeSet<String> =
        headings.into_iter().flat_map(|heading| table(&text, heading)).map(|row| row[0].clone()).collect();
    let mut codes: BTreeSet<String> = abide_model::error::CODES.iter().map(|(code, _)| code.to_string()).collect();
    let files = [
        "cluster/storage/src/error.rs",
        "cluster/storage/src/data_dir.rs",
        "cluster/peer/src/error.rs",
        "cluster/snapshot/src/error.rs",
        "cluster/restore/src/error.rs",
    ];
    let is_code = |part: &str| {
        let prefixes = ["ST", "DD", "PE", "SN", "RS"];
        part.len() == 5 && prefixes.contains(&&part[..2]) && part[2..].bytes().all(|byte| byte.is_ascii_digit())
    };
    for file in files {
        codes.extend(read(file).split('"').filter(|part| is_code(part)).map(str::to_owned));
    }
    assert_eq!(documented, codes, "left: ops/runbooks/errors.md, right: the code");
}

/// The core reads no clock, draws no chance and starts nothing: the lints that see to it are the same everywhere.
#[test]
fn the_pure_crates_share_their_bans() {
    let machine = read("actors/machine/clippy.toml");
    for word in ["HashMap", "HashSet", "Instant", "SystemTime", "thread::spawn"] {
        assert!(machine.contains(word), "actors/machine/clippy.toml does not ban {word}");
    }
    for pure in ["actors/model", "actors/schedule", "cluster/partition", "cluster/placement"] {
        assert_eq!(read(&format!("{pure}/clippy.toml")), machine, "{pure}/clippy.toml");
    }
}

#[test]
fn nothing_names_a_machine() {
    let output = Command::new("git").args(["ls-files"]).current_dir(root()).output().unwrap();
    for file in String::from_utf8(output.stdout).unwrap().lines() {
        let Ok(text) = std::fs::read_to_string(root().join(file)) else { continue };
        for word in [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/ho", "me/")] {
            assert!(!text.contains(word), "{file} contains `{word}`");
        }
    }
}
