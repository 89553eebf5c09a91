use std::time::SystemTime;

use serde_json::{Value, json};

use super::*;
use crate::text::Style;

fn style() -> Style {
    let now = SystemTime::UNIX_EPOCH;
    Style { width: None, colors: false, absolute: false, now }
}

fn node(id: &str, state: &str, alive: bool) -> Value {
    json!({
        "id": id, "state": state, "alive": alive, "silent_ms": if alive { None } else { Some(12_000) }, "stopping": false,
        "address": "10.0.0.1:5122", "zone": "a", "build": "0.1.0", "leaders": 2, "leads": ["p0", "p1"], "replicas": 8,
    })
}

fn replica(name: &str, leads: bool, lag: u64) -> Value {
    json!({
        "node": &name[..2], "replica": name, "leads": leads, "term": 3, "first": 1, "last": 90, "committed": 90,
        "applied": 90 - lag.min(90), "durable": 80, "lag": lag, "alive": true, "snapshot_in_progress": !leads,
    })
}

fn partition() -> Value {
    json!({
        "id": "p0", "leader": "n1", "leads_for_ms": 61_000, "term": 3, "pinned": "n2",
        "members": { "voters": ["n1", "n2"], "learners": ["n3.1"], "outgoing": ["n4", "n1"] },
        "wanted": ["n1", "n3.1", "n5"],
        "replicas": [replica("n1", true, 0), replica("n3.1", false, 2_000), replica("n6", false, 5)],
        "size": { "log_entries": 90, "snapshot_bytes": 5_000 },
        "last_snapshot": null,
    })
}

#[test]
fn the_status_is_one_screen() {
    let led = |id: &str, leader: Option<&str>| json!({ "id": id, "leader": leader });
    let mut document = json!({
        "cluster_id": "cl_1", "asked": "n1", "address": "http://127.0.0.1:9070", "features": 1,
        "settings": { "replication_factor": "3", "log_level": null },
        "nodes": [node("n1", "active", true), node("n2", "draining", false), node("n3", "removed", false)],
        "partitions": [led("p0", Some("n1")), led("p1", None), led("meta", Some("n1"))],
        "problems": [{ "severity": "bad", "text": "n2 is\naway" }, { "severity": "note", "text": "p1 waits" }],
    });
    assert_eq!(
        status::render(&document, &style()),
        "cl_1\n  \
           asked       http://127.0.0.1:9070 (n1)\n  \
           nodes       2 nodes, 1 not alive\n  \
           partitions  2 partitions and meta, which n1 leads; 1 without a leader\n  \
           features    level 1\n  \
           settings    replication_factor 3\n\
         \n\
         NODE  STATE     ALIVE        LEADERS  REPLICAS  ZONE  PEER           BUILD  LEADS\n\
         n1    active    yes                2         8  a     10.0.0.1:5122  0.1.0  p0 p1\n\
         n2    draining  no, for 12s        2         8  a     10.0.0.1:5122  0.1.0  p0 p1\n\
         n3    removed                                   a     10.0.0.1:5122  0.1.0  p0 p1\n\
         \n\
         ! n2 is\\naway\n\
         - p1 waits\n"
    );
    document["nodes"][0]["slow_disk_ms"] = json!(640);
    assert!(status::render(&document, &style()).contains("\nn1    active    slow disk "));
    document["problems"] = json!([]);
    assert!(status::render(&document, &style()).ends_with("All is as it should be.\n"));
    let narrow = Style { width: Some(60), ..style() };
    assert!(nodes::list(&document, &narrow).lines().all(|line| line.chars().count() <= 60));
}

#[test]
fn a_partition_has_a_line() {
    let none = json!({ "id": "meta", "leader": null, "members": { "voters": [] }, "replicas": [] });
    let text = partitions::render(&json!({ "partitions": [partition(), none] }), false, &style());
    let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        lines,
        [
            "PARTITION LEADER VOTERS OTHERS PINNED LAG COMMITTED APPLIED DURABLE FIRST TERM LOG SAVED LEADS FOR",
            "p0 n1 n1 n2 n3.1 follows, n4 goes, n5 comes n2 2000 (n3.1) 90 90 80 1 3 90 4.8 KiB 1m 1s",
            "meta none",
        ]
    );
    assert_eq!(partitions::render(&json!({ "partitions": [] }), false, &style()), "No partitions are known.\n");
}

#[test]
fn a_partition_in_detail_has_its_replicas() {
    assert_eq!(
        partitions::render(&json!({ "partitions": [partition()] }), true, &style()),
        "partition p0\n  \
           leader        n1, for 1m 1s\n  \
           pinned to     n2\n  \
           term          3\n  \
           wanted        n1 n3.1 n5\n  \
           changing      n3.1 follows, n4 goes, n5 comes\n  \
           log           90 entries\n  \
           saved         4.8 KiB\n\
         REPLICA  ROLE       ALIVE   LAG  APPLIED  COMMITTED  LAST  DURABLE  FIRST  TERM  NOW\n\
         n1       leader     yes       0       90         90    90       80      1     3\n\
         n3.1     learner    yes    2000        0         90    90       80      1     3  gets a snapshot\n\
         n6       no member  yes       5       85         90    90       80      1     3  gets a snapshot\n"
    );
}
