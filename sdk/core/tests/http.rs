//! The HTTP transport against canned answers.

#![allow(clippy::unwrap_used)]

extern crate abide_sdk as abide;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use abide::client::{AcceptedStatus, HttpTransport};
use abide::prelude::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum BankError {
    Overdrawn(i64),
}

impl std::fmt::Display for BankError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Overdrawn(by) = self;
        write!(f, "overdrawn by {by}")
    }
}

impl HandlerError for BankError {}

#[object]
struct Account {
    balance: i64,
}

#[handlers]
impl Account {
    fn withdraw(&mut self, _cx: &mut Turn, amount: i64) -> Result<i64, BankError> {
        self.balance -= amount;
        if self.balance < 0 { Err(BankError::Overdrawn(-self.balance)) } else { Ok(self.balance) }
    }
}

/// Answers one request; gives back what was asked.
fn server(answer: &'static str) -> (Client, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let read = stream.read(&mut chunk).unwrap();
            asked.extend_from_slice(&chunk[..read]);
            let text = String::from_utf8_lossy(&asked).into_owned();
            let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            if read == 0 || text.contains("\r\n\r\n") && body.len() >= length {
                stream.write_all(answer.as_bytes()).unwrap();
                return text;
            }
        }
    });
    (Client::new(Arc::new(HttpTransport::new(&base).unwrap())), served)
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn a_call_names_service_key_and_handler() {
    let (client, served) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n58");
    let request = client.object::<Account>("al/ice").withdraw(42).idempotency_key("tx-1").header("X-Trace", "t");
    let request = request.priority(Priority::Low).priority(Priority::High);
    assert_eq!(block_on(request.into_future()), Ok(58));
    let asked = served.join().unwrap();
    assert!(asked.starts_with("POST /Account/al%2Fice/withdraw HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("idempotency-key: tx-1\r\n") && asked.contains("x-trace: t\r\n"), "{asked}");
    assert_eq!(asked.matches("x-abide-priority").count(), 1, "{asked}");
    assert!(asked.contains("x-abide-priority: high\r\n"), "{asked}");
    assert!(asked.ends_with("\r\n\r\n42"), "{asked}");
}

#[test]
fn the_handlers_own_error_comes_back_typed() {
    let (client, _served) = server(
        "HTTP/1.1 500 Internal Server Error\r\nx-restate-error-source: invocation\r\nconnection: close\r\n\r\n\
         {\"code\":500,\"message\":\"overdrawn by 3\",\"source\":\"invocation\",\"metadata\":{\"abide-error\":\"{\\\"Overdrawn\\\":3}\"}}",
    );
    let result = block_on(client.object::<Account>("alice").withdraw(3).into_future());
    assert_eq!(result, Err(CallError::Domain(BankError::Overdrawn(3))));
}

#[test]
fn sends_tell_the_invocation() {
    let (client, served) = server(
        "HTTP/1.1 202 Accepted\r\ncontent-length: 87\r\n\r\n\
         {\"invocationId\":\"inv_1foAirY4KKzi66hZ0W3CZSmjggN04feGoK\",\"status\":\"PreviouslyAccepted\"}",
    );
    let sent = block_on(client.object::<Account>("a").withdraw(1).send_after(Duration::from_secs(2))).unwrap();
    assert_eq!(sent.id.to_string(), "inv_1foAirY4KKzi66hZ0W3CZSmjggN04feGoK");
    assert_eq!(sent.status, AcceptedStatus::PreviouslyAccepted);
    assert!(served.join().unwrap().starts_with("POST /Account/a/withdraw/send?delay=2000ms "));
}

#[test]
fn signals_and_awakeables_have_paths_of_their_own() {
    const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
    let id = InvocationId::idempotent("Account", Some("a"), "withdraw", "k");
    let awakeable = AwakeableId { invocation: id, signal: 17 };
    let (client, served) = server(ACCEPTED);
    block_on(client.awakeable(awakeable).resolve(&"paid")).unwrap();
    let asked = served.join().unwrap();
    assert!(asked.starts_with(&format!("POST /restate/awakeables/{awakeable}/resolve HTTP")), "{asked}");
    assert!(asked.ends_with("\r\n\r\n\"paid\""), "{asked}");
    let (client, served) = server(ACCEPTED);
    block_on(client.awakeable(awakeable).reject("no money")).unwrap();
    let asked = served.join().unwrap();
    assert!(asked.starts_with(&format!("POST /restate/awakeables/{awakeable}/reject HTTP")), "{asked}");
    assert!(asked.ends_with("\r\n\r\nno money") && !asked.contains("application/json"), "{asked}");
    let (client, served) = server(ACCEPTED);
    block_on(client.invocation(id).signal("hurry up", &1)).unwrap();
    let asked = served.join().unwrap();
    assert!(asked.starts_with(&format!("POST /restate/invocation/{id}/signal/hurry%20up HTTP")), "{asked}");
}

#[test]
fn stopping_is_for_the_admin_api() {
    let client = Client::new(Arc::new(HttpTransport::new("http://127.0.0.1:1").unwrap()));
    let id = InvocationId::idempotent("Account", Some("a"), "withdraw", "k");
    let Err(CallError::Rejected { code: 501, message }) = block_on(client.invocation(id).cancel()) else { panic!() };
    assert!(message.contains("cancelling an invocation") && message.contains("admin API"), "{message}");
}

#[test]
fn a_start_at_a_time_is_a_delay_until_then() {
    let answer = "HTTP/1.1 202 Accepted\r\ncontent-length: 79\r\n\r\n\
         {\"invocationId\":\"inv_1foAirY4KKzi66hZ0W3CZSmjggN04feGoK\",\"status\":\"Accepted\"}  ";
    let (client, served) = server(answer);
    block_on(client.object::<Account>("a").withdraw(1).send_at(Millis(5))).unwrap();
    assert!(served.join().unwrap().starts_with("POST /Account/a/withdraw/send?delay=0ms "));
    let (client, served) = server(answer);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let in_a_minute = Millis(u64::try_from(now.as_millis()).unwrap() + 60_000);
    block_on(client.object::<Account>("a").withdraw(1).send_at(in_a_minute)).unwrap();
    let asked = served.join().unwrap();
    let delay = asked.strip_prefix("POST /Account/a/withdraw/send?delay=").unwrap().split_once("ms ").unwrap().0;
    assert!((50_000..=60_000).contains(&delay.parse::<u64>().unwrap()), "{delay}");
}

#[test]
fn refusals_and_lost_answers_are_told_apart() {
    let call = |client: Client| block_on(client.object::<Account>("a").withdraw(1).idempotency_key("k").into_future());
    let (client, _served) = server("HTTP/1.1 429 Too Many\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n");
    let Err(CallError::Overloaded { retry_after, .. }) = call(client) else { panic!() };
    assert_eq!(retry_after, Some(Duration::from_secs(2)));
    let (client, _served) = server("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    assert!(matches!(call(client), Err(CallError::NotFound { .. })));
    let (client, _served) = server("");
    let id = InvocationId::idempotent("Account", Some("a"), "withdraw", "k");
    assert_eq!(call(client), Err(CallError::OutcomeUnknown(Some(id))));
    let (client, _served) = server("HTTP/1.1 470 Not Ready\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(block_on(client.invocation(id).output::<i64>()), Ok(None));
}

#[test]
fn a_base_has_to_be_a_url() {
    assert!(HttpTransport::new("localhost:8080").is_err());
    assert!(HttpTransport::new("http://localhost:8080/base/").is_ok());
}
