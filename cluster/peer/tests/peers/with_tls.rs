//! Certificates.

use std::{net::SocketAddr, path::Path, time::Duration};

use abide_peer::{
    Identity, NodeId, PeerError, PeerSettings, Peers, Refusal, TlsFiles, TlsMode, TlsSettings,
    certs::{Options, create_ca, create_node},
};
use bytes::Bytes;
use tokio::runtime::Handle;

use crate::support::{Node, Probe, SOON, identity, start_with};

fn local() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn settings(mode: TlsMode, files: &TlsFiles) -> PeerSettings {
    PeerSettings { tls: Some(TlsSettings { mode, files: files.clone() }), ..PeerSettings::default() }
}

fn issue(dir: &Path, node: Option<NodeId>) -> TlsFiles {
    let ca = dir.join("ca");
    if !ca.join("ca.pem").exists() {
        create_ca(&ca, Options::for_ca()).unwrap();
    }
    create_node(&dir.join(format!("{node:?}")), &ca, node, &[], Options::for_node()).unwrap()
}

fn start_tls(node: NodeId, mode: TlsMode, files: &TlsFiles) -> Node {
    start_with(identity(node, 1), settings(mode, files), local())
}

/// Starts a node, which must fail.
fn refused(addr: &str, settings: PeerSettings) -> PeerError {
    let probe = Probe { seen: Default::default(), gate: tokio::sync::Semaphore::new(0).into() };
    let listener = std::net::TcpListener::bind(addr).unwrap();
    Peers::start(&Handle::current(), listener, identity(1, 1), settings, probe).unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stages_fit_together() {
    use TlsMode::{Allow, Off, Require};
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (issue(dir.path(), Some(1)), issue(dir.path(), None));
    for (ours, theirs, fits) in [
        (Off, Off, true),
        (Off, Allow, true),
        (Off, Require, false),
        (Allow, Off, true),
        (Allow, Allow, true),
        (Allow, Require, true),
        (Require, Off, false),
        (Require, Allow, true),
        (Require, Require, true),
    ] {
        let (one, two) = (start_tls(1, ours, &first), start_tls(2, theirs, &second));
        one.aim(&[(2, two.addr)]);
        if fits {
            one.until_connected(2).await;
            assert_eq!(one.status(2).encrypted, ours != Off && theirs != Off);
            one.peers.send(2, Bytes::from_static(b"x")).unwrap();
            one.ask(2, b"x").await.unwrap();
            two.until_frames(1).await;
        } else {
            one.until_refused(2, if ours == Require { "TLS" } else { "demand TLS" }).await;
            assert!(one.links().is_empty());
        }
        one.peers.stop().await;
        two.peers.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_authorities_are_not_trusted() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = start_tls(1, TlsMode::Require, &issue(ours.path(), None));
    let two = start_tls(2, TlsMode::Require, &issue(theirs.path(), None));
    one.aim(&[(2, two.addr)]);
    two.aim(&[(1, one.addr)]);
    one.until_refused(2, "TLS: invalid peer certificate").await;
    two.until_refused(1, "TLS: invalid peer certificate").await;
    let asked = two.peers.ask_addr(&one.addr.to_string(), Bytes::new(), SOON).await;
    assert!(asked.unwrap_err().to_string().contains("not sent"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_speaks_for_its_node_only() {
    let dir = tempfile::tempdir().unwrap();
    let one = start_tls(1, TlsMode::Require, &issue(dir.path(), Some(1)));
    // Node 2 gets the certificate of node 3; it can start because it learns its number later.
    let files = issue(dir.path(), Some(3));
    let two = start_with(Identity { node: None, ..identity(2, 1) }, settings(TlsMode::Require, &files), local());
    let asked = two.peers.ask_addr(&one.addr.to_string(), Bytes::from_static(b"join"), SOON).await;
    assert_eq!(asked.as_deref(), Ok(&b"join"[..]));
    two.peers.set_node(2);
    one.aim(&[(2, two.addr)]);
    two.aim(&[(1, one.addr)]);
    two.until_refused(1, &Refusal::CertificateMismatch.to_string()).await;
    one.until_refused(2, "NotValidForName").await;
    assert!(one.links().is_empty() && two.links().is_empty());
    two.peers.set_node(3);
    one.join(&[(3, two.addr)]).await;
    two.until_connected(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_expires_makes_no_new_connections() {
    let dir = tempfile::tempdir().unwrap();
    let one = start_tls(1, TlsMode::Require, &issue(dir.path(), None));
    let options = Options { validity: Duration::from_secs(2), force: false };
    let files = create_node(&dir.path().join("short"), &dir.path().join("ca"), None, &[], options).unwrap();
    let two = start_tls(2, TlsMode::Require, &files);
    one.join(&[(2, two.addr)]).await;
    two.join(&[(1, one.addr)]).await;
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    two.peers.set_cluster("c1".to_owned());
    one.peers.set_cluster("c1".to_owned());
    one.until_refused(2, "certificate expired").await;
    two.until_refused(1, "CertificateExpired").await;
    // A new one is enough.
    let options = Options { force: true, ..Options::for_node() };
    create_node(&dir.path().join("short"), &dir.path().join("ca"), None, &[], options).unwrap();
    one.until_connected(2).await;
    two.until_connected(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_certificates_are_used_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let files = issue(dir.path(), None);
    let one = start_tls(1, TlsMode::Require, &files);
    let two = start_tls(2, TlsMode::Require, &files);
    one.join(&[(2, two.addr)]).await;
    let addr = two.addr;
    two.peers.stop().await;

    // Broken files change nothing.
    let whole = std::fs::read(&files.certificate).unwrap();
    std::fs::write(&files.certificate, "nonsense").unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    std::fs::write(&files.certificate, whole).unwrap();
    let two = start_with(identity(2, 2), settings(TlsMode::Require, &files), addr);
    one.until_connected(2).await;
    two.peers.stop().await;

    // A new authority on all nodes.
    let other = tempfile::tempdir().unwrap();
    let new = issue(other.path(), None);
    let two = start_with(identity(2, 3), settings(TlsMode::Require, &new), addr);
    one.until_refused(2, "certificate").await;
    for (from, to) in [(&new.ca, &files.ca), (&new.key, &files.key), (&new.certificate, &files.certificate)] {
        std::fs::copy(from, to).unwrap();
    }
    one.until_connected(2).await;
    two.join(&[(1, one.addr)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_safe_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let files = issue(dir.path(), Some(1));
    let plain = refused("0.0.0.0:0", PeerSettings::default());
    assert_eq!(plain.code(), "PE002");
    assert!(plain.to_string().contains("require TLS"), "{plain}");
    assert_eq!(refused("0.0.0.0:0", settings(TlsMode::Allow, &files)).code(), "PE002");
    for settings in
        [settings(TlsMode::Require, &files), PeerSettings { allow_plain_remote: true, ..PeerSettings::default() }]
    {
        start_with(identity(1, 1), settings, "0.0.0.0:0".parse().unwrap());
    }

    let expired = dir.path().join("expired");
    let options = Options { validity: Duration::ZERO, force: false };
    let files = create_node(&expired, &dir.path().join("ca"), None, &[], options).unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(refused("127.0.0.1:0", settings(TlsMode::Require, &files)).code(), "PE006");
    let files = issue(dir.path(), Some(2));
    assert_eq!(refused("127.0.0.1:0", settings(TlsMode::Require, &files)).code(), "PE009");
}
