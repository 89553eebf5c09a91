//! A test again and again, with a crash at every place where it can hurt.

use std::any::Any;

use super::run::{Failed, Ran};
use super::{Crash, Side, World, WorldBuilder, seed};

/// Runs `test` once to count its commits, then once for every commit and either side of it, with a crash there. See
/// [`Crashes`] for more.
///
/// # Panics
/// When the test fails, with the seed, the commit and the side.
pub fn crash_at_every_commit(build: impl Fn() -> WorldBuilder, test: impl AsyncFn(World)) {
    Crashes::new().run(build, test);
}

/// A crash test: the process dies at a commit, either just before it is durable (it is lost) or just after (it is
/// durable, and nothing that follows from it was done). The memory of handlers and engine is gone, the disks keep what
/// was synced, the process starts again, and the test goes on: its client repeats what was not answered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crashes {
    again_within: u64,
}

impl Crashes {
    /// One crash in every run.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A second crash in every run, at each of this many commits that follow the first one: while the process recovers
    /// and flows are replayed. Makes this many times as many runs more.
    #[must_use]
    pub fn again_within(self, commits: u64) -> Self {
        Self { again_within: commits }
    }

    /// Runs the test.
    ///
    /// # Panics
    /// When the test fails, with the seed, the commit and the side; also when it fails without a crash.
    pub fn run(self, build: impl Fn() -> WorldBuilder, test: impl AsyncFn(World)) {
        // One for all runs, so that they take the same way up to the crash.
        let seed = seed::choose(build().seed);
        let quiet = build().seed(seed).execute(Vec::new(), &test);
        let commits = quiet.commits;
        check(quiet, seed, "without a crash");
        for commit in 1..=commits {
            for side in [Side::Before, Side::After] {
                let first = Crash { commit, side };
                let at = format!("with a crash {side} commit {commit} of {commits}");
                check(build().seed(seed).execute(vec![first], &test), seed, &at);
                for later in 1..=self.again_within {
                    let second = Crash { commit: commit + later, side: Side::Before };
                    let at = format!("{at} and another one before commit {}", second.commit);
                    check(build().seed(seed).execute(vec![first, second], &test), seed, &at);
                }
            }
        }
    }
}

fn check(ran: Ran<()>, seed: u64, at: &str) {
    let Err(failed) = ran.result else { return };
    let reason = match failed {
        Failed::Stuck(report) => report,
        Failed::Panic(panic) => text(panic.as_ref()).to_owned(),
    };
    eprintln!("{}", ran.trace);
    panic!("the test fails {at}; run it again with {}={seed}\n{reason}", seed::VARIABLE);
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message")
}
