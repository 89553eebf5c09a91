//! What happened in a world, a line each, in the order of virtual time.
//!
//! Commands are noted when they are durable, effects when they are carried out.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use abide_model::codec;
use abide_model::command::{Append, Body, Entry, Next, Outcome, OutcomeKind};
use abide_model::effect::Effect;
use abide_model::id::{InvocationId, Millis};
use abide_model::protocol::{Code, Failure, PlainCommand};
use abide_storage::{EntryKind, LogBatch};
use bytes::Bytes;

use crate::clock;

/// Most lines that are kept; older ones are forgotten first.
const LINES_MAX: usize = 10_000;

#[derive(Default)]
pub(super) struct Trace {
    began: Option<Millis>,
    lines: VecDeque<String>,
    forgotten: u64,
    /// Targets of the invocations that are not completed.
    targets: BTreeMap<InvocationId, String>,
}

impl Trace {
    /// A line of now.
    pub(super) fn line(&mut self, text: &str) {
        let now = clock::now();
        let began = *self.began.get_or_insert(now);
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
            self.forgotten += 1;
        }
        self.lines.push_back(format!("{} {text}", elapsed(now.0 - began.0)));
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if self.forgotten > 0 {
            let _ = writeln!(text, "({} earlier lines are forgotten)", self.forgotten);
        }
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// The commands of a batch that is durable now.
    pub(super) fn committed(&mut self, batch: &LogBatch) {
        for write in &batch.writes {
            for entry in write.entries.iter().filter(|entry| entry.kind == EntryKind::Normal && !entry.data.is_empty())
            {
                let Ok(commands) = codec::decode::<Entry>("entry", &entry.data) else { continue };
                for command in commands.commands.into_iter().filter_map(|command| command.body) {
                    if let Some(text) = self.command(&command) {
                        self.line(&format!("{text}  [p{}]", write.partition));
                    }
                }
            }
        }
    }

    fn command(&mut self, command: &Body) -> Option<String> {
        let text = match command {
            Body::Invoke(invoke) => {
                let target = invoke.target.as_ref().map(ToString::to_string).unwrap_or_default();
                if let Some(id) = invoke.id() {
                    self.targets.insert(id, target.clone());
                }
                format!("accepted    {target} {}", show(&invoke.id))
            }
            Body::Turn(turn) => {
                let target = turn.accept.as_ref().and_then(|invoke| invoke.target.as_ref()).map(ToString::to_string);
                let target = target.unwrap_or_else(|| self.target(&turn.id));
                let sends = if turn.sends.is_empty() { String::new() } else { format!(", {} sent", turn.sends.len()) };
                format!("turn        {target} {} {}{sends}", show(&turn.id), outcome(turn.outcome.as_ref()))
            }
            Body::Append(append) => {
                format!("journal     {} {} {}", self.target(&append.id), show(&append.id), messages(append))
            }
            Body::AttemptFailed(failed) => {
                let what = failed.failure.as_ref().map(failure).unwrap_or_default();
                let next = match failed.next {
                    Some(Next::RetryAfter(ms)) => format!("again in {ms} ms"),
                    Some(Next::Pause(_)) => "paused".to_owned(),
                    Some(Next::Fail(_)) | None => "given up".to_owned(),
                };
                format!("failed      {} {} {next}: {what}", self.target(&failed.id), show(&failed.id))
            }
            Body::Signal(signal) => format!("signal      {} {}", self.target(&signal.target), show(&signal.target)),
            Body::Control(control) => {
                format!("{:11?} {} {}", control.verb(), self.target(&control.target), show(&control.target))
            }
            Body::Deliver(deliver) => format!("delivered   {} from p{}", deliver.messages.len(), deliver.from),
            Body::LeaderStart(start) => format!("leading     term {}", start.term),
            Body::Letter(_) => "letter".to_owned(),
            Body::Schedule(_) => "schedule".to_owned(),
            Body::Meta(_) => "meta".to_owned(),
            Body::FireTimers(_) | Body::OutboxAck(_) => return None,
        };
        Some(text)
    }

