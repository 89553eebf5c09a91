//! One request beyond each limit, over a real connection: refused with the right code, counted, and the door still open.

use super::client::{Client, Reply, get, post, request};
use super::*;
use crate::metrics::{Rejection, recorder};

/// The number of refusals for `reason` so far, by all doors of this process.
fn counted(reason: Rejection) -> u64 {
    let prefix = format!("abide_door_rejections_total{{door=\"ingress\",reason=\"{}\"}} ", reason.label());
    let page = recorder().render();
    page.lines().find_map(|line| line.strip_prefix(&prefix)).map_or(0, |count| count.parse().unwrap())
}

/// Opens a door, lets `ask` go beyond a limit, and checks what every refusal has in common.
async fn refused<F: Future<Output = Reply>>(
    settings: Settings,
    reason: Rejection,
    status: u16,
    code: &str,
    ask: impl FnOnce(SocketAddr) -> F,
) {
    recorder();
    let door = Door::open(settings);
    let before = counted(reason);
    let reply = ask(door.addr).await;
    assert_eq!((reply.status, reply.json()["abide_code"].as_str()), (status, Some(code)), "{reason:?}: {reply:?}");
    assert_eq!(reply.header("x-restate-error-source"), Some("ingress"));
    assert!(counted(reason) > before, "{reason:?} is not counted");
    assert!(door.engine.asked(|asked| asked.requests.is_empty()), "{reason:?} reached the engine");
    assert_eq!(get(door.addr, "/Greeter/echo").await.status, 200, "{reason:?} closed the door");
}

#[tokio::test]
async fn url() {
    let path = |len: usize| format!("/Greeter/echo?{}", "x".repeat(len - "/Greeter/echo?".len()));
    refused(settings(), Rejection::Url, 414, "AB0413", |addr| async move { get(addr, &path(8193)).await }).await;
    let door = Door::open(settings());
    assert_eq!(get(door.addr, &path(8192)).await.status, 200);
}

#[tokio::test]
async fn number_of_headers() {
    let headers = |count: usize| (0..count).map(|n| format!("x-{n}")).collect::<Vec<_>>();
    let ask = |addr, names: Vec<String>| async move {
        let headers: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
        request(addr, "GET /Greeter/echo", &headers, "").await
    };
    // The client adds host and content-length.
    refused(settings(), Rejection::Headers, 431, "AB0413", |addr| ask(addr, headers(63))).await;
    let door = Door::open(settings());
    assert_eq!(ask(door.addr, headers(62)).await.status, 200);
    // Far beyond it, the parser itself refuses.
    assert_eq!(ask(door.addr, headers(500)).await.status, 431);
}

#[tokio::test]
async fn bytes_of_headers() {
    refused(settings(), Rejection::Headers, 431, "AB0413", |addr| async move {
        request(addr, "GET /Greeter/echo", &[("x-long", &"x".repeat(32 << 10))], "").await
    })
    .await;
}

#[tokio::test]
async fn announced_body() {
    let settings = Settings { body_bytes_max: 1000, ..settings() };
    refused(settings, Rejection::Body, 413, "AB0413", |addr| async move {
        let mut client = Client::connect(addr).await;
        // Refused by the length alone: the body is never sent.
        client
            .write("POST /Greeter/echo HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: 1001\r\n\r\n")
            .await;
        client.read().await.unwrap()
    })
    .await;
    let door = Door::open(settings);
    let body = "1".repeat(1000);
    assert_eq!(post(door.addr, "/Greeter/echo", &body).await.body, body);
}

