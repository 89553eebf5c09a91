//! The task that keeps the archive: one round at a time, by the clock and on demand.

use std::collections::BTreeMap;
use std::time::Duration;

use abide_model::id::{Millis, PartitionId};
use tokio::time::Instant;

use super::backoff::Backoff;
use super::due::Rules;
use super::{Archive, Order, Orders, newest};
use crate::clock;
use crate::cluster::Route;
use crate::shutdown::Stop;

/// How often it is looked whether a round is due.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is known between two looks.
#[derive(Default)]
struct Office {
    /// What this node leads, and whether the store was asked about it since.
    learned: BTreeMap<PartitionId, bool>,
    backoff: Backoff,
}

impl Archive {
    /// Saves what this node leads until it stops.
    pub(crate) async fn keep(self, mut orders: Orders, stop: Stop) {
        let mut office = Office::default();
        let work = async {
            loop {
                let order = tokio::select! {
                    order = orders.0.recv() => order,
                    () = tokio::time::sleep(INTERVAL) => None,
                };
                match order {
                    Some(order) => self.carry_out(order).await,
                    None => self.look(&mut office).await,
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = self.tell_ages() => {}
            // Whatever is half done there, the next node or the next start repeats.
            () = stop.requested() => {}
        }
    }

    /// What this node leads.
    fn led(&self) -> Vec<PartitionId> {
        self.groups().filter(|id| self.0.cluster.route(*id) == Route::Here).collect()
    }

    /// Carries out an order, whatever became of rounds before.
    async fn carry_out(&self, order: Order) {
        let made = self.round(&order.partitions).await;
        // Whoever ordered may have gone away.
        let _ = order.done.send(made.saved);
    }

    /// Makes a round if one is due.
    async fn look(&self, office: &mut Office) {
        let (led, now) = (self.led(), Instant::now());
        office.learned.retain(|id, _| led.contains(id));
        for id in &led {
            office.learned.entry(*id).or_default();
        }
        if led.is_empty() || !office.backoff.is_over(now) {
            return;
        }
        if let Err(error) = self.learn(office).await {
            tracing::warn!(code = error.code(), %error, "the store of snapshots cannot be read");
            self.0.metrics.failed();
            office.backoff.failed(Instant::now());
            return;
        }
        let (rules, time) = (Rules::of(&self.0.cluster.wanted()), Millis(clock::wall()));
        let is_due = |id: &PartitionId| rules.is_due(time, self.0.cluster.applied(*id), self.0.cluster.saved(*id));
        if led.iter().any(is_due) {
            if self.round(&led).await.failed {
                office.backoff.failed(Instant::now())
            } else {
                office.backoff.succeeded()
            }
        }
    }

    /// Asks the store for what others saved before this node led it.
    async fn learn(&self, office: &mut Office) -> Result<(), abide_snapshot::SnapshotError> {
        for (id, learned) in office.learned.iter_mut().filter(|(_, learned)| !**learned) {
            if let Some(saved) = newest(self.repository().await?, *id).await? {
                self.0.cluster.note_saved(*id, saved);
            }
            *learned = true;
        }
        Ok(())
    }

    /// Tells how old the newest snapshots are, beside whatever else goes on.
    async fn tell_ages(&self) {
        let mut since: BTreeMap<PartitionId, Instant> = BTreeMap::new();
        loop {
            let led = self.led();
            since.retain(|id, _| led.contains(id));
            let now = clock::wall();
            for id in self.groups() {
                let age = if led.contains(&id) {
                    let since = since.entry(id).or_insert_with(Instant::now);
                    let saved = self.0.cluster.saved(id);
                    // What was never saved is as old as this node's leadership.
                    saved.map_or_else(|| since.elapsed(), |saved| age(now, saved.created_at))
                } else {
                    Duration::ZERO
                };
                self.0.metrics.set_age(id, age);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

fn age(now_ms: u64, created_at: Millis) -> Duration {
    Duration::from_millis(now_ms.saturating_sub(created_at.0))
}
