//! Who is talked to.

use std::time::{Duration, Instant};

use abide_peer::{AskError, Identity, NotSent, PeerSettings, ProtocolRange, Refusal, SendError};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{SOON, identity, pair, start, start_with, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_peer_is_found_again_at_its_address() {
    let (one, two) = pair().await;
    one.peers.send(2, Bytes::from_static(b"first")).unwrap();
    two.until_frames(1).await;
    let addr = two.addr;
    two.peers.stop().await;
    until(|| one.links().len() == 2, || format!("{:?}", one.links())).await;
    assert_eq!(one.peers.send(2, Bytes::new()), Err(SendError::NotConnected));
    let began = Instant::now();
    let two = start_with(identity(2, 2), PeerSettings::default(), addr);
    two.join(&[(1, one.addr)]).await;
    one.until_connected(2).await;
    // The restarted node is heard of, so the delay before the next attempt is cut short.
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(one.status(2).boot_id, Some(2));
    one.peers.send(2, Bytes::from_static(b"second")).unwrap();
    two.peers.send(1, Bytes::from_static(b"third")).unwrap();
    two.until_frames(1).await;
    one.until_frames(1).await;
    assert_eq!(one.links(), [(2, true), (2, false), (2, true)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_an_older_boot_is_delivered() {
    let (one, old) = pair().await;
    old.peers.send(1, Bytes::from_static(b"old")).unwrap();
    one.until_frames(1).await;
    // The older process lives on, as after a fault that cut it off for a while.
    let new = start(identity(2, 2));
    new.join(&[(1, one.addr)]).await;
    until(|| old.links().contains(&(1, false)), || format!("{:?}", old.links())).await;
    // The connection to the older process ended too: it is not taken for the newer one.
    until(|| one.links().contains(&(2, false)), || format!("{:?}", one.links())).await;
    for _ in 0..100 {
        let _ = old.peers.send(1, Bytes::from_static(b"old"));
        new.peers.send(1, Bytes::from_static(b"new")).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    one.until_frames(101).await;
    old.until_refused(1, &Refusal::OldBoot.to_string()).await;
    assert!(one.frames()[1..].iter().all(|(from, frame)| *from == 2 && &**frame == b"new"));
    let asked = old.peers.ask(1, Bytes::new(), SOON).await.unwrap_err();
    assert!(matches!(asked, AskError::NotSent(_)), "{asked}");
    one.until_refused(2, &Refusal::OldBoot.to_string()).await;
    one.join(&[(2, new.addr)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused_by_name() {
    let one = start(identity(1, 1));
    let refused = async |identity: Identity, refusal: Refusal| {
        let other = start(identity);
        other.aim(&[(1, one.addr)]);
        other.until_refused(1, &refusal.to_string()).await;
        let asked = other.peers.ask_addr(&one.addr.to_string(), Bytes::new(), SOON).await;
        assert_eq!(asked, Err(AskError::NotSent(NotSent::Refused(refusal))));
        assert!(other.links().is_empty());
        other.peers.stop().await;
    };
    refused(Identity { cluster_id: Some("c2".to_owned()), ..identity(2, 1) }, Refusal::OtherCluster).await;
    let protocol = ProtocolRange { min: 2, max: 3 };
    refused(Identity { protocol, ..identity(2, 1) }, Refusal::NoCommonProtocol).await;
    one.peers.ban(3);
    refused(identity(3, 1), Refusal::Banned).await;
    assert!(one.seen.callers.lock().unwrap().is_empty());

    // Addresses that lead elsewhere: to another node, and back to the node itself.
    let two = start(identity(2, 1));
    two.aim(&[(1, one.addr), (4, one.addr), (5, two.addr)]);
    two.until_refused(4, &Refusal::WrongNode.to_string()).await;
    two.until_refused(5, &Refusal::Ourselves.to_string()).await;
    two.until_connected(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_ends_what_is_open() {
    let (one, two) = pair().await;
    one.peers.ban(2);
    until(|| two.links().contains(&(1, false)), || format!("{:?}", two.links())).await;
    until(|| one.links().contains(&(2, false)), || format!("{:?}", one.links())).await;
    two.until_refused(1, &Refusal::Banned.to_string()).await;
    one.until_refused(2, &Refusal::Banned.to_string()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joining_node_asks_and_becomes_a_member() {
    let one = start(identity(1, 1));
    let two = start(Identity { cluster_id: None, node: None, ..identity(2, 1) });
    one.aim(&[(2, two.addr)]);
    two.aim(&[(1, one.addr), (2, two.addr)]);
    let asked = two.peers.ask_addr(&one.addr.to_string(), Bytes::from_static(b"join"), SOON).await;
    assert_eq!(asked.as_deref(), Ok(&b"join"[..]));
    let caller = one.seen.callers.lock().unwrap()[0].clone();
    assert_eq!((caller.node, caller.member, caller.remote.ip()), (None, false, two.addr.ip()));
    one.until_refused(2, &Refusal::NotJoined.to_string()).await;
    assert!(one.links().is_empty() && two.links().is_empty());

    two.peers.set_cluster("c1".to_owned());
    two.peers.set_node(2);
    two.until_connected(1).await;
    one.until_connected(2).await;
    one.peers.send(2, Bytes::from_static(b"welcome")).unwrap();
    two.until_frames(1).await;
    two.ask(1, b"member").await.unwrap();
    let caller = one.seen.callers.lock().unwrap()[1].clone();
    assert_eq!((caller.node, caller.member, &*caller.build), (Some(2), true, "test"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_is_let_go() {
    let one = start(identity(1, 1));
    let mut silent = tokio::net::TcpStream::connect(one.addr).await.unwrap();
    let began = Instant::now();
    let mut heard = Vec::new();
    let _ = tokio::time::timeout(SOON, silent.read_to_end(&mut heard)).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_is_survived() {
    let (one, two) = pair().await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let endless_frame = [&preface[..], &[0xff; 64]].concat();
    for nonsense in
        [&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], &[0x16, 3, 1, 0, 5, 1, 2, 3], &[0; 4_096], &endless_frame]
    {
        let mut stranger = tokio::net::TcpStream::connect(one.addr).await.unwrap();
        stranger.write_all(nonsense).await.unwrap();
        let mut heard = Vec::new();
        let _ = tokio::time::timeout(SOON, stranger.read_to_end(&mut heard)).await.unwrap();
    }
    // A handshake that is too large to be read.
    let large = start(Identity { build: "x".repeat(1 << 20), ..identity(3, 1) });
    large.aim(&[(1, one.addr)]);
    large.until_refused(1, "too large").await;
    let asked = large.peers.ask_addr(&one.addr.to_string(), Bytes::new(), SOON).await;
    assert!(matches!(asked, Err(AskError::NotSent(_))), "{asked:?}");
    assert!(one.seen.callers.lock().unwrap().is_empty());
    two.ask(1, b"x").await.unwrap();
    assert_eq!(two.links(), [(1, true)]);
}
