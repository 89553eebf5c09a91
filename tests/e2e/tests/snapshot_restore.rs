//! The state, saved and restored: from a folder and from a bucket, in quiet moments and under load, with a store that is
//! down and one that is damaged.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use e2e::look::lines;
use e2e::{Cli, Http, Process, Program, ledger, report, wait};
use hyper::Method;
use serde_json::{Value, json};
use test_s3::{Fault, TestS3};

const VAULT: &str = env!("CARGO_BIN_EXE_e2e-vault");
const ABIDE: &str = env!("CARGO_BIN_EXE_e2e-abide");
const ACCOUNTS: u64 = 24;
const OPENING: i64 = 1000;

fn account(number: u64) -> String {
    format!("a{}", number % ACCOUNTS)
}

/// A node that saves its state in a folder or a bucket.
fn vault(place: &str) -> Program {
    Program::new(VAULT)
        .env("ABIDE_SNAPSHOT__TO", place)
        .env("ABIDE_SNAPSHOT__ACCESS_KEY_ID", test_s3::ACCESS_KEY_ID)
        .env("ABIDE_SNAPSHOT__SECRET_ACCESS_KEY", test_s3::SECRET_ACCESS_KEY)
}

/// Runs `abide` where no node is asked.
fn offline(arguments: &[&str]) -> (i32, Value, String) {
    let mut command = Command::new(ABIDE);
    command
        .arg("--json")
        .args(arguments)
        .env("ABIDE_SNAPSHOT__ACCESS_KEY_ID", test_s3::ACCESS_KEY_ID)
        .env("ABIDE_SNAPSHOT__SECRET_ACCESS_KEY", test_s3::SECRET_ACCESS_KEY)
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let document = serde_json::from_str(&text).unwrap_or(Value::Null);
    (output.status.code().unwrap(), document, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Everything of the node goes, and comes again from what was saved; what `abide cluster restore` says.
fn restore(program: &Program, place: &str, more: &[&str]) -> Value {
    fs::remove_dir_all(program.data()).unwrap();
    let data = program.data().display().to_string();
    let begun = Instant::now();
    let (code, document, stderr) = offline(&[&["cluster", "restore", "--from", place, "--data", &data], more].concat());
    assert_eq!(code, 0, "{document}\n{stderr}");
    report(&format!(
        "restored {} partitions in {:?}: made within {} ms, messages {}",
        document["partitions"].as_array().unwrap().len(),
        begun.elapsed(),
        document["span_ms"],
        document["messages"],
    ));
    document
}

async fn open_accounts(http: &Http) {
    for number in 0..ACCOUNTS {
        let path = format!("/Account/{}/deposit", account(number));
        assert_eq!(http.json(&path, OPENING).ok::<i64>().await, OPENING);
    }
}

async fn transfer(http: &Http, from: u64, to: u64, amount: i64) -> u16 {
    let body = json!({ "to": account(to), "amount": amount });
    http.json(&format!("/Account/{}/transfer", account(from)), body).expect().await.status
}

async fn sum(http: &Http) -> i64 {
    let mut sum = 0;
    for number in 0..ACCOUNTS {
        sum += http.get(&format!("/Account/{}/balance", account(number))).ok::<i64>().await;
    }
    sum
}

/// Waits until the accounts hold `expected` together: what is under way arrives.
async fn wait_sum(http: &Http, expected: i64) {
    wait::until("the money is there", || async {
        let found = sum(http).await;
        if found == expected { Ok(()) } else { Err(found) }
    })
    .await;
}

fn made(document: &Value) -> BTreeSet<String> {
    let snapshots = document["snapshots"].as_array().unwrap().iter();
    snapshots.map(|snapshot| snapshot["partition"].as_str().unwrap().to_owned()).collect()
}

async fn metric(process: &Process, name: &str) -> f64 {
    let page = process.admin.get("/metrics").expect().await.text();
    let lines = page.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).fold(0.0, f64::max)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_waits_is_there_again() {
    let s3 = TestS3::start();
    let place = s3.location("all");
    let program = vault(&place);
    let process = program.start();
    let http = &process.ingress;
    open_accounts(http).await;
    for number in 0..100 {
        assert_eq!(transfer(http, number, number * 7 + 1, 3).await, 200);
    }
    wait_sum(http, OPENING * ACCOUNTS as i64).await;
    // A mailbox with work behind a flow that waits, timers, schedules.
    let holder = http.post("/Gate/g/hold/send").expect().await.invocation();
    let awakeable = lines(&program, "gate-g", 1).await.remove(0);
    let mut queued = Vec::new();
    for _ in 0..5 {
        queued.push(http.post("/Gate/g/pass/send").expect().await.invocation());
    }
    let soon = http.json("/Clock/tick/send?delay=6s", "soon").expect().await.invocation();
    let late = http.json("/Clock/tick/send?delay=1h", "late").expect().await.invocation();
    let every = json!({ "every": "2s", "service": "Clock", "handler": "tick", "input": "beat" });
    let yearly = json!({ "cron": "0 0 1 1 *", "zone": "UTC", "service": "Clock", "handler": "tick", "input": "year" });
    for (name, schedule) in [("beat", every), ("yearly", yearly)] {
        let put = process.admin.request(Method::PUT, &format!("/schedules/{name}"));
        let put = put.header("content-type", "application/json").body(schedule.to_string());
        let status = put.expect().await.status;
        assert!(matches!(status, 200 | 201 | 204), "{status}");
    }
    let cli = Cli::new(ABIDE, &process);
    let saved = cli.ok("cluster snapshots create");
    assert_eq!(made(&saved).len(), 9, "all partitions and meta: {saved}");
    assert!(made(&saved).contains("meta"));
    let balances = balances(http).await;
    process.kill();
    let beats = ledger::read(&program.ledger(), "tick-beat").len();
    assert!(ledger::read(&program.ledger(), "tick-soon").is_empty(), "the machine is too slow for this test");

    let restored = restore(&program, &place, &[]);
    assert_eq!((&restored["messages"]["lost"], &restored["messages"]["unknown"]), (&json!(0), &json!(0)));
    assert_eq!(restored["span_ms"], 0, "they are of one moment: {restored}");
    assert_ne!(restored["cluster_id"], restored["from_cluster_id"]);
    // A folder with something in it is nobody's to overwrite.
    let data = program.data().display().to_string();
    let (code, document, _) = offline(&["cluster", "restore", "--from", &place, "--data", &data]);
    assert_eq!((code, &document["error"]["code"]), (4, &json!("RS001")), "{document}");

    let process = program.start();
    let http = &process.ingress;
    assert_eq!(self::balances(http).await, balances);
    assert_eq!(sum(http).await, OPENING * ACCOUNTS as i64);
    // The flow still waits, and those behind it.
    assert_eq!(http.get("/Gate/g/passed").ok::<u64>().await, 0);
    for id in &queued {
        assert_eq!(http.get(&format!("/restate/invocation/{id}/output")).expect().await.status, 470);
    }
    let resolved = http.json(&format!("/restate/a/{awakeable}/resolve"), "go").expect().await;
    assert!(matches!(resolved.status, 200 | 202), "{}", resolved.text());
    assert_eq!(http.get(&format!("/restate/invocation/{holder}/attach")).ok::<String>().await, "go");
    assert_eq!(http.get(&format!("/restate/invocation/{}/attach", queued[4])).ok::<u64>().await, 5);
    // Timers fire when they are due, once; what is later is still to come.
    http.get(&format!("/restate/invocation/{soon}/attach")).ok::<Value>().await;
    assert_eq!(ledger::read(&program.ledger(), "tick-soon").len(), 1);
    assert_eq!(http.get(&format!("/restate/invocation/{late}/output")).expect().await.status, 470);
    lines(&program, "tick-beat", beats + 1).await;
    let schedules: Value = process.admin.get("/schedules").ok().await;
    assert_eq!(schedules["schedules"].as_array().unwrap().len(), 2, "{schedules}");
    process.stop();
}

async fn balances(http: &Http) -> Vec<i64> {
    let mut balances = Vec::new();
    for number in 0..ACCOUNTS {
        balances.push(http.get(&format!("/Account/{}/balance", account(number))).ok::<i64>().await);
    }
    balances
}

/// Transfers without an end; every answer has to be a good one.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(http: &Http) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = (0..6_u64).map(|client| {
            let (http, stop, done) = (http.clone(), Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(async move {
                let (mut failures, mut number) = (Vec::new(), client * 1_000_003);
                while !stop.load(Ordering::Relaxed) {
                    number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let body = json!({ "to": account((number >> 20) + 1), "amount": 1 });
                    let path = format!("/Account/{}/transfer", account(number >> 40));
                    match http.json(&path, body).answer().await {
                        // An empty account is an answer, too.
                        Ok(answer) if matches!(answer.status, 200 | 409) => drop(done.fetch_add(1, Ordering::Relaxed)),
                        Ok(answer) => failures.push(answer.text()),
                        // The process was killed.
                        Err(_) if stop.load(Ordering::Relaxed) => {}
                        Err(lost) => failures.push(lost.to_string()),
                    }
                }
                failures
            })
        });
        let tasks = tasks.collect();
        Self { stop, done, tasks }
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    async fn ended(self) -> u64 {
        for task in self.tasks {
            assert_eq!(task.await.unwrap(), Vec::<String>::new());
        }
        self.done.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_down_hurts_nobody_and_a_round_under_load_is_of_one_moment() {
    let s3 = TestS3::start();
    let place = s3.location("vault");
    let program = vault(&place);
    s3.set_fault(Some(Fault::Refused));
    let process = program.start();
    open_accounts(&process.ingress).await;
    let load = Load::start(&process.ingress);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (first, before) = (metric(&process, "abide_snapshot_age_seconds").await, load.done());
    tokio::time::sleep(Duration::from_secs(6)).await;
    let second = metric(&process, "abide_snapshot_age_seconds").await;
    assert!(second > first + 3.0, "the age grows: {first} {second}");
    assert!(load.done() > before, "work goes on");
    let answer = process.admin.get("/cluster/snapshots").expect().await;
    assert_eq!((answer.status, answer.field("abide_code")), (503, json!("AB0522")), "{}", answer.text());
    let failures = metric(&process, "abide_snapshot_failures_total").await;
    assert!(failures > 0.0);
    // Back, and slow: the first round comes by itself.
    s3.set_fault(Some(Fault::Slow(Duration::from_millis(20))));
    wait::until("snapshots are made", || async {
        let made = metric(&process, "abide_snapshots_total").await;
        if made >= 9.0 { Ok(()) } else { Err(made) }
    })
    .await;
    s3.set_fault(None);
    wait::until("the age falls", || async {
        let age = metric(&process, "abide_snapshot_age_seconds").await;
        if age < second { Ok(()) } else { Err(age) }
    })
    .await;
    // Of what happens all the time, one moment is saved.
    let cli = Cli::new(ABIDE, &process);
    for _ in 0..3 {
        let begun = Instant::now();
        let saved = cli.ok("cluster snapshots create");
        let sent: u64 =
            saved["snapshots"].as_array().unwrap().iter().filter_map(|one| one["uploaded_bytes"].as_u64()).sum();
        report(&format!("a round of {} under load: {:?}, {sent} bytes sent", made(&saved).len(), begun.elapsed()));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    load.stop.store(true, Ordering::Relaxed);
    process.kill();
    let done = load.ended().await;
    report(&format!("{done} transfers, with {failures} failures of snapshots"));

    let restored = restore(&program, &place, &[]);
    let messages = &restored["messages"];
    assert_eq!((&messages["lost"], &messages["unknown"]), (&json!(0), &json!(0)), "{restored}");
    let process = program.start();
    wait_sum(&process.ingress, OPENING * ACCOUNTS as i64).await;
    // It can be saved again, as another cluster in the same bucket.
    Cli::new(ABIDE, &process).ok("cluster snapshots create");
    let (code, document, _) = offline(&["snapshot", "list", "--from", &place]);
    assert_eq!((code, &document["error"]["code"]), (2, &json!("RS003")), "two clusters: {document}");
    let id = restored["from_cluster_id"].as_str().unwrap();
    let (code, document, _) = offline(&["snapshot", "list", "--from", &place, "--cluster", id]);
    assert_eq!((code, document["cluster_id"].as_str()), (0, Some(id)), "{document}");
    assert!(document["snapshots"].as_array().unwrap().len() >= 9);
    process.stop();
}

/// Names of the parts and manifests of a partition in a folder.
fn objects(place: &Path, partition: usize, kind: &str) -> BTreeSet<PathBuf> {
    let clusters = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path());
    let mut clusters = clusters.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("cl_"));
    let folder = clusters.next().unwrap().join(format!("p{partition:04}")).join(kind);
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_passed_over_and_nothing_is_stuck_behind_what_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved");
    let place = saved.display().to_string();
    let program = vault(&place);
    let process = program.start();
    let http = &process.ingress;
    open_accounts(http).await;
    let cli = Cli::new(ABIDE, &process);
    cli.ok("cluster snapshots create");
    let before: Vec<_> = (0..8).map(|partition| objects(&saved, partition, "parts")).collect();
    for number in 0..300 {
        assert_eq!(transfer(http, number, number * 11 + 5, 1).await, 200);
    }
    wait_sum(http, OPENING * ACCOUNTS as i64).await;
    let second = cli.ok("cluster snapshots create");
    process.kill();
    // Of one partition a part is damaged, of another one the manifest.
    let changed = |partition: usize| -> Vec<PathBuf> {
        objects(&saved, partition, "parts").difference(&before[partition]).cloned().collect()
    };
    let mut with_news = (0..8).filter(|partition| !changed(*partition).is_empty());
    let (one, other) = (with_news.next().unwrap(), with_news.next().unwrap());
    let third = with_news.next().unwrap();
    changed(one).iter().for_each(|part| flip(part));
    let newest = |partition: usize| {
        let all = second["snapshots"].as_array().unwrap();
        let found = all.iter().find(|snapshot| snapshot["partition"] == format!("p{partition}")).unwrap();
        found["id"].as_str().unwrap().to_owned()
    };
    let (p0, p1) = (newest(one), newest(other));
    let manifest = objects(&saved, other, "snapshots").into_iter().find(|path| path.ends_with(&p1)).unwrap();
    flip(&manifest);
    let (code, document, _) = offline(&["snapshot", "verify", &p0, "--from", &place]);
    assert_eq!((code, &document["sound"]), (0, &json!(true)), "it is all there: {document}");
    let (code, document, _) = offline(&["snapshot", "verify", &p0, "--deep", "--from", &place]);
    assert_eq!((code, &document["faults"][0]["code"]), (1, &json!("SN011")), "{document}");
    let (code, document, _) = offline(&["snapshot", "verify", &p1, "--from", &place]);
    assert_eq!((code, &document["error"]["code"]), (1, &json!("SN016")), "{document}");

    let restored = restore(&program, &place, &[]);
    let of = |partition: usize| &restored["partitions"][partition];
    assert_eq!(of(one)["passed_over"][0]["id"], json!(p0), "{restored}");
    assert_eq!(of(one)["passed_over"][0]["code"], "SN011");
    assert_eq!(of(other)["passed_over"][0]["code"], "SN016");
    assert_eq!(of(third)["passed_over"], json!([]));
    // Two partitions are of an earlier moment than the others: that is counted.
    assert!(restored["messages"]["lost"].as_u64().unwrap() > 0, "{restored}");
    assert!(restored["messages"]["unknown"].as_u64().unwrap() > 0, "{restored}");
    let process = program.start();
    let http = &process.ingress;
    // What is sent from now on arrives, in every direction.
    let total = settled(http).await;
    // Each message carried one coin: the counts say to the last one what the moments cost.
    let count = |name: &str| restored["messages"][name].as_i64().unwrap();
    assert_eq!(total, OPENING * ACCOUNTS as i64 - count("lost") + count("unknown"));
    for number in 0..2 * ACCOUNTS * ACCOUNTS {
        assert_eq!(transfer(http, number, number / ACCOUNTS, 1).await, 200);
    }
    wait_sum(http, total).await;
    process.kill();

    // All of the moment before is another choice, and a whole one.
    let instant = of(one)["created_at"].as_str().unwrap();
    let restored =
        restore(&program, &place, &["--as-of", instant, "--cluster", restored["from_cluster_id"].as_str().unwrap()]);
    assert_eq!((&restored["messages"]["lost"], &restored["messages"]["unknown"]), (&json!(0), &json!(0)), "{restored}");
    let process = program.start();
    assert_eq!(balances(&process.ingress).await, vec![OPENING; ACCOUNTS as usize]);
    process.stop();
}

/// The sum, once it is the same for a while.
async fn settled(http: &Http) -> i64 {
    let mut last = (sum(http).await, Instant::now());
    while last.1.elapsed() < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = sum(http).await;
        if now != last.0 {
            last = (now, Instant::now());
        }
    }
    last.0
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_of_a_stopped_node_is_backed_up() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("saved").display().to_string();
    let program = Program::new(VAULT);
    let process = program.start();
    open_accounts(&process.ingress).await;
    let data = program.data().display().to_string();
    let (code, document, _) = offline(&["snapshot", "create", "--data", &data, "--to", &place]);
    assert_eq!((code, &document["error"]["code"]), (4, &json!("DD001")), "it runs: {document}");
    let answer = process.admin.get("/cluster/snapshots").expect().await;
    assert_eq!(answer.status, 409, "nothing is saved: {}", answer.text());
    process.stop();
    let (code, document, stderr) = offline(&["snapshot", "create", "--data", &data, "--to", &place]);
    assert_eq!((code, made(&document).len()), (0, 9), "{document} {stderr}");
    // What a kill leaves in the log alone is not copied in silence.
    let process = program.start();
    for number in 0..20 {
        transfer(&process.ingress, number, number + 1, 5).await;
    }
    process.kill();
    let (code, document, _) = offline(&["snapshot", "create", "--data", &data, "--to", &place]);
    assert_eq!((code, &document["error"]["code"]), (4, &json!("RS006")), "{document}");
    let restored = restore(&program, &place, &[]);
    assert_eq!(restored["messages"]["between"], json!([]));
    let process = program.start();
    assert_eq!(balances(&process.ingress).await, vec![OPENING; ACCOUNTS as usize]);
    process.stop();
}

