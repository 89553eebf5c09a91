//! Every cell of the table of [`super`], as a test of its own: `cell::<form>::<state>::<verb>`.

use abide_model::command::{Body, Control, Form, Verb};
use abide_model::effect::{Answer, Effect};
use abide_model::protocol::Failure;

use crate::testing::*;

mod free;
mod restart;
mod verbs;

/// What an order is answered.
#[derive(Debug, PartialEq)]
enum Said {
    Done,
    Appended,
    NotFound,
    AlreadyCompleted,
    Created,
    /// With this status and stable code.
    Refused(u32, String),
}

/// What an order does.
#[derive(Debug, PartialEq)]
struct Cell {
    said: Said,
    /// Where the invocation is afterwards.
    after: &'static str,
    /// The kinds of its effects, sorted.
    effects: Vec<&'static str>,
}

fn cell(said: Said, after: &'static str, effects: &[&'static str]) -> Cell {
    Cell { said, after, effects: effects.to_vec() }
}

fn said(answer: &Answer) -> Said {
    match answer {
        Answer::Done => Said::Done,
        Answer::Appended => Said::Appended,
        Answer::NotFound => Said::NotFound,
        Answer::AlreadyCompleted => Said::AlreadyCompleted,
        Answer::Created(new) => {
            assert_eq!(*new, id(50));
            Said::Created
        }
        Answer::Node(node) => panic!("an order about an invocation makes no node {node}"),
        Answer::Refused(failure) => {
            assert_eq!(failure.metadata[0].key, "abide-code");
            Said::Refused(failure.code, failure.metadata[0].value.clone())
        }
    }
}

fn kind(effect: &Effect) -> Option<&'static str> {
    Some(match effect {
        Effect::Answered { .. } => return None,
        Effect::Accepted { .. } => "accepted",
        Effect::Completed { .. } => "completed",
        Effect::Abort { .. } => "abort",
        Effect::Rested { .. } => "rested",
        Effect::Start { .. } => "start",
        Effect::Enqueued { .. } => "enqueued",
        Effect::Notify { .. } => "notify",
        Effect::TimerSet { .. } => "timer",
        other => panic!("not an effect of an order: {other:?}"),
    })
}

fn wrong_state() -> Said {
    Said::Refused(409, "AB0419".into())
}

fn early() -> Said {
    Said::Refused(425, "AB0425".into())
}

/// The table.
fn expected(form: Form, state: &'static str, verb: Verb) -> Cell {
    let flow = form == Form::Flow;
    let waits = matches!(state, "scheduled" | "pending" | "first");
    let refused = |said| cell(said, state, &[]);
    match (state, verb) {
        ("unknown", _) => refused(Said::NotFound),
        ("completed", Verb::Purge) => cell(Said::Done, "unknown", &[]),
        ("completed", Verb::PurgeJournal) => cell(Said::Done, "completed", &[]),
        ("completed", Verb::Restart) if flow => cell(Said::Created, "completed", &["accepted", "enqueued", "start"]),
        ("completed", Verb::Restart) => cell(Said::Created, "completed", &["accepted", "enqueued"]),
        ("completed", _) => refused(Said::AlreadyCompleted),
        (_, Verb::Purge | Verb::PurgeJournal) => refused(wrong_state()),
        (_, Verb::Restart) => refused(if waits { early() } else { wrong_state() }),
        ("scheduled", Verb::Reschedule) => cell(Said::Done, "scheduled", &["timer"]),
        (_, Verb::Reschedule) => refused(wrong_state()),
        (_, Verb::Cancel | Verb::Kill) if waits => cell(Said::Done, "unknown", &["abort", "completed"]),
        (_, Verb::Pause) if waits => refused(wrong_state()),
        (_, Verb::Resume) if waits => refused(early()),
        (_, Verb::Cancel) if !flow => cell(Said::Done, "completed", &["abort", "completed", "timer"]),
        ("running", Verb::Cancel) => cell(Said::Appended, "running", &["notify"]),
        ("backing-off", Verb::Cancel) => cell(Said::Appended, "backing-off", &[]),
        (_, Verb::Cancel) => cell(Said::Appended, "running", &["start"]),
        (_, Verb::Kill) => cell(Said::Done, "completed", &["abort", "completed", "timer"]),
        ("running", Verb::Pause) => cell(Said::Done, "paused", &["abort", "rested"]),
        (_, Verb::Pause) => cell(Said::Done, "paused", &[]),
        ("running", Verb::Resume) => refused(Said::Done),
        (_, Verb::Resume) => cell(Said::Done, "running", &["start"]),
    }
}

fn control(verb: Verb) -> Body {
    let new_id = bytes(id(50));
    Body::Control(Control { new_id, execute_at: 7000, ..Control::new(id(1), verb) })
}

fn check(form: Form, state: &'static str, verb: Verb) {
    let mut world = placed(form, state).expect("the table has no cells that cannot be");
    let before = world.rows.clone();
    let effects = world.ask(5, control(verb));
    let answers = effects.iter().filter_map(|effect| match effect {
        Effect::Answered { request: 5, answer } => Some(answer),
        _ => None,
    });
    let answers: Vec<_> = answers.collect();
    let [answer] = answers[..] else { panic!("one answer, not {answers:?}") };
    let mut kinds: Vec<_> = effects.iter().filter_map(kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let place = match world.status(id(1)) {
        "pending" if state == "first" => "first",
        status => status,
    };
    let found = Cell { said: said(answer), after: place, effects: kinds };
    let expected = expected(form, state, verb);
    assert_eq!(found, expected);
    if let Answer::Refused(Failure { message, .. }) = answer {
        let named = if state == "first" { "pending" } else { state };
        assert!(message.contains(named), "the refusal names the state: {message}");
        assert_eq!(world.rows, before, "a refusal changes nothing");
    }
    if expected.said == Said::Done && expected.after == "running" && expected.effects.is_empty() {
        assert_eq!(world.rows, before);
    }
}

macro_rules! cells {
    ($($form:ident = $of:expr => [$($state:ident = $word:literal),*];)*) => {
        mod cell {
            $(pub(super) mod $form {
                $(pub(super) mod $state {
                    cells!(@verbs $of, $word;
                        cancel Cancel, kill Kill, pause Pause, resume Resume, purge Purge, purge_journal PurgeJournal,
                        restart Restart, reschedule Reschedule);
                })*
            })*
        }
    };
    (@verbs $of:expr, $word:literal; $($name:ident $verb:ident),*) => {
        $(#[test]
        fn $name() {
            super::super::super::check($of, $word, abide_model::command::Verb::$verb);
        })*
    };
}

cells! {
    turn = abide_model::command::Form::Turn => [scheduled = "scheduled", pending = "pending", first = "first",
        running = "running", backing_off = "backing-off", paused = "paused", completed = "completed",
        unknown = "unknown"];
    flow = abide_model::command::Form::Flow => [scheduled = "scheduled", pending = "pending", running = "running",
        backing_off = "backing-off", suspended = "suspended", paused = "paused", completed = "completed",
        unknown = "unknown"];
}

/// No state is forgotten: what can be placed has cells.
#[test]
fn the_cells_are_all_there_are() {
    let of = |form| PLACES.into_iter().filter(move |place| placed(form, place).is_some()).count();
    assert_eq!((of(Form::Turn), of(Form::Flow)), (8, 8));
}
