//! Handlers that do what tests need: count, wait, fail, and write down outside of the node that they ran.

use std::collections::BTreeMap;
use std::process::ExitCode;

use abide::prelude::*;
use e2e::ledger;

/// A number.
#[object]
struct Counter {
    value: i64,
}

#[handlers]
impl Counter {
    fn add(&mut self, _cx: &mut Turn, amount: i64) -> i64 {
        self.value += amount;
        self.value
    }

    fn get(&self, _cx: &Read) -> i64 {
        self.value
    }

    /// Changes the state, sends, and fails: nothing of it may remain.
    fn refuse(&mut self, cx: &mut Turn, code: u16) -> Result<i64, Terminal> {
        self.value += 1_000;
        cx.object::<Counter>(format!("{}-sent", cx.key())).add(1).send();
        Err(Terminal::new(code, format!("refused with {code}")))
    }

    /// Panics each time.
    #[handler(retry(initial = "10ms", max_attempts = 3))]
    fn explode(&mut self, cx: &mut Turn) -> i64 {
        self.value += 1_000;
        ledger::write(&format!("{} explode", cx.key())).expect("the ledger can be written");
        panic!("this handler always panics");
    }

    /// Panics until it has been tried `attempts` times.
    #[handler(retry(initial = "10ms", max_attempts = 10))]
    fn flaky(&mut self, cx: &mut Turn, attempts: usize) -> i64 {
        self.value += 1;
        ledger::write(&format!("{} flaky", cx.key())).expect("the ledger can be written");
        let path = std::env::var_os(ledger::LEDGER).expect("it was just written");
        let tried = ledger::read(path.as_ref(), cx.key()).len();
        assert!(tried >= attempts, "attempt {tried} of {attempts}");
        self.value
    }

    /// Occupies its thread.
    fn slow(&mut self, cx: &mut Turn, millis: u64) -> i64 {
        ledger::write(&format!("{} slow", cx.key())).expect("the ledger can be written");
        std::thread::sleep(Duration::from_millis(millis));
        self.value += 1;
        self.value
    }

    #[handler(private)]
    fn secret(&mut self, _cx: &mut Turn) {
        self.value = -1;
    }
}

/// Values in the order of their arrival.
#[object]
struct List {
    items: Vec<u64>,
}

#[handlers]
impl List {
    /// Answers how many there were before.
    fn append(&mut self, _cx: &mut Turn, item: u64) -> usize {
        self.items.push(item);
        self.items.len() - 1
    }

    /// Appends the time.
    fn stamp(&mut self, cx: &mut Turn) -> usize {
        self.items.push(cx.now().0);
        self.items.len() - 1
    }

    fn items(&self, _cx: &Read) -> Vec<u64> {
        self.items.clone()
    }
}

/// What a run of steps looks like.
#[derive(Debug, Serialize, Deserialize)]
struct Plan {
    steps: u64,
    /// Time of a step between its line in the ledger and its end.
    work_ms: u64,
    /// Durable sleep after each step.
    gap_ms: u64,
}

/// Flows.
#[object]
struct Steps {
    done: BTreeMap<u64, u64>,
}

#[handlers]
impl Steps {
    /// Runs steps; each writes a line. Answers the sum of their numbers.
    async fn run(&mut self, cx: &mut Flow, plan: Plan) -> Result<u64, Terminal> {
        let key = cx.key();
        for step in 0..plan.steps {
            let action = || async {
                ledger::write(&format!("{key} {step}"))?;
                if plan.work_ms > 0 {
                    tokio::time::sleep(Duration::from_millis(plan.work_ms)).await;
                }
                Ok(step)
            };
            let number = cx.run("step", action).await?;
            self.done.insert(step, number);
            if plan.gap_ms > 0 {
                cx.sleep(Duration::from_millis(plan.gap_ms)).await?;
            }
        }
        Ok(self.done.values().sum())
    }

    fn done(&self, _cx: &Read) -> u64 {
        self.done.values().sum()
    }

    /// Sleeps; answers how many milliseconds passed.
    async fn nap(&mut self, cx: &mut Flow, millis: u64) -> Result<u64, Terminal> {
        let begun = cx.now();
        let key = cx.key();
        cx.run("fall asleep", || async { Ok(ledger::write(&format!("{key} asleep"))?) }).await?;
        cx.sleep(Duration::from_millis(millis)).await?;
        cx.run("wake up", || async { Ok(ledger::write(&format!("{key} awake"))?) }).await?;
        Ok(cx.now().0 - begun.0)
    }

    /// Writes the id of an awakeable into the ledger and answers what it is completed with.
    async fn wait(&mut self, cx: &mut Flow) -> Result<String, Terminal> {
        let (id, value) = cx.awakeable::<String>();
        let key = cx.key();
        cx.run("hand out", || async { Ok(ledger::write(&format!("{key} {id}"))?) }).await?;
        let value = value.await;
        // Cleaning up goes on also after a cancellation.
        let ended = if value.is_ok() { "completed" } else { "failed" };
        cx.run("clean up", || async { Ok(ledger::write(&format!("{key} {ended}"))?) }).await?;
        value
    }

    /// A step that panics each time.
    #[handler(retry(initial = "10ms", max_attempts = 3))]
    async fn explode(&mut self, cx: &mut Flow) -> Result<u64, Terminal> {
        let key = cx.key();
        cx.run("before", || async { Ok(ledger::write(&format!("{key} before"))?) }).await?;
        let fixed = std::env::var_os("E2E_FIXED").is_some();
        assert!(fixed, "this flow always panics");
        Ok(7)
    }
}

/// A chain of calls.
#[object]
struct Chain;

#[handlers]
impl Chain {
    /// Calls `depth` objects deep; answers how many there were below.
    async fn descend(&mut self, cx: &mut Flow, depth: u64) -> Result<u64, Terminal> {
        if depth == 0 {
            return Ok(0);
        }
        let next = format!("{}.", cx.key());
        Ok(cx.object::<Chain>(next).descend(depth - 1).await.or_terminal()? + 1)
    }
}

/// A service.
#[service]
struct Echo;

#[handlers]
impl Echo {
    fn echo(&self, _cx: &mut Turn, text: String) -> String {
        text
    }

    fn nothing(&self, _cx: &mut Turn) {}

    /// A result of that many bytes.
    fn large(&self, _cx: &mut Turn, bytes: usize) -> String {
        "x".repeat(bytes)
    }
}

fn main() -> ExitCode {
    abide::Server::builder().bind::<Counter>().bind::<List>().bind::<Steps>().bind::<Chain>().bind::<Echo>().serve()
}
