//! Snapshots on demand: each is made by the node that leads the partition.

use std::collections::BTreeMap;
use std::time::Duration;

use abide_model::id::{NodeId, PartitionId};
use futures_util::future::join_all;

use super::Engine;
use crate::archive::Archive;
use crate::cluster::Route;
use crate::cluster::wire::{Ask, Save, SavedAll, SavedPartition, Told};

/// How long a round of another node may take.
const SAVE_PATIENCE: Duration = Duration::from_secs(30 * 60);

impl Engine {
    /// From now on there is a place to save the state at.
    pub(crate) fn set_archive(&self, archive: Archive) {
        // It is set once.
        let _ = self.0.archive.set(archive);
    }

    /// Where the state of partitions is saved, if anywhere.
    pub(crate) fn archive(&self) -> Option<&Archive> {
        self.0.archive.get()
    }

    /// Saves partitions, on all nodes at once; what became of each.
    pub(crate) async fn save(&self, partitions: &[PartitionId]) -> Vec<SavedPartition> {
        let (mut saved, mut here, mut there) = (Vec::new(), Vec::new(), BTreeMap::<NodeId, Vec<PartitionId>>::new());
        for id in partitions {
            match self.cluster().route(*id) {
                Route::Here => here.push(*id),
                Route::There(node) => there.entry(node).or_default().push(*id),
                Route::Nobody => saved.push(failed(*id, "nobody leads it at the moment")),
            }
        }
        let others = join_all(there.into_iter().map(|(node, partitions)| self.save_there(node, partitions)));
        let (own, others) = tokio::join!(self.save_here(here), others);
        saved.extend(own.into_iter().chain(others.into_iter().flatten()));
        saved.sort_by_key(|saved| saved.partition);
        saved
    }

    async fn save_here(&self, partitions: Vec<PartitionId>) -> Vec<SavedPartition> {
        if partitions.is_empty() {
            return Vec::new();
        }
        let Some(archive) = self.archive() else {
            let reason = format!("`snapshot.to` is not set on {}", self.cluster().node());
            return partitions.into_iter().map(|id| failed(id, &reason)).collect();
        };
        match archive.save(partitions.clone()).await {
            Ok(saved) => saved,
            Err(error) => partitions.into_iter().map(|id| failed(id, &error.to_string())).collect(),
        }
    }

    async fn save_there(&self, node: NodeId, partitions: Vec<PartitionId>) -> Vec<SavedPartition> {
        let save = Save { partitions: partitions.iter().map(|id| id.0).collect() };
        let reason = match self.ask(node, Ask::Save(save), SAVE_PATIENCE).await {
            Ok(Told::Saved(saved)) => return saved.partitions,
            Ok(_) => format!("{node} does not know how"),
            Err(refusal) => format!("{node}: {refusal}"),
        };
        partitions.into_iter().map(|id| failed(id, &reason)).collect()
    }

    /// Saves what another node thinks that this one leads.
    pub(super) async fn serve_save(&self, save: &Save) -> SavedAll {
        let ids = save.partitions.iter().copied().map(PartitionId);
        let (led, others): (Vec<_>, Vec<_>) = ids.partition(|id| self.cluster().route(*id) == Route::Here);
        let mut partitions: Vec<_> = others.into_iter().map(|id| failed(id, "its leader has changed")).collect();
        partitions.extend(self.save_here(led).await);
        SavedAll { partitions }
    }
}

fn failed(id: PartitionId, reason: &str) -> SavedPartition {
    SavedPartition { partition: id.0, failure: reason.to_owned(), ..SavedPartition::default() }
}
