//! What the deterministic rules see of storage: ordered bytes under table keys, read-only, synchronous.
//!
//! [`RawView`] is the small trait a store implements; [`View`] adds the typed access the rules use. Writes do not go
//! through a view: `apply` returns them as [`Write`] values and the shell carries them out.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::table::Table;

/// A store could not answer a read, or answered with bytes that do not decode.
///
/// Never a normal outcome: the state of the partition is not trustworthy, and the process has to stop.
#[derive(Clone, Debug, thiserror::Error)]
#[error("state of the partition cannot be read: {0}")]
pub struct ReadError(pub String);

/// One key changed by a committed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Table tag and table key, without the partition prefix (the store adds it).
    pub key: Box<[u8]>,
    /// What happens to the key.
    pub op: WriteOp,
}

/// What a [`Write`] does to its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOp {
    /// Sets the value of a key that may or may not exist.
    Put(Bytes),
    /// Sets the value of a key that does not exist in any layer, which lets a write-back store forget the
    /// key without a trace when it is deleted before the next checkpoint.
    Insert(Bytes),
    /// Removes the key if it exists.
    Delete,
}

/// Reads of ordered bytes. Keys carry table tag and table key, without the partition prefix.
pub trait RawView {
    /// The value of `key`.
    ///
    /// # Errors
    /// [`ReadError`] when the store fails; the caller must stop the process.
    fn get_raw(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError>;

    /// Visits all pairs with `from <= key < to` in key order until `visit` breaks.
    ///
    /// # Errors
    /// [`ReadError`] when the store fails; the caller must stop the process.
    fn scan_raw(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) -> Result<(), ReadError>;
}

/// Typed reads over a [`RawView`].
pub trait View: RawView {
    /// The row of table `T` at `key`.
    ///
    /// # Errors
    /// [`ReadError`] when the store fails or the row does not decode.
    fn get<T: Table>(&self, key: &T::Key) -> Result<Option<T::Value>, ReadError> {
        self.get_raw(&T::encode_key(key))?.map(|bytes| T::decode_value(&bytes)).transpose()
    }

    /// Visits the rows of table `T` with `from <= key < to`, in key order, until `visit` breaks.
    ///
    /// # Errors
    /// [`ReadError`] when the store fails or a row does not decode.
    fn scan<T: Table>(
        &self,
        from: &T::Key,
        to: &T::Key,
        visit: &mut dyn FnMut(T::Key, T::Value) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        self.scan_bytes::<T>(&T::encode_key(from), &T::encode_key(to), visit)
    }

    /// As [`View::scan`] between two encoded keys, for bounds that no key expresses (a prefix, a whole table).
    ///
    /// # Errors
    /// [`ReadError`] when the store fails or a row does not decode.
    fn scan_bytes<T: Table>(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(T::Key, T::Value) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut failed = None;
        self.scan_raw(from, to, &mut |key, value| match T::decode_key(key)
            .and_then(|key| Ok((key, T::decode_value(value)?)))
        {
            Ok((key, value)) => visit(key, value),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })?;
        failed.map_or(Ok(()), Err)
    }
}

impl<V: RawView + ?Sized> View for V {}
