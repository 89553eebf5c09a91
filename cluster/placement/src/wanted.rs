//! What is wanted: the tables of meta.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use abide_model::id::{NodeId, PartitionId};
use abide_model::setting::Setting;
use abide_model::table::{Cluster, ClusterRow, NodeRow, Nodes, PlacementRow, Placements, Settings, Table};
use abide_model::view::{ReadError, View};

/// The tables of meta.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The cluster.
    pub cluster: ClusterRow,
    /// Its nodes, those that are gone included.
    pub nodes: BTreeMap<NodeId, NodeRow>,
    /// Where partitions are wanted, that of meta included.
    pub placements: BTreeMap<PartitionId, PlacementRow>,
    /// Settings that are not at their default.
    pub settings: BTreeMap<String, String>,
}

impl Wanted {
    /// The tables in `view`; `None` before the cluster is founded.
    ///
    /// # Errors
    /// [`ReadError`] when the store fails or a row does not decode; the caller must stop the process.
    pub fn read(view: &impl View) -> Result<Option<Self>, ReadError> {
        let Some(cluster) = view.get::<Cluster>(&())? else { return Ok(None) };
        let mut settings = BTreeMap::new();
        for (name, row) in all::<Settings>(view)? {
            settings.insert(name, row.value);
        }
        Ok(Some(Self { cluster, nodes: all::<Nodes>(view)?, placements: all::<Placements>(view)?, settings }))
    }

    /// The number that holds for a setting.
    #[must_use]
    pub fn number(&self, setting: &Setting) -> u64 {
        setting.number(self.settings.get(setting.name).map(String::as_str))
    }
}

fn all<T: Table>(view: &impl View) -> Result<BTreeMap<T::Key, T::Value>, ReadError>
where
    T::Key: Ord,
{
    let (from, to) = T::whole();
    let mut rows = BTreeMap::new();
    view.scan_bytes::<T>(&from, &to, &mut |key, value| {
        rows.insert(key, value);
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}