#[tokio::test]
async fn chunked_body() {
    let settings = Settings { body_bytes_max: 1000, ..settings() };
    refused(settings, Rejection::Body, 413, "AB0413", |addr| async move {
        let mut client = Client::connect(addr).await;
        client
            .write("POST /Greeter/echo HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        for _ in 0..3 {
            client.write(format!("190\r\n{}\r\n", "1".repeat(400))).await;
        }
        client.read().await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn the_largest_body_is_served() {
    let door = Door::open(settings());
    let body = "1".repeat(8 << 20);
    assert_eq!(post(door.addr, "/Greeter/echo", &body).await.body.len(), 8 << 20);
    assert_eq!(post(door.addr, "/Greeter/echo", &"1".repeat((8 << 20) + 1)).await.status, 413);
}

#[tokio::test]
async fn slow_body() {
    let settings = Settings { body_time: Duration::from_millis(50), ..settings() };
    refused(settings, Rejection::BodyTime, 408, "AB0400", |addr| async move {
        let mut client = Client::connect(addr).await;
        client
            .write("POST /Greeter/echo HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n1")
            .await;
        client.read().await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn key() {
    let path = |len: usize| format!("/Counter/{}/add", "k".repeat(len));
    refused(settings(), Rejection::Key, 400, "AB0413", |addr| async move { post(addr, &path(1025), "1").await }).await;
    let door = Door::open(settings());
    assert_eq!(post(door.addr, &path(1024), "1").await.status, 200);
    // Bytes once decoded are what counts.
    let encoded = format!("/Counter/{}/add", "%C3%A9".repeat(513));
    assert_eq!(post(door.addr, &encoded, "1").await.status, 400);
}

#[tokio::test]
async fn idempotency_key() {
    refused(settings(), Rejection::IdempotencyKey, 400, "AB0413", |addr| async move {
        request(addr, "POST /Greeter/echo", &[("idempotency-key", &"i".repeat(257))], "").await
    })
    .await;
    refused(settings(), Rejection::IdempotencyKey, 400, "AB0413", |addr| async move {
        get(addr, &format!("/restate/invocation/Greeter/echo/{}/output", "i".repeat(257))).await
    })
    .await;
}

#[tokio::test]
async fn connections() {
    recorder();
    let door = Door::open(Settings { connections_max: 2, ..settings() });
    let before = counted(Rejection::Connections);
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(door.addr).await;
        client.write("GET /Greeter/echo HTTP/1.1\r\nhost: t\r\n\r\n").await;
        assert_eq!(client.read().await.unwrap().status, 200);
        open.push(client);
    }
    let refused = get(door.addr, "/Greeter/echo").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    assert_eq!(refused.json()["abide_code"], "AB0429");
    assert!(counted(Rejection::Connections) > before);
    open.clear();
    // The place is free as soon as the door has noticed.
    while get(door.addr, "/Greeter/echo").await.status != 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn silent_slow_and_idle_peers_are_closed() {
    recorder();
    let door = Door::open(Settings { idle_time: Duration::from_millis(80), ..settings() });
    let before = counted(Rejection::HeadTime);
    let mut silent = Client::connect(door.addr).await;
    let mut half_preface = Client::connect(door.addr).await;
    half_preface.write("PRI * HT").await;
    let mut half_head = Client::connect(door.addr).await;
    half_head.write("GET /Greeter/echo HTTP/1.1\r\nhost: t\r\nx-slow: ").await;
    let mut idle = Client::connect(door.addr).await;
    idle.write("GET /Greeter/echo HTTP/1.1\r\nhost: t\r\n\r\n").await;
    assert_eq!(idle.read().await.unwrap().status, 200);
    // A request in flight is not idleness, however long it takes.
    let mut busy = Client::connect(door.addr).await;
    busy.write("GET /Greeter/wait HTTP/1.1\r\nhost: t\r\n\r\n").await;
    for peer in [&mut silent, &mut half_preface, &mut half_head, &mut idle] {
        assert!(tokio::time::timeout(Duration::from_secs(5), peer.closed()).await.unwrap());
    }
    assert!(counted(Rejection::HeadTime) > before);
    let (id, responder) = door.engine.asked(|asked| asked.waiting.pop()).unwrap();
    responder.send(Ok(completed(id, Outcome::success("1".into())))).unwrap();
    assert_eq!(busy.read().await.unwrap().status, 200);
}

#[tokio::test]
async fn what_is_not_http_is_counted() {
    recorder();
    let door = Door::open(settings());
    let before = counted(Rejection::Malformed);
    let mut client = Client::connect(door.addr).await;
    client.write("\0\0\0\0\0\0\0\0\r\n\r\n").await;
    assert_eq!(client.read().await.unwrap().status, 400);
    assert!(client.closed().await);
    while counted(Rejection::Malformed) == before {
        tokio::task::yield_now().await;
    }
}
