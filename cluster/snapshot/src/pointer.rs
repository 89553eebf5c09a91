//! The two small objects of a repository: what cluster it is of, and which snapshot of a partition is the newest.

use abide_model::id::PartitionId;
use bytes::Bytes;
use prost::Message;

use crate::{SnapshotError, SnapshotId, envelope};

/// Layout of a repository that this build reads, and the one it writes.
pub const REPOSITORY_FORMAT: u32 = 1;

/// Which cluster the snapshots are of. Written once, before the first snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterDescriptor {
    /// The cluster.
    pub cluster_id: String,
    /// Number of partitions; fixed for the life of the cluster.
    pub partitions: u32,
    /// Layout of the repository.
    pub format: u32,
}

/// Field numbers are persisted, so they must stay as they are.
#[derive(Clone, PartialEq, Eq, Message)]
struct ClusterMessage {
    #[prost(string, tag = "1")]
    cluster_id: String,
    #[prost(uint32, tag = "2")]
    partitions: u32,
    #[prost(uint32, tag = "3")]
    format: u32,
}

impl ClusterDescriptor {
    pub(crate) fn encode(&self) -> Bytes {
        let Self { cluster_id, partitions, format } = self.clone();
        envelope::seal(&ClusterMessage { cluster_id, partitions, format }).0
    }

    pub(crate) fn decode(object: &str, stored: Bytes) -> Result<Self, SnapshotError> {
        let (ClusterMessage { cluster_id, partitions, format }, _) = envelope::open(object, stored)?;
        if format != REPOSITORY_FORMAT {
            let found = u8::try_from(format).unwrap_or(u8::MAX);
            return Err(SnapshotError::UnknownFormat { object: object.to_owned(), found, known: 1 });
        }
        Ok(Self { cluster_id, partitions, format })
    }
}

/// The newest snapshot of a partition that was verified after its upload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pointer {
    pub(crate) cluster_id: String,
    pub(crate) snapshot: SnapshotId,
    pub(crate) checksum: [u8; 32],
}

/// Field numbers are persisted, so they must stay as they are.
#[derive(Clone, PartialEq, Eq, Message)]
struct PointerMessage {
    #[prost(string, tag = "1")]
    cluster_id: String,
    #[prost(uint32, tag = "2")]
    partition: u32,
    #[prost(uint64, tag = "3")]
    index: u64,
    /// The manifest's checksum; its first bytes are the rest of the snapshot's name.
    #[prost(bytes = "bytes", tag = "4")]
    checksum: Bytes,
}

impl Pointer {
    pub(crate) fn encode(&self) -> Bytes {
        envelope::seal(&PointerMessage {
            cluster_id: self.cluster_id.clone(),
            partition: self.snapshot.partition.0,
            index: self.snapshot.index,
            checksum: Bytes::copy_from_slice(&self.checksum),
        })
        .0
    }

    pub(crate) fn decode(object: &str, stored: Bytes) -> Result<Self, SnapshotError> {
        let (message, _): (PointerMessage, _) = envelope::open(object, stored)?;
        let checksum: [u8; 32] = message.checksum[..].try_into().map_err(|_| SnapshotError::Damaged {
            object: object.to_owned(),
            reason: format!("a checksum has {} bytes", message.checksum.len()),
        })?;
        let tag = u32::from_be_bytes([checksum[0], checksum[1], checksum[2], checksum[3]]);
        let snapshot = SnapshotId { partition: PartitionId(message.partition), index: message.index, tag };
        Ok(Self { cluster_id: message.cluster_id, snapshot, checksum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_forms_are_golden() {
        let cluster = ClusterDescriptor { cluster_id: "c1".into(), partitions: 8, format: 1 };
        let stored = cluster.encode();
        assert_eq!(stored[33..], [10, 2, b'c', b'1', 16, 8, 24, 1]);
        assert_eq!(ClusterDescriptor::decode("c", stored).unwrap(), cluster);

        let checksum = [0xab; 32];
        let snapshot = SnapshotId { partition: PartitionId(3), index: 300, tag: 0xabab_abab };
        let pointer = Pointer { cluster_id: "c1".into(), snapshot, checksum };
        let stored = pointer.encode();
        let message = [&[10, 2, b'c', b'1', 16, 3, 24, 172, 2, 34, 32][..], &checksum].concat();
        assert_eq!(stored[0], 1);
        assert_eq!(stored[1..33], *blake3::hash(&message).as_bytes());
        assert_eq!(stored[33..], message);
        assert_eq!(Pointer::decode("p", stored).unwrap(), pointer);
    }

    #[test]
    fn damage_and_other_versions_are_refused() {
        let mut cluster = ClusterDescriptor { cluster_id: "c1".into(), partitions: 8, format: 2 };
        assert_eq!(ClusterDescriptor::decode("c", cluster.encode()).unwrap_err().code(), "SN017");
        cluster.format = 1;
        let stored = cluster.encode();
        for at in 0..stored.len() {
            let mut damaged = stored.to_vec();
            damaged[at] ^= 4;
            ClusterDescriptor::decode("c", damaged.into()).unwrap_err();
            ClusterDescriptor::decode("c", stored.slice(..at)).unwrap_err();
        }
        let short = PointerMessage { checksum: Bytes::from_static(b"short"), ..PointerMessage::default() };
        assert_eq!(Pointer::decode("p", envelope::seal(&short).0).unwrap_err().code(), "SN016");
    }
}
