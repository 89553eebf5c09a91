//! One-way frames.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use abide_peer::{Limits, PeerSettings, SendError};
use bytes::Bytes;

use crate::support::{Network, identity, pair, start, start_with, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_arrive_in_order_in_both_directions() {
    let (one, two) = pair().await;
    for number in 0..10_000_u32 {
        one.peers.send(2, Bytes::copy_from_slice(&number.to_be_bytes())).unwrap();
        two.peers.send(1, Bytes::copy_from_slice(&number.to_le_bytes())).unwrap();
    }
    one.until_frames(10_000).await;
    two.until_frames(10_000).await;
    for (number, ((from_two, ours), (from_one, theirs))) in one.frames().into_iter().zip(two.frames()).enumerate() {
        let number = u32::try_from(number).unwrap();
        assert_eq!((from_two, &*ours), (2, &number.to_le_bytes()[..]));
        assert_eq!((from_one, &*theirs), (1, &number.to_be_bytes()[..]));
    }
    let batches = two.seen.batches.load(Ordering::Relaxed);
    assert!(batches < 5_000, "{batches} messages for 10000 frames: they are not batched");
    assert_eq!(one.links(), [(2, true)]);
    one.peers.stop().await;
    two.peers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_and_empty_frames_pass() {
    let (one, two) = pair().await;
    let large = Bytes::from(vec![7; 32 << 20]);
    one.peers.send(2, Bytes::new()).unwrap();
    one.peers.send(2, large.clone()).unwrap();
    one.peers.send(2, Bytes::from_static(b"end")).unwrap();
    assert_eq!(one.peers.send(2, vec![0; (32 << 20) + 1].into()), Err(SendError::TooLarge { limit: 32 << 20 }));
    two.until_frames(3).await;
    let frames = two.frames();
    assert!(frames[0].1.is_empty() && frames[1].1 == large && &*frames[2].1 == b"end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_sent_is_told() {
    let one = start(identity(1, 1));
    assert_eq!(one.peers.send(2, Bytes::new()), Err(SendError::Unknown));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    one.aim(&[(1, one.addr), (2, nobody)]);
    assert_eq!(one.peers.send(2, Bytes::new()), Err(SendError::NotConnected));
    assert_eq!(one.peers.send(1, Bytes::new()), Err(SendError::Unknown), "a node is no peer of its own");
    one.until_refused(2, "refused").await;
    assert!(one.links().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_is_an_error_and_its_content_is_dropped_with_the_connection() {
    let two = start(identity(2, 1));
    let network = Network::before(two.addr).await;
    let limits = Limits { queue_bytes: 4 << 20, frame_bytes: 1 << 20, ..Limits::default() };
    let settings = PeerSettings { limits, ..PeerSettings::default() };
    let one = start_with(identity(1, 1), settings, "127.0.0.1:0".parse::<SocketAddr>().unwrap());
    one.join(&[(2, network.addr)]).await;
    network.silence(true);
    let frame = Bytes::from(vec![1; 256 << 10]);
    let mut taken = 0;
    let full = loop {
        match one.peers.send(2, frame.clone()) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
        // The writer gets its chance: what it takes is bounded by windows and buffers.
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    assert_eq!(full, SendError::Full);
    let held = taken * frame.len();
    assert!((4 << 20..40 << 20).contains(&held), "{held} bytes were taken");
    // The dead connection is noticed, what waited is gone, and a new connection begins empty.
    until(|| one.links().contains(&(2, false)), || format!("{:?}", one.links())).await;
    network.silence(false);
    network.cut();
    one.until_connected(2).await;
    one.peers.send(2, Bytes::from_static(b"after")).unwrap();
    until(|| two.frames().iter().any(|(_, frame)| &**frame == b"after"), || "no frame".to_owned()).await;
    assert!(two.frames().len() < taken);
    assert_eq!(one.links(), [(2, true), (2, false), (2, true)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_are_gone_are_disconnected_and_come_back() {
    let (one, two) = pair().await;
    one.aim(&[]);
    until(|| one.links() == [(2, true), (2, false)], || format!("{:?}", one.links())).await;
    assert_eq!(one.peers.send(2, Bytes::new()), Err(SendError::Unknown));
    one.join(&[(2, two.addr)]).await;
    one.peers.send(2, Bytes::from_static(b"again")).unwrap();
    two.until_frames(1).await;
    // A changed address is used at once, without the end of the earlier connection.
    let network = Network::before(two.addr).await;
    one.aim(&[(2, network.addr)]);
    until(|| one.links().len() == 5, || format!("{:?}", one.links())).await;
    assert_eq!(one.links()[2..], [(2, true), (2, false), (2, true)]);
}
