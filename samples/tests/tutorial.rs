//! The tutorial: its programs compile, its tests pass, its mistake is one, and its text shows these very files.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]
#![allow(dead_code, unreachable_pub, reason = "what is a program in the tutorial is a module here")]
#![allow(clippy::duplicate_mod, reason = "two programs of the tutorial share files")]

use std::panic::catch_unwind;

use abide::testing::{World, crash_at_every_commit};

#[path = "../tutorial/main-1.rs"]
mod first;
#[path = "../tutorial/main-2.rs"]
mod second;

#[path = "../tutorial/card-1.rs"]
mod mistaken;

#[path = "../tutorial/main.rs"]
mod last;

/// Code blocks of a text, each with the line before it.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<(&'a str, &'a str)> {
    let fence = format!("```{language}\n");
    let mut pieces = text.split(fence.as_str());
    let mut before = pieces.next().unwrap();
    let mut found = Vec::new();
    for piece in pieces {
        let (code, after) = piece.split_once("```\n").unwrap();
        found.push((before.trim_end().lines().last().unwrap(), code));
        before = after;
    }
    found
}

#[test]
fn the_text_shows_the_files() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tutorial");
    let text = std::fs::read_to_string(format!("{root}/../TUTORIAL.md")).unwrap();
    let shown: Vec<_> = blocks(&text, "rust")
        .into_iter()
        .map(|(before, code)| (before.split("`src/").nth(1).unwrap().split(".rs`").next().unwrap(), code))
        .collect();
    let mut files: Vec<_> = Vec::new();
    for (index, (name, code)) in shown.iter().enumerate() {
        let (same, later) = (shown[..index].iter(), &shown[index + 1..]);
        let number = same.filter(|(other, _)| other == name).count() + 1;
        let is_last = later.iter().all(|(other, _)| other != name);
        let file = if is_last { format!("{name}.rs") } else { format!("{name}-{number}.rs") };
        let known = std::fs::read_to_string(format!("{root}/{file}")).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(*code, known, "block {index} of the tutorial is not as {file}");
        files.push(file);
    }
    for entry in std::fs::read_dir(root).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with(".rs") || files.contains(&name), "{name} is not in the tutorial");
    }
}

/// Without a crash nobody notices; with one the card is charged twice.
#[test]
fn the_mistake_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("card.txt");
    let build = || {
        let file = file.clone();
        World::builder().bind_with(move || mistaken::Card::new(file.clone())).seed(1)
    };
    let test = async |world: World| {
        let _ = std::fs::remove_file(&file);
        world.client().call_raw("Card", None, "charge", &650).await.unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 1, "charged more than once");
    };
    build().run(test);
    let panic = catch_unwind(std::panic::AssertUnwindSafe(|| crash_at_every_commit(build, test))).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("with a crash before commit") && text.contains("charged more than once"), "{text}");
}
