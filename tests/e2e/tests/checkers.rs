//! The checkers are worth what they catch: a server in this process that speaks the protocol, with one flaw at a time.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use e2e::load::{Load, Mix};
use e2e::random::Random;
use e2e::verdict::Verdict;
use e2e::{Http, verdict};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What is wrong with the server. Each happens now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// Nothing.
    None,
    /// A read tells the state before the last change.
    StaleRead,
    /// An acknowledged change is not there: nobody hears of it until the end.
    LostChange,
    /// What is asked for again with the same key is done again.
    ForgottenKey,
    /// Two increments at once are one.
    LostUpdate,
    /// A message that was sent arrives twice.
    MessageTwice,
    /// A message that was sent does not arrive.
    MessageLost,
    /// A flow's result is not the recorded one.
    OtherResult,
    /// Refused as not accepted, and done.
    RefusedAndDone,
}

#[derive(Default)]
struct State {
    /// Value, changes, and the value before.
    registers: BTreeMap<String, (u64, Vec<u64>, u64)>,
    ledgers: BTreeMap<String, Vec<Value>>,
    journals: BTreeMap<String, Vec<Value>>,
    accounts: BTreeMap<String, i64>,
    /// Answers by idempotency key.
    answers: BTreeMap<String, (u16, Value)>,
    appends: Vec<String>,
    steps: Vec<String>,
}

struct Server {
    flaw: Flaw,
    state: Mutex<(State, Random)>,
}

