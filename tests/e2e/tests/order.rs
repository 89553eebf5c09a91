//! What is sent to one key is executed in the order of its acceptance.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use e2e::{Http, Program, wait};

const SENDS: u64 = 1_000;
const CLIENTS: u64 = 8;

async fn items(http: &Http, key: &str, count: u64) -> Vec<u64> {
    wait::until("everything has arrived", || async {
        let items: Vec<u64> = http.get(&format!("/List/{key}/items")).ok().await;
        if items.len() as u64 >= count { Ok(items) } else { Err(items.len()) }
    })
    .await
}

#[tokio::test]
async fn sends_and_calls_to_one_key_are_one_queue() {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"));
    let process = program.start();
    for number in 0..SENDS {
        if number % 50 == 49 {
            // A call takes its place behind everything that was accepted before it.
            let before: u64 = process.ingress.json("/List/hot/append", number).ok().await;
            assert_eq!(before, number);
        } else {
            process.ingress.json("/List/hot/append/send", number).expect().await.invocation();
        }
    }
    assert_eq!(items(&process.ingress, "hot", SENDS).await, (0..SENDS).collect::<Vec<_>>());
    process.kill();
    let process = program.start();
    assert_eq!(items(&process.ingress, "hot", SENDS).await, (0..SENDS).collect::<Vec<_>>());
    process.stop();
}

#[tokio::test]
async fn every_client_finds_its_own_order_also_across_a_kill() {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"));
    let process = program.start();
    let send_all = |http: Http, range: std::ops::Range<u64>| async move {
        let clients = (0..CLIENTS).map(|client| {
            let (http, range) = (http.clone(), range.clone());
            tokio::spawn(async move {
                for number in range {
                    http.json("/List/shared/append/send", client * SENDS + number).expect().await.invocation();
                }
            })
        });
        for client in clients.collect::<Vec<_>>() {
            client.await.unwrap();
        }
    };
    let each = SENDS / CLIENTS;
    send_all(process.ingress.clone(), 0..each / 2).await;
    // Accepted is accepted, also what has not been executed yet.
    process.kill();
    let process = program.start();
    send_all(process.ingress.clone(), each / 2..each).await;
    let items = items(&process.ingress, "shared", SENDS).await;
    assert_eq!(items.len() as u64, SENDS);
    for client in 0..CLIENTS {
        let own: Vec<u64> = items.iter().filter(|item| **item / SENDS == client).map(|item| item % SENDS).collect();
        assert_eq!(own, (0..each).collect::<Vec<_>>(), "client {client}");
    }
    process.stop();
}
