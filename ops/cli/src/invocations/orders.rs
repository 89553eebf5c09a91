//! Orders for one invocation, for some, or for all that match.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};
use ureq::http::Method;

use super::filter::Selection;
use super::list;
use crate::Context;
use crate::api::Path;
use crate::error::CliError;
use crate::output::Output;
use crate::table;
use crate::text::{Style, count, field};

/// How many of those that match are shown before the question.
const SAMPLE: u32 = 5;

/// Whom an order is for.
#[derive(Args)]
pub(crate) struct Chosen {
    /// Ids of invocations.
    ids: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// Only show what matches.
    #[arg(long)]
    dry_run: bool,
    /// Of those that match, take at most so many.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
}

/// What may be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Cancel,
    Kill,
    Pause,
    Resume,
    Purge,
    PurgeJournal,
    Restart,
    Reschedule,
}

impl Verb {
    /// As the server's paths say it.
    fn path(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Purge => "purge",
            Self::PurgeJournal => "purge-journal",
            Self::Restart => "restart-as-new",
            Self::Reschedule => "reschedule",
        }
    }

    /// The question whether to do it to `whom`.
    fn ask(self, whom: &str) -> String {
        match self {
            Self::Cancel => format!("Cancel {whom}?"),
            Self::Kill => format!("Kill {whom}, and all that was called there?"),
            Self::Pause => format!("Pause {whom}?"),
            Self::Resume => format!("Resume {whom}?"),
            Self::Purge => format!("Forget {whom}, result and journal?"),
            Self::PurgeJournal => format!("Forget the journal of {whom}?"),
            Self::Restart => format!("Restart {whom}?"),
            Self::Reschedule => format!("Reschedule {whom}?"),
        }
    }

    /// What was done, behind the name of what it was done to.
    fn done(self) -> &'static str {
        match self {
            Self::Cancel => "cancelled",
            Self::Kill => "killed",
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Purge => "purged",
            Self::PurgeJournal => "journal purged",
            Self::Restart => "restarted",
            Self::Reschedule => "rescheduled",
        }
    }

    /// Whether an invocation under way only sees it a little later.
    fn takes_time(self) -> bool {
        matches!(self, Self::Cancel | Self::Pause)
    }

    /// Whether it takes something away that cannot be had again.
    fn destroys(self) -> bool {
        matches!(self, Self::Cancel | Self::Kill | Self::Purge | Self::PurgeJournal)
    }
}

/// A verb with its parameters.
pub(super) struct Order {
    verb: Verb,
    parameters: Vec<(&'static str, String)>,
}

impl Order {
    pub(super) fn new(verb: Verb) -> Self {
        Self { verb, parameters: Vec::new() }
    }

    /// With a parameter, unless it is absent.
    pub(super) fn with(mut self, name: &'static str, value: Option<String>) -> Self {
        self.parameters.extend(value.map(|value| (name, value)));
        self
    }

    fn path<'a>(&'a self, segments: impl IntoIterator<Item = &'a str>) -> Path {
        let path = Path::of(segments);
        self.parameters.iter().fold(path, |path, (name, value)| path.with(name, Some(value)))
    }
}

/// What became of an order.
#[derive(Default)]
struct Outcome {
    matched: Option<u64>,
    more: bool,
    /// Done at once.
    succeeded: Vec<String>,
    /// Of those, the ones that may see the order only later.
    requested: Vec<String>,
    created: BTreeMap<String, String>,
    failed: Vec<(String, String)>,
    first_error: Option<CliError>,
}

/// Shows whom it is for, asks where it has to, and gives the order.
///
/// # Errors
/// For one id what the server answered; for several, [`CliError::Partly`] when some failed.
pub(super) fn run(context: &Context, chosen: &Chosen, order: &Order) -> Result<(), CliError> {
    let filter = chosen.selection.compose();
    if chosen.ids.is_empty() && filter.is_none() {
        return Err(CliError::Usage(format!(
            "whom shall be {}? Give ids, or conditions such as --filter 'status=paused service=Account'",
            order.verb.done()
        )));
    }
    let matched = filter.as_deref().map(|filter| preview(context, chosen, order, filter)).transpose()?;
    if chosen.dry_run {
        return dry_run(context, chosen, order, matched.as_ref());
    }
    let bulk = matched.as_ref().map_or(0, |matched| matched["matched"].as_u64().unwrap_or(0));
    let total = bulk + chosen.ids.len() as u64;
    if total > 0 && (bulk > 0 || order.verb.destroys()) {
        context.output.confirm(&question(order.verb, &chosen.ids, bulk))?;
    }
    let mut outcome = Outcome::default();
    if let Some(filter) = filter.as_deref().filter(|_| bulk > 0) {
        let answer = bulk_order(context, chosen, order, filter, false)?;
        outcome.add_bulk(order.verb, &answer);
    }
    outcome.matched = matched.map(|_| bulk);
    for id in &chosen.ids {
        outcome.add(context, order, id)?;
    }
    outcome.report(context, order)
}

