//! Nodes that prove to each other who they are: with certificates of the command, from the beginning or later, and nobody
//! else gets in.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use e2e::cluster::Plan;
use e2e::load::{Load, Mix};
use e2e::random::Random;
use e2e::{Cli, Cluster, Http, Process, Program, verdict, wait};
use serde_json::json;
use tempfile::TempDir;

const EXE: &str = env!("CARGO_BIN_EXE_e2e-register");
/// What HTTP/2 without TLS begins with: its preface, and settings without any.
const PLAIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Kind of a frame with settings.
const SETTINGS: u8 = 4;

/// An authority and certificates of three nodes, made as the runbook says.
fn certificates() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = Http::new("http://127.0.0.1:1".to_owned());
    let cli = Cli::at(env!("CARGO_BIN_EXE_e2e-abide"), &nowhere, &nowhere);
    let order = format!("cluster certs create --dir {} --node n1 --node n2 --node n3", folder.path().display());
    let made = cli.ok(&order);
    assert_eq!(made["authority"]["created"], true, "{made}");
    assert_eq!(made["nodes"][1]["dir"], json!(folder.path().join("n2")), "{made}");
    assert!(folder.path().join("n3/node-key.pem").is_file());
    // Nothing is replaced unasked.
    let again = cli.run(&order);
    assert!(again.code == 1 && again.stderr.contains("is there already [PE011]"), "{again:?}");
    folder
}

/// Whether whoever listens there takes connections without TLS.
fn takes_plain(address: &str) -> bool {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    connection.write_all(PLAIN).unwrap();
    let mut head = [0; 9];
    connection.read_exact(&mut head).is_ok() && head[3] == SETTINGS
}

/// Each node takes requests of each key.
async fn serves(cluster: &Cluster, round: u64) {
    for key in 0..8 {
        for (number, door) in cluster.doors().iter().enumerate() {
            let changed = door.json(&format!("/Register/k{key}/increment"), round);
            let value = changed.ok::<serde_json::Value>().await["value"].as_u64();
            assert_eq!(value, Some(3 * round + u64::try_from(number).unwrap() + 1));
        }
    }
}

