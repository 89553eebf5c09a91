//! How new a read has to be when the node that is asked answers it itself, from its own replica.

use std::time::Duration;

use abide_model::protocol::Header;

/// How new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It sees everything that was acknowledged before it began: the leader is asked how far that is.
    Linear,
    /// It sees everything that was acknowledged up to so long before it began; asks the leader when the replica is not
    /// known to be that new.
    Bounded(Duration),
    /// It sees some state that once was, however old.
    Stale,
}

/// A header value that says nothing of the kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` does not say how new a read has to be; `linear`, `stale` and `bounded=500ms` do")]
pub struct UnknownFreshness(String);

impl Freshness {
    /// The request header.
    pub const HEADER: &'static str = "x-abide-read";

    /// What the headers wish; `None` when they say nothing: then the leader answers.
    ///
    /// # Errors
    /// [`UnknownFreshness`].
    pub fn of_headers(headers: &[Header]) -> Result<Option<Self>, UnknownFreshness> {
        let Some(header) = headers.iter().find(|header| header.key.eq_ignore_ascii_case(Self::HEADER)) else {
            return Ok(None);
        };
        let unknown = || UnknownFreshness(header.value.chars().take(64).collect());
        match header.value.trim() {
            "linear" => Ok(Some(Self::Linear)),
            "stale" => Ok(Some(Self::Stale)),
            value => {
                let bound = value.strip_prefix("bounded=").ok_or_else(unknown)?;
                humantime::parse_duration(bound).map(|bound| Some(Self::Bounded(bound))).map_err(|_| unknown())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_how_new() {
        let of = |value: &str| Freshness::of_headers(&[Header { key: "X-Abide-Read".into(), value: value.into() }]);
        assert_eq!(of("linear"), Ok(Some(Freshness::Linear)));
        assert_eq!(of("stale"), Ok(Some(Freshness::Stale)));
        assert_eq!(of("bounded=500ms"), Ok(Some(Freshness::Bounded(Duration::from_millis(500)))));
        assert!(of("bounded=soon").is_err() && of("fresh").is_err() && of("").is_err());
        assert_eq!(Freshness::of_headers(&[]), Ok(None));
    }
}
