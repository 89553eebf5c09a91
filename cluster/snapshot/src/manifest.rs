//! What a snapshot consists of.

use abide_model::id::{Millis, PartitionId};
use bytes::{Buf, Bytes};
use prost::{
    Message,
    encoding::{DecodeContext, decode_key, skip_field},
};

use crate::{
    PartDescriptor, PartHash, SnapshotError, SnapshotId, envelope,
    limits::{MANIFEST_BYTES_MAX, PARTS_MAX},
};

/// What a snapshot is of. The numbers are persisted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SnapshotKind {
    /// The state of one of the cluster's partitions.
    Partition = 1,
    /// The cluster's own data, kept by a group of its own, whose number is none of the partitions'.
    Meta = 2,
}

/// What a snapshot is of, as its maker knows it before the first row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotMeta {
    /// What it is of.
    pub kind: SnapshotKind,
    /// The partition, or the number of the meta group.
    pub partition: PartitionId,
    /// Index of the last log entry whose effects it contains.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// The log's own time at that entry.
    pub log_time: Millis,
    /// Hash of the machine's state at that entry; replicas compare it.
    pub state_hash: u64,
    /// The node that makes it.
    pub node_id: u64,
    /// Level of features that a reader must know to understand the rows.
    pub features: u32,
    /// The maker's clock.
    pub created_at: Millis,
}

/// A whole snapshot: what it is of and its parts in order. Immutable once it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The cluster.
    pub cluster_id: String,
    /// Number of partitions of the cluster.
    pub partitions: u32,
    /// What it is of.
    pub meta: SnapshotMeta,
    /// The parts, ordered by their keys.
    pub parts: Vec<PartDescriptor>,
}

