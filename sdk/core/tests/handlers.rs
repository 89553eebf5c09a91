//! What `#[object]`, `#[service]` and `#[handlers]` make of a type, run without a platform.

#![allow(clippy::unwrap_used)]

extern crate abide_sdk as abide;

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use abide::client::{
    Accepted, AcceptedStatus, BoxFuture, OutgoingRequest, SignalId, SignalResult, Start, Stop, Transport,
    TransportError,
};
use abide::prelude::*;
use abide::service::{Fields, Kind, Options, Rate};
use abide::{Registry, TurnStart, UnknownTarget};
use abide_model::command::{Access, Form};
use abide_model::id::PartitionKey;
use abide_model::protocol::{Failure, Metadata};
use bytes::Bytes;

type BankResult<T> = Result<T, BankError>;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum BankError {
    Overdrawn { by: i64 },
}

impl std::fmt::Display for BankError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Overdrawn { by } = self;
        write!(f, "overdrawn by {by}")
    }
}

impl HandlerError for BankError {
    fn code(&self) -> u16 {
        422
    }
}

/// Somebody's money.
#[object(name = "bank.Account")]
#[derive(Debug, Clone)]
struct Account {
    balance: i64,
    #[serde(rename = "isClosed")]
    closed: bool,
}

#[handlers]
impl Account {
    /// Takes money out.
    fn withdraw(&mut self, cx: &mut Turn, amount: i64) -> BankResult<i64> {
        self.balance -= amount;
        cx.service::<Mailer>().mail((cx.key().to_owned(), self.balance)).send_after(Duration::from_millis(5));
        if self.balance < 0 {
            return Err(BankError::Overdrawn { by: -self.balance });
        }
        Ok(self.balance)
    }

    #[handler(
        name = "getBalance",
        private,
        retry(initial = "1s", factor = 3.0, max_interval = "1h", max_attempts = 5, exhausted = "fail")
    )]
    fn balance(&self, _cx: &Read) -> i64 {
        self.current()
    }

    fn close(&mut self, _: &mut Turn) {
        self.closed = true;
    }

    async fn report(&self, _cx: &mut Flow, _: Option<String>) -> i64 {
        std::future::ready(self.balance).await
    }

    fn current(&self) -> i64 {
        self.balance
    }
}

#[service(concurrency = 10, rate = "100/s", retry(max_attempts = 3))]
struct Mailer;

#[handlers]
impl Mailer {
    fn mail(&self, cx: &mut Turn, (to, balance): (String, i64)) -> String {
        format!("{to} {balance} {}", cx.random() != cx.random())
    }
}

/// Says all that can be said.
#[object(
    version = "2026-11",
    retention = "7d",
    journal_retention = "1d",
    state_ttl = "30d",
    retry(initial = "2s"),
    priority = "low",
    concurrency = 10,
    rate = "100/s",
    key_rate = "10/30s"
)]
struct Session {
    seen: u32,
}

#[handlers]
impl Session {
    #[handler(
        retention = "1h",
        journal_retention = "0s",
        priority = "high",
        concurrency = 2,
        rate = "5/m",
        key_rate = "1 / 500ms",
        retry(max_attempts = 1, exhausted = "fail")
    )]
    async fn see(&mut self, _cx: &mut Flow) -> u32 {
        self.seen += 1;
        self.seen
    }

    fn seen(&self, _cx: &Read) -> u32 {
        self.seen
    }
}

#[workflow]
struct Signup {
    email: String,
}

#[handlers]
impl Signup {
    async fn run(&mut self, _cx: &mut Flow, email: String) -> usize {
        self.email = email;
        self.email.len()
    }
}

struct Pool(String);

#[service(bound_with)]
struct Database {
    pool: Arc<Pool>,
}

#[handlers]
impl Database {
    fn name(&self, _cx: &mut Turn) -> String {
        self.pool.0.clone()
    }
}

fn registry() -> Registry {
    let pool = Arc::new(Pool("main".to_owned()));
    Registry::builder()
        .bind::<Account>()
        .bind::<Mailer>()
        .bind_with(move || Database { pool: Arc::clone(&pool) })
        .build()
}

fn start() -> TurnStart {
    let id = InvocationId { partition_key: PartitionKey(1), unique: 2 };
    TurnStart { id, key: Some("alice".to_owned()), headers: vec![], now: Millis(1_000), seed: id.seed() }
}

