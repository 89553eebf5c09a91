//! Reads that any node answers from its own replica: as new as asked for, and on whatever is left of the cluster.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use e2e::cluster::Plan;
use e2e::{Cli, Cluster, Http, Lost, Sent};
use serde::Deserialize;
use serde_json::json;

/// How long clients ask while others write.
const WHILE: Duration = Duration::from_secs(3);
/// How old an answer to a bounded read may be.
const BOUND: Duration = Duration::from_millis(300);
/// What cannot be answered is not waited for any longer.
const SOON: Duration = Duration::from_secs(3);

/// A register's value and how many changes made it.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Versioned {
    value: u64,
    version: u64,
}

fn read(door: &Http, how: &str) -> Sent {
    door.get("/Register/r/read").header("x-abide-read", how)
}

fn increment(door: &Http, operation: u64) -> Sent {
    door.json("/Register/r/increment", operation)
}

/// One partition, so that it is known who leads.
async fn start() -> Cluster {
    Plan::new(env!("CARGO_BIN_EXE_e2e-register")).env("ABIDE_PARTITIONS", "1").start(3).await
}

/// Values, and when they had been acknowledged.
#[derive(Clone, Default)]
struct Acknowledged(Arc<Mutex<Vec<(Instant, u64)>>>);

impl Acknowledged {
    fn add(&self, value: u64) {
        self.0.lock().unwrap().push((Instant::now(), value));
    }

