//! Snapshots between nodes: the rows of a partition travel in parts, each checked before its rows are loaded.

use std::sync::{Arc, PoisonError};

use abide_model::codec;
use abide_model::id::{PartitionId, ReplicaId};
use abide_peer::PartStream;
use abide_snapshot::{Part, PartBuilder, PartDescriptor, PartHash, PartReader, PartSequence};
use abide_storage::{StateStore, drop_rows, load_rows, paged_rows};
use bytes::Bytes;
use prost::Message;
use tokio::sync::{mpsc, oneshot};

use super::transport::Transport;
use super::wire::SnapshotHeader;
use crate::cluster::node_of;
use crate::driver::{DriverHandle, Exported, PeerInput, Sending, SnapshotSender};

/// Bytes of rows that are read at once.
const PAGE_BYTES: usize = 1 << 20;
/// Parts that are made ahead of the network.
const PARTS_AHEAD: usize = 2;
/// Rows that are removed at once.
const SWEEP_ROWS: usize = 10_000;

/// A part on its way.
#[derive(Clone, PartialEq, Eq, Message)]
struct WirePart {
    #[prost(string, tag = "1")]
    hash: String,
    #[prost(uint64, tag = "2")]
    raw_bytes: u64,
    #[prost(uint64, tag = "3")]
    rows: u64,
    #[prost(bytes = "bytes", tag = "4")]
    first_key: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    content: Bytes,
}

