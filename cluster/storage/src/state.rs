//! The port to the shared state store of a node: ordered bytes, atomic batches, durable only on request.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::StorageError;

/// A key with its partition prefix (at most 65,535 bytes in all), and its new value; `None` deletes it.
pub type StateWrite = (Box<[u8]>, Option<Bytes>);

/// The state of all partitions of a node. Shared between threads; the first two bytes of a key are its partition, big
/// endian.
pub trait StateStore: Send + Sync + 'static {
    /// The value of `key`.
    ///
    /// # Errors
    /// Any [`StorageError`] is fatal.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError>;

    /// Visits all pairs with `from <= key < to` in key order until `visit` breaks.
    ///
    /// # Errors
    /// Any [`StorageError`] is fatal.
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) -> Result<(), StorageError>;

    /// The state as it is now, whatever is written later. Holds back the space of what is overwritten: drop it soon.
    ///
    /// # Errors
    /// Any [`StorageError`] is fatal.
    fn snapshot(&self) -> Result<Box<dyn StateSnapshot>, StorageError>;

    /// Writes a batch atomically and hands it to the operating system: it survives a crash of the process, not of the
    /// machine. Later writes of a batch win over earlier ones of the same key.
    ///
    /// # Errors
    /// [`StorageError::Indeterminate`]: the batch may or may not be there after a restart, and every later write fails.
    fn write(&self, batch: Vec<StateWrite>) -> Result<(), StorageError>;

    /// Makes everything written before durable.
    ///
    /// # Errors
    /// [`StorageError::Indeterminate`]: nothing may be assumed about what was not synced before; every later write fails.
    fn sync(&self) -> Result<(), StorageError>;
}

/// The state at one moment, for reading beside the writers.
pub trait StateSnapshot: Send {
    /// As [`StateStore::scan`].
    ///
    /// # Errors
    /// Any [`StorageError`] is fatal.
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) -> Result<(), StorageError>;
}
