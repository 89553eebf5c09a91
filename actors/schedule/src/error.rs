//! Texts that are not schedules.

use std::fmt;

use abide_model::limits;

/// What is wrong with a schedule's text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// What the text should be, such as `cron expression`.
    pub what: &'static str,
    /// The whole text; empty when it is too long to be shown.
    pub text: String,
    /// The bytes of `text` that are wrong; empty at the end of the text when something is missing.
    pub at: std::ops::Range<usize>,
    /// What is wrong with them, and what to write.
    pub reason: String,
}

impl SpecError {
    /// `token` must be a part of `text`.
    pub(crate) fn new(what: &'static str, text: &str, token: Token<'_>, reason: impl Into<String>) -> Self {
        let at = token.at..token.at + token.text.len();
        Self { what, text: text.to_owned(), at, reason: reason.into() }
    }

    /// Something is missing at the end of `text`.
    pub(crate) fn missing(what: &'static str, text: &str, reason: impl Into<String>) -> Self {
        Self { what, text: text.to_owned(), at: text.len()..text.len(), reason: reason.into() }
    }

    /// The whole of `text` is wrong.
    pub(crate) fn whole(what: &'static str, text: &str, reason: impl Into<String>) -> Self {
        Self { what, text: text.to_owned(), at: 0..text.len(), reason: reason.into() }
    }

    /// # Errors
    /// When `text` is longer than schedules may be.
    pub(crate) fn check_length(what: &'static str, text: &str) -> Result<(), Self> {
        const MAX: usize = limits::SCHEDULE_SPEC_BYTES_MAX;
        if text.len() <= MAX {
            return Ok(());
        }
        Err(Self { what, text: String::new(), at: 0..0, reason: format!("it is longer than {MAX} bytes") })
    }

    /// The same fault as a part of a longer text, `offset` bytes into it.
    pub(crate) fn within(self, what: &'static str, text: &str, offset: usize) -> Self {
        let at = self.at.start + offset..self.at.end + offset;
        Self { what, text: text.to_owned(), at, reason: self.reason }
    }
}

impl std::error::Error for SpecError {}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, text, at, reason } = self;
        if text.is_empty() {
            return write!(f, "{what}: {reason}");
        }
        write!(f, "{what} `{text}`")?;
        if at.start == text.len() {
            write!(f, ", at its end")?;
        } else if at.len() < text.len() {
            let before = text.get(..at.start).unwrap_or_default().chars().count();
            write!(f, ", at character {} (`{}`)", before + 1, text.get(at.clone()).unwrap_or_default())?;
        }
        write!(f, ": {reason}")
    }
}

/// A part of a text, and where it begins in it, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) at: usize,
}

impl<'a> Token<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The parts between occurrences of `separator`.
    pub(crate) fn split(self, separator: char) -> impl Iterator<Item = Token<'a>> {
        let mut at = self.at;
        self.text.split(separator).map(move |text| {
            let part = Token { text, at };
            at += text.len() + separator.len_utf8();
            part
        })
    }

    /// The words between white space.
    pub(crate) fn words(self) -> impl Iterator<Item = Token<'a>> {
        self.text.split_whitespace().map(move |text| {
            let at = self.at + (text.as_ptr() as usize - self.text.as_ptr() as usize);
            Token { text, at }
        })
    }

    /// What comes before and after the first `separator`.
    pub(crate) fn split_once(self, separator: char) -> Option<(Token<'a>, Token<'a>)> {
        let (before, after) = self.text.split_once(separator)?;
        let at = self.at + before.len() + separator.len_utf8();
        Some((Token { text: before, at: self.at }, Token { text: after, at }))
    }
}
