//! The two kinds of byte streams under HTTP/2.

use tokio::io::{AsyncRead, AsyncWrite};

/// A plain or an encrypted connection.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// Boxed, so that HTTP/2 is compiled once for both.
pub(crate) type BoxIo = Box<dyn Io>;
