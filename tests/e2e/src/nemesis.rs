//! What befalls a cluster: faults that strike, last, and end.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::random::Random;

/// How much longer each sync takes on a slow disk.
const SLOW: Duration = Duration::from_millis(500);

/// A fault. Where it strikes one node, it is the leader of some partition, except for [`Fault::KillAny`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of a leader's node, and a restart.
    KillLeader,
    /// `kill -9` of any node, and a restart.
    KillAny,
    /// SIGSTOP and SIGCONT.
    Pause,
    /// Nothing passes between the node and the others. Clients reach it.
    Isolate,
    /// The node hears no other.
    Deafen,
    /// No other node hears it.
    Mute,
    /// Each sync of its disk takes half a second longer.
    SlowDisk,
    /// The bucket for snapshots answers nobody, while snapshots are asked for.
    BucketDown,
    /// SIGTERM and a restart of every node, one after another.
    RollingRestart,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub struct Blow {
    /// The node that was struck, if it was one.
    pub victim: Option<usize>,
    /// From the end of the fault until everything had its replicas and leaders again.
    pub recovery: Duration,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::KillLeader,
        Self::KillAny,
        Self::Pause,
        Self::Isolate,
        Self::Deafen,
        Self::Mute,
        Self::SlowDisk,
        Self::BucketDown,
        Self::RollingRestart,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::KillLeader => "kill-leader",
            Self::KillAny => "kill-any",
            Self::Pause => "pause-leader",
            Self::Isolate => "isolate-leader",
            Self::Deafen => "leader-hears-nothing",
            Self::Mute => "leader-is-not-heard",
            Self::SlowDisk => "slow-disk-of-leader",
            Self::BucketDown => "s3-down",
            Self::RollingRestart => "rolling-restart",
        }
    }

    /// How long it lasts, where that is a choice.
    #[must_use]
    pub fn duration(self) -> Duration {
        match self {
            Self::KillLeader | Self::KillAny => Duration::from_secs(2),
            Self::Pause | Self::Isolate | Self::Deafen | Self::Mute | Self::SlowDisk => Duration::from_secs(5),
            Self::BucketDown => Duration::from_secs(20),
            Self::RollingRestart => Duration::ZERO,
        }
    }

    /// Whether it can strike this cluster.
    #[must_use]
    pub fn is_possible(self, cluster: &Cluster) -> bool {
        match self {
            Self::Isolate | Self::Deafen | Self::Mute => cluster.network.is_some(),
            Self::SlowDisk => cluster.slow_disk(0, Duration::ZERO),
            Self::BucketDown => cluster.bucket.is_some(),
            Self::KillLeader | Self::KillAny | Self::Pause | Self::RollingRestart => true,
        }
    }

    /// Strikes, lasts, ends, and waits until the cluster is as healthy as before.
    ///
    /// # Panics
    /// When the fault is not possible, or the cluster does not recover.
    pub async fn strike(self, cluster: &mut Cluster, random: &mut Random) -> Blow {
        let victim = match self {
            Self::RollingRestart | Self::BucketDown => None,
            Self::KillAny => Some(one_of(&cluster.running(), random)),
            _ => {
                let partitions = cluster.partitions().await;
                Some(cluster.leader_of(&one_of(&partitions, random)).await)
            }
        };
        match victim {
            None if self == Self::BucketDown => {
                bucket(cluster).set_fault(Some(test_s3::Fault::Refused));
                tokio::time::sleep(self.duration()).await;
                bucket(cluster).set_fault(None);
            }
            None => {
                for place in 0..cluster.len() {
                    cluster.stop(place);
                    cluster.restart(place);
                    cluster.wait_healthy().await;
                }
            }
            Some(victim) => {
                self.begin(cluster, victim);
                tokio::time::sleep(self.duration()).await;
                self.end(cluster, victim);
            }
        }
        let recovery = cluster.wait_healthy().await;
        Blow { victim, recovery }
    }

    fn begin(self, cluster: &mut Cluster, victim: usize) {
        match self {
            Self::KillLeader | Self::KillAny => cluster.kill(victim),
            Self::Pause => cluster.pause(victim),
            Self::Isolate => network(cluster).isolate(victim),
            Self::Deafen => network(cluster).deafen(victim),
            Self::Mute => network(cluster).mute(victim),
            Self::SlowDisk => assert!(cluster.slow_disk(victim, SLOW), "disks cannot be made slow"),
            Self::BucketDown | Self::RollingRestart => {}
        }
    }

    fn end(self, cluster: &mut Cluster, victim: usize) {
        match self {
            Self::KillLeader | Self::KillAny => {
                cluster.restart(victim);
            }
            Self::Pause => cluster.resume(victim),
            Self::Isolate | Self::Deafen | Self::Mute => network(cluster).heal(),
            Self::SlowDisk => assert!(cluster.slow_disk(victim, Duration::ZERO), "disks cannot be made slow"),
            Self::BucketDown | Self::RollingRestart => {}
        }
    }
}

fn network(cluster: &Cluster) -> &crate::netns::Network {
    cluster.network.as_ref().expect("the cluster has a network of its own")
}

fn bucket(cluster: &Cluster) -> &test_s3::TestS3 {
    cluster.bucket.as_ref().expect("the cluster keeps snapshots in a bucket")
}

fn one_of<T: Clone>(all: &[T], random: &mut Random) -> T {
    let count = u64::try_from(all.len()).unwrap();
    all[usize::try_from(random.below(count)).unwrap()].clone()
}
