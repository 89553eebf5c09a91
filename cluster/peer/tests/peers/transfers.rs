//! Large transfers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use abide_peer::{AskError, NotSent};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};

use crate::support::{Node, identity, pair, start, until};

const PART: usize = 1 << 20;

/// Parts, and how many were taken.
fn parts(count: usize) -> (impl Stream<Item = Bytes> + Send + 'static, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = taken.clone();
    let part = Bytes::from(vec![5; PART]);
    let parts = stream::iter(0..count).map(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        part.clone()
    });
    (parts, taken)
}

async fn stream_to(
    node: &Node,
    header: &'static [u8],
    parts: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<Bytes, AskError> {
    node.peers.stream(2, Bytes::from_static(header), parts).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_is_complete_and_delays_nothing() {
    let (one, two) = pair().await;
    let (content, _) = parts(200);
    let transfer = stream_to(&one, b"sum", content);
    let other = async {
        for _ in 0..20 {
            one.ask(2, b"x").await.unwrap();
        }
    };
    let (result, ()) = tokio::join!(transfer, other);
    assert_eq!(result.as_deref(), Ok(format!("sum {}", 200 * PART).as_bytes()));
    assert_eq!(stream_to(&one, b"sum", stream::empty()).await.as_deref(), Ok(&b"sum 0"[..]));
    assert_eq!(one.links(), [(2, true)], "transfers have connections of their own");
    assert_eq!(two.seen.cut_transfers.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_receiver_holds_the_sender_back() {
    let (one, two) = pair().await;
    let (content, taken) = parts(64);
    let peers = one.peers.clone();
    let transfer = tokio::spawn(async move { peers.stream(2, Bytes::from_static(b"gated"), content).await });
    for allowed in [0, 1, 10, 30] {
        let already = two.seen.parts.load(Ordering::Relaxed);
        two.gate.add_permits(allowed - already);
        until(|| two.seen.parts.load(Ordering::Relaxed) == allowed, || "parts".to_owned()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let ahead = taken.load(Ordering::Relaxed) - allowed;
        assert!(ahead <= 10, "the sender is {ahead} MiB ahead");
    }
    two.gate.add_permits(100);
    assert!(transfer.await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incomplete_transfer_is_never_taken_for_a_complete_one() {
    let (one, two) = pair().await;
    let cut = |count| {
        let two = two.seen.clone();
        until(move || two.cut_transfers.load(Ordering::Relaxed) == count, || "not cut".to_owned())
    };
    // The sender gives up.
    let endless = stream::iter([Bytes::from_static(b"a")]).chain(stream::pending());
    let transfer = stream_to(&one, b"sum", endless);
    assert!(tokio::time::timeout(Duration::from_millis(200), transfer).await.is_err());
    cut(1).await;
    // A part is too large.
    let large = stream::iter([Bytes::from_static(b"a"), Bytes::from(vec![0; (32 << 20) + 1]), Bytes::new()]);
    // Not before the handler sees the first part.
    let large = large.then(|part| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        part
    });
    let result = stream_to(&one, b"sum", large).await;
    assert!(matches!(&result, Err(AskError::Unknown(reason)) if reason.contains("larger")), "{result:?}");
    cut(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_ends_the_transfer() {
    let (one, _two) = pair().await;
    let (content, taken) = parts(10_000);
    assert_eq!(stream_to(&one, b"early", content).await.as_deref(), Ok(&b"enough"[..]));
    assert!(taken.load(Ordering::Relaxed) < 10_000);
    let lonely = start(identity(3, 1));
    let result = stream_to(&lonely, b"sum", stream::empty()).await;
    assert_eq!(result, Err(AskError::NotSent(NotSent::NotAPeer)));
}
