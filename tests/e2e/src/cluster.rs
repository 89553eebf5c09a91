//! A cluster: processes of one program that know each other, with a folder, addresses and a log each.
//!
//! Addresses stay the same over restarts, as they do in a real cluster. On this machine every node has an address of its
//! own in 127.0.0.0/8; in a [`Network`] every node has a namespace of its own.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use tempfile::TempDir;
use test_s3::TestS3;
use tokio::task::block_in_place;

use crate::disk::SlowDisk;
use crate::http::Http;
use crate::ledger::LEDGER;
use crate::netns::Network;
use crate::program::{Process, Program};
use crate::{report, wait};

const INGRESS: u16 = 8080;
const ADMIN: u16 = 9070;
const PEER: u16 = 7070;
/// So long a cluster may take until everything has its replicas and leaders.
const PATIENCE: Duration = Duration::from_secs(90);
/// A replica that is not further behind than this has caught up.
const LAG_MAX: u64 = 100;
/// Replicas that a partition has when there are enough nodes.
pub const REPLICAS: usize = 3;

/// What a cluster will be.
pub struct Plan {
    exe: String,
    environment: Vec<(String, String)>,
    network: Option<Network>,
    slow_disks: bool,
    bucket: Option<TestS3>,
    certificates: Option<PathBuf>,
}

/// A running cluster. Dropping it kills its processes. When a test fails its folder is kept.
pub struct Cluster {
    exe: String,
    environment: Vec<(String, String)>,
    // Processes go before the network and the folder they use.
    nodes: Vec<Node>,
    /// The network, when it has one of its own.
    pub network: Option<Network>,
    disk: Option<SlowDisk>,
    /// Where it keeps its snapshots, when it does.
    pub bucket: Option<TestS3>,
    certificates: Option<PathBuf>,
    /// First three numbers of its addresses.
    prefix: String,
    folder: Option<TempDir>,
}

/// A node's place: its folder and addresses. It may run or not.
pub struct Node {
    program: Program,
    process: Option<Process>,
    paused: bool,
    starts: usize,
    address: String,
    /// Its door for requests.
    pub ingress: Http,
    /// Its door for operators.
    pub admin: Http,
}

/// What a node says of the cluster: the part of `GET /cluster` that tests look at.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// Nodes that are, and that were.
    pub nodes: Vec<Member>,
    /// Partitions, and `meta`.
    pub partitions: Vec<Partition>,
}

/// A node as the cluster knows it.
#[derive(Clone, Debug, Deserialize)]
pub struct Member {
    /// `n1`.
    pub id: String,
    /// Where others reach it; absent while the asked node does not know.
    pub address: Option<String>,
    /// What is wanted of it: `active`, `draining`, `removed`; absent while the asked node does not know.
    pub state: Option<String>,
    /// Whether the asked node hears of it.
    pub alive: bool,
}

impl Member {
    /// Whether it is used and heard of.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.alive && self.state.as_deref() == Some("active")
    }

    /// Whether it is gone for ever.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.state.as_deref() == Some("removed")
    }
}

/// A partition as the asked node knows it.
#[derive(Clone, Debug, Deserialize)]
pub struct Partition {
    /// `p0`, or `meta`.
    pub id: String,
    /// The node that leads it, when one is known.
    pub leader: Option<String>,
    /// Who votes and who only listens.
    #[serde(default)]
    pub members: Members,
    /// How far the replicas are, as far as the asked node knows.
    #[serde(default)]
    pub replicas: Vec<Replica>,
}

/// Members of a partition's group.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Members {
    /// Those that count.
    pub voters: Vec<String>,
    /// Those that are on their way to it.
    #[serde(default)]
    pub learners: Vec<String>,
}

/// A replica.
#[derive(Clone, Debug, Deserialize)]
pub struct Replica {
    /// Its name among the members: that of its node, and a number when it is not the first one there.
    pub replica: String,
    /// Up to where its log has had its effect.
    pub applied: Option<u64>,
    /// Up to where its log is committed.
    pub committed: Option<u64>,
}

impl Plan {
    /// A cluster of the program `exe`.
    #[must_use]
    pub fn new(exe: &str) -> Self {
        Self {
            exe: exe.to_owned(),
            environment: Vec::new(),
            network: None,
            slow_disks: false,
            bucket: None,
            certificates: None,
        }
    }