#[test]
fn descriptors_say_what_the_signatures_say() {
    let registry = registry();
    let account = registry.get("bank.Account").unwrap().descriptor();
    assert_eq!((account.kind, account.documentation.as_deref()), (Kind::Object, Some("Somebody's money.")));
    let handlers: Vec<_> =
        account.handlers.iter().map(|handler| (handler.name.as_str(), handler.access, handler.form)).collect();
    assert_eq!(
        handlers,
        [
            ("withdraw", Access::Exclusive, Form::Turn),
            ("getBalance", Access::Shared, Form::Turn),
            ("close", Access::Exclusive, Form::Turn),
            ("report", Access::Shared, Form::Flow),
        ]
    );
    assert_eq!(account.handlers[0].documentation.as_deref(), Some("Takes money out."));
    assert!(account.handlers[0].public && !account.handlers[1].public);
    let retry = account.handlers[1].options.retry.unwrap();
    assert_eq!((retry.initial, retry.max_attempts), (Duration::from_secs(1), Some(5)));
    assert_eq!((retry.max_interval, retry.exhausted), (Duration::from_secs(3600), Exhausted::Fail));
    let mailer = registry.get("Mailer").unwrap().descriptor();
    assert_eq!((mailer.kind, mailer.handlers[0].access), (Kind::Service, Access::Shared));
    assert_eq!(registry.services().count(), 3);
}

#[test]
fn options_are_what_the_attributes_say() {
    let registry = Registry::builder().bind::<Session>().bind::<Mailer>().build();
    let session = registry.get("Session").unwrap().descriptor();
    assert_eq!(session.version, "2026-11");
    let day = Duration::from_secs(86_400);
    let said = Options {
        retry: Some(RetryPolicy { initial: Duration::from_secs(2), ..RetryPolicy::default() }),
        retention: Some(7 * day),
        journal_retention: Some(day),
        state_ttl: Some(30 * day),
        priority: Some(Priority::Low),
        concurrency: Some(10),
        rate: Some(Rate { count: 100, per: Duration::from_secs(1) }),
        key_rate: Some(Rate { count: 10, per: Duration::from_secs(30) }),
    };
    assert_eq!((&session.options, &session.options_of(1)), (&said, &said));
    let own = Options {
        retry: Some(RetryPolicy::attempts(1)),
        retention: Some(day / 24),
        journal_retention: Some(Duration::ZERO),
        state_ttl: None,
        priority: Some(Priority::High),
        concurrency: Some(2),
        rate: Some(Rate { count: 5, per: Duration::from_secs(60) }),
        key_rate: Some(Rate { count: 1, per: Duration::from_millis(500) }),
    };
    assert_eq!(session.handlers[0].options, own);
    assert_eq!(session.options_of(0), Options { state_ttl: Some(30 * day), ..own });
    let mailer = registry.get("Mailer").unwrap().descriptor();
    let retry = Some(RetryPolicy { max_attempts: Some(3), ..RetryPolicy::default() });
    let rate = Some(Rate { count: 100, per: Duration::from_secs(1) });
    assert_eq!(mailer.options, Options { retry, concurrency: Some(10), rate, ..Options::default() });
}

#[test]
fn unknown_targets_name_what_is_missing() {
    let missing = |service, handler| registry().handler(service, handler).err().unwrap();
    assert_eq!(missing("Nope", "x"), UnknownTarget::Service { name: "Nope".to_owned() });
    assert_eq!(missing("Mailer", "x").to_string(), "service `Mailer` has no handler `x`");
}

