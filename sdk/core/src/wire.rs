//! Arguments and results on the wire: JSON, with an empty body for nothing.

use std::any::TypeId;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// JSON of `value`, or what is wrong with it.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Bytes, String> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| error.to_string())
}

/// As [`encode`], but `()` is an empty body.
pub(crate) fn encode_result<T: Serialize + 'static>(value: &T) -> Result<Bytes, String> {
    if TypeId::of::<T>() == TypeId::of::<()>() { Ok(Bytes::new()) } else { encode(value) }
}

/// The value in a body. An empty body is `null`; `()` is read from any body.
pub(crate) fn decode<T: DeserializeOwned + 'static>(bytes: &[u8]) -> Result<T, String> {
    let nothing = bytes.is_empty() || TypeId::of::<T>() == TypeId::of::<()>();
    serde_json::from_slice(if nothing { b"null" } else { bytes }).map_err(|error| error.to_string())
}

/// Whole milliseconds, rounded up: nothing happens too early.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_an_empty_body() {
        assert_eq!(encode_result(&()), Ok(Bytes::new()));
        assert_eq!(encode_result(&None::<u8>), Ok(Bytes::from_static(b"null")));
        assert_eq!(decode::<()>(b""), Ok(()));
        assert_eq!(decode::<Option<u8>>(b""), Ok(None));
        assert!(decode::<u8>(b"").is_err());
        assert_eq!(millis(Duration::from_micros(1_001)), 2);
    }
}
