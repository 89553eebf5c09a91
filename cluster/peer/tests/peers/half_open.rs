//! Connections whose other end is silent.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use abide_peer::AskError;
use bytes::Bytes;

use crate::support::{Network, SOON, identity, start, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_peer_is_dead_within_three_seconds() {
    let (one, two) = (start(identity(1, 1)), start(identity(2, 1)));
    let (to_two, to_one) = (Network::before(two.addr).await, Network::before(one.addr).await);
    one.join(&[(2, to_two.addr)]).await;
    two.join(&[(1, to_one.addr)]).await;
    // Busy and idle connections alike.
    for _ in 0..10 {
        one.peers.send(2, Bytes::from_static(b"x")).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let peers = one.peers.clone();
    let asks = tokio::spawn(async move { peers.ask(2, Bytes::from_static(b"never"), SOON).await });
    until(|| !two.seen.callers.lock().unwrap().is_empty(), || "not asked".to_owned()).await;
    let began = Instant::now();
    to_two.silence(true);
    to_one.silence(true);
    until(|| one.links().len() == 2 && two.links().len() == 2, || format!("{:?}", one.links())).await;
    // The accepting end gave up too: the handler was dropped with the connection.
    until(|| two.seen.given_up.load(Ordering::Relaxed) == 1, || "the handler still waits".to_owned()).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(matches!(asks.await.unwrap(), Err(AskError::Unknown(_))));
    to_two.silence(false);
    to_one.silence(false);
    one.until_connected(2).await;
    two.until_connected(1).await;
    assert_eq!(one.links(), [(2, true), (2, false), (2, true)]);
}
