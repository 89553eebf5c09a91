//! What goes to standard output, and questions to the operator.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::{Duration, SystemTime};

use comfy_table::Table;
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::CliError;
use crate::text::{Style, Tone};

/// Clears the terminal, and hides the cursor.
const BEGIN: &str = "\u{1b}[2J\u{1b}[?25l";
/// Shows the cursor again.
const END: &str = "\u{1b}[?25h\n";

/// Where results go, and how.
pub(crate) struct Output {
    json: bool,
    yes: bool,
    absolute: bool,
}

impl Output {
    /// `json` prints documents instead of tables, `yes` answers every question, `absolute` shows dates.
    pub(crate) fn new(json: bool, yes: bool, absolute: bool) -> Self {
        Self { json, yes, absolute }
    }

    /// Whether documents are printed.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// How text is laid out now.
    pub(crate) fn style(&self) -> Style {
        let terminal = io::stdout().is_terminal();
        let quiet = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|width| *width > 0);
        let width = asked.or_else(|| Table::new().width().map(usize::from).filter(|width| terminal && *width > 0));
        Style { width, colors: terminal && !quiet && !dumb, absolute: self.absolute, now: SystemTime::now() }
    }

    /// The result: `document` with `--json`, otherwise the text that `render` makes of it.
    ///
    /// # Errors
    /// Standard output cannot be written. A closed pipe ends the process quietly.
    pub(crate) fn result(&self, document: &Value, render: impl FnOnce(&Style) -> String) -> Result<(), CliError> {
        if self.json { self.write(&format!("{document:#}\n")) } else { self.write(&render(&self.style())) }
    }

    /// Prints what `fetch` gets, once, or again and again when an interval is given: on a terminal in place, with `--json`
    /// one line a document. Ctrl-C ends that with success.
    ///
    /// # Errors
    /// As `fetch` and [`Self::result`].
    pub(crate) fn watch(
        &self,
        every: Option<Duration>,
        fetch: impl Fn() -> Result<Value, CliError>,
        render: impl Fn(&Value, &Style) -> String,
    ) -> Result<(), CliError> {
        let Some(every) = every else {
            let document = fetch()?;
            return self.result(&document, |style| render(&document, style));
        };
        let in_place = !self.json && io::stdout().is_terminal();
        let screen = Screen::begin(in_place)?;
        let mut shown = None;
        loop {
            let text = match (fetch(), &shown) {
                (Ok(document), _) if self.json => format!("{document}\n"),
                (Ok(document), _) => render(&document, &self.style()),
                // What is looked at goes away now and then, and comes back.
                (Err(error @ CliError::Unreachable { .. }), Some(last)) if in_place => {
                    let text = self.style().paint(Tone::Bad, &format!("{error}"));
                    self.write(&over(&format!("{last}\n{text}\n")))?;
                    std::thread::sleep(every);
                    continue;
                }
                (Err(error), _) => {
                    drop(screen);
                    return Err(error);
                }
            };
            self.write(&if in_place { over(&text) } else { text.clone() })?;
            shown = Some(text);
            std::thread::sleep(every);
        }
    }

    /// Bytes as they are.
    ///
    /// # Errors
    /// As [`Self::result`].
    pub(crate) fn write(&self, text: &str) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            Err(error) => Err(CliError::Local(format!("cannot write to standard output: {error}"))),
        }
    }

    /// Something about the result that is not part of it.
    pub(crate) fn note(&self, text: &str) {
        // Nothing can be told about a closed standard error.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Asks before something that cannot be taken back, or that concerns many.
    ///
    /// # Errors
    /// [`CliError::Aborted`] on anything but yes, [`CliError::Usage`] when there is nobody to ask.
    pub(crate) fn confirm(&self, question: &str) -> Result<(), CliError> {
        if self.yes {
            return Ok(());
        }
        ask(question, io::stdin().is_terminal(), &mut io::stdin().lock(), &mut io::stderr().lock())
    }
}

/// The terminal while something is drawn on it in place.
struct Screen {
    in_place: bool,
}

impl Screen {
    /// From now on the signals that end a process end this one with success, and leave the terminal as it was.
    fn begin(in_place: bool) -> Result<Self, CliError> {
        let lost = |error: io::Error| CliError::Local(format!("cannot watch on this terminal: {error}"));
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(lost)?;
        std::thread::spawn(move || {
            if signals.forever().next().is_some() {
                drop(Self { in_place });
                std::process::exit(0);
            }
        });
        let screen = Self { in_place };
        screen.put(BEGIN);
        Ok(screen)
    }

    fn put(&self, text: &str) {
        if self.in_place {
            let mut stdout = io::stdout().lock();
            // A terminal that is gone needs nothing.
            let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.put(END);
    }
}

/// `text` over what is on the terminal, from its first line on, without clearing it first, which would flicker.
fn over(text: &str) -> String {
    format!("\u{1b}[H{}\u{1b}[J", text.replace('\n', "\u{1b}[K\n"))
}

fn ask(question: &str, terminal: bool, answers: &mut impl BufRead, prompt: &mut impl Write) -> Result<(), CliError> {
    if !terminal {
        return Err(CliError::Usage(format!(
            "{question}\nStandard input is not a terminal, so nobody can be asked; add --yes to go ahead. Nothing was \
             changed."
        )));
    }
    let lost = |error: io::Error| CliError::Local(format!("cannot ask on this terminal: {error}"));
    write!(prompt, "{question} [y/N] ").and_then(|()| prompt.flush()).map_err(lost)?;
    let mut answer = String::new();
    answers.read_line(&mut answer).map_err(lost)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CliError::Aborted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    #[test]
    fn a_screen_is_drawn_over_the_one_before() {
        assert_eq!(over("a\nbc\n"), "\u{1b}[Ha\u{1b}[K\nbc\u{1b}[K\n\u{1b}[J");
    }

    fn answered(terminal: bool, answer: &str) -> (Result<(), CliError>, String) {
        let mut prompt = Vec::new();
        let result = ask("Kill 3 invocations?", terminal, &mut answer.as_bytes(), &mut prompt);
        (result, String::from_utf8(prompt).unwrap())
    }

    #[test]
    fn only_yes_is_yes() {
        for yes in ["y\n", "Y\n", " yes \n", "YES"] {
            assert!(answered(true, yes).0.is_ok(), "{yes:?}");
        }
        for no in ["", "\n", "n\n", "yeah\n", "no\n"] {
            let (result, prompt) = answered(true, no);
            assert_eq!(result.unwrap_err().exit(), Exit::Aborted, "{no:?}");
            assert_eq!(prompt, "Kill 3 invocations? [y/N] ");
        }
    }

    #[test]
    fn without_a_terminal_nobody_is_asked() {
        let (result, prompt) = answered(false, "y\n");
        let error = result.unwrap_err();
        assert_eq!((error.exit(), prompt.as_str()), (Exit::Usage, ""));
        assert!(error.to_string().contains("--yes"));
    }
}
