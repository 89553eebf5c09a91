//! Whether a history is one that may be: nothing acknowledged is lost, nothing has an effect twice, every object could
//! have done one thing at a time, and the bank has as much money as before.
//!
//! Three witnesses are compared: what clients were told, what the objects say in the end, and the ledger that handlers
//! wrote outside of the cluster. An execution that left a line there and nothing in the object is fine, since code may run
//! again when its node died before the commit; an entry of the object without its line is not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::history::{Action, History, Micros, Operation, Outcome};
use crate::http::Http;
use crate::linear::{self, Call, Found, Kind, Step, Versioned};
use crate::load::{Load, OPENING};
use crate::{ledger, wait};

/// What the objects say in the end.
#[derive(Clone, Debug, Default)]
pub struct Finals {
    /// Registers by key.
    pub registers: BTreeMap<String, Whole>,
    /// Entries of the ledgers by key.
    pub ledgers: BTreeMap<String, Vec<Entry>>,
    /// Runs of the journals by key.
    pub journals: BTreeMap<String, Vec<Run>>,
    /// Balances by account.
    pub balances: BTreeMap<String, i64>,
}

/// A register.
#[derive(Clone, Debug, Deserialize)]
pub struct Whole {
    /// Its value.
    pub value: u64,
    /// Operations that changed it, in order.
    pub changes: Vec<u64>,
}

/// An entry of a ledger.
#[derive(Clone, Debug, Deserialize)]
pub struct Entry {
    /// The operation it is from.
    pub operation: u64,
    /// What was appended.
    pub value: u64,
}

/// A run of a journal's flow.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Run {
    /// The operation it is from.
    pub operation: u64,
    /// What its first step gave.
    pub first: String,
    /// What its second step gave.
    pub second: String,
}

/// What handlers wrote outside of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    /// `key operation index value` of every execution of an append.
    pub appends: Vec<String>,
    /// `operation step unique` of every execution of a step.
    pub steps: Vec<String>,
}

impl Lines {
    /// Reads them.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        Self { appends: ledger::read(path, "append"), steps: ledger::read(path, "step") }
    }
}

/// What is wrong with a history.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Acknowledged operations without their effect.
    pub lost: Vec<String>,
    /// Operations with their effect more than once.
    pub doubled: Vec<String>,
    /// Anything else that cannot be.
    pub wrong: Vec<String>,
    /// Objects whose histories were searched.
    pub searched: usize,
    /// Objects whose histories were too much to search; versions were compared all the same.
    pub gave_up: usize,
    /// Acknowledged operations.
    pub acknowledged: usize,
    /// Executions that left a line and were not the committed ones.
    pub executed_again: usize,
}

impl Verdict {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.wrong.is_empty()
    }

    /// Adds what another one says.
    pub fn add(&mut self, other: Self) {
        self.lost.extend(other.lost);
        self.doubled.extend(other.doubled);
        self.wrong.extend(other.wrong);
        self.searched += other.searched;
        self.gave_up += other.gave_up;
        self.acknowledged += other.acknowledged;
        self.executed_again += other.executed_again;
    }

    /// In a few lines.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = format!(
            "{} acknowledged; {} lost, {} with a double effect, {} otherwise wrong; {} histories searched, {} too large; \
             {} executions beside the committed ones",
            self.acknowledged,
            self.lost.len(),
            self.doubled.len(),
            self.wrong.len(),
            self.searched,
            self.gave_up,
            self.executed_again
        );
        for (what, faults) in [("lost", &self.lost), ("doubled", &self.doubled), ("wrong", &self.wrong)] {
            for fault in faults.iter().take(8) {
                text.push_str(&format!("\n  {what}: {fault}"));
            }
        }
        text
    }
}