/// Partitions that a node leads.
async fn led(process: &Process) -> f64 {
    let page = process.admin.get("/metrics").expect().await.text();
    let lines = page.lines().filter(|line| line.starts_with("abide_partition_leader{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_are_restored_as_one_that_grows() {
    let s3 = TestS3::start();
    let place = s3.location("three");
    let programs: Vec<_> = (0..3).map(|_| vault(&place)).collect();
    let mut programs = programs.into_iter();
    let first = programs.next().unwrap();
    let mut running = vec![first.start()];
    let mut others = Vec::new();
    for program in programs {
        let program = program.env("ABIDE_JOIN", running[0].peer.clone());
        running.push(program.start());
        others.push(program);
    }
    open_accounts(&running[1].ingress).await;
    wait::until("all nodes lead", || async {
        let mut all = Vec::new();
        for process in &running {
            all.push(led(process).await);
        }
        if all.iter().all(|led| *led >= 2.0) { Ok(()) } else { Err(all) }
    })
    .await;
    for number in 0..100 {
        assert_eq!(transfer(&running[2].ingress, number, number * 5 + 2, 2).await, 200);
    }
    wait_sum(&running[0].ingress, OPENING * ACCOUNTS as i64).await;
    // Any node takes the order; each makes those that it leads.
    let saved = wait::until("all are saved", || async {
        let saved: Value = running[1].admin.json("/cluster/snapshots", json!({})).ok().await;
        if saved["failed"] == json!([]) { Ok(saved) } else { Err(saved) }
    })
    .await;
    assert_eq!(made(&saved).len(), 9);
    let makers: BTreeSet<_> =
        saved["snapshots"].as_array().unwrap().iter().map(|one| one["node"].to_string()).collect();
    assert_eq!(makers.len(), 3, "{saved}");
    let before = balances(&running[0].ingress).await;
    running.into_iter().for_each(Process::kill);
    others.iter().for_each(|program| fs::remove_dir_all(program.data()).unwrap());

    let restored = restore(&first, &place, &[]);
    assert_eq!(restored["messages"]["between"], json!([]));
    let process = first.start();
    assert_eq!(balances(&process.ingress).await, before);
    // It grows as any other.
    let joined = Program::new(VAULT).env("ABIDE_JOIN", process.peer.clone());
    let joined = joined.start();
    assert_eq!(balances(&joined.ingress).await, before);
    for number in 0..ACCOUNTS {
        assert_eq!(transfer(&joined.ingress, number, number + 1, 1).await, 200);
    }
    wait_sum(&process.ingress, OPENING * ACCOUNTS as i64).await;
}
