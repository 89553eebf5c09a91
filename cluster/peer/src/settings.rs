//! What can be set.

use std::{path::PathBuf, time::Duration};

use crate::error::PeerError;

/// Most bytes of a frame, a request, an answer or a part that the protocol carries.
pub const FRAME_BYTES_MAX: usize = 32 << 20;

/// Bounds of what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of frames that wait for one peer.
    pub queue_bytes: usize,
    /// Frames that wait for one peer.
    pub queue_frames: usize,
    /// Bytes of a frame, request, answer or part; at most [`FRAME_BYTES_MAX`]. What arrives is bounded by that constant.
    pub frame_bytes: usize,
    /// Requests to one peer that wait for their answer.
    pub asks_in_flight: usize,
    /// Connections that others opened, of all peers together.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_bytes: 64 << 20,
            queue_frames: 65_536,
            frame_bytes: FRAME_BYTES_MAX,
            asks_in_flight: 4_096,
            connections: 512,
        }
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Opening a connection, up to the end of the handshake.
    pub connect: Duration,
    /// A connection is pinged when nothing came for this long.
    pub keepalive: Duration,
    /// It is dead when the answer does not come for this long. With `keepalive`: within three seconds by default.
    pub keepalive_timeout: Duration,
    /// First delay before connecting again; doubles with each failure, with jitter.
    pub backoff_min: Duration,
    /// Longest delay before connecting again.
    pub backoff_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            keepalive: Duration::from_secs(1),
            // A little less than two seconds, so that both together stay below three on a busy machine.
            keepalive_timeout: Duration::from_millis(1_750),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
        }
    }
}

/// Whether connections are encrypted and their ends proven.
///
/// A running cluster goes from `Off` to `Allow` on every node, then to `Require` on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Plain connections only.
    Off,
    /// Both are accepted on one port; calls try TLS first and fall back to plain. As safe as `Off`.
    Allow,
    /// TLS 1.3 with certificates of the cluster's authority on both ends, nothing else.
    Require,
}

/// The PEM files of a node. Read again when they change, for connections made from then on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The cluster's authority; may hold several certificates, so that an authority can be replaced.
    pub ca: PathBuf,
    /// The node's certificate, followed by intermediate ones. Its names must contain `abide-node` (any node) or
    /// `abide-node-<id>`.
    pub certificate: PathBuf,
    /// The certificate's key, PKCS #8.
    pub key: PathBuf,
}

impl TlsFiles {
    /// The files that [`certs`](crate::certs) writes into one folder.
    #[must_use]
    pub fn in_dir(dir: &std::path::Path) -> Self {
        Self { ca: dir.join("ca.pem"), certificate: dir.join("node.pem"), key: dir.join("node-key.pem") }
    }
}

/// How connections are secured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// What is spoken.
    pub mode: TlsMode,
    /// The certificates; not read with [`TlsMode::Off`].
    pub files: TlsFiles,
}

/// Settings of the transport.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerSettings {
    /// Bounds.
    pub limits: Limits,
    /// Times.
    pub timing: Timing,
    /// TLS; `None` is [`TlsMode::Off`].
    pub tls: Option<TlsSettings>,
    /// Listen on addresses other than loopback although plain connections are accepted there.
    pub allow_plain_remote: bool,
}

impl PeerSettings {
    /// What is spoken.
    #[must_use]
    pub fn tls_mode(&self) -> TlsMode {
        self.tls.as_ref().map_or(TlsMode::Off, |tls| tls.mode)
    }

    /// Refuses what cannot work.
    pub(crate) fn check(&self) -> Result<(), PeerError> {
        let Limits { queue_bytes, queue_frames, frame_bytes, asks_in_flight, connections } = self.limits;
        let Timing { connect, keepalive, keepalive_timeout, backoff_min, backoff_max } = self.timing;
        let refuse = |reason| Err(PeerError::Settings { reason });
        if queue_frames == 0 || asks_in_flight == 0 || connections == 0 {
            return refuse("limits are at least 1");
        }
        if !(1..=FRAME_BYTES_MAX).contains(&frame_bytes) {
            return refuse("`frame_bytes` is 1 to 32 MiB");
        }
        if queue_bytes < frame_bytes {
            return refuse("`queue_bytes` is at least `frame_bytes`");
        }
        if asks_in_flight > 1 << 20 || connections > 1 << 20 {
            return refuse("`asks_in_flight` and `connections` are at most 1048576");
        }
        if [connect, keepalive, keepalive_timeout, backoff_min].contains(&Duration::ZERO) || backoff_min > backoff_max {
            return refuse("times are above zero, and `backoff_min` is at most `backoff_max`");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused() {
        PeerSettings::default().check().unwrap();
        let limits = |limits| PeerSettings { limits, ..PeerSettings::default() }.check().unwrap_err().code();
        let default = Limits::default();
        assert_eq!(limits(Limits { frame_bytes: FRAME_BYTES_MAX + 1, ..default }), "PE001");
        assert_eq!(limits(Limits { queue_bytes: 1, ..default }), "PE001");
        assert_eq!(limits(Limits { asks_in_flight: 0, ..default }), "PE001");
        let timing = Timing { backoff_min: Duration::from_secs(9), ..Timing::default() };
        assert!(PeerSettings { timing, ..PeerSettings::default() }.check().is_err());
    }
}