fn question(verb: Verb, ids: &[String], bulk: u64) -> String {
    match (ids, bulk) {
        ([id], 0) => verb.ask(id),
        _ => verb.ask(&count(bulk + ids.len() as u64, "invocation")),
    }
}

/// Tells how many match, and shows the first of them on standard error.
fn preview(context: &Context, chosen: &Chosen, order: &Order, filter: &str) -> Result<Value, CliError> {
    let dry = bulk_order(context, chosen, order, filter, true)?;
    let matched = dry["matched"].as_u64().unwrap_or(0);
    if !context.output.is_json() {
        let verb = if matched == 1 { "matches" } else { "match" };
        let more = if dry["more"] == true { " at least; no more than --limit are taken" } else { "" };
        context.output.note(&format!("{} {verb} `{filter}`{more}.", count(matched, "invocation")));
        if matched > 0 {
            let path = Path::of(["invocations"]).with("filter", Some(filter)).with("limit", Some(SAMPLE));
            let sample = context.admin.get(&path)?;
            context.output.note(sample_table(&sample, matched, &context.output.style()).trim_end());
        }
    }
    Ok(dry)
}

fn sample_table(sample: &Value, matched: u64, style: &Style) -> String {
    // It goes to standard error, of which nothing is known.
    let style = Style { colors: false, ..*style };
    let found = sample["invocations"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<_> = found.iter().map(|invocation| list::row(invocation, &style)).collect();
    let left = matched.saturating_sub(rows.len() as u64);
    let end = if left > 0 { format!("… and {left} more\n") } else { String::new() };
    table::render(list::COLUMNS, &rows, &style) + &end
}

fn bulk_order(
    context: &Context,
    chosen: &Chosen,
    order: &Order,
    filter: &str,
    dry_run: bool,
) -> Result<Value, CliError> {
    let path = Path::of(["internal", "invocations_batch_operations", order.verb.path()]);
    let mut body = json!({ "filter": filter, "dry_run": dry_run, "limit": chosen.limit });
    for (name, value) in &order.parameters {
        // A number is one in a document.
        body[*name] = value.parse::<u32>().ok().filter(|_| *name == "from").map_or_else(|| json!(value), Value::from);
    }
    context.admin.json(&Method::POST, &path, Some(&body))
}

/// Tells what an order would concern. Those that were named are only looked up.
fn dry_run(context: &Context, chosen: &Chosen, order: &Order, matched: Option<&Value>) -> Result<(), CliError> {
    let bulk = matched.map_or(0, |matched| matched["matched"].as_u64().unwrap_or(0));
    let mut would: Vec<String> = matched.map(|matched| ids_of(&matched["invocation_ids"])).unwrap_or_default();
    for id in &chosen.ids {
        context.admin.get(&Path::of(["invocations", id]))?;
        would.push(id.clone());
    }
    let document = json!({
        "verb": order.verb.path(),
        "dry_run": true,
        "matched": bulk + chosen.ids.len() as u64,
        "more": matched.is_some_and(|matched| matched["more"] == true),
        "invocation_ids": would,
        "succeeded": [],
        "failed": [],
    });
    let total = bulk + chosen.ids.len() as u64;
    context.output.result(&document, |_| {
        format!("Dry run: {} would be {}; nothing was changed.\n", count(total, "invocation"), order.verb.done())
    })
}

fn ids_of(list: &Value) -> Vec<String> {
    let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| item.as_str().or_else(|| item["old_invocation_id"].as_str()))
        .map(str::to_owned)
        .collect()
}

