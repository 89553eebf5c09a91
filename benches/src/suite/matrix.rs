//! The rows of the suite.

/// One load.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Its name: `mode target, outstanding, keys`, and what differs from the other rows.
    pub(super) name: String,
    /// Flags of the load generator.
    pub(super) flags: Vec<String>,
}

/// Keys of the rows with random ones.
const KEYS: u64 = 100_000;
/// The same in a hurry.
const KEYS_QUICK: u64 = 20_000;
/// Partitions of a node unless a row says otherwise.
const PARTITIONS: u32 = 8;

pub(super) fn rows(quick: bool) -> Vec<Row> {
    let keys = if quick { KEYS_QUICK } else { KEYS };
    let mut rows = Vec::new();
    for mode in ["in-process", "http"] {
        for outstanding in [1, 64, 256] {
            rows.push(Load { mode, target: "add", outstanding, keys, ..Load::default() }.row());
        }
        for outstanding in [1, 64, 256] {
            rows.push(Load { mode, target: "add", outstanding, keys: 1, ..Load::default() }.row());
        }
        rows.push(Load { mode, target: "add", outstanding: 256, keys, cold: true, ..Load::default() }.row());
        for outstanding in [1, 64, 256] {
            rows.push(Load { mode, target: "three", outstanding, ..Load::default() }.row());
        }
        for outstanding in [1, 256] {
            rows.push(Load { mode, target: "get", outstanding, keys, ..Load::default() }.row());
        }
        for partitions in [1, 4, 24] {
            rows.push(Load { mode, target: "add", outstanding: 256, keys, partitions, ..Load::default() }.row());
            rows.push(Load { mode, target: "three", outstanding: 256, partitions, ..Load::default() }.row());
        }
    }
    rows
}

/// What a row's name and flags are made of.
#[derive(Clone, Copy)]
struct Load {
    mode: &'static str,
    target: &'static str,
    outstanding: usize,
    keys: u64,
    /// Objects are not in memory at first.
    cold: bool,
    partitions: u32,
}

impl Default for Load {
    fn default() -> Self {
        Self { mode: "http", target: "add", outstanding: 1, keys: 1, cold: false, partitions: PARTITIONS }
    }
}

impl Load {
    fn row(self) -> Row {
        let Self { mode, target, outstanding, keys, cold, partitions } = self;
        let of_object = target != "three";
        let mut name = format!("{mode} {target}, {outstanding}");
        if of_object {
            name.push_str(if keys == 1 { ", one key" } else { ", random keys" });
        }
        if cold {
            name.push_str(", not in memory");
        }
        if partitions != PARTITIONS {
            name.push_str(&format!(", {partitions} partitions"));
        }
        let (outstanding, keys, partitions) = (outstanding.to_string(), keys.to_string(), partitions.to_string());
        let mut flags: Vec<String> =
            ["--mode", mode, "--target", target, "--outstanding", &outstanding].map(Into::into).into();
        flags.extend(["--keys", &keys, "--partitions", &partitions].map(Into::into));
        if of_object && !cold {
            flags.push("--touch".into());
        }
        Row { name, flags }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::args::Args;
    use clap::Parser as _;

    #[test]
    fn names_are_unique_and_flags_are_understood() {
        for quick in [false, true] {
            let rows = rows(quick);
            let names: std::collections::BTreeSet<_> = rows.iter().map(|row| &row.name).collect();
            assert_eq!(names.len(), rows.len());
            for row in &rows {
                let args = Args::try_parse_from(std::iter::once("bench-load").chain(row.flags.iter().map(|f| &**f)));
                args.unwrap().connections().unwrap();
            }
        }
    }
}