    /// Sets an environment variable of all nodes.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// It runs in a network of its own.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = Some(network);
        self
    }

    /// Its disks can be made slow.
    #[must_use]
    pub fn slow_disks(mut self) -> Self {
        self.slow_disks = true;
        self
    }

    /// It keeps snapshots in a bucket of this process. Not in a network of its own, where the bucket is not reached.
    #[must_use]
    pub fn bucket(mut self) -> Self {
        let bucket = TestS3::start();
        for (name, value) in [
            ("ABIDE_SNAPSHOT__TO", bucket.location("snapshots").as_str()),
            ("AWS_ACCESS_KEY_ID", test_s3::ACCESS_KEY_ID),
            ("AWS_SECRET_ACCESS_KEY", test_s3::SECRET_ACCESS_KEY),
            ("AWS_REGION", "us-east-1"),
        ] {
            self.environment.push((name.to_owned(), value.to_owned()));
        }
        self.bucket = Some(bucket);
        self
    }

    /// The folder in which each node finds its certificates, in one named as the node. How they are used is a setting.
    #[must_use]
    pub fn certificates(mut self, folder: PathBuf) -> Self {
        self.certificates = Some(folder);
        self
    }

    /// Starts it, node after node, and waits until it is complete.
    ///
    /// # Panics
    /// When it does not become so.
    pub async fn start(self, nodes: usize) -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        let disk = self.slow_disks.then(|| SlowDisk::build(folder.path())).flatten();
        let prefix = if self.network.is_some() { "10.77.0".to_owned() } else { free_prefix() };
        let Self { exe, environment, network, bucket, certificates, .. } = self;
        let folder = Some(folder);
        let nodes_yet = Vec::new();
        let mut cluster =
            Cluster { exe, environment, nodes: nodes_yet, network, disk, bucket, certificates, prefix, folder };
        for _ in 0..nodes {
            cluster.grow();
        }
        cluster.wait_healthy().await;
        cluster
    }
}

impl Cluster {
    /// A cluster of `nodes` nodes of the program `exe`: `env!("CARGO_BIN_EXE_…")` in a test.
    ///
    /// # Panics
    /// When it does not become healthy.
    pub async fn start(exe: &str, nodes: usize) -> Self {
        Plan::new(exe).start(nodes).await
    }

    fn folder(&self) -> PathBuf {
        self.folder.as_ref().unwrap().path().to_path_buf()
    }