impl Manifest {
    /// Number of rows of all parts.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.parts.iter().map(|part| part.rows).sum()
    }

    /// Bytes of all parts after decompression.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.raw_bytes).sum()
    }

    /// Bytes of all parts as they are stored.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.stored_bytes).sum()
    }

    /// BLAKE3 of the parts' names in order: equal for two snapshots with the same content in the same parts.
    #[must_use]
    pub fn content_hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for part in &self.parts {
            hasher.update(&part.hash.0);
        }
        *hasher.finalize().as_bytes()
    }

    /// BLAKE3 of the encoded message.
    #[must_use]
    pub fn checksum(&self) -> [u8; 32] {
        self.encode().1
    }

    /// The snapshot's name.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.id_with(&self.checksum())
    }

    pub(crate) fn id_with(&self, checksum: &[u8; 32]) -> SnapshotId {
        let tag = u32::from_be_bytes([checksum[0], checksum[1], checksum[2], checksum[3]]);
        SnapshotId { partition: self.meta.partition, index: self.meta.index, tag }
    }

    /// The stored form and its checksum.
    #[must_use]
    pub fn encode(&self) -> (Bytes, [u8; 32]) {
        envelope::seal(&ManifestMessage {
            cluster_id: self.cluster_id.clone(),
            partitions: self.partitions,
            kind: self.meta.kind as u32,
            partition: self.meta.partition.0,
            index: self.meta.index,
            term: self.meta.term,
            log_time: self.meta.log_time.0,
            state_hash: self.meta.state_hash,
            node_id: self.meta.node_id,
            features: self.meta.features,
            created_at: self.meta.created_at.0,
            parts: self.parts.iter().map(PartMessage::of).collect(),
            rows: self.rows(),
            raw_bytes: self.raw_bytes(),
            stored_bytes: self.stored_bytes(),
            content_hash: Bytes::copy_from_slice(&self.content_hash()),
        })
    }

    /// The manifest of a stored form, which is known to be sound in itself then; `object` is what the error calls it.
    ///
    /// Whose manifest it is, is still to be compared.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] or [`SnapshotError::UnknownFormat`].
    pub fn decode(object: &str, stored: Bytes) -> Result<(Self, [u8; 32]), SnapshotError> {
        let damaged = |reason: String| SnapshotError::Damaged { object: object.to_owned(), reason };
        check_count(stored.clone()).map_err(damaged)?;
        let (message, checksum): (ManifestMessage, _) = envelope::open(object, stored)?;
        let manifest = message.to_manifest().map_err(damaged)?;
        manifest.check().map_err(damaged)?;
        let totals = (manifest.rows(), manifest.raw_bytes(), manifest.stored_bytes());
        if totals != (message.rows, message.raw_bytes, message.stored_bytes) {
            return Err(damaged("its totals are not those of its parts".into()));
        }
        if manifest.content_hash()[..] != message.content_hash[..] {
            return Err(damaged("its content hash is not that of its parts".into()));
        }
        Ok((manifest, checksum))
    }

    /// Whether a snapshot can be like this.
    fn check(&self) -> Result<(), String> {
        let is_partition = self.meta.partition.0 < self.partitions;
        if is_partition != (self.meta.kind == SnapshotKind::Partition) {
            let Self { partitions, meta: SnapshotMeta { partition, kind, .. }, .. } = self;
            return Err(format!("{partition} of {partitions} partitions cannot be of kind {kind:?}"));
        }
        if self.parts.len() > PARTS_MAX {
            return Err(format!("it has {} parts, at most {PARTS_MAX} are possible", self.parts.len()));
        }
        for part in &self.parts {
            part.check().map_err(|reason| format!("part `{}`: {reason}", part.hash))?;
        }
        if !self.parts.is_sorted_by(|before, part| before.first_key < part.first_key) {
            return Err("its parts are not in order".into());
        }
        Ok(())
    }

    /// Whether this may be stored; the same that [`decode`](Self::decode) will ask.
    pub(crate) fn check_new(&self) -> Result<(), SnapshotError> {
        if self.parts.len() > PARTS_MAX {
            let (found, max) = (self.parts.len() as u64, PARTS_MAX as u64);
            return Err(SnapshotError::LimitExceeded { what: "parts", found, max });
        }
        self.check().map_err(|reason| SnapshotError::Invalid { what: "snapshot", reason })
    }

    /// The stored form, if it is within the limits.
    pub(crate) fn encode_checked(&self) -> Result<(Bytes, [u8; 32]), SnapshotError> {
        self.check_new()?;
        let (stored, checksum) = self.encode();
        let found = stored.len() as u64;
        if found > MANIFEST_BYTES_MAX {
            return Err(SnapshotError::LimitExceeded { what: "bytes of manifest", found, max: MANIFEST_BYTES_MAX });
        }
        Ok((stored, checksum))
    }
}

/// Refuses a message with more parts than possible before they are decoded: an empty one takes two bytes there and a
/// hundred in memory. What does not parse is left to the decoder.
fn check_count(mut stored: Bytes) -> Result<(), String> {
    stored.advance(stored.len().min(envelope::HEADER_BYTES));
    let mut parts = 0;
    while let Ok((field, wire_type)) = decode_key(&mut stored) {
        parts += usize::from(field == PARTS_FIELD);
        if parts > PARTS_MAX {
            return Err(format!("it has more than {PARTS_MAX} parts"));
        }
        if skip_field(wire_type, field, &mut stored, DecodeContext::default()).is_err() {
            break;
        }
    }
    Ok(())
}

const PARTS_FIELD: u32 = 12;