/// Why a snapshot did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransferError {
    #[error("it does not decode: {0}")]
    Malformed(String),
    #[error("it is of no use here, or another one is being loaded")]
    NotWanted,
    #[error("it was cut off: {0}")]
    Cut(String),
    #[error("a part is damaged: {0}")]
    Damaged(#[from] abide_snapshot::PartError),
    #[error("its rows cannot be written: {0}")]
    Storage(#[from] abide_storage::StorageError),
    #[error("the node is stopping")]
    Stopping,
}

/// Sends snapshots over `transport`, in tasks of `runtime`.
pub(crate) fn sender(runtime: tokio::runtime::Handle, transport: Transport, driver: DriverHandle) -> SnapshotSender {
    Arc::new(move |sending: Sending| {
        let (transport, driver) = (transport.clone(), driver.clone());
        runtime.spawn(async move {
            let (partition, replica) = (sending.exported.partition, sending.message.to);
            let arrived = send(&transport, sending).await;
            if let Err(reason) = &arrived {
                tracing::warn!(%partition, to = %ReplicaId::from_u64(replica), reason, "a snapshot did not arrive");
            }
            let arrived = arrived.is_ok();
            driver.mail(PeerInput::SnapshotSent { partition, replica, arrived });
        });
    })
}

async fn send(transport: &Transport, sending: Sending) -> Result<(), String> {
    let Sending { message, exported } = sending;
    let peers = transport.peers().ok_or("the node is starting")?;
    let to = node_of(message.to);
    let header = SnapshotHeader { partition: exported.partition.0, message: Some(message) };
    let (parts, stream) = mpsc::channel(PARTS_AHEAD);
    let reading = tokio::task::spawn_blocking(move || read_parts(&exported, |part| parts.blocking_send(part).is_ok()));
    let stream = futures_util::stream::unfold(stream, async |mut stream| {
        let part = stream.recv().await?;
        Some((encode_part(part), stream))
    });
    let sent = peers.stream(to.0, codec::encode(&header), stream).await;
    let read = reading.await.map_err(|error| error.to_string())?;
    // What was not read to its end ended the stream early, and the receiver must have refused it.
    read?;
    sent.map(drop).map_err(|error| error.to_string())
}

/// Cuts the exported rows into parts until `give` wants no more.
pub(crate) fn read_parts(exported: &Exported, mut give: impl FnMut(Part) -> bool) -> Result<(), String> {
    let rows = exported.rows.lock().unwrap_or_else(PoisonError::into_inner);
    let mut builder = PartBuilder::new();
    for row in paged_rows(|after| rows.page(after, PAGE_BYTES)) {
        let (key, value) = row.map_err(|error| error.to_string())?;
        if let Some(part) = builder.push(key, &value).map_err(|error| error.to_string())?
            && !give(part)
        {
            return Err("nobody takes the parts any more".into());
        }
    }
    if let Some(part) = builder.finish().map_err(|error| error.to_string())?
        && !give(part)
    {
        return Err("nobody takes the parts any more".into());
    }
    Ok(())
}

fn encode_part(part: Part) -> Bytes {
    let Part { descriptor, bytes } = part;
    codec::encode(&WirePart {
        hash: descriptor.hash.to_string(),
        raw_bytes: descriptor.raw_bytes,
        rows: descriptor.rows,
        first_key: descriptor.first_key,
        content: bytes,
    })
}

fn decode_part(bytes: &Bytes) -> Result<PartReader, TransferError> {
    let part: WirePart =
        codec::decode("a part of a snapshot", bytes).map_err(|error| TransferError::Malformed(error.to_string()))?;
    let hash: PartHash =
        part.hash.parse().map_err(|_| TransferError::Malformed("the name of a part is not one".into()))?;
    let descriptor = PartDescriptor {
        hash,
        raw_bytes: part.raw_bytes,
        stored_bytes: part.content.len() as u64,
        rows: part.rows,
        first_key: part.first_key,
    };
    Ok(PartReader::open(&descriptor, &part.content)?)
}

/// A generation that is being loaded. What is not handed over is given back.
struct Loading {
    driver: DriverHandle,
    partition: PartitionId,
    generation: u8,
    handed_over: bool,
}

impl Drop for Loading {
    fn drop(&mut self) {
        if !self.handed_over {
            let (partition, generation) = (self.partition, self.generation);
            self.driver.mail(PeerInput::AbortRestore { partition, generation });
        }
    }
}

/// Takes a snapshot of another node: loads its rows where nobody reads them, and hands it to the replica when they are
/// synced.
pub(crate) async fn receive(driver: &DriverHandle, header: Bytes, mut parts: PartStream) -> Result<(), TransferError> {
    let header: SnapshotHeader =
        codec::decode("a snapshot", &header).map_err(|error| TransferError::Malformed(error.to_string()))?;
    let message = header.message.ok_or_else(|| TransferError::Malformed("it has no message".into()))?;
    let partition = PartitionId(header.partition);
    let (ready, load) = oneshot::channel();
    let replica = ReplicaId::from_u64(message.to);
    if !driver.mail(PeerInput::BeginRestore { partition, replica, ready }) {
        return Err(TransferError::Stopping);
    }
    let load = load.await.map_err(|_| TransferError::Stopping)?.ok_or(TransferError::NotWanted)?;
    let generation = load.generation;
    let mut loading = Loading { driver: driver.clone(), partition, generation, handed_over: false };
    let store = Arc::clone(&load.store);
    blocking(move || {
        // What an earlier one left.
        while drop_rows(&*store, partition.0, generation, SWEEP_ROWS)? {}
        Ok(())
    })
    .await?;
    let mut sequence = PartSequence::new();
    while let Some(part) = parts.next().await.map_err(|cut| TransferError::Cut(cut.reason))? {
        let store = Arc::clone(&load.store);
        sequence = blocking(move || {
            let part = decode_part(&part)?;
            sequence.accept(&part)?;
            load_rows(&*store, partition.0, generation, part)?;
            Ok(sequence)
        })
        .await?;
    }
    let store = Arc::clone(&load.store);
    blocking(move || Ok(StateStore::sync(&*store)?)).await?;
    let handed = driver.mail(PeerInput::Restore { partition, message: Box::new(message), generation });
    loading.handed_over = handed;
    if handed { Ok(()) } else { Err(TransferError::Stopping) }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TransferError> + Send + 'static,
) -> Result<T, TransferError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| TransferError::Stopping)?
}