    /// What whoever asks now has to see, when it may be as old as `age`.
    fn due(&self, age: Duration) -> u64 {
        let all = self.0.lock().unwrap();
        all.iter().rev().find(|(at, _)| at.elapsed() >= age).map_or(0, |(_, value)| *value)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_is_as_new_as_it_asks_for() {
    let cluster = start().await;
    let doors = cluster.doors();

    // Every way at every node, whatever comes before the header.
    let written: Versioned = increment(&doors[0], 1).ok().await;
    for door in &doors {
        for how in ["linear", "bounded=0s", "bounded=300ms", " linear "] {
            assert_eq!(read(door, how).ok::<Versioned>().await, written, "{how}");
        }
        e2e::wait::until("the last replica has it", || async {
            let seen: Versioned = read(door, "stale").ok().await;
            if seen == written { Ok(()) } else { Err(seen) }
        })
        .await;
        for how in ["", "fresh", "Linear", "bounded", "bounded=", "bounded=soon", "bounded=-1s"] {
            for sent in [read(door, how), increment(door, 2).header("x-abide-read", how)] {
                let answer = sent.expect().await;
                assert_eq!(answer.status, 400, "{how}: {}", answer.text());
                assert!(answer.text().contains("`linear`, `stale` and `bounded=500ms`"), "{}", answer.text());
            }
        }
    }

    // What is no read goes its way, and happens once.
    for (number, door) in doors.iter().enumerate() {
        for (how, more) in [("stale", 1), ("linear", 2), ("bounded=1h", 3)] {
            let operation = 10 * u64::try_from(number).unwrap() + more;
            let written: Versioned = increment(door, operation).header("x-abide-read", how).ok().await;
            assert_eq!(written.value, 1 + 3 * u64::try_from(number).unwrap() + more);
            assert_eq!(read(door, "linear").ok::<Versioned>().await, written);
        }
        let flow = door.json(&format!("/Journal/j{number}/record"), 7).header("x-abide-read", "stale");
        assert_eq!(flow.ok::<serde_json::Value>().await["operation"], json!(7));
        let sent = door.json("/Ledger/l/append/send", json!({ "operation": number, "value": 1 }));
        assert_eq!(sent.header("x-abide-read", "stale").expect().await.status, 202);
    }

    // While one client writes, and the leader moves, readers at all nodes see what was acknowledged before they asked.
    let begun = Instant::now();
    let acknowledged = Acknowledged::default();
    let writer = {
        let (door, acknowledged) = (doors[0].clone(), acknowledged.clone());
        tokio::spawn(async move {
            for operation in 100.. {
                acknowledged.add(increment(&door, operation).ok::<Versioned>().await.value);
                if begun.elapsed() > WHILE {
                    return;
                }
            }
        })
    };
    let readers = doors
        .iter()
        .cloned()
        .flat_map(|door| [("linear", Duration::ZERO), ("bounded=300ms", BOUND)].map(|of| (door.clone(), of)));
    let readers: Vec<_> = readers
        .map(|(door, (how, age))| {
            let acknowledged = acknowledged.clone();
            tokio::spawn(async move {
                let (mut reads, mut longest) = (0, Duration::ZERO);
                while begun.elapsed() < WHILE {
                    let (due, asked) = (acknowledged.due(age), Instant::now());
                    let seen = read(&door, how).ok::<Versioned>().await.value;
                    assert!(seen >= due, "{how} at {}: {seen}, but {due} was acknowledged", door.base());
                    (reads, longest) = (reads + 1, longest.max(asked.elapsed()));
                }
                (how, door, reads, longest)
            })
        })
        .collect();
    let cli = Cli::at(env!("CARGO_BIN_EXE_e2e-abide"), &cluster.node(0).admin, &doors[0]);
    let leader = cluster.leader_of("p0").await;
    let heir = cluster.id(&cluster.status().await, (leader + 1) % 3).unwrap();
    tokio::time::sleep(WHILE / 2).await;
    cli.ok(&format!("cluster leader transfer p0 {heir}"));
    for reader in readers {
        let (how, door, reads, longest) = reader.await.unwrap();
        e2e::report(&format!("cluster_reads: {how} at {}: {reads} reads, the longest {longest:?}", door.base()));
        assert!(reads > 20, "too few to tell anything");
    }
    writer.await.unwrap();
    cluster.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_answers_what_it_can() {
    let mut cluster = start().await;
    let doors = cluster.doors();
    let before: Versioned = increment(&doors[0], 1).ok().await;
    let leader = cluster.leader_of("p0").await;
    let (left, other) = ((leader + 1) % 3, (leader + 2) % 3);
    assert_eq!(read(&doors[left], "linear").ok::<Versioned>().await, before);

    // Alone, a follower tells what it has, and does not say more than it knows.
    cluster.pause(leader);
    cluster.pause(other);
    let asked = Instant::now();
    assert_eq!(read(&doors[left], "stale").ok::<Versioned>().await, before);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!(read(&doors[left], "bounded=1h").ok::<Versioned>().await, before);
    tokio::time::sleep(BOUND).await;
    let unanswered = [
        ("linear", read(&doors[left], "linear")),
        ("bounded", read(&doors[left], "bounded=100ms")),
        ("a write", increment(&doors[left], 2).key("k")),
    ];
    let unanswered = unanswered.map(|(what, sent)| (what, tokio::spawn(sent.within(SOON).answer())));
    for (what, sent) in unanswered {
        let answer: Result<_, Lost> = sent.await.unwrap();
        assert!(answer.as_ref().is_err_and(|lost| lost.connected), "{what}: {answer:?}");
    }
    assert_eq!(read(&doors[left], "stale").ok::<Versioned>().await, before);
    cluster.resume(other);
    let after: Versioned = increment(&doors[left], 2).key("k").ok().await;
    assert_eq!(after.version, before.version + 1, "the request of before is the same one");

    // The old leader wakes up with questions before it: what it knew is as old as its sleep.
    tokio::time::sleep(2 * BOUND).await;
    let asked: Vec<_> = (0..20)
        .map(|number| {
            let how = if number % 2 == 0 { "bounded=500ms" } else { "linear" };
            (how, tokio::spawn(read(&doors[leader], how).answer()))
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    cluster.resume(leader);
    for (how, asked) in asked {
        let answer = asked.await.unwrap().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json::<Versioned>(), after, "{how}");
    }
    cluster.wait_healthy().await;
    cluster.end();
}