    /// The ledger of all its handlers.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.folder().join("ledger")
    }

    /// Starts one more node, which joins the others; its place. Does not wait until it has replicas.
    ///
    /// # Panics
    /// When it does not say that it serves.
    pub fn grow(&mut self) -> usize {
        let place = self.nodes.len();
        let folder = self.folder().join(format!("node-{place}"));
        fs::create_dir_all(&folder).unwrap();
        let ip = format!("{}.{}", self.prefix, place + 1);
        let mut program = Program::at(&self.exe, folder.clone())
            .env(LEDGER, self.ledger().display().to_string())
            .env("ABIDE_INGRESS", format!("{ip}:{INGRESS}"))
            .env("ABIDE_ADMIN", format!("{ip}:{ADMIN}"))
            .env("ABIDE_PEER", format!("{ip}:{PEER}"));
        for (name, value) in &self.environment {
            program.set_env(name, value.clone());
        }
        if self.network.is_some() {
            program.set_wrapper(Network::wrapper(place));
            program.set_env("ABIDE_PEER__ALLOW_PLAIN_REMOTE", "true");
            program.set_env("ABIDE_ADMIN__ALLOW_REMOTE", "true");
        }
        if let Some(folder) = &self.certificates {
            program.set_env("ABIDE_PEER__CERTS", folder.join(format!("n{}", place + 1)).display().to_string());
        }
        if let Some(disk) = &self.disk {
            for (name, value) in disk.environment(&folder.join("slow-disk")) {
                program.set_env(name, value);
            }
        }
        let door = |port: u16| Http::new(format!("http://{ip}:{port}"));
        let (ingress, admin, address) = (door(INGRESS), door(ADMIN), format!("{ip}:{PEER}"));
        self.nodes.push(Node { program, process: None, paused: false, starts: 0, address, ingress, admin });
        if place > 0 {
            self.join(place);
        }
        self.restart(place);
        place
    }

    /// It is to join the others when its folder is empty.
    fn join(&mut self, place: usize) {
        let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != place);
        let others: Vec<_> = others.map(|(_, node)| node.address.clone()).collect();
        self.nodes[place].program.set_env("ABIDE_JOIN", others.join(","));
    }

    /// A node.
    #[must_use]
    pub fn node(&self, place: usize) -> &Node {
        &self.nodes[place]
    }

    /// How many places there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The doors for requests of all nodes, running or not: what clients know.
    #[must_use]
    pub fn doors(&self) -> Vec<Http> {
        self.nodes.iter().map(|node| node.ingress.clone()).collect()
    }

    /// Sets an environment variable of the processes that are started at a place from now on.
    pub fn set_env(&mut self, place: usize, name: &str, value: impl Into<String>) {
        self.nodes[place].program.set_env(name, value);
    }

    /// Processes at this place are another build of the program from now on.
    pub fn set_exe(&mut self, place: usize, exe: &str) {
        self.nodes[place].program.set_exe(exe);
    }

    /// `kill -9`. Returns when it is gone.
    ///
    /// # Panics
    /// When it does not run, or had ended by itself.
    pub fn kill(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        node.paused = false;
        node.process.take().expect("it runs").kill();
    }

    /// SIGTERM, and a clean end; how long that took.
    ///
    /// # Panics
    /// When it does not run, or does not end with code 0.
    pub fn stop(&mut self, place: usize) -> Duration {
        let process = self.nodes[place].process.take().expect("it runs");
        let begun = Instant::now();
        block_in_place(|| process.stop());
        begun.elapsed()
    }

    /// SIGSTOP.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pause(&mut self, place: usize) {
        self.nodes[place].process.as_ref().expect("it runs").signal("STOP");
        self.nodes[place].paused = true;
    }

    /// SIGCONT.
    ///
    /// # Panics
    /// When it does not run.
    pub fn resume(&mut self, place: usize) {
        self.nodes[place].process.as_ref().expect("it runs").signal("CONT");
        self.nodes[place].paused = false;
    }

    /// Starts the node of a place that does not run; the time until it says that it serves.
    ///
    /// # Panics
    /// When it runs, or does not say so.
    pub fn restart(&mut self, place: usize) -> Duration {
        self.restart_at_once(&[place])
    }

    /// Starts the nodes of several places at the same time; the time until the last one says that it serves.
    ///
    /// # Panics
    /// When one runs, or does not say so.
    pub fn restart_at_once(&mut self, places: &[usize]) -> Duration {
        let begun = Instant::now();
        let nodes = self.nodes.iter_mut().enumerate().filter(|(place, _)| places.contains(place));
        let start = |node: &mut Node| {
            assert!(node.process.is_none(), "it runs");
            node.program.set_log(format!("log-{}", node.starts));
            node.starts += 1;
            let process = node.program.start();
            assert_eq!(process.peer, node.address);
            node.process = Some(process);
        };
        block_in_place(|| {
            std::thread::scope(|scope| {
                let starts: Vec<_> = nodes.map(|(_, node)| scope.spawn(move || start(node))).collect();
                for started in starts {
                    started.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                }
            });
        });
        begun.elapsed()
    }

    /// Removes the folder of a node that does not run. When it is started again it joins as a new one.
    ///
    /// # Panics
    /// When it runs.
    pub fn wipe(&mut self, place: usize) {
        assert!(self.nodes[place].process.is_none(), "it runs");
        fs::remove_dir_all(self.nodes[place].program.data()).unwrap();
        self.join(place);
    }

    /// How slow the disk of a node is from now on; `false` where that cannot be.
    ///
    /// # Panics
    /// When the file that says so cannot be written.
    #[must_use]
    pub fn slow_disk(&self, place: usize, delay: Duration) -> bool {
        if self.disk.is_some() {
            SlowDisk::set(&self.nodes[place].program.path("slow-disk"), delay);
        }
        self.disk.is_some()
    }

    /// Places whose nodes run and are not paused.
    #[must_use]
    pub fn running(&self) -> Vec<usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter(|(_, node)| node.process.is_some() && !node.paused).map(|(place, _)| place).collect()
    }

    /// What the node of a place says of the cluster.
    ///
    /// # Errors
    /// What it says instead.
    pub async fn status_of(&self, place: usize) -> Result<Status, String> {
        let sent = self.nodes[place].admin.get("/cluster").within(Duration::from_secs(3));
        let answer = sent.answer().await.map_err(|lost| lost.to_string())?;
        if answer.status != 200 {
            return Err(format!("{}: {}", answer.status, answer.text()));
        }
        serde_json::from_slice(&answer.body).map_err(|error| format!("{error}: {}", answer.text()))
    }

    /// What the first node that answers says of the cluster.
    ///
    /// # Panics
    /// When none answers.
    pub async fn status(&self) -> Status {
        wait::until("a node tells of the cluster", || async {
            let mut said = Vec::new();
            for place in self.running() {
                match self.status_of(place).await {
                    Ok(status) => return Ok(status),
                    Err(error) => said.push(error),
                }
            }
            Err(said)
        })
        .await
    }

    /// Waits until every running node says that every partition has a leader and all its replicas, none far behind.
    /// How long that took.
    ///
    /// # Panics
    /// When that takes too long, or a node ended.
    pub async fn wait_healthy(&mut self) -> Duration {
        let begun = Instant::now();
        loop {
            self.check_alive();
            let running = self.running();
            let mut missing = Vec::new();
            for place in &running {
                match self.status_of(*place).await {
                    Ok(status) => {
                        let lacks = self.lacks(&status, running.len());
                        missing.extend(lacks.into_iter().map(|lack| format!("node {place} says: {lack}")));
                    }
                    Err(error) => missing.push(format!("node {place} says: {error}")),
                }
            }
            if missing.is_empty() {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < PATIENCE, "the cluster does not become healthy: {missing:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What a healthy cluster has and this one has not.
    fn lacks(&self, status: &Status, running: usize) -> Vec<String> {
        let mut lacks = Vec::new();
        let known: BTreeMap<&str, &Member> = status.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        for place in self.running() {
            if self.id(status, place).is_none() {
                lacks.push(format!("{} is not alive in {:?}", self.nodes[place].address, status.nodes));
            }
        }
        if status.partitions.len() < 2 {
            lacks.push("no partitions".to_owned());
        }
        for partition in &status.partitions {
            let voters = &partition.members.voters;
            // A voter is named after its node, with a number behind a dot when it is not the first one there.
            let alive = |id: &String| {
                let node = id.split('.').next().unwrap_or(id);
                known.get(node).is_some_and(|node| node.serves())
            };
            // Every node has a replica of meta, also those that are too many to vote.
            let complete = voters.len() >= running.min(REPLICAS)
                && (partition.id == "meta" || partition.members.learners.is_empty());
            let furthest = partition.replicas.iter().filter_map(|replica| replica.committed).max().unwrap_or_default();
            let behind = |replica: &Replica| {
                voters.contains(&replica.replica) && replica.applied.is_some_and(|applied| applied + LAG_MAX < furthest)
            };
            if !complete
                || !partition.leader.as_ref().is_some_and(alive)
                || !voters.iter().all(alive)
                || partition.replicas.iter().any(behind)
            {
                lacks.push(format!("{partition:?}"));
            }
        }
        lacks
    }

    /// Fails when a node ended that nobody stopped.
    ///
    /// # Panics
    /// When one has.
    pub fn check_alive(&mut self) {
        for (place, node) in self.nodes.iter_mut().enumerate() {
            if let Some(ended) = node.process.as_mut().and_then(Process::has_ended) {
                panic!("node {place} ended by itself: {ended}");
            }
        }
    }

    /// The cluster's name for the node of a place.
    #[must_use]
    pub fn id(&self, status: &Status, place: usize) -> Option<String> {
        let address = &self.nodes[place].address;
        let here = |member: &&Member| member.address.as_ref() == Some(address) && member.serves();
        status.nodes.iter().find(here).map(|member| member.id.clone())
    }

    /// The place of the node with this name.
    #[must_use]
    pub fn place(&self, status: &Status, id: &str) -> Option<usize> {
        let member = status.nodes.iter().find(|member| member.id == id)?;
        self.nodes.iter().position(|node| member.address.as_ref() == Some(&node.address))
    }

    /// The place of the node that leads a partition.
    ///
    /// # Panics
    /// When nobody leads it for too long.
    pub async fn leader_of(&self, partition: &str) -> usize {
        wait::until(&format!("{partition} has a leader"), || async {
            let status = self.status().await;
            let found = status.partitions.iter().find(|known| known.id == partition);
            let leader = found.and_then(|partition| partition.leader.as_deref());
            let place = leader.and_then(|leader| self.place(&status, leader));
            place.filter(|place| self.running().contains(place)).ok_or(status)
        })
        .await
    }

    /// Names of the partitions, without `meta`.
    ///
    /// # Panics
    /// When no node answers.
    pub async fn partitions(&self) -> Vec<String> {
        let partitions = self.status().await.partitions.into_iter().map(|partition| partition.id);
        partitions.filter(|id| id != "meta").collect()
    }

    /// Every node ends cleanly, one after another.
    ///
    /// # Panics
    /// When one does not.
    pub fn end(mut self) {
        for place in 0..self.nodes.len() {
            if self.nodes[place].process.is_some() {
                self.stop(place);
            }
        }
    }
}

impl Node {
    /// Its folder of data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.program.data()
    }

    /// Where other nodes reach it.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What its process, or its last one, has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.program.path(self.program.log())).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            drop(node.process.take());
        }
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            report(&format!("logs and data of the cluster are kept in {}", folder.keep().display()));
        }
    }
}

/// Addresses on this machine that no other cluster uses.
fn free_prefix() -> String {
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut random =
            crate::random::Random::from_seed(u64::from(now.subsec_nanos()) ^ u64::from(std::process::id()));
        let prefix = format!("127.{}.{}", 1 + random.below(250), 1 + random.below(250));
        let free = |port: &u16| TcpListener::bind(format!("{prefix}.1:{port}")).is_ok();
        if [INGRESS, ADMIN, PEER].iter().all(free) {
            return prefix;
        }
    }
}
