//! `abide cluster restore`: a cluster from its snapshots, and what it lost.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use abide_model::codec::FEATURES;
use abide_model::id::Millis;
use abide_restore::{Gap, PassedOver, Report, RestoreOrder, Restored, open_cluster, restore};
use abide_snapshot::Location;
use serde_json::{Value, json};

use crate::Context;
use crate::error::CliError;
use crate::snapshots::rfc3339;
use crate::store::{location, now, open, wait_for};
use crate::table::{self, Column, Field};
use crate::text::{Style, Tone, span};

/// Snapshots that were made further apart are told to be of different moments.
const APART: Duration = Duration::from_secs(5);

/// What to restore, and where.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the snapshots are: a folder, or s3://bucket/prefix?region=…
    #[arg(long, value_name = "URL", value_parser = location)]
    from: Location,
    /// The folder of the new node; empty or missing.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The cluster, where there are several.
    #[arg(long, value_name = "ID")]
    cluster: Option<String>,
    /// Only snapshots made by then: a date, or how long ago, for example `2h`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    as_of: Option<Millis>,
    /// Keep the id of the cluster. Only when no node of the old one will ever start again: it would be taken for one of the
    /// new.
    #[arg(long)]
    keep_cluster_id: bool,
}

fn time(text: &str) -> Result<Millis, String> {
    if let Ok(at) = humantime::parse_rfc3339_weak(text) {
        let since = at.duration_since(UNIX_EPOCH).map_err(|_| "it is before 1970".to_owned())?;
        return Ok(Millis::default().plus(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)));
    }
    let ago =
        humantime::parse_duration(text).map_err(|_| "expected a date or a duration, `2026-05-01T12:00:00Z` or `2h`")?;
    Ok(Millis(now().0.saturating_sub(Millis::of(ago))))
}

/// Restores.
///
/// # Errors
/// As the store answers, and when the folder is not empty.
pub(crate) fn run(context: &Context, args: &Args) -> Result<(), CliError> {
    if args.keep_cluster_id {
        context.output.confirm("Keep the id of the cluster? No node of the old one may ever start again.")?;
    }
    let report = wait_for(async {
        let repository = open_cluster(open(&args.from).await?, args.cluster.as_deref()).await?;
        let old = repository.cluster().cluster_id.clone();
        let order = RestoreOrder {
            data: args.data.clone(),
            as_of: args.as_of,
            cluster_id: if args.keep_cluster_id { old } else { format!("cl_{:032x}", random()?) },
            store_uuid: format!("{:032x}", random()?),
            features: FEATURES,
        };
        Ok(restore(&repository, &order).await?)
    })?;
    let document = render(&report, now());
    context.output.result(&document, |style| describe(&report, args, now(), style))
}

fn random() -> Result<u128, CliError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| CliError::Local(format!("no random numbers: {error}")))?;
    Ok(u128::from_le_bytes(bytes))
}

fn render(report: &Report, now: Millis) -> Value {
    let passed = |passed: &[PassedOver]| -> Vec<Value> {
        let one =
            |passed: &PassedOver| json!({ "id": passed.id.to_string(), "code": passed.code, "reason": passed.reason });
        passed.iter().map(one).collect()
    };
    let partition = |restored: &Restored| {
        json!({
            "partition": restored.id.partition.to_string(),
            "id": restored.id.to_string(),
            "index": restored.id.index,
            "log_time": rfc3339(restored.log_time),
            "created_at": rfc3339(restored.created_at),
            "age_ms": now.0.saturating_sub(restored.created_at.0),
            "rows": restored.rows,
            "state_bytes": restored.bytes,
            "passed_over": passed(&restored.passed),
        })
    };
    let gap = |gap: &Gap| json!({ "from": gap.from.to_string(), "to": gap.to.to_string(), "lost": gap.lost, "unknown": gap.unknown });
    let (first, last) = report.span();
    json!({
        "from_cluster_id": report.from,
        "cluster_id": report.cluster_id,
        "partitions": report.partitions.iter().map(partition).collect::<Vec<_>>(),
        "oldest": rfc3339(first),
        "newest": rfc3339(last),
        "span_ms": last.0 - first.0,
        "loss_window_ms": now.0.saturating_sub(first.0),
        "messages": {
            "lost": report.lost(),
            "unknown": report.unknown(),
            "between": report.gaps.iter().map(gap).collect::<Vec<_>>(),
        },
        "settings": report.settings,
        "meta_passed_over": passed(&report.passed),
    })
}

const COLUMNS: &[Column] = &[
    Column::new("PARTITION"),
    Column::new("INDEX").right(),
    Column::new("LOG TIME"),
    Column::new("AGE").right(),
    Column::new("ROWS").optional(1).right(),
    Column::new("SNAPSHOT").optional(2),
];

