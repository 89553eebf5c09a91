//! A cluster that was restored under its old id saves again, beside what is there.

use abide_model::id::PartitionId;
use abide_partition::Partition;
use abide_snapshot::PointerMove;

use super::World;
use super::bucket::at_once;
use super::watch::broken;
use crate::node::stopped;
use crate::store::SimState;
use crate::violation::{Check, Invariant, check};

impl World {
    /// The first snapshot of each partition is newer than all that the store has under this id: its pointer moves.
    pub(super) fn save_again(&self, partitions: &mut [Partition<SimState>]) -> Check {
        for (p, partition) in (0..).zip(partitions) {
            // The tables as of now, as for any other snapshot.
            let _ = partition.begin_checkpoint();
            let meta = self.meta_of(p, &partition.snapshot_point(), partition, 0);
            let export = partition.view().export().map_err(|error| stopped(&error))?;
            let rows = export.page(None, usize::MAX).map_err(|error| stopped(&error))?;
            let rows = rows.into_iter().map(Ok::<_, std::convert::Infallible>);
            let repository = self.archive.bucket.repository().map_err(|error| broken(p, &error))?;
            let sizes = self.config.archive.rules.sizes;
            let created =
                at_once(repository.create_with_sizes(meta, rows, sizes)).map_err(|error| broken(p, &error))?;
            let pointed = at_once(repository.pointed(PartitionId(p))).map_err(|error| broken(p, &error))?;
            let newest = created.pointer == PointerMove::Moved && pointed == Some(created.id);
            check(newest, Invariant::I24Restored, || {
                format!("p{p} was restored and saved {}, the pointer names {pointed:?}", created.id)
            })?;
        }
        Ok(())
    }
}
