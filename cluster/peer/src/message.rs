//! The messages on the wire.
//!
//! All are protobuf behind the version in the path of the gRPC service (`abide.peer.v1`): what a later version changes
//! incompatibly gets another path, and an older node refuses it by name. Field numbers stay as they are.

use bytes::Bytes;
use prost::Message;

use crate::{
    identity::{Identity, NodeId, ProtocolRange},
    refusal::Refusal,
};

/// Opens a connection.
pub(crate) const HELLO: &str = "/abide.peer.v1.Peer/Hello";
/// One-way frames, client streaming.
pub(crate) const SEND: &str = "/abide.peer.v1.Peer/Send";
/// One request.
pub(crate) const ASK: &str = "/abide.peer.v1.Peer/Ask";
/// One large transfer, client streaming.
pub(crate) const STREAM: &str = "/abide.peer.v1.Peer/Stream";

/// An [`Identity`].
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Who {
    #[prost(string, optional, tag = "1")]
    pub(crate) cluster: Option<String>,
    #[prost(uint32, optional, tag = "2")]
    pub(crate) node: Option<NodeId>,
    #[prost(fixed64, tag = "3")]
    pub(crate) boot: u64,
    #[prost(uint32, tag = "4")]
    pub(crate) protocol_min: u32,
    #[prost(uint32, tag = "5")]
    pub(crate) protocol_max: u32,
    #[prost(string, tag = "6")]
    pub(crate) build: String,
}

impl From<&Identity> for Who {
    fn from(identity: &Identity) -> Self {
        Self {
            cluster: identity.cluster_id.clone(),
            node: identity.node,
            boot: identity.boot_id,
            protocol_min: identity.protocol.min,
            protocol_max: identity.protocol.max,
            build: identity.build.clone(),
        }
    }
}

impl From<Who> for Identity {
    fn from(who: Who) -> Self {
        Self {
            cluster_id: who.cluster,
            node: who.node,
            boot_id: who.boot,
            protocol: ProtocolRange { min: who.protocol_min, max: who.protocol_max },
            build: who.build,
        }
    }
}

/// The first call on every connection.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct HelloRequest {
    #[prost(message, required, tag = "1")]
    pub(crate) who: Who,
    /// The node that the caller means to reach, if it knows.
    #[prost(uint32, optional, tag = "2")]
    pub(crate) to: Option<NodeId>,
    /// Counts the connections of the calling process that carry frames to this node; 0 for those that carry none.
    #[prost(uint64, tag = "3")]
    pub(crate) link: u64,
}

/// The answer to [`HelloRequest`].
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct HelloReply {
    /// Who answers; absent with a refusal.
    #[prost(message, optional, tag = "1")]
    pub(crate) who: Option<Who>,
    /// Number of a [`Refusal`], 0 for none.
    #[prost(uint32, tag = "2")]
    pub(crate) refusal: u32,
}

/// What waited when the writer came.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct FrameBatch {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(crate) frames: Vec<Bytes>,
}

/// The end of a stream of frames; there is none in good times.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct SendReply {
    /// Number of a [`Refusal`], 0 for none.
    #[prost(uint32, tag = "1")]
    pub(crate) refusal: u32,
}

/// A request.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct AskRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) body: Bytes,
}

/// The answer to a request or a transfer.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct AskReply {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) body: Bytes,
    /// The handler declined.
    #[prost(message, optional, tag = "2")]
    pub(crate) declined: Option<DeclinedReply>,
    /// Number of a [`Refusal`], 0 for none. With one, no handler saw the request.
    #[prost(uint32, tag = "3")]
    pub(crate) refusal: u32,
    /// The handler answered, but the answer cannot be carried.
    #[prost(bool, tag = "4")]
    pub(crate) too_large: bool,
}

impl AskReply {
    pub(crate) fn refused(refusal: Refusal) -> Self {
        Self { refusal: refusal.number(), ..Self::default() }
    }
}

/// Why a handler declined.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct DeclinedReply {
    #[prost(uint32, tag = "1")]
    pub(crate) code: u32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}

/// A piece of a transfer: the first one has the header, the last one the end, the others a part each.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct StreamPiece {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub(crate) header: Option<Bytes>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) part: Bytes,
    /// Said in so many words: a sender that gives up resets its stream, which HTTP/2 libraries may show as its end.
    #[prost(bool, tag = "3")]
    pub(crate) end: bool,
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    }

    #[track_caller]
    fn golden<M: Message + Default + PartialEq + std::fmt::Debug>(message: &M, expected: &str) {
        let bytes = message.encode_to_vec();
        assert_eq!(hex(&bytes), expected, "the bytes on the wire changed");
        assert_eq!(M::decode(bytes.as_slice()).unwrap(), *message);
    }

    fn who() -> Who {
        let identity = Identity {
            cluster_id: Some("c1".to_owned()),
            node: Some(3),
            boot_id: 0x0102,
            protocol: ProtocolRange { min: 1, max: 2 },
            build: "0.1".to_owned(),
        };
        let who = Who::from(&identity);
        assert_eq!(Identity::from(who.clone()), identity);
        who
    }

    #[test]
    fn golden_handshake() {
        golden(
            &HelloRequest { who: who(), to: Some(2), link: 5 },
            "0a180a026331100319020100000000000020012802320330 2e3110021805".replace(' ', "").as_str(),
        );
        let joiner = Who { cluster: None, node: None, ..who() };
        golden(&HelloRequest { who: joiner, to: None, link: 0 }, "0a12190201000000000000200128023203302e31");
        golden(&HelloReply { who: Some(who()), refusal: 0 }, "0a180a0263311003190201000000000000200128023203302e31");
        golden(&HelloReply { who: None, refusal: Refusal::OldBoot.number() }, "1004");
    }

    #[test]
    fn golden_frames() {
        let frames = vec![Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"c")];
        golden(&FrameBatch { frames }, "0a0261620a000a0163");
        golden(&SendReply { refusal: Refusal::Superseded.number() }, "080a");
    }

    #[test]
    fn golden_requests() {
        golden(&AskRequest { body: Bytes::from_static(b"hi") }, "0a026869");
        golden(&AskReply { body: Bytes::from_static(b"ok"), ..AskReply::default() }, "0a026f6b");
        let declined = DeclinedReply { code: 9, message: "no".to_owned() };
        golden(&AskReply { declined: Some(declined), ..AskReply::default() }, "1206080912026e6f");
        golden(&AskReply::refused(Refusal::Banned), "1806");
        golden(&AskReply { too_large: true, ..AskReply::default() }, "2001");
    }

    #[test]
    fn golden_transfers() {
        golden(&StreamPiece { header: Some(Bytes::new()), ..StreamPiece::default() }, "0a00");
        golden(&StreamPiece { part: Bytes::from_static(b"x"), ..StreamPiece::default() }, "120178");
        golden(&StreamPiece { end: true, ..StreamPiece::default() }, "1801");
    }
}
