//! The client of a node in the same process.

#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Instant;

use abide::prelude::*;
use abide::{Config, Running, Server};

#[object(version = 2)]
struct Desk {
    tickets: Vec<String>,
}

#[handlers]
impl Desk {
    async fn ask(&mut self, cx: &mut Flow) -> Result<String, Terminal> {
        let (ticket, answer) = cx.awakeable::<String>();
        self.tickets.push(ticket.to_string());
        answer.await
    }

    async fn hurry(&self, cx: &mut Flow) -> Result<u32, Terminal> {
        cx.signal("hurry").await
    }

    async fn wait(&self, cx: &mut Flow) -> Result<String, Terminal> {
        match cx.sleep(Duration::from_secs(600)).await {
            Err(stopped) if stopped.is_cancelled() => Ok("cleaned up".to_owned()),
            other => other.map(|()| "slept".to_owned()),
        }
    }

    async fn ask_itself(&mut self, cx: &mut Flow) -> Result<String, Terminal> {
        match cx.object::<Desk>(cx.key()).ask().await {
            Err(CallError::Deadlock { cycle }) => Ok(cycle),
            other => other.or_terminal(),
        }
    }

    fn tickets(&self, _cx: &Read) -> Vec<String> {
        self.tickets.clone()
    }

    fn later(&mut self, _cx: &mut Turn, ticket: String) {
        self.tickets.push(ticket);
    }
}

#[handlers(version = 1)]
impl Desk {
    #[handler(name = "hurry")]
    async fn hurry_v1(&self, cx: &mut Flow) -> Result<u32, Terminal> {
        cx.signal("hurry up").await
    }
}

async fn start(data: &Path) -> Running {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config { data: data.join("node"), ..Config::default() };
    config.ingress.addr = any_port;
    config.admin.addr = any_port;
    config.peer.addr = any_port;
    Server::builder().bind::<Desk>().keep::<DeskV1>().config(config).start().await.unwrap()
}

async fn tickets(client: &Client, desk: &str, count: usize) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let tickets = client.object::<Desk>(desk).tickets().await.unwrap();
        if tickets.len() >= count {
            return tickets;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{tickets:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn awakeables_are_completed() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let client = node.client();
    for (desk, answer) in [("a", Ok("yes")), ("b", Err("closed"))] {
        let asked = client.object::<Desk>(desk).ask().send().await.unwrap();
        let ticket: AwakeableId = tickets(&client, desk, 1).await[0].parse().unwrap();
        match answer {
            Ok(value) => client.awakeable(ticket).resolve(&value).await.unwrap(),
            Err(reason) => client.awakeable(ticket).reject(reason).await.unwrap(),
        }
        let result = client.invocation(asked.id).attach::<String>().await;
        match (result, answer) {
            (Ok(value), Ok(expected)) => assert_eq!(value, expected),
            (Err(error), Err(reason)) => assert!(error.to_string().contains(reason), "{error}"),
            (result, _) => panic!("{result:?}, not {answer:?}"),
        }
    }
    node.stop().await;
}

#[tokio::test]
async fn invocations_are_signalled_and_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let client = node.client();
    let hurried = client.object::<Desk>("a").hurry().send().await.unwrap();
    client.invocation(hurried.id).signal("hurry", &7).await.unwrap();
    assert_eq!(client.invocation(hurried.id).attach::<u32>().await.unwrap(), 7);

    let cancelled = client.object::<Desk>("a").wait().send().await.unwrap();
    client.invocation(cancelled.id).cancel().await.unwrap();
    let result = client.invocation(cancelled.id).attach::<String>().await.unwrap();
    assert_eq!(result, "cleaned up");

    let killed = client.object::<Desk>("a").wait().send().await.unwrap();
    client.invocation(killed.id).kill().await.unwrap();
    assert!(client.invocation(killed.id).attach::<String>().await.is_err());

    let nobody = InvocationId::workflow("Nothing", "x");
    let error = client.invocation(nobody).kill().await.unwrap_err();
    assert!(matches!(error, CallError::NotFound { .. }), "{error:?}");
    node.stop().await;
}

#[tokio::test]
async fn sends_wait_for_their_time() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let client = node.client();
    let desk = client.object::<Desk>("a");
    desk.later("never".to_owned()).send_at(Millis(u64::MAX / 4)).await.unwrap();
    desk.later("past".to_owned()).send_at(Millis(1)).await.unwrap();
    assert_eq!(tickets(&client, "a", 1).await, ["past"]);
    node.stop().await;
}

#[tokio::test]
async fn a_call_that_waits_for_itself_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let answer = tokio::time::timeout(Duration::from_secs(10), node.client().object::<Desk>("a").ask_itself().call());
    assert_eq!(answer.await.unwrap().unwrap(), "Desk/a → Desk/a");
    node.stop().await;
}
