//! How the small objects of a repository are stored: version byte, BLAKE3 of the message (32 bytes), protobuf message.
//!
//! The checksum finds damage without another object that knows it, which is what is left when the pointer is lost.

use bytes::{Buf, Bytes};
use prost::Message;

use crate::SnapshotError;

/// Newest format that this build reads, and the one it writes.
pub(crate) const FORMAT: u8 = 1;

pub(crate) type Checksum = [u8; 32];

/// Bytes before the message.
pub(crate) const HEADER_BYTES: usize = 1 + size_of::<Checksum>();

/// The stored form of a message, and its checksum.
pub(crate) fn seal(message: &impl Message) -> (Bytes, Checksum) {
    let body = message.encode_to_vec();
    let checksum = *blake3::hash(&body).as_bytes();
    (Bytes::from([&[FORMAT][..], &checksum, &body].concat()), checksum)
}

/// The message of a stored form. `object` is for the error.
pub(crate) fn open<M: Message + Default>(object: &str, mut stored: Bytes) -> Result<(M, Checksum), SnapshotError> {
    let damaged = |reason: String| SnapshotError::Damaged { object: object.to_owned(), reason };
    match stored.first() {
        Some(&FORMAT) => stored.advance(1),
        Some(&found) => {
            return Err(SnapshotError::UnknownFormat { object: object.to_owned(), found, known: FORMAT });
        }
        None => return Err(damaged("it is empty".into())),
    }
    if stored.len() < size_of::<Checksum>() {
        return Err(damaged("it is shorter than its checksum".into()));
    }
    let mut checksum = Checksum::default();
    stored.copy_to_slice(&mut checksum);
    if *blake3::hash(&stored).as_bytes() != checksum {
        return Err(damaged("its checksum does not fit its content".into()));
    }
    let message = M::decode(stored).map_err(|error| damaged(error.to_string()))?;
    Ok((message, checksum))
}