fn describe(report: &Report, args: &Args, now: Millis, style: &Style) -> String {
    let age = |at: Millis| span(Duration::from_millis(now.0.saturating_sub(at.0)));
    let row = |restored: &Restored| -> Vec<Field> {
        vec![
            restored.id.partition.to_string().into(),
            restored.id.index.to_string().into(),
            rfc3339(restored.log_time).into(),
            age(restored.created_at).into(),
            restored.rows.to_string().into(),
            restored.id.to_string().into(),
        ]
    };
    let rows: Vec<_> = report.partitions.iter().map(row).collect();
    let mut out = table::render(COLUMNS, &rows, style);
    let mut line = |text: String| out.push_str(&format!("{text}\n"));
    line(String::new());
    let (first, last) = report.span();
    line(format!("Lost is what came after {} ({} ago).", rfc3339(first), age(first)));
    let apart = Duration::from_millis(last.0 - first.0);
    if apart > APART {
        let text = format!(
            "The partitions are of different moments: the newest is of {} ({} later).",
            rfc3339(last),
            span(apart)
        );
        line(style.paint(Tone::Warning, &text));
    }
    if report.gaps.is_empty() {
        line(
            "Messages between partitions fit: none is lost, and none has arrived that its sender does not know of."
                .into(),
        );
    }
    for gap in &report.gaps {
        let Gap { from, to, .. } = gap;
        if gap.lost > 0 {
            let text = format!(
                "{} messages from {from} to {to} are lost: they were sent, and {to} is from before they arrived.",
                gap.lost
            );
            line(style.paint(Tone::Warning, &text));
        }
        if gap.unknown > 0 {
            let text = format!(
                "{} messages from {from} to {to} took effect, but {from} is from before it sent them, and may send them again.",
                gap.unknown
            );
            line(style.paint(Tone::Warning, &text));
        }
    }
    for passed in report.partitions.iter().flat_map(|restored| &restored.passed).chain(&report.passed) {
        let text = format!("Passed over {}: {} [{}]", passed.id, passed.reason, passed.code);
        line(style.paint(Tone::Warning, &text));
    }
    line(format!("{} settings of the cluster were carried over.", report.settings));
    let (old, new) = (&report.from, &report.cluster_id);
    line(format!("The cluster {old} is restored as {new} in {}.", args.data.display()));
    line(format!(
        "Start a node with --data {} --partitions {}; others join it with --join.",
        args.data.display(),
        report.partitions.len()
    ));
    out
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use abide_model::id::PartitionId;
    use abide_snapshot::SnapshotId;

    fn restored(partition: u32, created_at: u64) -> Restored {
        let partition = PartitionId(partition);
        Restored {
            id: SnapshotId { partition, index: 7, tag: 1 },
            log_time: Millis(created_at - 10),
            created_at: Millis(created_at),
            rows: 3,
            bytes: 100,
            passed: Vec::new(),
        }
    }

    fn report(gaps: Vec<Gap>) -> Report {
        Report {
            from: "c1".into(),
            cluster_id: "c2".into(),
            partitions: vec![restored(0, 1_700_000_000_000), restored(1, 1_700_000_060_000)],
            gaps,
            settings: 2,
            passed: Vec::new(),
        }
    }

    #[test]
    fn what_is_lost_is_said() {
        let style = Style { width: None, colors: false, absolute: false, now: SystemTime::UNIX_EPOCH };
        let args =
            Args { from: "x".parse().unwrap(), data: "d".into(), cluster: None, as_of: None, keep_cluster_id: false };
        let gap = Gap { from: PartitionId(0), to: PartitionId(1), lost: 2, unknown: 0 };
        let (report, now) = (report(vec![gap]), Millis(1_700_000_120_000));
        let text = describe(&report, &args, now, &style);
        for part in [
            "Lost is what came after 2023-11-14T22:13:20.000Z (2m ago).",
            "different moments: the newest is of 2023-11-14T22:14:20.000Z (1m later).",
            "2 messages from p0 to p1 are lost",
            "2 settings of the cluster were carried over.",
            "--data d --partitions 2; others join",
        ] {
            assert!(text.contains(part), "{part}\nis missing in\n{text}");
        }
        let document = render(&report, now);
        assert_eq!((&document["loss_window_ms"], &document["messages"]["lost"]), (&json!(120_000), &json!(2)));
        assert!(describe(&self::report(vec![]), &args, now, &style).contains("Messages between partitions fit"));
    }

    #[test]
    fn times_are_dates_or_how_long_ago() {
        assert_eq!(time("2023-11-14T22:13:20Z"), Ok(Millis(1_700_000_000_000)));
        let ago = time("2h").unwrap();
        assert!(now().0 - ago.0 >= 7_200_000);
        assert!(time("yesterday").is_err());
    }
}