#[test]
fn a_turn_changes_state_and_sends() {
    let (service, handler) = registry().handler("bank.Account", "withdraw").unwrap();
    let stored: Fields = [("balance".to_owned(), Bytes::from_static(b"100"))].into();
    let mut instance = service.instantiate(&stored).unwrap();
    let mut cx = Turn::new(start());
    assert_eq!(instance.turn(handler, &mut cx, Bytes::from_static(b"30")), Ok(Bytes::from_static(b"70")));
    let sends = cx.into_sends();
    assert_eq!((sends[0].service.as_str(), sends[0].handler.as_str()), ("Mailer", "mail"));
    assert_eq!(sends[0].input, Bytes::from_static(br#"["alice",70]"#));
    assert_eq!((sends[0].execute_at, sends[0].key.as_deref()), (Some(Millis(1_005)), None));
    assert_eq!(instance.fields().unwrap()["balance"], Bytes::from_static(b"70"));

    let failure = instance.turn(handler, &mut Turn::new(start()), Bytes::from_static(b"71")).unwrap_err();
    let metadata = vec![Metadata { key: "abide-error".to_owned(), value: r#"{"Overdrawn":{"by":1}}"#.to_owned() }];
    assert_eq!(failure, Failure { code: 422, message: "overdrawn by 1".to_owned(), metadata });
    let read = instance.read(1, &Read::new(start()), Bytes::new());
    assert_eq!(read, Ok(Bytes::from_static(b"-1")));
    assert_eq!(instance.turn(2, &mut Turn::new(start()), Bytes::new()), Ok(Bytes::new()));
    assert_eq!(instance.fields().unwrap()["isClosed"], Bytes::from_static(b"true"));
}

#[test]
fn wrong_arguments_are_refused_with_a_400() {
    let service = registry().handler("bank.Account", "withdraw").unwrap().0;
    let mut instance = service.instantiate(&Fields::new()).unwrap();
    let before = instance.fields().unwrap();
    let failure = instance.turn(0, &mut Turn::new(start()), Bytes::new()).unwrap_err();
    assert_eq!(failure.code, 400);
    assert!(failure.message.starts_with("argument of `withdraw`"), "{}", failure.message);
    let failure = instance.turn(2, &mut Turn::new(start()), Bytes::from_static(b"1")).unwrap_err();
    assert_eq!(failure, Failure::new(400, "`close` takes no argument: send an empty body"));
    assert_eq!(instance.fields().unwrap(), before);
    let stored: Fields = [("balance".to_owned(), Bytes::from_static(b"{}"))].into();
    let error = service.instantiate(&stored).err().unwrap();
    assert!(error.to_string().starts_with("state of `bank.Account`, field `balance`"), "{error}");
}

#[test]
fn services_are_made_by_default_or_by_a_function() {
    let registry = registry();
    let run = |service: &str, input: &'static [u8]| {
        let mut instance = registry.get(service).unwrap().instantiate(&Fields::new()).unwrap();
        instance.turn(0, &mut Turn::new(start()), Bytes::from_static(input))
    };
    assert_eq!(run("Mailer", br#"["bob",5]"#), Ok(Bytes::from_static(br#""bob 5 true""#)));
    assert_eq!(run("Database", b""), Ok(Bytes::from_static(br#""main""#)));
}

/// Answers everything with one answer and remembers what it was asked.
struct Canned {
    answer: Result<Bytes, TransportError>,
    asked: Mutex<Vec<OutgoingRequest>>,
    orders: Mutex<Vec<String>>,
}

impl Transport for Canned {
    fn call(&self, request: OutgoingRequest) -> BoxFuture<'_, Result<Bytes, TransportError>> {
        self.asked.lock().unwrap().push(request);
        Box::pin(async { self.answer.clone() })
    }

    fn send(&self, request: OutgoingRequest) -> BoxFuture<'_, Result<Accepted, TransportError>> {
        self.asked.lock().unwrap().push(request);
        Box::pin(async { Ok(Accepted { id: start().id, status: AcceptedStatus::Accepted }) })
    }

    fn attach(&self, _: InvocationId) -> BoxFuture<'_, Result<Bytes, TransportError>> {
        Box::pin(async { self.answer.clone() })
    }

    fn output(&self, id: InvocationId) -> BoxFuture<'_, Result<Option<Bytes>, TransportError>> {
        self.orders.lock().unwrap().push(format!("output {id}"));
        Box::pin(async { Ok(None) })
    }

    fn signal(
        &self,
        target: InvocationId,
        signal: SignalId,
        result: SignalResult,
    ) -> BoxFuture<'_, Result<(), TransportError>> {
        self.orders.lock().unwrap().push(format!("{target} {signal:?} {result:?}"));
        Box::pin(async { Ok(()) })
    }

    fn stop(&self, target: InvocationId, how: Stop) -> BoxFuture<'_, Result<(), TransportError>> {
        self.orders.lock().unwrap().push(format!("{how:?} {target}"));
        Box::pin(async { Ok(()) })
    }
}

fn client(answer: Result<Bytes, TransportError>) -> (Client, Arc<Canned>) {
    let transport = Arc::new(Canned { answer, asked: Mutex::default(), orders: Mutex::default() });
    (Client::new(Arc::clone(&transport) as Arc<dyn Transport>), transport)
}

fn now<F: IntoFuture>(future: F) -> F::Output {
    let mut future = Box::pin(future.into_future());
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}

#[test]
fn clients_are_typed() {
    let (client, transport) = client(Ok(Bytes::from_static(b"70")));
    let result: Result<i64, CallError<BankError>> =
        now(client.object::<Account>("alice").withdraw(30).idempotency_key("tx-1"));
    assert_eq!(result, Ok(70));
    let asked = transport.asked.lock().unwrap().pop().unwrap();
    assert_eq!(
        (asked.service.as_str(), asked.key.as_deref(), asked.handler.as_str()),
        ("bank.Account", Some("alice"), "withdraw")
    );
    assert_eq!((asked.input, asked.idempotency_key.as_deref()), (Bytes::from_static(b"30"), Some("tx-1")));
    assert_eq!(now(client.object::<Account>("alice").close().send()).unwrap().id, start().id);
    assert_eq!(transport.asked.lock().unwrap().pop().unwrap().input, Bytes::new());
    assert_eq!(now(client.invocation(start().id).attach::<i64>()), Ok(70));
    assert_eq!(now(client.invocation(start().id).output::<i64>()), Ok(None));
}

#[test]
fn sends_say_when_they_start() {
    let (client, transport) = client(Ok(Bytes::new()));
    let start_of = || transport.asked.lock().unwrap().pop().unwrap().start;
    now(client.object::<Account>("a").close().send()).unwrap();
    assert_eq!(start_of(), Start::Now);
    now(client.object::<Account>("a").close().send_after(Duration::from_secs(2))).unwrap();
    assert_eq!(start_of(), Start::After(Duration::from_secs(2)));
    now(client.object::<Account>("a").close().send_at(Millis(5))).unwrap();
    assert_eq!(start_of(), Start::At(Millis(5)));

    let turn = Turn::new(start());
    turn.object::<Account>("a").close().send_at(Millis(5_000));
    turn.workflow::<Signup>("b").run("b@c.d".to_owned()).send_after(Duration::from_secs(1));
    let sends: Vec<_> = turn.into_sends().into_iter().map(|send| (send.service, send.key, send.execute_at)).collect();
    let expected = [("bank.Account", "a", 5_000), ("Signup", "b", 2_000)];
    let expected = expected.map(|(service, key, at)| (service.to_owned(), Some(key.to_owned()), Some(Millis(at))));
    assert_eq!(sends, expected);
}

#[test]
fn workflows_are_submitted_and_their_results_read_later() {
    let (client, transport) = client(Ok(Bytes::from_static(b"5")));
    now(client.workflow::<Signup>("a").run("a@b.c".to_owned()).send()).unwrap();
    let asked = transport.asked.lock().unwrap().pop().unwrap();
    assert_eq!((asked.service.as_str(), asked.key.as_deref(), asked.handler.as_str()), ("Signup", Some("a"), "run"));
    let run = client.workflow_handle::<Signup>("a");
    assert_eq!(run.id(), InvocationId::workflow("Signup", "a"));
    assert_eq!(now(run.attach::<usize>()), Ok(5));
    assert_eq!(now(run.output::<usize>()), Ok(None));
    assert_eq!(*transport.orders.lock().unwrap(), [format!("output {}", run.id())]);
}

#[test]
fn invocations_are_signalled_and_stopped() {
    let (client, transport) = client(Ok(Bytes::new()));
    let id = start().id;
    let awakeable = client.awakeable(AwakeableId { invocation: id, signal: 17 });
    now(awakeable.resolve(&7)).unwrap();
    now(awakeable.reject("no")).unwrap();
    now(client.invocation(id).signal("hurry", &true)).unwrap();
    now(client.invocation(id).cancel()).unwrap();
    now(client.invocation(id).kill()).unwrap();
    let orders = transport.orders.lock().unwrap();
    let found = |place: usize, parts: &[&str]| parts.iter().all(|part| orders[place].contains(part));
    assert!(found(0, &[&id.to_string(), "Index(17)", "Value"]), "{orders:?}");
    assert!(found(1, &["Index(17)", "Failure", "500", "no"]), "{orders:?}");
    assert!(found(2, &[r#"Name("hurry")"#, "true"]), "{orders:?}");
    assert_eq!(orders[3..], [format!("Cancel {id}"), format!("Kill {id}")]);
}

#[test]
fn a_request_with_an_idempotency_key_knows_its_invocation() {
    let (client, _) = client(Ok(Bytes::new()));
    let request = client.object::<Account>("alice").withdraw(30);
    assert_eq!(request.invocation_id(), None);
    let id = InvocationId::idempotent("bank.Account", Some("alice"), "withdraw", "tx-1");
    assert_eq!(request.idempotency_key("tx-1").invocation_id(), Some(id));
}

#[test]
fn errors_of_calls_are_typed() {
    let failure = abide::macro_support::failure_of(BankError::Overdrawn { by: 2 });
    let (domain, _) = client(Err(TransportError::Failure(failure)));
    let result = now(domain.object::<Account>("a").withdraw(1));
    assert_eq!(result, Err(CallError::Domain(BankError::Overdrawn { by: 2 })));
    let (killed, _) = client(Err(TransportError::Failure(Failure::new(409, "killed"))));
    let result = now(killed.object::<Account>("a").withdraw(1));
    assert_eq!(result, Err(CallError::Terminal { code: 409, message: "killed".to_owned() }));
    let (odd, _) = client(Ok(Bytes::from_static(b"{}")));
    let Err(CallError::Terminal { message, .. }) = now(odd.object::<Account>("a").withdraw(1)) else { panic!() };
    assert!(message.starts_with("the result is not a `i64`"), "{message}");
}
