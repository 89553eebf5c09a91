use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use abide_model::id::PartitionId;
use abide_sdk::Registry;

use super::*;
use crate::config::tests::assert_committed;

#[test]
fn the_committed_page_is_current() {
    assert_committed("../../ops/metrics.md", &inventory_table());
}

#[test]
fn names_are_unique_and_follow_the_conventions() {
    let names: BTreeSet<_> = INVENTORY.iter().map(|doc| doc.name).collect();
    assert_eq!(names.len(), INVENTORY.len());
    for doc in INVENTORY {
        assert!(doc.name.starts_with("abide_"), "{}", doc.name);
        assert_eq!(doc.name.ends_with("_total"), doc.kind == Kind::Counter, "{}", doc.name);
        let has_buckets = doc.name.ends_with("_seconds") || doc.name.ends_with("_commands");
        assert!(doc.kind != Kind::Histogram || has_buckets, "{}", doc.name);
        assert!(doc.help.ends_with('.') && !doc.help.contains('|'), "{}", doc.name);
    }
}

/// Whether a metric is registered by another crate.
fn elsewhere(name: &str) -> bool {
    name.starts_with("abide_host_") || name.starts_with("abide_peer_")
}

/// What the typed handles register is what the inventory says: name, kind and labels.
#[test]
fn handles_and_inventory_agree() {
    let handle = recorder();
    let driver = DriverMetrics::new(2);
    driver.entry_proposed(3);
    driver.applied(3);
    driver.synced(3, Duration::from_micros(210));
    driver.committed(Duration::from_micros(300));
    driver.checkpointed(Duration::from_millis(3));
    driver.trimmed(5);
    driver.timer_fired(Duration::from_millis(1));
    driver.set_replica(PartitionId(1), &abide_partition::Stats { last: 4, ..abide_partition::Stats::default() });
    driver.set_replica(PartitionId(99), &abide_partition::Stats::default());
    driver.diverged(PartitionId(1));
    driver.message_dropped(abide_partition::Dropped::Full);
    driver.set_timers_due(PartitionId(1), 4);
    Completions::new(&Registry::builder().build()).count("No", "such", true);
    let door = DoorMetrics::new("ingress");
    drop(door.enter());
    door.connections.set(1.0);
    Rejections::new("ingress").count(Rejection::Body);
    HandlerMetrics::new("S", "h").answered(404, Duration::from_millis(2));

    let archive = ArchiveMetrics::new(2);
    archive.failed();
    archive.removed(1);
    archive.set_age(PartitionId(1), Duration::from_secs(3));

    let page = render(handle);
    let mut kinds = BTreeMap::new();
    for line in page.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').unwrap();
            kinds.insert(name.to_owned(), kind.to_owned());
        }
    }
    for doc in INVENTORY.iter().filter(|doc| !elsewhere(doc.name)) {
        assert_eq!(kinds.get(doc.name).map(String::as_str), Some(doc.kind.word()), "{}\n{page}", doc.name);
        let mut labels: Vec<String> = doc.labels.iter().map(|label| format!("{label}=\"")).collect();
        if doc.kind == Kind::Histogram {
            labels.push("le=\"".to_owned());
        }
        // Of several names that begin alike, this one.
        let behind = if doc.kind == Kind::Histogram {
            "_bucket{"
        } else if doc.labels.is_empty() {
            " "
        } else {
            "{"
        };
        let is_its = |line: &&str| line.strip_prefix(doc.name).is_some_and(|rest| rest.starts_with(behind));
        let line = page.lines().find(is_its).unwrap();
        assert!(labels.iter().all(|label| line.contains(label)), "{line}");
    }
    let documented: BTreeSet<_> = INVENTORY.iter().map(|doc| doc.name).collect();
    for name in kinds.keys().filter(|name| name.starts_with("abide_")) {
        assert!(documented.contains(name.as_str()), "{name} is not in the inventory");
    }
    assert!(page.contains("abide_ingress_requests_total{service=\"S\",handler=\"h\",class=\"4xx\"} 1"));
}

#[test]
fn every_reason_has_its_place() {
    for (index, reason) in Rejection::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, index);
        let help = INVENTORY.iter().find(|doc| doc.name == "abide_door_rejections_total").unwrap().help;
        assert!(help.contains(reason.label()), "{}", reason.label());
    }
}
