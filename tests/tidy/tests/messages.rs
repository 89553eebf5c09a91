//! What no compiler checks of the messages that are persisted or sent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut folders: Vec<PathBuf> = ["actors", "cluster", "sdk"].map(|folder| root.join(folder)).into();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("sources are text");
                sources.push((path, text));
            }
        }
    }
    sources
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}

/// A one-of field lists the numbers of its variants a second time. A number that it lacks is encoded, and dropped without
/// a word when it is decoded.
#[test]
fn one_of_fields_list_all_their_variants() {
    let sources = sources();
    let mut variants: BTreeMap<&str, Vec<BTreeSet<u32>>> = BTreeMap::new();
    for (_, text) in &sources {
        for after in text.split("prost::Oneof)]").skip(1) {
            let (Some(name), Some(body)) = (between(after, "enum ", " {"), between(after, " {\n", "\n}")) else {
                panic!("an enum follows the derive")
            };
            let tags = body.split("tag = \"").skip(1).map(|tag| tag.split('"').next().unwrap().parse().unwrap());
            variants.entry(name).or_default().push(tags.collect());
        }
    }
    let mut seen = 0;
    for (path, text) in &sources {
        for field in text.split("oneof = \"").skip(1) {
            let name = field.split('"').next().unwrap();
            let tags = between(field, "tags = \"", "\"").unwrap();
            let tags: BTreeSet<u32> = tags.split(", ").map(|tag| tag.parse().unwrap()).collect();
            let known = variants.get(name).unwrap_or_else(|| panic!("no enum `{name}`"));
            assert!(known.contains(&tags), "{}: the field of `{name}` lists {tags:?}, not {known:?}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} fields were found");
}