impl Server {
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let server = Arc::clone(&self);
            tokio::spawn(async move {
                let service = service_fn(|request| Arc::clone(&server).answer(request));
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let path = request.uri().path().to_owned();
        let key = request.headers().get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let (status, value) = self.handle(&path, key, &body);
        // Clients are at it at the same time.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let source = if status == 409 { "invocation" } else { "ingress" };
        let response = Response::builder().status(status).header("x-restate-error-source", source);
        Ok(response.body(Full::from(value.to_string())).unwrap())
    }

    fn handle(&self, path: &str, key: Option<String>, body: &Value) -> (u16, Value) {
        let (state, random) = &mut *self.state.lock().unwrap();
        let mut now_and_then = |flaw| self.flaw == flaw && random.below(25) == 0;
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        if let Some(known) = key.as_ref().and_then(|key| state.answers.get(key))
            && !now_and_then(Flaw::ForgottenKey)
        {
            return known.clone();
        }
        let refused = now_and_then(Flaw::RefusedAndDone) && key.is_some();
        let answer = state.execute(&words, body, &mut now_and_then);
        if refused {
            return (503, json!("not accepted"));
        }
        let lost = key.is_some() && random.below(20) == 0;
        if let Some(key) = key {
            state.answers.insert(key, answer.clone());
        }
        // Done, and the client does not hear of it.
        if lost { (504, json!("the outcome is unknown")) } else { answer }
    }
}

impl State {
    fn execute(&mut self, words: &[&str], body: &Value, flawed: &mut impl FnMut(Flaw) -> bool) -> (u16, Value) {
        let key = words[1].to_owned();
        let operation = body["operation"].as_u64().or_else(|| body.as_u64()).unwrap_or_default();
        let answer = match (words[0], words[2], words.get(3)) {
            ("Register", handler, _) => {
                let (value, changes, before) = self.registers.entry(key).or_default();
                let old = *value;
                match handler {
                    "read" if flawed(Flaw::StaleRead) && !changes.is_empty() => {
                        return (200, json!({ "value": before, "version": changes.len() - 1 }));
                    }
                    "write" => *value = body["value"].as_u64().unwrap(),
                    "increment" => *value += 1,
                    "whole" => return (200, json!({ "value": value, "changes": changes })),
                    _ => {}
                }
                if handler != "read" {
                    if flawed(Flaw::LostChange) {
                        let new = std::mem::replace(value, old);
                        return (200, json!({ "value": new, "version": changes.len() + 1 }));
                    }
                    if handler == "increment" && flawed(Flaw::LostUpdate) {
                        *value = old;
                    } else {
                        *before = old;
                    }
                    changes.push(operation);
                }
                json!({ "value": value, "version": changes.len() })
            }
            ("Ledger", "entries", _) => json!(self.ledgers.get(&key).cloned().unwrap_or_default()),
            ("Ledger", _, sent) => {
                let entries = self.ledgers.entry(key.clone()).or_default();
                let times = match sent {
                    Some(_) if flawed(Flaw::MessageTwice) => 2,
                    Some(_) if flawed(Flaw::MessageLost) => 0,
                    _ => 1,
                };
                for _ in 0..times {
                    self.appends.push(format!("append {key} {operation} {} {}", entries.len(), body["value"]));
                    entries.push(body.clone());
                }
                if sent.is_some() {
                    return (202, json!({ "invocationId": "inv" }));
                }
                json!(entries.len() - 1)
            }
            ("Journal", "runs", _) => json!(self.journals.get(&key).cloned().unwrap_or_default()),
            ("Journal", ..) => {
                let mut run = json!({ "operation": operation, "first": "", "second": "" });
                for step in ["first", "second"] {
                    let unique = self.steps.len().to_string();
                    self.steps.push(format!("step {operation} {step} {unique}"));
                    run[step] = unique.into();
                }
                self.journals.entry(key).or_default().push(run.clone());
                if flawed(Flaw::OtherResult) {
                    run["second"] = "another".into();
                }
                run
            }
            ("Account", "deposit", _) => {
                let balance = self.accounts.entry(key).or_default();
                *balance += body.as_i64().unwrap();
                json!(balance)
            }
            ("Account", "transfer", _) => {
                let amount = body["amount"].as_i64().unwrap();
                let balance = self.accounts.get_mut(&key).unwrap();
                if *balance < amount {
                    return (409, json!(format!("the balance is {balance}, less than {amount}")));
                }
                *balance -= amount;
                let left = *balance;
                *self.accounts.get_mut(body["to"].as_str().unwrap()).unwrap() += amount;
                json!(left)
            }
            ("Account", ..) => json!(self.accounts[&key]),
            other => panic!("{other:?}"),
        };
        (200, answer)
    }
}

async fn judge(flaw: Flaw) -> Verdict {
    let mut random = Random::from_seed(7);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let door = Http::new(format!("http://{}", listener.local_addr().unwrap()));
    let server = Arc::new(Server { flaw, state: Mutex::new((State::default(), random.fork())) });
    let serving = tokio::spawn(Arc::clone(&server).serve(listener));
    let mix = Mix { rest: Duration::from_millis(4), ..Mix::default() };
    let load = Load::start(vec![door.clone(), door.clone()], mix, &mut random).await;
    while load.recorder().count() < 2_500 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger");
    let (_, verdict) = conclude(&server, load, &door, &ledger).await;
    serving.abort();
    verdict
}

async fn conclude(server: &Server, load: Load, door: &Http, ledger: &Path) -> (e2e::history::History, Verdict) {
    let accounts = load.accounts();
    let history = load.stop().await;
    {
        let (state, _) = &*server.state.lock().unwrap();
        std::fs::write(ledger, state.appends.join("\n") + "\n" + &state.steps.join("\n") + "\n").unwrap();
    }
    let finals = verdict::finals(door, &history, &accounts).await;
    let verdict = verdict::judge(&history, &finals, &verdict::Lines::read(ledger));
    (history, verdict)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_flaw_passes() {
    let verdict = judge(Flaw::None).await;
    assert!(verdict.is_good(), "{}", verdict.summary());
    assert!(verdict.acknowledged > 1_000 && verdict.searched > 3 && verdict.gave_up == 0, "{}", verdict.summary());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flaw_is_caught() {
    let cases = [
        (Flaw::StaleRead, "not linearizable"),
        (Flaw::StaleRead, "a later operation saw an earlier version"),
        (Flaw::LostChange, "  lost:"),
        (Flaw::LostChange, "not linearizable"),
        (Flaw::ForgottenKey, "  doubled:"),
        (Flaw::LostUpdate, "not linearizable"),
        (Flaw::LostUpdate, "an increment is not one more than before"),
        (Flaw::MessageTwice, "  doubled:"),
        (Flaw::MessageLost, "  lost:"),
        (Flaw::OtherResult, "told Ok"),
        (Flaw::RefusedAndDone, "  doubled:"),
    ];
    let mut verdicts: Vec<(Flaw, Verdict)> = Vec::new();
    for (flaw, expected) in cases {
        if !verdicts.iter().any(|(known, _)| *known == flaw) {
            verdicts.push((flaw, judge(flaw).await));
        }
        let (_, verdict) = verdicts.iter().find(|(known, _)| *known == flaw).unwrap();
        let all = [&verdict.lost, &verdict.doubled, &verdict.wrong];
        let all: Vec<String> = ["  lost:", "  doubled:", "  wrong:"]
            .iter()
            .zip(all)
            .flat_map(|(kind, faults)| faults.iter().map(move |fault| format!("{kind} {fault}")))
            .collect();
        let caught = all.iter().filter(|fault| fault.contains(expected)).count();
        e2e::report(&format!("{flaw:?}: `{expected}` {caught} times"));
        assert!(caught > 0, "{flaw:?}: no `{expected}` in {}", verdict.summary());
    }
}