impl Outcome {
    /// Takes in what a bulk operation answered.
    fn add_bulk(&mut self, verb: Verb, answer: &Value) {
        self.more = answer["more"] == true;
        if verb.takes_time() {
            self.requested.extend(ids_of(&answer["succeeded"]));
        }
        self.succeeded.extend(ids_of(&answer["succeeded"]));
        for done in answer["succeeded"].as_array().map(Vec::as_slice).unwrap_or_default() {
            if let (Some(id), Some(new)) = (done["old_invocation_id"].as_str(), done["new_invocation_id"].as_str()) {
                self.created.insert(id.to_owned(), new.to_owned());
            }
        }
        for failed in answer["failed"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let error = field(failed, "error").unwrap_or_default();
            self.failed.push((field(failed, "invocation_id").unwrap_or_default(), error));
        }
    }

    /// Gives the order for one id. A server that is gone ends it all; other errors are kept.
    fn add(&mut self, context: &Context, order: &Order, id: &str) -> Result<(), CliError> {
        let path = order.path(["invocations", id, order.verb.path()]);
        match context.admin.send(&Method::PATCH, &path, None)?.success() {
            Ok(answer) => {
                let document: Value = serde_json::from_str(&answer.body).unwrap_or_default();
                if let Some(new) = document["new_invocation_id"].as_str() {
                    self.created.insert(id.to_owned(), new.to_owned());
                }
                if answer.status == 202 {
                    self.requested.push(id.to_owned());
                }
                self.succeeded.push(id.to_owned());
            }
            Err(error) => {
                self.failed.push((id.to_owned(), error.to_string()));
                self.first_error.get_or_insert(error);
            }
        }
        Ok(())
    }

    fn report(mut self, context: &Context, order: &Order) -> Result<(), CliError> {
        let total = self.succeeded.len() + self.failed.len();
        if let Some(error) = self.first_error.take_if(|_| total == 1 && self.matched.is_none()) {
            return Err(error);
        }
        context.output.result(&self.document(order.verb), |_| self.text(order.verb))?;
        self.complain(&context.output);
        match self.failed.len() {
            0 => Ok(()),
            failed => Err(CliError::Partly { failed, total }),
        }
    }

    fn document(&self, verb: Verb) -> Value {
        let failed: Vec<_> =
            self.failed.iter().map(|(id, error)| json!({ "invocation_id": id, "error": error })).collect();
        json!({
            "verb": verb.path(),
            "dry_run": false,
            "matched": self.matched,
            "more": self.more,
            "succeeded": self.succeeded,
            "requested": self.requested,
            "new_invocation_ids": self.created,
            "failed": failed,
        })
    }

    fn text(&self, verb: Verb) -> String {
        let mut out = String::new();
        for id in &self.succeeded {
            let done = if self.requested.contains(id) { "requested to be " } else { "" };
            out.push_str(&format!("{id} {done}{}", verb.done()));
            if let Some(new) = self.created.get(id) {
                out.push_str(&format!(" as {new}"));
            }
            out.push('\n');
        }
        if self.succeeded.is_empty() && self.failed.is_empty() {
            out.push_str("Nothing to do.\n");
        }
        out
    }

    fn complain(&self, output: &Output) {
        for (id, error) in &self.failed {
            output.note(&format!("{id}: {error}"));
        }
        if self.more {
            output.note("More match than --limit allows; run the same command again for the next ones.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_name_what_is_at_stake() {
        assert_eq!(question(Verb::Cancel, &["inv_1a".into()], 0), "Cancel inv_1a?");
        assert_eq!(question(Verb::Kill, &["inv_1a".into()], 4), "Kill 5 invocations, and all that was called there?");
        assert_eq!(question(Verb::Resume, &[], 1), "Resume 1 invocation?");
    }

    #[test]
    fn bulk_answers_are_understood_with_and_without_new_ids() {
        let mut outcome = Outcome::default();
        outcome.add_bulk(Verb::Restart, &json!({
            "matched": 3, "more": true, "succeeded": ["inv_1a", {"old_invocation_id": "inv_1b", "new_invocation_id": "inv_1n"}],
            "failed": [{"invocation_id": "inv_1c", "error": "no\u{7}"}],
        }));
        assert_eq!(outcome.succeeded, ["inv_1a", "inv_1b"]);
        assert_eq!(outcome.created["inv_1b"], "inv_1n");
        assert_eq!(outcome.failed, [("inv_1c".to_owned(), "no\\u{7}".to_owned())]);
        assert_eq!(outcome.text(Verb::Restart), "inv_1a restarted\ninv_1b restarted as inv_1n\n");
    }
}
