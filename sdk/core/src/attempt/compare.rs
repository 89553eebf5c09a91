//! Comparing what the code does with what the journal says it did, and saying so to people.

use abide_model::error::JOURNAL_MISMATCH;
use abide_model::protocol::{
    Call, Code, CompleteAwakeable, CompletePromise, Failure, GetEagerState, InvocationTarget, OneWayCall, Output,
    OutputResult, PlainCommand, PromiseCommand, PromiseResult, RawMessage, SendSignal, SetState, SignalId, Sleep,
    StateKeyCommand,
};

const ADVICE: &str = "the code of a flow must do the same on every execution: keep outside effects, time and chance in \
                      `cx.run`, `cx.now` and `cx.random`, give changed code another `version`, and keep the previous \
                      code beside it with `#[handlers(version = …)]`; deploy the previous code again to let this \
                      invocation finish";

/// The failure that says how `issued` differs from entry `index` of the journal; `None` when they are the same.
pub(super) fn difference(index: u32, recorded: &RawMessage, issued: &RawMessage) -> Option<Failure> {
    if same(recorded, issued) {
        return None;
    }
    let (journal, code) = (describe(recorded), describe(issued));
    let detail = if journal == code { " with other arguments" } else { "" };
    Some(mismatch(index, &journal, &format!("the code did {code}{detail}")))
}

/// The code came to its end before entry `index`.
pub(super) fn ended_early(index: u32, recorded: &RawMessage) -> Failure {
    mismatch(index, &describe(recorded), "the code ended")
}

/// The code waits and does not come to entry `index`.
pub(super) fn waits_instead(index: u32, recorded: &RawMessage) -> Failure {
    mismatch(index, &describe(recorded), "the code waits for something that the journal does not have")
}

/// The recorded value of a step does not fit its type any more.
pub(crate) fn other_type(what: &str, reason: &str) -> Failure {
    let text = format!("journal mismatch: the recorded result of {what} does not fit its type: {reason}; {ADVICE}");
    Failure::new(u32::from(JOURNAL_MISMATCH.0), text)
}

/// A notification that cannot be decoded.
pub(super) fn unreadable(index: u32, reason: &str) -> Failure {
    Failure::new(u32::from(JOURNAL_MISMATCH.0), format!("journal entry {index} cannot be read: {reason}"))
}

fn mismatch(index: u32, journal: &str, code: &str) -> Failure {
    let text = format!("journal mismatch at entry {index}: the journal says {journal}, but {code}; {ADVICE}");
    Failure::new(u32::from(JOURNAL_MISMATCH.0), text)
}

fn same(recorded: &RawMessage, issued: &RawMessage) -> bool {
    if recorded.code != issued.code {
        return false;
    }
    // What depends on the moment, or is an answer and not a question, may differ.
    recorded.payload == issued.payload
        || match recorded.code {
            Code::SLEEP => equal::<Sleep>(recorded, issued, |sleep| sleep.wake_up_time = 0),
            Code::ONE_WAY_CALL => equal::<OneWayCall>(recorded, issued, |send| send.invoke_time = 0),
            Code::GET_EAGER_STATE => equal::<GetEagerState>(recorded, issued, |read| read.result = None),
            _ => false,
        }
}

fn equal<M>(recorded: &RawMessage, issued: &RawMessage, blur: fn(&mut M)) -> bool
where
    M: DecodedMessage,
{
    let read = |message: &RawMessage| {
        let mut decoded = M::read(message)?;
        blur(&mut decoded);
        Some(decoded)
    };
    read(recorded).is_some_and(|recorded| read(issued) == Some(recorded))
}

/// Completion ids that a command uses.
pub(super) fn completion_ids(message: &RawMessage) -> Vec<u32> {
    let ids = match message.code {
        Code::SLEEP => Sleep::read(message).map(|sleep| vec![sleep.result_completion_id]),
        Code::RUN => PlainCommand::read(message).map(|run| vec![run.result_completion_id]),
        Code::CALL => {
            Call::read(message).map(|call| vec![call.invocation_id_notification_idx, call.result_completion_id])
        }
        Code::ONE_WAY_CALL => OneWayCall::read(message).map(|send| vec![send.invocation_id_notification_idx]),
        Code::ATTACH_INVOCATION | Code::GET_INVOCATION_OUTPUT => {
            InvocationTarget::read(message).map(|target| vec![target.result_completion_id])
        }
        Code::GET_PROMISE | Code::PEEK_PROMISE => {
            PromiseCommand::read(message).map(|promise| vec![promise.result_completion_id])
        }
        Code::COMPLETE_PROMISE => CompletePromise::read(message).map(|complete| vec![complete.result_completion_id]),
        _ => None,
    };
    ids.unwrap_or_default()
}