    /// An effect that is carried out now.
    pub(super) fn effect(&mut self, effect: &Effect) {
        let text = match effect {
            Effect::Enqueued { work, .. } => {
                self.targets.insert(work.id, work.target.to_string());
                format!("queued      {} {}", work.target, work.id)
            }
            Effect::Start { invocation } => format!("attempt     {} {invocation}", self.target(&invocation.to_bytes())),
            Effect::Notify { invocation, entry, .. } => {
                let what = entry.message().code.name();
                format!("told        {} {invocation} {what}", self.target(&invocation.to_bytes()))
            }
            Effect::Abort { invocation, .. } => {
                format!("aborted     {} {invocation}", self.target(&invocation.to_bytes()))
            }
            Effect::Rested { invocation } => {
                format!("rests       {} {invocation}", self.target(&invocation.to_bytes()))
            }
            Effect::TurnRejected { object, .. } => format!("rejected    a turn of {}/{}", object.service, object.key),
            Effect::Completed { invocation, target, outcome: ended, .. } => {
                self.targets.remove(invocation);
                format!("completed   {target} {invocation} {}", outcome(Some(ended)))
            }
            Effect::TimerFired { due, at } => format!("timer       {} ms late", at.0.saturating_sub(due.0)),
            Effect::ScheduleDue { schedule, .. } => format!("due         schedule {schedule}"),
            _ => return,
        };
        self.line(&text);
    }

    fn target(&self, id: &[u8]) -> String {
        let target = InvocationId::from_bytes(id).and_then(|id| self.targets.get(&id));
        target.cloned().unwrap_or_else(|| "-".to_owned())
    }
}

fn show(id: &Bytes) -> String {
    InvocationId::from_bytes(id).map_or_else(|| "(malformed id)".to_owned(), |id| id.to_string())
}

fn messages(append: &Append) -> String {
    let texts = append.messages.iter().map(|message| {
        let raw = message.raw();
        let callee = message.callee.as_ref().and_then(|callee| callee.target.as_ref());
        match (raw.code, callee) {
            (Code::RUN, _) => match raw.decode::<PlainCommand>() {
                Ok(run) => format!("Run {:?}", run.name),
                Err(_) => "Run".to_owned(),
            },
            (code, Some(callee)) => format!("{} {callee}", code.name()),
            (code, None) => code.name().to_owned(),
        }
    });
    texts.collect::<Vec<_>>().join(", ")
}

fn outcome(outcome: Option<&Outcome>) -> String {
    match outcome.and_then(|outcome| outcome.kind.as_ref()) {
        Some(OutcomeKind::Success(value)) => short(&String::from_utf8_lossy(value)),
        Some(OutcomeKind::Failure(failed)) => format!("failed: {}", failure(failed)),
        None => String::new(),
    }
}

fn failure(failure: &Failure) -> String {
    format!("{} [{}]", short(&failure.message), failure.code)
}

/// The beginning of a text, on one line.
fn short(text: &str) -> String {
    /// Most characters.
    const MAX: usize = 160;
    let mut line: String = text.chars().take(MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MAX).is_some() {
        line.push('…');
    }
    line
}

/// Time since the world began: days, then a clock.
pub(super) fn elapsed(ms: u64) -> String {
    let (days, ms) = (ms / 86_400_000, ms % 86_400_000);
    let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
    format!("{days:4}d {hours:02}:{minutes:02}:{:02}.{:03}", ms / 1000 % 60, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_days_and_a_clock() {
        assert_eq!(elapsed(0), "   0d 00:00:00.000");
        assert_eq!(elapsed(30 * 86_400_000 + 3_661_001), "  30d 01:01:01.001");
    }

    #[test]
    fn a_long_trace_forgets_its_beginning_and_says_so() {
        let mut trace = Trace::default();
        for n in 0..=LINES_MAX {
            trace.line(&format!("line {n}"));
        }
        assert!(trace.text().starts_with("(1 earlier lines are forgotten)\n"));
        assert_eq!(trace.text().lines().count(), LINES_MAX + 1);
    }

    #[test]
    fn texts_are_cut_to_one_line() {
        assert_eq!(short("a\nb"), "a b");
        assert_eq!(short(&"ä".repeat(200)).chars().count(), 161);
    }
}