/// Field numbers are persisted, so they must stay as they are.
#[derive(Clone, PartialEq, Eq, Message)]
struct ManifestMessage {
    #[prost(string, tag = "1")]
    cluster_id: String,
    #[prost(uint32, tag = "2")]
    partitions: u32,
    #[prost(uint32, tag = "3")]
    kind: u32,
    #[prost(uint32, tag = "4")]
    partition: u32,
    #[prost(uint64, tag = "5")]
    index: u64,
    #[prost(uint64, tag = "6")]
    term: u64,
    #[prost(uint64, tag = "7")]
    log_time: u64,
    #[prost(fixed64, tag = "8")]
    state_hash: u64,
    #[prost(uint64, tag = "9")]
    node_id: u64,
    #[prost(uint32, tag = "10")]
    features: u32,
    #[prost(uint64, tag = "11")]
    created_at: u64,
    #[prost(message, repeated, tag = "12")]
    parts: Vec<PartMessage>,
    #[prost(uint64, tag = "13")]
    rows: u64,
    #[prost(uint64, tag = "14")]
    raw_bytes: u64,
    #[prost(uint64, tag = "15")]
    stored_bytes: u64,
    #[prost(bytes = "bytes", tag = "16")]
    content_hash: Bytes,
}

impl ManifestMessage {
    fn to_manifest(&self) -> Result<Manifest, String> {
        let kind = match self.kind {
            1 => SnapshotKind::Partition,
            2 => SnapshotKind::Meta,
            kind => return Err(format!("kind {kind} of a snapshot is unknown")),
        };
        let meta = SnapshotMeta {
            kind,
            partition: PartitionId(self.partition),
            index: self.index,
            term: self.term,
            log_time: Millis(self.log_time),
            state_hash: self.state_hash,
            node_id: self.node_id,
            features: self.features,
            created_at: Millis(self.created_at),
        };
        let parts = self.parts.iter().map(PartMessage::to_descriptor).collect::<Result<_, _>>()?;
        Ok(Manifest { cluster_id: self.cluster_id.clone(), partitions: self.partitions, meta, parts })
    }
}

/// A [`PartDescriptor`].
#[derive(Clone, PartialEq, Eq, Message)]
struct PartMessage {
    #[prost(bytes = "bytes", tag = "1")]
    hash: Bytes,
    #[prost(uint64, tag = "2")]
    raw_bytes: u64,
    #[prost(uint64, tag = "3")]
    stored_bytes: u64,
    #[prost(uint64, tag = "4")]
    rows: u64,
    #[prost(bytes = "bytes", tag = "5")]
    first_key: Bytes,
}

impl PartMessage {
    fn of(part: &PartDescriptor) -> Self {
        Self {
            hash: Bytes::copy_from_slice(&part.hash.0),
            raw_bytes: part.raw_bytes,
            stored_bytes: part.stored_bytes,
            rows: part.rows,
            first_key: part.first_key.clone(),
        }
    }