/// Asks every object of a history for its state, when all that was accepted has had its effect.
///
/// # Panics
/// When a node does not answer, or sends and deposits that were accepted do not arrive. What is missing then is lost.
pub async fn finals(http: &Http, history: &History, accounts: &[String]) -> Finals {
    let keys = |wanted: &[&str]| -> BTreeSet<String> {
        let of = |action: &Action| match action {
            Action::Write(_) | Action::Increment | Action::Read => "register",
            Action::Append(_) | Action::Send(_) => "ledger",
            Action::Record => "journal",
            Action::Transfer { .. } | Action::Balance => "account",
        };
        history.operations.iter().filter(|op| wanted.contains(&of(&op.action))).map(|op| op.key.clone()).collect()
    };
    let mut finals = Finals::default();
    for key in keys(&["register"]) {
        finals.registers.insert(key.clone(), ask(http, &format!("/Register/{key}/whole")).await);
    }
    for key in keys(&["journal"]) {
        finals.journals.insert(key.clone(), ask(http, &format!("/Journal/{key}/runs")).await);
    }
    // What was sent may still be on its way. If it does not come it is missed below.
    let sent =
        history.operations.iter().filter(|op| matches!((&op.action, &op.outcome), (Action::Send(_), Outcome::Done(_))));
    let mut sent_to: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for operation in sent {
        sent_to.entry(&operation.key).or_default().insert(operation.number);
    }
    let mut patience = 200;
    for key in keys(&["ledger"]) {
        let expected = sent_to.get(key.as_str());
        loop {
            let entries: Vec<Entry> = ask(http, &format!("/Ledger/{key}/entries")).await;
            let arrived: BTreeSet<u64> = entries.iter().map(|entry| entry.operation).collect();
            let complete = expected.is_none_or(|expected| expected.is_subset(&arrived));
            if complete || patience == 0 {
                finals.ledgers.insert(key, entries);
                break;
            }
            patience -= 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let total = OPENING * i64::try_from(accounts.len()).unwrap();
    for _ in 0..200 {
        for account in accounts {
            finals.balances.insert(account.clone(), ask(http, &format!("/Account/{account}/balance")).await);
        }
        if finals.balances.values().sum::<i64>() == total {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    finals
}

async fn ask<T: DeserializeOwned>(http: &Http, path: &str) -> T {
    wait::within(wait::PATIENCE, Duration::from_millis(50), &format!("{path} is answered"), || async {
        match http.get(path).answer().await {
            Ok(answer) if answer.status == 200 => Ok(answer.json()),
            Ok(answer) => Err(answer.text()),
            Err(lost) => Err(lost.to_string()),
        }
    })
    .await
}

/// Ends a load and compares the witnesses.
///
/// # Panics
/// As [`Load::stop`] and [`finals`].
pub async fn conclude(load: Load, http: &Http, ledger: &Path) -> (History, Verdict) {
    let accounts = load.accounts();
    let history = load.stop().await;
    let finals = finals(http, &history, &accounts).await;
    let verdict = judge(&history, &finals, &Lines::read(ledger));
    (history, verdict)
}

/// Compares the witnesses.
#[must_use]
pub fn judge(history: &History, finals: &Finals, lines: &Lines) -> Verdict {
    let mut verdict = Verdict::default();
    let done = history.operations.iter().filter(|op| matches!(op.outcome, Outcome::Done(_)));
    verdict.acknowledged = done.count();
    let mut objects: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in &history.operations {
        let by_bank = matches!(operation.action, Action::Transfer { .. });
        if let Outcome::Refused(said) = &operation.outcome
            && !by_bank
        {
            verdict.wrong.push(format!("refused for no reason: {said}: {operation:?}"));
        }
        objects.entry(&operation.key).or_default().push(operation);
    }
    let end = history.operations.iter().map(|op| op.ended).max().unwrap_or_default() + 1;
    for (key, whole) in &finals.registers {
        register(&mut verdict, key, objects.get(key.as_str()).map_or(&[], Vec::as_slice), whole, end);
    }
    let mut executed: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &lines.appends {
        *executed.entry(line.split(' ').next().unwrap_or_default()).or_default() += 1;
    }
    let appended: BTreeSet<&str> = lines.appends.iter().map(String::as_str).collect();
    for (key, entries) in &finals.ledgers {
        let operations = objects.get(key.as_str()).map_or(&[][..], Vec::as_slice);
        entries_of(&mut verdict, key, operations, entries, &appended);
        verdict.executed_again += executed.get(key.as_str()).copied().unwrap_or(0_usize).saturating_sub(entries.len());
    }
    let stepped: BTreeSet<&str> = lines.steps.iter().map(String::as_str).collect();
    for (key, runs) in &finals.journals {
        runs_of(&mut verdict, key, objects.get(key.as_str()).map_or(&[], Vec::as_slice), runs, &stepped);
    }
    let recorded: usize = finals.journals.values().map(Vec::len).sum();
    let numbers: BTreeSet<String> = history.operations.iter().map(|op| op.number.to_string()).collect();
    let of_history = |line: &&String| line.split(' ').next().is_some_and(|number| numbers.contains(number));
    verdict.executed_again += lines.steps.iter().filter(of_history).count().saturating_sub(2 * recorded);
    bank(&mut verdict, history, finals);
    verdict
}

/// Each operation's effects are counted: one for what was acknowledged, none for what was not accepted, one at most else.
fn count(verdict: &mut Verdict, key: &str, operations: &[&Operation], effects: impl Iterator<Item = u64>) {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for number in effects {
        *counts.entry(number).or_default() += 1;
    }
    for operation in operations {
        let effects = counts.remove(&operation.number).unwrap_or_default();
        match (&operation.outcome, effects) {
            (Outcome::Done(_), 0) => verdict.lost.push(format!("{operation:?}")),
            (Outcome::Refused(_) | Outcome::NotAccepted(_), 1..) => {
                verdict.wrong.push(format!("not accepted, and has its effect: {operation:?}"));
            }
            (_, 0 | 1) => {}
            (_, _) => verdict.doubled.push(format!("{effects} times: {operation:?}")),
        }
    }
    for number in counts.keys() {
        verdict.wrong.push(format!("{key} has an effect of operation {number}, which nobody asked of it"));
    }
}

fn register(verdict: &mut Verdict, key: &str, operations: &[&Operation], whole: &Whole, end: Micros) {
    let changes: Vec<&Operation> = operations.iter().copied().filter(|op| op.action != Action::Read).collect();
    count(verdict, key, &changes, whole.changes.iter().copied());
    let (mut calls, mut told) = (Vec::new(), Vec::new());
    for operation in operations {
        let (number, called) = (operation.number, operation.invoked);
        let kind = match operation.action {
            Action::Write(_) => Kind::Write,
            Action::Increment => Kind::Increment,
            _ => Kind::Read,
        };
        let (result, returned) = match &operation.outcome {
            Outcome::Done(result) => (Some(result), Some(operation.ended)),
            Outcome::Unknown(_) => (None, None),
            Outcome::Refused(_) | Outcome::NotAccepted(_) => continue,
        };
        let number_of = |field: &str| result.and_then(|result| result[field].as_u64());
        let (value, version) = (number_of("value"), number_of("version"));
        if returned.is_some() && (value.is_none() || version.is_none()) {
            verdict.wrong.push(format!("a result without value and version: {operation:?}"));
            continue;
        }
        let step = match (&operation.action, value) {
            (Action::Write(value), _) => Step::Write(*value),
            (Action::Increment, value) => Step::Increment(value),
            (_, Some(value)) => Step::Read(value),
            // A read without an answer says nothing.
            (_, None) => continue,
        };
        calls.push(Call { number, called, returned, step });
        if let (Some(value), Some(version), Some(returned)) = (value, version, returned) {
            told.push(Versioned { number, called, returned, version, value, kind });
            if let Action::Write(written) = operation.action
                && written != value
            {
                verdict.wrong.push(format!("a write told another value: {operation:?}"));
            }
            let place = usize::try_from(version).unwrap().checked_sub(1);
            let made_by = place.and_then(|place| whole.changes.get(place));
            if kind != Kind::Read && made_by != Some(&number) {
                verdict.wrong.push(format!("version {version} is of operation {made_by:?} in the end: {operation:?}"));
            }
        }
    }
    // What the object says in the end is one more read.
    let version = u64::try_from(whole.changes.len()).unwrap();
    calls.push(Call { number: 0, called: end, returned: Some(end + 1), step: Step::Read(whole.value) });
    told.push(Versioned { number: 0, called: end, returned: end + 1, version, value: whole.value, kind: Kind::Read });
    let faults = linear::versions(&told);
    verdict.wrong.extend(faults.iter().map(|fault| format!("{key}: {fault}")));
    if calls.len() > linear::OPERATIONS_MAX || linear::concurrency(&calls) > linear::CONCURRENT_MAX {
        verdict.gave_up += 1;
        return;
    }
    match linear::search(&calls) {
        Found::Linear => verdict.searched += 1,
        Found::GaveUp => verdict.gave_up += 1,
        Found::Broken(left) => {
            verdict.searched += 1;
            let left = &left[..left.len().min(6)];
            verdict.wrong.push(format!("{key} is not linearizable; the first that do not fit: {left:?}"));
        }
    }
}

fn entries_of(verdict: &mut Verdict, key: &str, operations: &[&Operation], entries: &[Entry], lines: &BTreeSet<&str>) {
    count(verdict, key, operations, entries.iter().map(|entry| entry.operation));
    for (place, entry) in entries.iter().enumerate() {
        let line = format!("{key} {} {place} {}", entry.operation, entry.value);
        if !lines.contains(line.as_str()) {
            verdict.wrong.push(format!("an entry that no handler wrote: `{line}`"));
        }
    }
    for operation in operations {
        let (Action::Append(value), Outcome::Done(place)) = (&operation.action, &operation.outcome) else { continue };
        let place = place.as_u64().and_then(|place| usize::try_from(place).ok());
        let entry = place.and_then(|place| entries.get(place));
        if entry.is_none_or(|entry| (entry.operation, entry.value) != (operation.number, *value)) {
            verdict.wrong.push(format!("in its place is {entry:?}: {operation:?}"));
        }
    }
}

fn runs_of(verdict: &mut Verdict, key: &str, operations: &[&Operation], runs: &[Run], lines: &BTreeSet<&str>) {
    count(verdict, key, operations, runs.iter().map(|run| run.operation));
    for run in runs {
        for (step, result) in [("first", &run.first), ("second", &run.second)] {
            if !lines.contains(format!("{} {step} {result}", run.operation).as_str()) {
                verdict.wrong.push(format!("a result that no step gave: {run:?}"));
            }
        }
    }
    let known: BTreeMap<u64, &Run> = runs.iter().map(|run| (run.operation, run)).collect();
    for operation in operations {
        let Outcome::Done(result) = &operation.outcome else { continue };
        let told = Run::deserialize(result);
        let recorded = known.get(&operation.number);
        if let (Ok(told), Some(recorded)) = (&told, recorded)
            && told == *recorded
        {
            continue;
        }
        verdict.wrong.push(format!("told {told:?}, recorded {recorded:?}: {operation:?}"));
    }
}

fn bank(verdict: &mut Verdict, history: &History, finals: &Finals) {
    let mut expected: BTreeMap<&str, i64> = finals.balances.keys().map(|key| (key.as_str(), OPENING)).collect();
    for operation in &history.operations {
        match (&operation.action, &operation.outcome) {
            (Action::Transfer { to, amount }, Outcome::Done(balance)) => {
                if balance.as_i64().is_none_or(|balance| balance < 0) {
                    verdict.wrong.push(format!("below zero: {operation:?}"));
                }
                *expected.entry(&operation.key).or_default() -= amount;
                *expected.entry(to).or_default() += amount;
            }
            (Action::Transfer { .. }, Outcome::Refused(said)) if !said.contains("less than") => {
                verdict.wrong.push(format!("refused for no reason: {operation:?}"));
            }
            (Action::Balance, Outcome::Done(Value::Number(balance))) if balance.as_i64() >= Some(0) => {}
            (Action::Balance, Outcome::Done(_)) => verdict.wrong.push(format!("below zero: {operation:?}")),
            _ => {}
        }
    }
    let total: i64 = finals.balances.values().sum();
    let opened = OPENING * i64::try_from(finals.balances.len()).unwrap();
    if total != opened {
        verdict.wrong.push(format!("the bank has {total}, not {opened}"));
    }
    compare(verdict, "balance", &expected, &finals.balances);
}

fn compare<V: Debug + PartialEq>(
    verdict: &mut Verdict,
    what: &str,
    expected: &BTreeMap<&str, V>,
    actual: &BTreeMap<String, V>,
) {
    for (key, value) in actual {
        if expected.get(key.as_str()) != Some(value) {
            let expected = expected.get(key.as_str());
            verdict.wrong.push(format!("{what} of {key} is {value:?}; what was acknowledged makes {expected:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A history that may be, with all kinds of operations.
    fn good() -> (History, Finals, Lines) {
        let transfer = || Action::Transfer { to: "b".to_owned(), amount: 10 };
        let operations = [
            ("r", Action::Write(70), Outcome::Done(json!({ "value": 70, "version": 1 }))),
            ("r", Action::Increment, Outcome::Done(json!({ "value": 71, "version": 2 }))),
            ("r", Action::Increment, Outcome::Unknown(String::new())),
            ("r", Action::Read, Outcome::Done(json!({ "value": 71, "version": 2 }))),
            ("l", Action::Append(5), Outcome::Done(json!(0))),
            ("l", Action::Send(6), Outcome::Done(Value::Null)),
            ("l", Action::Append(7), Outcome::NotAccepted(String::new())),
            ("j", Action::Record, Outcome::Done(json!({ "operation": 8, "first": "1-1", "second": "2-1" }))),
            ("a", transfer(), Outcome::Done(json!(OPENING - 10))),
            ("a", transfer(), Outcome::Refused("the balance is 1, less than 10".to_owned())),
            ("a", Action::Balance, Outcome::Done(json!(5))),
        ];
        let operations = operations.into_iter().zip(1..).map(|((key, action, outcome), number)| {
            let (invoked, ended) = (number * 10, number * 10 + 5);
            Operation { number, client: 0, key: key.to_owned(), action, invoked, ended, outcome, attempts: 1 }
        });
        let history = History { operations: operations.collect(), failures: Vec::new() };
        let entries = vec![Entry { operation: 5, value: 5 }, Entry { operation: 6, value: 6 }];
        let run = Run { operation: 8, first: "1-1".to_owned(), second: "2-1".to_owned() };
        let finals = Finals {
            registers: BTreeMap::from([("r".to_owned(), Whole { value: 71, changes: vec![1, 2] })]),
            ledgers: BTreeMap::from([("l".to_owned(), entries)]),
            journals: BTreeMap::from([("j".to_owned(), vec![run])]),
            balances: BTreeMap::from([("a".to_owned(), OPENING - 10), ("b".to_owned(), OPENING + 10)]),
        };
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        let lines = Lines {
            appends: lines(&["l 5 0 5", "l 6 1 6", "l 6 1 6"]),
            steps: lines(&["8 first 1-1", "8 second 1-2", "8 second 2-1"]),
        };
        (history, finals, lines)
    }

    #[test]
    fn a_good_history_is_good() {
        let (history, finals, lines) = good();
        let verdict = judge(&history, &finals, &lines);
        assert!(verdict.is_good(), "{verdict:?}");
        assert_eq!((verdict.acknowledged, verdict.searched, verdict.executed_again), (8, 1, 2));
    }

    #[test]
    fn the_unknown_increment_may_have_happened() {
        let (history, mut finals, lines) = good();
        finals.registers.insert("r".to_owned(), Whole { value: 72, changes: vec![1, 2, 3] });
        assert!(judge(&history, &finals, &lines).is_good());
    }

    /// One thing is changed, and the verdict has to say which kind of wrong it is.
    #[test]
    fn what_may_not_be() {
        type Spoil = fn(&mut History, &mut Finals, &mut Lines);
        let cases: [(&str, Spoil); 17] = [
            ("  lost:", |_, finals, _| finals.registers.get_mut("r").unwrap().changes = vec![1]),
            ("  lost:", |_, finals, _| finals.ledgers.get_mut("l").unwrap().truncate(1)),
            ("  lost:", |_, finals, _| finals.journals.get_mut("j").unwrap().clear()),
            ("  doubled:", |_, finals, _| finals.registers.get_mut("r").unwrap().changes = vec![1, 2, 2]),
            ("  doubled:", |_, finals, _| finals.registers.get_mut("r").unwrap().changes = vec![1, 2, 3, 3]),
            ("  doubled:", |_, finals, lines| {
                finals.ledgers.get_mut("l").unwrap().push(Entry { operation: 6, value: 6 });
                lines.appends.push("l 6 2 6".to_owned());
            }),
            ("  doubled:", |_, finals, _| {
                let runs = finals.journals.get_mut("j").unwrap();
                runs.push(runs[0].clone());
            }),
            ("not accepted, and has", |_, finals, lines| {
                finals.ledgers.get_mut("l").unwrap().push(Entry { operation: 7, value: 7 });
                lines.appends.push("l 7 2 7".to_owned());
            }),
            ("which nobody asked", |_, finals, _| finals.registers.get_mut("r").unwrap().changes.push(99)),
            ("no handler wrote", |_, _, lines| drop(lines.appends.remove(0))),
            ("no step gave", |_, _, lines| drop(lines.steps.remove(0))),
            ("in its place", |history, _, _| history.operations[4].outcome = Outcome::Done(json!(1))),
            ("told Ok", |history, _, _| {
                history.operations[7].outcome =
                    Outcome::Done(json!({ "operation": 8, "first": "1-1", "second": "1-2" }));
            }),
            ("not linearizable", |_, finals, _| finals.registers.get_mut("r").unwrap().value = 70),
            ("the bank has", |_, finals, _| *finals.balances.get_mut("b").unwrap() -= 10),
            ("below zero", |history, _, _| history.operations[10].outcome = Outcome::Done(json!(-1))),
            ("refused for no reason", |history, _, _| {
                history.operations[3].outcome = Outcome::Refused("404".to_owned())
            }),
        ];
        for (number, (expected, spoil)) in cases.into_iter().enumerate() {
            let (mut history, mut finals, mut lines) = good();
            spoil(&mut history, &mut finals, &mut lines);
            let verdict = judge(&history, &finals, &lines);
            let summary = verdict.summary();
            assert!(summary.contains(expected), "{number}: {summary}");
            assert!(!verdict.is_good(), "{number}: {summary}");
        }
    }
}
