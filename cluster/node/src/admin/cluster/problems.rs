//! What is not as it should be, in words, the worst first.

use std::collections::BTreeMap;
use std::time::Duration;

use abide_model::id::{NodeId, PartitionId, ReplicaId};
use abide_model::setting::REPLACE_AFTER;
use abide_model::table::NodeState;
use abide_placement::{GroupSeen, Limits};
use serde_json::{Value, json};

use super::hashes::{Verdict, compare};
use super::picture::Picture;
use super::remove::named;
use super::render::lag;
use crate::config::units::friendly;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// Requests fail, or data is in danger.
    Bad,
    /// Less can fail than should be able to.
    Warning,
    /// Passes by itself, or was asked for.
    Note,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Something to know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Problem {
    severity: Severity,
    /// Nodes and partitions that it is about.
    about: Vec<String>,
    text: String,
}

/// All of them as JSON.
pub(super) fn all(picture: &Picture) -> Vec<Value> {
    let problems = find(picture).into_iter();
    problems
        .map(|problem| json!({ "severity": problem.severity.word(), "about": problem.about, "text": problem.text }))
        .collect()
}

/// All of them.
pub(super) fn find(picture: &Picture) -> Vec<Problem> {
    if picture.wanted.cluster.cluster_id.is_empty() {
        let text = format!("{} does not know the cluster yet: its replica of meta has not begun", picture.asked);
        return vec![Problem { severity: Severity::Bad, about: vec![picture.asked.to_string()], text }];
    }
    let mut found = Vec::new();
    for node in picture.wanted.nodes.keys() {
        found.extend(of_node(picture, *node));
    }
    found.extend(few_nodes(picture));
    found.extend(builds(picture));
    found.extend(of_partitions(picture));
    found.sort_by_key(|problem| problem.severity);
    found
}

fn of_node(picture: &Picture, node: NodeId) -> Option<Problem> {
    let about = vec![node.to_string()];
    let state = picture.state(node)?;
    if state == NodeState::Removed {
        return None;
    }
    if !picture.is_alive(node) {
        let since = picture.silent(node).map_or_else(String::new, |silent| format!(" for {}", span(silent)));
        let next = match state {
            NodeState::Draining if picture.is_empty(node) => "it is empty: remove it".to_owned(),
            NodeState::Draining => picture
                .stuck(node)
                .unwrap_or_else(|| format!("others take over: {} left", named(&picture.left_on(node)))),
            _ => format!(
                "its replicas are made anew on others {} after it fell silent, if there are others; `abide cluster nodes \
                 replace {node}` does it now",
                span(Duration::from_millis(picture.wanted.number(&REPLACE_AFTER)))
            ),
        };
        let text = format!("{node} has not been heard of{since}; {next}");
        return Some(Problem { severity: Severity::Bad, about, text });
    }
    if picture.is_stopping(node) {
        let text = format!("{node} is stopping and gives its leaderships away");
        return Some(Problem { severity: Severity::Note, about, text });
    }
    if let Some(delay) = picture.disk_delay_ms(node) {
        let led = picture.led_by(node).count();
        let next = match led {
            0 => "others lead instead until it has been well for a while".to_owned(),
            _ => format!("it still leads {led} of the partitions, and their requests wait for it"),
        };
        let text = format!("the disk of {node} is slow ({} a sync): {next}", friendly(Duration::from_millis(delay)));
        return Some(Problem { severity: Severity::Warning, about, text });
    }
    if state == NodeState::Draining {
        let stuck = picture.stuck(node);
        let severity = if stuck.is_some() { Severity::Warning } else { Severity::Note };
        let text = if picture.is_empty(node) {
            format!("{node} is empty and can be stopped and removed")
        } else {
            stuck.unwrap_or_else(|| format!("{node} is being emptied: {} left", named(&picture.left_on(node))))
        };
        return Some(Problem { severity, about, text });
    }
    None
}

/// Fewer nodes than there are to be replicas.
fn few_nodes(picture: &Picture) -> Option<Problem> {
    let active = picture.wanted.nodes.keys().filter(|node| picture.state(**node) == Some(NodeState::Active)).count();
    let factor = picture.factor();
    if active >= factor || active == 0 {
        return None;
    }
    let nodes = if active == 1 { "1 node is".to_owned() } else { format!("{active} nodes are") };
    let votes = picture.seen.groups.values().map(|group| group.voters.len()).min();
    let alone =
        if votes == Some(1) { "; who has the only vote of a partition is waited for when it is away" } else { "" };
    // A single node is what whoever has one wanted.
    let severity = if picture.wanted.nodes.len() == 1 { Severity::Note } else { Severity::Warning };
    let text = format!("{nodes} active of the {factor} that `replication_factor` asks for{alone}");
    Some(Problem { severity, about: Vec::new(), text })
}

