//! Placeholder until the planner is merged.
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use abide_model::id::{NodeId, PartitionId};
use abide_model::table::*;
use abide_model::view::{ReadError, View};
/// Wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted { /** c */ pub cluster: Option<ClusterRow>, /** n */ pub nodes: BTreeMap<NodeId, NodeRow>, /** p */ pub placements: BTreeMap<PartitionId, PlacementRow>, /** s */ pub settings: BTreeMap<String, SettingRow> }
impl Wanted {
    /// Reads.
    /// # Errors
    /// read.
    pub fn read<V: View>(view: &V) -> Result<Self, ReadError> {
        let mut wanted = Self { cluster: view.get::<Cluster>(&())?, ..Self::default() };
        let (from, to) = Nodes::whole();
        view.scan_bytes::<Nodes>(&from, &to, &mut |k, v| { wanted.nodes.insert(k, v); ControlFlow::Continue(()) })?;
        let (from, to) = Placements::whole();
        view.scan_bytes::<Placements>(&from, &to, &mut |k, v| { wanted.placements.insert(k, v); ControlFlow::Continue(()) })?;
        let (from, to) = Settings::whole();
        view.scan_bytes::<Settings>(&from, &to, &mut |k, v| { wanted.settings.insert(k, v); ControlFlow::Continue(()) })?;
        Ok(wanted)
    }
}
