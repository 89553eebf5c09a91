//! Metrics, seen by the real Prometheus: scraped, queried, linted, and compared with their documentation.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use e2e::{Http, Process, Program, wait};
use serde_json::{Value, json};

const MISSING: &str = "`prometheus` and `promtool` are not installed; `ops/ci/install.sh` installs them";

/// Whether the tools are there. Without them the test is skipped, but not in CI.
fn is_installed() -> bool {
    let works = |tool: &str| Command::new(tool).arg("--version").output().is_ok_and(|said| said.status.success());
    let installed = works("prometheus") && works("promtool");
    assert!(installed || !e2e::in_ci(), "{MISSING}");
    if !installed {
        e2e::report(&format!("prometheus: SKIPPED, {MISSING}"));
    }
    installed
}

/// A node that has done something of everything.
async fn busy() -> (Program, Process) {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors")).env("ABIDE_STORAGE__CHECKPOINT_INTERVAL", "200ms");
    let process = program.start();
    let http = &process.ingress;
    for number in 0..100 {
        http.json(&format!("/Counter/c{}/add", number % 7), 1).ok::<i64>().await;
    }
    let plan = json!({ "steps": 2, "work_ms": 0, "gap_ms": 20 });
    assert_eq!(http.json("/Steps/s/run", plan).ok::<u64>().await, 1);
    assert_eq!(http.json("/Counter/f/flaky", 2).ok::<i64>().await, 1);
    assert_eq!(http.json("/Counter/f/refuse", 409).expect().await.status, 409);
    assert_eq!(http.json("/Nobody/f/add", 1).expect().await.status, 404);
    (program, process)
}

/// A Prometheus that scrapes one node every 200 ms.
struct Prometheus {
    child: Child,
    http: Http,
}

impl Prometheus {
    fn start(folder: &Path, node: &Http) -> Self {
        let target = node.base().trim_start_matches("http://");
        let config = format!(
            "global:\n  scrape_interval: 200ms\nscrape_configs:\n  - job_name: abide\n    static_configs:\n      \
             - targets: ['{target}']\n"
        );
        let file = folder.join("prometheus.yml");
        fs::write(&file, config).unwrap();
        // It cannot say which port it took, so one that is free now has to do.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, http: Http::new(format!("http://127.0.0.1:{port}")) }
    }

    /// The first value of an instant query.
    async fn value(&self, query: &str) -> Result<f64, String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.http.get(&format!("/api/v1/query?query={encoded}")).answer().await;
        let answer = answer.map_err(|lost| lost.to_string())?;
        let found: Value = serde_json::from_slice(&answer.body).map_err(|_| answer.text())?;
        let value = found["data"]["result"][0]["value"][1].as_str().and_then(|value| value.parse().ok());
        value.ok_or_else(|| format!("{query}: {found}"))
    }

    async fn becomes_positive(&self, query: &str) -> f64 {
        wait::until("the query has a positive value", || async {
            let value = self.value(query).await?;
            if value > 0.0 { Ok(value) } else { Err(format!("{query}: {value}")) }
        })
        .await
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn prometheus_scrapes_and_answers_questions_about_latency() {
    if !is_installed() {
        return;
    }
    let (program, process) = busy().await;
    let prometheus = Prometheus::start(&program.path(""), &process.admin);
    prometheus.becomes_positive("up{job=\"abide\"}").await;
    let of_add = "service=\"Counter\",handler=\"add\"";
    let count = prometheus.becomes_positive(&format!("abide_ingress_request_seconds_count{{{of_add}}}")).await;
    assert!(count >= 100.0, "{count}");
    prometheus.becomes_positive(&format!("abide_host_turn_seconds_count{{{of_add}}}")).await;
    // Requests while it looks on are a rate, and a quantile.
    let http = process.ingress.clone();
    let load = tokio::spawn(async move {
        loop {
            http.json("/Counter/c/add", 1).ok::<i64>().await;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    let rate = format!("rate(abide_ingress_request_seconds_count{{{of_add}}}[2s])");
    prometheus.becomes_positive(&rate).await;
    let quantile = format!("histogram_quantile(0.5, rate(abide_ingress_request_seconds_bucket{{{of_add}}}[2s]))");
    let median = prometheus.becomes_positive(&quantile).await;
    assert!(median < 5.0, "{median} s");
    prometheus.becomes_positive("rate(abide_log_fsync_seconds_count[2s])").await;
    load.abort();
    process.stop();
}

#[tokio::test]
async fn promtool_finds_nothing_to_say() {
    if !is_installed() {
        return;
    }
    let (_program, process) = busy().await;
    let page = process.admin.get("/metrics").expect().await;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(&page.body).unwrap();
    let said = promtool.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && text.trim().is_empty(), "{text}");
    process.stop();
}

#[tokio::test]
async fn the_page_of_metrics_and_their_documentation_are_the_same() {
    let (_program, process) = busy().await;
    // Each metric of the documentation with its kind and labels.
    let documented: BTreeMap<String, (String, Vec<String>)> = table()
        .into_iter()
        .map(|row| {
            let labels = row[2].split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty());
            (row[0].trim_matches('`').to_owned(), (row[1].clone(), labels.collect()))
        })
        .collect();
    assert!(documented.len() > 20, "{documented:?}");
    let content = process.admin.get("/metrics").expect().await;
    assert!(content.header("content-type").starts_with("text/plain; version=0.0.4"), "{content:?}");
    let page = content.text();
    let shown: BTreeMap<&str, &str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    for (name, kind) in &shown {
        let (documented, labels) = documented.get(*name).unwrap_or_else(|| panic!("{name} is not documented"));
        assert_eq!(documented, kind, "{name}");
        let samples = page.lines().filter(|line| line.starts_with(name) && line[name.len()..].starts_with(['{', ' ']));
        for sample in samples {
            let found: Vec<&str> =
                sample.split(['{', ',']).skip(1).filter_map(|pair| pair.split_once('=')).map(|pair| pair.0).collect();
            assert_eq!(&found, labels, "{sample}");
        }
    }
    // What only nodes with others, or with a place for snapshots, have to tell.
    let elsewhere =
        ["abide_peer_", "abide_raft_messages_dropped_total", "abide_replica_divergence_total", "abide_snapshot"];
    let is_elsewhere = |name: &String| elsewhere.iter().any(|prefix| name.starts_with(prefix));
    let missing: Vec<_> =
        documented.keys().filter(|name| !shown.contains_key(name.as_str()) && !is_elsewhere(name)).collect();
    assert!(missing.is_empty(), "documented, but not on the page: {missing:?}");
    process.stop();
}

/// The rows of the table in `ops/metrics.md`.
fn table() -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ops/metrics.md");
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}