/// Nodes whose builds have different features.
fn builds(picture: &Picture) -> Option<Problem> {
    let nodes = picture.wanted.nodes.iter().filter(|(_, row)| row.state() != NodeState::Removed);
    let levels: BTreeMap<NodeId, u32> = nodes.map(|(node, row)| (*node, row.features())).collect();
    let (lowest, highest) = (*levels.values().min()?, *levels.values().max()?);
    let behind: Vec<_> =
        levels.iter().filter(|(_, level)| **level < highest).map(|(node, _)| node.to_string()).collect();
    (lowest < highest).then(|| Problem {
        severity: Severity::Note,
        text: format!(
            "features of level {highest} wait for newer builds on {}; level {} is in force",
            behind.join(", "),
            picture.wanted.cluster.features
        ),
        about: behind,
    })
}

/// What is said of a partition; the same of several is said once.
fn of_partitions(picture: &Picture) -> Vec<Problem> {
    let mut found: BTreeMap<(Severity, String), Vec<PartitionId>> = BTreeMap::new();
    for partition in picture.partitions() {
        for (severity, text) in of_partition(picture, partition) {
            found.entry((severity, text)).or_default().push(partition);
        }
    }
    let problems = found.into_iter().map(|((severity, text), partitions)| {
        let about: Vec<_> = partitions.iter().map(ToString::to_string).collect();
        Problem { severity, text: format!("{}: {text}", short(&about)), about }
    });
    problems.collect()
}

fn of_partition(picture: &Picture, partition: PartitionId) -> Vec<(Severity, String)> {
    let Some((group, leader)) = picture.group(partition).and_then(|group| Some((group, group.leader?))) else {
        return vec![(Severity::Bad, leaderless(picture, partition))];
    };
    let mut found = Vec::new();
    let comparison = compare(picture, partition);
    if comparison.verdict == Verdict::Different {
        let odd = comparison.different.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        found.push((Severity::Bad, format!("the state of {odd} differs from that of the others")));
    }
    if group.joint {
        found.push((Severity::Note, "its members are changing".to_owned()));
    }
    let wanted = picture.wanted.placements.get(&partition);
    let wanted_replicas: Vec<ReplicaId> = wanted.map(|row| row.wanted().collect()).unwrap_or_default();
    let coming: Vec<_> = wanted_replicas
        .iter()
        .filter(|replica| !group.contains(**replica) && picture.is_alive(replica.node))
        .map(ToString::to_string)
        .collect();
    if !coming.is_empty() {
        found.push((Severity::Note, format!("{} is to join", coming.join(", "))));
    }
    let away: Vec<_> = group.voters.iter().filter(|voter| !picture.is_alive(voter.node)).collect();
    if !away.is_empty() {
        let (votes, left) = (group.voters.len(), group.voters.len() - away.len());
        let text = format!("{left} of {votes} voters answer");
        let spare = left > votes / 2 + 1;
        let text = if spare { text } else { format!("{text}; with one less it stands still") };
        found.push((Severity::Warning, text));
    }
    for replica in group.members().filter(|replica| picture.is_alive(replica.node)) {
        let committed = picture.leader_status(partition).map(|leader| leader.committed);
        let behind = lag(committed, picture.status(partition, replica)).unwrap_or(0);
        if behind > Limits::default().caught_up_entries {
            found.push((Severity::Warning, format!("{replica} is {behind} entries behind")));
        }
    }
    found.extend(not_where_pinned(picture, partition, group, leader));
    found
}

fn leaderless(picture: &Picture, partition: PartitionId) -> String {
    let wanted = picture.wanted.placements.get(&partition);
    let nodes: Vec<NodeId> = wanted.map(|row| row.wanted().map(|of| of.node).collect()).unwrap_or_default();
    let away: Vec<_> = nodes.iter().filter(|node| !picture.is_alive(**node)).map(ToString::to_string).collect();
    if away.is_empty() {
        "no leader; an election may be under way".to_owned()
    } else {
        format!("no leader, and {} away", away.join(", "))
    }
}

fn not_where_pinned(
    picture: &Picture,
    partition: PartitionId,
    group: &GroupSeen,
    leader: ReplicaId,
) -> Option<(Severity, String)> {
    let pinned = picture.wanted.placements.get(&partition)?.pinned_node()?;
    if leader.node == pinned {
        return None;
    }
    let can = group.voters.iter().any(|voter| voter.node == pinned && picture.can_lead(group, *voter));
    let why = match picture.state(pinned) {
        Some(NodeState::Active) if can => "it is on its way",
        Some(NodeState::Draining) => "that node is being emptied",
        _ => "there is no replica that can lead there now",
    };
    Some((Severity::Note, format!("pinned to {pinned}, led by {}: {why}", leader.node)))
}

fn short(names: &[String]) -> String {
    const NAMED_MAX: usize = 8;
    let shown = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > NAMED_MAX { format!("{shown} and {} more", names.len() - NAMED_MAX) } else { shown }
}

/// A time as people read it, to the second.
fn span(time: Duration) -> String {
    friendly(Duration::from_secs(time.as_secs()))
}
