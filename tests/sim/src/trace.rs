//! What happened, a line per event: a rolling hash always, the text on request.

use crate::rng::{fold, mix};

/// The record of one run.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    hash: u64,
    verbose: bool,
    time: u64,
}

impl Trace {
    pub(crate) fn new(verbose: bool) -> Self {
        Self { verbose, ..Self::default() }
    }

    pub(crate) fn set_time(&mut self, time: u64) {
        self.time = time;
    }

    /// Adds a line.
    #[expect(clippy::print_stdout, reason = "the printed trace is what was asked for")]
    pub(crate) fn line(&mut self, text: std::fmt::Arguments<'_>) {
        let line = format!("{:>9} {text}", self.time);
        self.hash = fold(self.hash, line.as_bytes());
        if self.verbose {
            println!("{line}");
        }
    }

    /// Adds something that happens too often for a line.
    pub(crate) fn fold(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.hash = mix(self.hash ^ number);
        }
    }

    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Prints a remark that does not count.
    #[expect(clippy::print_stdout, reason = "the printed trace is what was asked for")]
    pub(crate) fn note(&self, text: std::fmt::Arguments<'_>) {
        println!("{:>9} {text}", self.time);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}