/// One line for people.
fn describe(message: &RawMessage) -> String {
    let known = match message.code {
        Code::RUN => PlainCommand::read(message).map(|run| match run.name.as_str() {
            "" => "a step".to_owned(),
            name => format!("step `{name}`"),
        }),
        Code::PROPOSE_RUN_COMPLETION => Some("the result of a new step".to_owned()),
        Code::SLEEP => Sleep::read(message).map(|sleep| format!("sleep (completion {})", sleep.result_completion_id)),
        Code::CALL => Call::read(message).map(|call| {
            format!(
                "call of {} (completion {})",
                target(&call.service_name, &call.key, &call.handler_name),
                call.result_completion_id
            )
        }),
        Code::ONE_WAY_CALL => OneWayCall::read(message)
            .map(|send| format!("send to {}", target(&send.service_name, &send.key, &send.handler_name))),
        Code::SET_STATE => SetState::read(message).map(|set| {
            let value = set.value.map(|value| value.content).unwrap_or_default();
            format!("field `{}` set to {}", text(&set.key), shortened(&text(&value)))
        }),
        Code::CLEAR_STATE => {
            StateKeyCommand::read(message).map(|clear| format!("field `{}` cleared", text(&clear.key)))
        }
        Code::GET_EAGER_STATE => {
            GetEagerState::read(message).map(|read| format!("field `{}` about to be changed", text(&read.key)))
        }
        Code::SEND_SIGNAL => SendSignal::read(message).map(|signal| match signal.signal_id {
            Some(SignalId::Name(name)) => format!("signal `{name}` to {}", signal.target_invocation_id),
            Some(SignalId::Index(index)) => format!("signal {index} to {}", signal.target_invocation_id),
            None => format!("a signal to {}", signal.target_invocation_id),
        }),
        Code::COMPLETE_AWAKEABLE => CompleteAwakeable::read(message)
            .map(|complete| format!("completion of awakeable {}", complete.awakeable_id)),
        Code::GET_PROMISE => PromiseCommand::read(message).map(|get| format!("wait for promise `{}`", get.key)),
        Code::PEEK_PROMISE => PromiseCommand::read(message).map(|peek| format!("look at promise `{}`", peek.key)),
        Code::COMPLETE_PROMISE => CompletePromise::read(message).map(|complete| {
            let how = if matches!(complete.result, Some(PromiseResult::Failure(_))) { "rejected" } else { "resolved" };
            format!("promise `{}` {how}", complete.key)
        }),
        Code::ATTACH_INVOCATION => {
            InvocationTarget::read(message).map(|target| format!("attach to {}", target.invocation_id))
        }
        Code::GET_INVOCATION_OUTPUT => {
            InvocationTarget::read(message).map(|target| format!("look at the output of {}", target.invocation_id))
        }
        Code::OUTPUT => Output::read(message).map(|output| match output.result {
            Some(OutputResult::Failure(failure)) => format!("the failure {}", shortened(&failure.message)),
            Some(OutputResult::Value(value)) => format!("the result {}", shortened(&text(&value.content))),
            None => "an empty result".to_owned(),
        }),
        _ => None,
    };
    known.unwrap_or_else(|| message.code.to_string())
}

fn target(service: &str, key: &str, handler: &str) -> String {
    if key.is_empty() { format!("{service}/{handler}") } else { format!("{service}/{key}/{handler}") }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn shortened(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// A message type that a raw message can be read as.
trait DecodedMessage: PartialEq + Sized {
    fn read(message: &RawMessage) -> Option<Self>;
}

macro_rules! decoded {
    ($($message:ty),*) => {
        $(impl DecodedMessage for $message {
            fn read(message: &RawMessage) -> Option<Self> {
                message.decode().ok()
            }
        })*
    };
}

decoded!(
    Call,
    CompleteAwakeable,
    CompletePromise,
    GetEagerState,
    InvocationTarget,
    OneWayCall,
    Output,
    PlainCommand,
    PromiseCommand,
    SendSignal,
    SetState,
    Sleep,
    StateKeyCommand
);

#[cfg(test)]
mod tests {
    use super::*;

    fn sleep(wake_up_time: u64, result_completion_id: u32) -> RawMessage {
        RawMessage::new(Code::SLEEP, &Sleep { wake_up_time, result_completion_id, name: String::new() })
    }

    #[test]
    fn the_moment_of_a_sleep_may_differ_but_not_its_completion() {
        assert_eq!(difference(1, &sleep(5, 1), &sleep(9, 1)), None);
        let failure = difference(1, &sleep(5, 1), &sleep(5, 2)).unwrap();
        assert_eq!(failure.code, 570);
        assert!(failure.message.contains("entry 1") && failure.message.contains("sleep (completion 2)"), "{failure:?}");
    }
}