    fn to_descriptor(&self) -> Result<PartDescriptor, String> {
        let hash = self.hash[..].try_into().map_err(|_| format!("the name of a part has {} bytes", self.hash.len()))?;
        let part = PartDescriptor {
            hash: PartHash(hash),
            raw_bytes: self.raw_bytes,
            stored_bytes: self.stored_bytes,
            rows: self.rows,
            first_key: self.first_key.clone(),
        };
        // Before anything adds these numbers up.
        part.check().map_err(|reason| format!("part `{}`: {reason}", part.hash))?;
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let part = |hash: u8, first_key: &'static str| PartDescriptor {
            hash: PartHash([hash; 32]),
            raw_bytes: 300,
            stored_bytes: 200,
            rows: 10,
            first_key: Bytes::from(first_key),
        };
        Manifest {
            cluster_id: "c1".into(),
            partitions: 8,
            meta: SnapshotMeta {
                kind: SnapshotKind::Partition,
                partition: PartitionId(3),
                index: 1234,
                term: 5,
                log_time: Millis(6),
                state_hash: 7,
                node_id: 2,
                features: 1,
                created_at: Millis(9),
            },
            parts: vec![part(1, "a"), part(2, "b")],
        }
    }

    #[test]
    fn the_stored_form_is_golden() {
        let (stored, checksum) = manifest().encode();
        let part = |hash: u8, key: u8| {
            [&[98, 45, 10, 32][..], &[hash; 32], &[16, 172, 2, 24, 200, 1, 32, 10, 42, 1, key]].concat()
        };
        let message = [
            &[10, 2, b'c', b'1', 16, 8, 24, 1, 32, 3, 40, 210, 9, 48, 5, 56, 6][..],
            &[65, 7, 0, 0, 0, 0, 0, 0, 0, 72, 2, 80, 1, 88, 9],
            &part(1, b'a'),
            &part(2, b'b'),
            &[104, 20, 112, 216, 4, 120, 144, 3, 130, 1, 32],
            &manifest().content_hash(),
        ]
        .concat();
        assert_eq!(stored[0], 1);
        assert_eq!(stored[1..33], checksum);
        assert_eq!(stored[33..], message);
        assert_eq!(checksum, *blake3::hash(&message).as_bytes());
        assert_eq!(Manifest::decode("m", stored).unwrap(), (manifest(), checksum));
        assert_eq!(manifest().id().to_string(), "snap_p3_000000001234_7bf9889a");
    }

    /// Changes the message and seals it again, as an attacker would.
    fn forged(change: impl FnOnce(&mut ManifestMessage)) -> Result<(), SnapshotError> {
        let (stored, _) = manifest().encode();
        let (mut message, _): (ManifestMessage, _) = envelope::open("m", stored).unwrap();
        change(&mut message);
        Manifest::decode("m", envelope::seal(&message).0).map(|_| ())
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        forged(|_| ()).unwrap();
        let cases: [fn(&mut ManifestMessage); 13] = [
            |m| m.kind = 0,
            |m| m.kind = 2,
            |m| m.kind = 3,
            |m| m.partition = 8,
            |m| m.rows += 1,
            |m| m.raw_bytes += 1,
            |m| m.stored_bytes += 1,
            |m| m.content_hash = Bytes::new(),
            |m| m.parts.reverse(),
            |m| m.parts[1].first_key = "a".into(),
            |m| m.parts[0].hash = m.parts[0].hash.slice(1..),
            |m| m.parts[0].raw_bytes = u64::MAX,
            |m| m.parts[0].rows = u64::MAX,
        ];
        for (case, change) in cases.into_iter().enumerate() {
            assert_eq!(forged(change).unwrap_err().code(), "SN016", "case {case}");
        }
    }

    #[test]
    fn many_empty_parts_are_refused_undecoded() {
        let refused = |parts: usize| {
            let body = [98, 0].repeat(parts);
            let stored = [&[1][..], blake3::hash(&body).as_bytes(), &body].concat();
            Manifest::decode("m", stored.into()).unwrap_err().to_string()
        };
        assert!(refused(PARTS_MAX + 1).contains("more than 100000 parts"));
        assert!(!refused(PARTS_MAX).contains("more than"));
    }

    proptest::proptest! {
        /// Also what fits its checksum is decoded with care.
        #[test]
        fn any_message_is_refused_or_sound(at in 0usize..200, byte: u8, cut in 0usize..200) {
            let mut body = manifest().encode().0[33..].to_vec();
            let last = body.len() - 1;
            body[at.min(last)] = byte;
            body.truncate(body.len() - cut / 4);
            let stored = [&[1][..], blake3::hash(&body).as_bytes(), &body].concat();
            if let Ok((manifest, _)) = Manifest::decode("m", stored.into()) {
                manifest.check().unwrap();
            }
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let (stored, _) = manifest().encode();
        for bit in 0..stored.len() * 8 {
            let mut damaged = stored.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            Manifest::decode("m", damaged.into()).unwrap_err();
        }
        for len in 0..stored.len() {
            assert_eq!(Manifest::decode("m", stored.slice(..len)).unwrap_err().code(), "SN016");
        }
    }

    #[test]
    fn an_unknown_version_is_refused_by_name() {
        let mut stored = manifest().encode().0.to_vec();
        stored[0] = 2;
        let error = Manifest::decode("m", stored.into()).unwrap_err();
        assert_eq!(error.code(), "SN017");
        assert!(error.to_string().contains("`m` has format version 2"), "{error}");
    }
}
