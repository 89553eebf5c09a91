//! Requests and answers.

use std::{collections::HashSet, net::SocketAddr, sync::atomic::Ordering, time::Duration};

use abide_peer::{AskError, Declined, Limits, NotSent, PeerSettings, Timing};
use bytes::Bytes;

use crate::support::{Network, SOON, identity, pair, start, start_with, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_come_to_their_requests() {
    let (one, two) = pair().await;
    let asks = (0..1_000_u32).map(|number| {
        let peers = one.peers.clone();
        tokio::spawn(async move {
            let request = Bytes::copy_from_slice(&number.to_be_bytes());
            assert_eq!(peers.ask(2, request.clone(), SOON).await, Ok(request));
        })
    });
    for ask in asks.collect::<Vec<_>>() {
        ask.await.unwrap();
    }
    let declined = Declined { code: 7, message: "not now".to_owned() };
    assert_eq!(one.ask(2, b"decline").await, Err(AskError::Declined(declined)));
    let large = Bytes::from(vec![3; 32 << 20]);
    assert_eq!(one.peers.ask(2, large.clone(), SOON).await, Ok(large));
    let by_addr = one.peers.ask_addr(&two.addr.to_string(), Bytes::from_static(b"x"), SOON).await;
    assert_eq!(by_addr.as_deref(), Ok(&b"x"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_handler_saw_is_told_from_what_one_may_have_seen() {
    let limits = Limits { frame_bytes: 1 << 20, asks_in_flight: 1, ..Limits::default() };
    let settings = PeerSettings { limits, ..PeerSettings::default() };
    let local = "127.0.0.1:0".parse::<SocketAddr>().unwrap();
    let (one, two) = (start_with(identity(1, 1), settings.clone(), local), start_with(identity(2, 1), settings, local));
    let not_sent = |reason| Err(AskError::NotSent(reason));
    assert_eq!(one.ask(2, b"x").await, not_sent(NotSent::NotAPeer));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    one.aim(&[(2, nobody)]);
    assert_eq!(one.ask(2, b"x").await, not_sent(NotSent::NotConnected));
    let by_addr = one.peers.ask_addr(&nobody.to_string(), Bytes::new(), SOON).await;
    assert!(matches!(by_addr, Err(AskError::NotSent(NotSent::Connect(_)))), "{by_addr:?}");
    one.join(&[(2, two.addr)]).await;
    let large = Bytes::from(vec![0; (1 << 20) + 1]);
    assert_eq!(one.peers.ask(2, large, SOON).await, not_sent(NotSent::TooLarge(1 << 20)));
    assert!(two.seen.asked.lock().unwrap().is_empty());

    let unknown = |result| match result {
        Err(AskError::Unknown(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert!(unknown(one.ask(2, b"large").await).contains("too large"));
    let late = one.peers.ask(2, Bytes::from_static(b"never"), Duration::from_millis(50)).await;
    assert!(unknown(late).contains("within 50 ms"));
    until(|| two.seen.given_up.load(Ordering::Relaxed) == 1, || "the handler still waits".to_owned()).await;
    let peers = one.peers.clone();
    let waits = tokio::spawn(async move { peers.ask(2, Bytes::from_static(b"never"), SOON).await });
    let handled = || two.seen.callers.lock().unwrap().len() == 3;
    until(handled, || "not handled".to_owned()).await;
    assert_eq!(one.ask(2, b"x").await, not_sent(NotSent::Full));
    two.peers.stop().await;
    unknown(waits.await.unwrap());
}

/// Whatever a cut does to requests under way: those told as not sent were not handled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_sent_is_never_wrong() {
    let timing = Timing { backoff_max: Duration::from_millis(50), ..Timing::default() };
    let settings = PeerSettings { timing, ..PeerSettings::default() };
    let (one, two) = (start_with(identity(1, 1), settings, "127.0.0.1:0".parse().unwrap()), start(identity(2, 1)));
    let network = Network::before(two.addr).await;
    one.join(&[(2, network.addr)]).await;
    let (mut not_sent, mut unknown, mut answered) = (HashSet::new(), 0, 0);
    for round in 0..20_u32 {
        one.until_connected(2).await;
        let asks = (0..200_u32).map(|number| {
            let peers = one.peers.clone();
            let request = Bytes::from(format!("{round} {number}"));
            tokio::spawn(async move { (request.clone(), peers.ask(2, request, SOON).await) })
        });
        let before = two.seen.asked.lock().unwrap().len();
        let asks: Vec<_> = asks.collect();
        // Cut at another stage each time, from none handled to nearly all.
        let handled = || two.seen.asked.lock().unwrap().len() - before >= round as usize * 10;
        until(|| handled() || asks.iter().all(|ask| ask.is_finished()), || "not handled".to_owned()).await;
        network.cut();
        for ask in asks {
            match ask.await.unwrap() {
                (_, Ok(_)) => answered += 1,
                (request, Err(AskError::NotSent(_))) => drop(not_sent.insert(request)),
                (_, Err(AskError::Unknown(_))) => unknown += 1,
                (_, Err(declined)) => panic!("{declined}"),
            }
        }
    }
    // What is still under way arrives.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let wrong = not_sent.intersection(&two.seen.asked.lock().unwrap()).count();
    assert_eq!(wrong, 0, "{answered} answered, {unknown} unknown, {} not sent", not_sent.len());
    assert!(answered > 0);
}
