//! Everything the transport can answer instead of a result. Codes are stable; each has a line in the runbooks.

use std::{io, net::SocketAddr, path::PathBuf};

use crate::{identity::NodeId, refusal::Refusal, service::Declined};

/// The transport cannot start, or certificates cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// Settings that cannot work.
    #[error("settings of the peer transport: {reason}")]
    Settings {
        /// The rule that is broken.
        reason: &'static str,
    },
    /// The address can be reached from other machines, and connections without certificates would be accepted there.
    #[error(
        "refusing to listen for peers on {addr} without TLS: anyone who reaches it could act as a node; require TLS with \
         the cluster's certificates, listen on a loopback address, or allow plain remote peers explicitly"
    )]
    PlainRemote {
        /// The address of the listener.
        addr: SocketAddr,
    },
    /// The listener cannot be used.
    #[error("cannot listen for peers: {source}; is the listener still open?")]
    Listen {
        /// The reason given by the operating system.
        source: io::Error,
    },
    /// A file operation failed.
    #[error("cannot {action} `{}`: {source}; check the path and the owner of the file", path.display())]
    File {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The reason given by the operating system.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("`{}` cannot be used: {reason}; write it again", path.display())]
    Material {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate's time is over.
    #[error("the certificate `{}` has expired; issue a new one", path.display())]
    Expired {
        /// The certificate.
        path: PathBuf,
    },
    /// The certificate's time has not begun.
    #[error("the certificate `{}` is not valid yet; check the clock of this machine, or issue a new one", path.display())]
    NotYetValid {
        /// The certificate.
        path: PathBuf,
    },
    /// The certificate is not of the cluster's authority, or not for this purpose.
    #[error(
        "the certificate `{}` does not hold against the authority `{}`: {reason}; issue one with the cluster's authority",
        path.display(),
        ca.display()
    )]
    Foreign {
        /// The certificate.
        path: PathBuf,
        /// The authority.
        ca: PathBuf,
        /// What the verifier says.
        reason: String,
    },
    /// The certificate is not one of this node.
    #[error(
        "the certificate `{}` does not name node {node}: its names must contain `abide-node` or `abide-node-{node}`",
        path.display()
    )]
    OtherNode {
        /// The certificate.
        path: PathBuf,
        /// The node.
        node: NodeId,
    },
    /// The certificate names no node at all.
    #[error("the certificate `{}` names no node: its names must contain `abide-node` or `abide-node-<id>`", path.display())]
    NoNode {
        /// The certificate.
        path: PathBuf,
    },
    /// A file that would be written exists.
    #[error("`{}` exists and is not overwritten; choose another folder, or force it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A certificate cannot be made.
    #[error("cannot make the certificate: {reason}")]
    Generate {
        /// What is wrong.
        reason: String,
    },
}

impl PeerError {
    /// The stable code of the error, as used in logs, alerts and runbooks.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Settings { .. } => "PE001",
            Self::PlainRemote { .. } => "PE002",
            Self::Listen { .. } => "PE003",
            Self::File { .. } => "PE004",
            Self::Material { .. } => "PE005",
            Self::Expired { .. } => "PE006",
            Self::NotYetValid { .. } => "PE007",
            Self::Foreign { .. } => "PE008",
            Self::OtherNode { .. } => "PE009",
            Self::NoNode { .. } => "PE010",
            Self::Exists { .. } => "PE011",
            Self::Generate { .. } => "PE012",
        }
    }

    pub(crate) fn file(action: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        Self::File { action, path: path.to_path_buf(), source }
    }
}

/// A frame was not taken. It is counted as dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The peer takes frames more slowly than they come, and its queue is full.
    #[error("the queue of frames for the node is full")]
    Full,
    /// There is no connection to the peer now.
    #[error("the node is not connected")]
    NotConnected,
    /// The node is not one of the peers.
    #[error("the node is not a peer")]
    Unknown,
    /// The frame is larger than the limit; it never can be sent.
    #[error("the frame is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
}

impl SendError {
    /// The stable code of the error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Full => "PE020",
            Self::NotConnected => "PE021",
            Self::Unknown => "PE022",
            Self::TooLarge { .. } => "PE023",
        }
    }
}

/// Why a request never reached a handler.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotSent {
    /// There is no connection to the peer now.
    #[error("the node is not connected")]
    NotConnected,
    /// No connection could be made.
    #[error("no connection: {0}")]
    Connect(String),
    /// The node is not one of the peers.
    #[error("the node is not a peer")]
    NotAPeer,
    /// As many requests as the limit allows wait for answers of the peer.
    #[error("too many requests wait for the node")]
    Full,
    /// The request is larger than the limit.
    #[error("the request is larger than {0} bytes")]
    TooLarge(usize),
    /// The other node refused.
    #[error("{0}")]
    Refused(Refusal),
    /// The connection ended before the request was written.
    #[error("the connection was lost before the request was written")]
    Lost,
}

/// A request or a transfer has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// No handler saw it and none will: it can be repeated without care.
    #[error("not sent: {0}")]
    NotSent(NotSent),
    /// It may have been handled, wholly or in part, or may be later.
    #[error("no answer, and it is unknown whether the request was handled: {0}")]
    Unknown(String),
    /// The handler declined.
    #[error(transparent)]
    Declined(Declined),
}

impl AskError {
    /// The stable code of the error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotSent(_) => "PE030",
            Self::Unknown(_) => "PE031",
            Self::Declined(_) => "PE032",
        }
    }
}