/// Starts a node that is not to get in.
fn stranger(cluster: &Cluster, folder: &Path, settings: &[(&str, &str)]) -> (Program, Process) {
    fs::create_dir(folder).unwrap();
    let mut program = Program::at(EXE, folder.to_path_buf()).env("ABIDE_JOIN", cluster.node(1).address());
    for (name, value) in settings {
        program.set_env(name, *value);
    }
    let process = program.begin();
    (program, process)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_nodes_with_certificates_of_the_cluster_are_part_of_it() {
    let (ours, theirs) = (certificates(), certificates());
    let plan = Plan::new(EXE).env("ABIDE_PEER__TLS", "require").certificates(ours.path().to_path_buf());
    let mut cluster = plan.start(3).await;
    serves(&cluster, 0).await;
    for place in 0..3 {
        assert!(!takes_plain(cluster.node(place).address()));
    }
    let before = cluster.status().await;

    // One says nothing of itself, one has papers of somebody else, and one would do without.
    let folder = tempfile::tempdir().unwrap();
    let foreign = theirs.path().join("n3").display().to_string();
    let strangers = [
        ("plain", vec![], "does the other node demand TLS?"),
        ("foreign", vec![("ABIDE_PEER__TLS", "require"), ("ABIDE_PEER__CERTS", &*foreign)], "invalid peer certificate"),
        (
            "lax",
            vec![("ABIDE_PEER__TLS", "allow"), ("ABIDE_PEER__CERTS", &*foreign)],
            "does the other node demand TLS?",
        ),
    ];
    let mut running = Vec::new();
    for (name, settings, says) in strangers {
        running.push((says, stranger(&cluster, &folder.path().join(name), &settings)));
    }
    for (says, (program, process)) in &mut running {
        wait::until("the stranger says why it stays outside", || async {
            let said = process.said();
            if said.contains("takes this node in yet") && said.contains(*says) { Ok(()) } else { Err(said) }
        })
        .await;
        assert_eq!(process.has_ended(), None);
        assert!(!program.data().exists(), "it belongs to nothing");
    }
    // Certificates that cannot be right are refused before anybody is asked.
    let own = folder.path().join("mixed");
    fs::create_dir(&own).unwrap();
    for (from, name) in [(&ours, "ca.pem"), (&theirs, "node.pem"), (&theirs, "node-key.pem")] {
        fs::copy(from.path().join("n3").join(name), own.join(name)).unwrap();
    }
    for (certs, code) in [(own.display().to_string(), "PE008"), ("nowhere".to_owned(), "PE004")] {
        let (_, process) = stranger(
            &cluster,
            &folder.path().join(code),
            &[("ABIDE_PEER__TLS", "require"), ("ABIDE_PEER__CERTS", &*certs)],
        );
        let ended = process.ended();
        assert!(ended.code == Some(1) && ended.stderr.contains(code), "{ended:?}");
    }

    // Nothing of it had any effect.
    serves(&cluster, 1).await;
    let after = cluster.status().await;
    assert_eq!(after.nodes.len(), 3, "{:?}", after.nodes);
    for (before, after) in before.partitions.iter().zip(&after.partitions) {
        assert_eq!(before.members.voters, after.members.voters);
    }
    for (_, (_, process)) in running {
        process.kill();
    }
    // Members know each other again.
    cluster.stop(1);
    cluster.restart(1);
    cluster.wait_healthy().await;
    serves(&cluster, 2).await;
    cluster.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_cluster_goes_over_to_certificates() {
    let mut random = Random::from_environment();
    let certificates = certificates();
    let mut cluster = Plan::new(EXE).certificates(certificates.path().to_path_buf()).start(3).await;
    let load = Load::start(cluster.doors(), Mix::default(), &mut random).await;
    for (mode, plain) in [("allow", true), ("require", false)] {
        for place in 0..3 {
            assert!(takes_plain(cluster.node(place).address()));
            cluster.stop(place);
            cluster.set_env(place, "ABIDE_PEER__TLS", mode);
            cluster.restart(place);
            cluster.wait_healthy().await;
            assert_eq!(takes_plain(cluster.node(place).address()), plain, "{mode}");
        }
    }
    let (history, verdict) = verdict::conclude(load, &cluster.node(0).ingress, &cluster.ledger()).await;
    e2e::report(&format!("cluster_tls: {}; {:#?}", verdict.summary(), history.failures_by_kind()));
    assert!(verdict.is_good());
    // A node that stops closes its connections, and clients ask another one. Nothing else happens.
    let failed = history.failures_by_kind();
    assert!(failed.keys().all(|kind| ["no answer", "503"].iter().any(|fine| kind.starts_with(fine))), "{failed:#?}");
    assert!(verdict.acknowledged > 300, "too little to tell anything");
    cluster.end();
}

#[test]
fn without_certificates_a_node_stays_on_its_machine() {
    let certificates = certificates();
    let open = Program::new(EXE).env("ABIDE_PEER", "0.0.0.0:0");
    let own = certificates.path().join("n1").display().to_string();
    let half = Program::new(EXE).env("ABIDE_PEER", "0.0.0.0:0").env("ABIDE_PEER__TLS", "allow");
    for refused in [open, half.env("ABIDE_PEER__CERTS", &*own)] {
        let ended = refused.run();
        assert_eq!(ended.code, Some(2), "{ended:?}");
        for text in ["peer.addr", "is not a loopback address", "peer.tls = \"require\"", "peer.allow_plain_remote"] {
            assert!(ended.stderr.contains(text), "no `{text}` in: {}", ended.stderr);
        }
        assert!(!refused.data().exists());
    }
    let told = Program::new(EXE).env("ABIDE_PEER", "0.0.0.0:0").env("ABIDE_PEER__ALLOW_PLAIN_REMOTE", "true");
    let secured = Program::new(EXE).env("ABIDE_PEER", "0.0.0.0:0").env("ABIDE_PEER__TLS", "require");
    for (program, plain) in [(told, true), (secured.env("ABIDE_PEER__CERTS", own), false)] {
        let process = program.start();
        assert_eq!(takes_plain(&process.peer), plain);
        process.stop();
    }
}
