//! Why a node is not talked to, and the rules of the handshake that decide it.

use std::sync::Arc;

use crate::identity::{Identity, NodeId};

/// Why a handshake or a call was refused, before any handler saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The other node belongs to another cluster.
    OtherCluster,
    /// No version of the protocol is spoken by both.
    NoCommonProtocol,
    /// The certificate is not one of the node that was claimed.
    CertificateMismatch,
    /// A newer process of the same node was seen.
    OldBoot,
    /// The other side has our own node number: an address that leads back here, or two nodes with one number.
    Ourselves,
    /// The node was removed from the cluster.
    Banned,
    /// Another node than the intended one answers at the address.
    WrongNode,
    /// The node has not joined its cluster yet; it can only be asked.
    NotJoined,
    /// A call came before the handshake.
    NoHandshake,
    /// A newer connection of the same node took over.
    Superseded,
    /// More than the node is set to take.
    Overloaded,
    /// A reason that only newer builds know.
    Unknown,
}

impl Refusal {
    /// All reasons with their numbers on the wire and their labels in metrics. Numbers are never reused.
    const ALL: [(Self, u32, &'static str); 11] = [
        (Self::OtherCluster, 1, "other_cluster"),
        (Self::NoCommonProtocol, 2, "no_common_protocol"),
        (Self::CertificateMismatch, 3, "certificate_mismatch"),
        (Self::OldBoot, 4, "old_boot"),
        (Self::Ourselves, 5, "ourselves"),
        (Self::Banned, 6, "banned"),
        (Self::WrongNode, 7, "wrong_node"),
        (Self::NotJoined, 8, "not_joined"),
        (Self::NoHandshake, 9, "no_handshake"),
        (Self::Superseded, 10, "superseded"),
        (Self::Overloaded, 11, "overloaded"),
    ];

    /// The label of the reason in metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        Self::ALL.iter().find(|(refusal, ..)| *refusal == self).map_or("unknown", |(.., label)| label)
    }

    /// The number on the wire.
    pub(crate) fn number(self) -> u32 {
        Self::ALL.iter().find(|(refusal, ..)| *refusal == self).map_or(u32::MAX, |(_, number, _)| *number)
    }

    /// The reason of a number on the wire; 0 is none.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        let known = Self::ALL.iter().find(|(_, known, _)| *known == number).map(|(refusal, ..)| *refusal);
        if number == 0 { None } else { Some(known.unwrap_or(Self::Unknown)) }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OtherCluster => "the nodes belong to different clusters",
            Self::NoCommonProtocol => {
                "no version of the protocol is common to both builds: upgrade one version at a time"
            }
            Self::CertificateMismatch => "the certificate is not one of the node that was claimed",
            Self::OldBoot => "a newer process of the node was seen: two processes may run under one node number",
            Self::Ourselves => "the other side has the same node number",
            Self::Banned => "the node was removed from the cluster",
            Self::WrongNode => "another node answers at this address",
            Self::NotJoined => "the node has not joined the cluster yet",
            Self::NoHandshake => "the connection began without a handshake",
            Self::Superseded => "a newer connection of the node took over",
            Self::Overloaded => "the node takes no more connections or requests",
            Self::Unknown => "the other node, a newer build, gave a reason that this build does not know",
        })
    }
}

/// What two nodes agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agreement {
    /// The other node, if it has a number.
    pub(crate) node: Option<NodeId>,
    /// Its process.
    pub(crate) boot: u64,
    /// The version both speak.
    pub(crate) protocol: u32,
    /// Version of its program.
    pub(crate) build: Arc<str>,
    /// Whether both are members of the one cluster, so that frames may pass.
    pub(crate) members: bool,
}

/// Judges what another node says of itself. What depends on earlier connections is up to the [book](crate::book).
pub(crate) fn judge(own: &Identity, other: &Identity) -> Result<Agreement, Refusal> {
    if let (Some(ours), Some(theirs)) = (&own.cluster_id, &other.cluster_id)
        && ours != theirs
    {
        return Err(Refusal::OtherCluster);
    }
    let protocol = own.protocol.common(other.protocol).ok_or(Refusal::NoCommonProtocol)?;
    if own.node.is_some() && own.node == other.node {
        return Err(Refusal::Ourselves);
    }
    Ok(Agreement {
        node: other.node,
        boot: other.boot_id,
        protocol,
        build: other.build.as_str().into(),
        members: own.is_member() && other.is_member(),
    })
}

/// Judges whether we are the node that a caller means.
pub(crate) fn judge_intent(own: &Identity, meant: Option<NodeId>) -> Result<(), Refusal> {
    match (meant, own.node) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(Refusal::NotJoined),
        (Some(meant), Some(own)) if meant == own => Ok(()),
        (Some(_), Some(_)) => Err(Refusal::WrongNode),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProtocolRange;

    fn identity(cluster: Option<&str>, node: Option<NodeId>) -> Identity {
        Identity {
            cluster_id: cluster.map(str::to_owned),
            node,
            boot_id: 7,
            protocol: ProtocolRange { min: 1, max: 2 },
            build: "1.0".to_owned(),
        }
    }

    #[test]
    fn numbers_are_what_they_were() {
        for (refusal, number, label) in Refusal::ALL {
            assert_eq!(Refusal::from_number(number), Some(refusal));
            assert_eq!((refusal.number(), refusal.label()), (number, label));
        }
        assert_eq!(Refusal::from_number(0), None);
        assert_eq!(Refusal::from_number(4_000), Some(Refusal::Unknown));
    }

    #[test]
    fn only_members_of_one_cluster_exchange_frames() {
        let own = identity(Some("a"), Some(1));
        let members = |own: &Identity, other: &Identity| judge(own, other).map(|agreement| agreement.members);
        assert_eq!(members(&own, &identity(Some("a"), Some(2))), Ok(true));
        assert_eq!(members(&own, &identity(Some("b"), Some(2))), Err(Refusal::OtherCluster));
        assert_eq!(members(&own, &identity(Some("a"), Some(1))), Err(Refusal::Ourselves));
        assert_eq!(members(&own, &identity(Some("a"), None)), Ok(false));
        assert_eq!(members(&own, &identity(None, None)), Ok(false));
        assert_eq!(members(&identity(None, None), &identity(None, None)), Ok(false));
        let newer = Identity { protocol: ProtocolRange { min: 3, max: 3 }, ..identity(Some("a"), Some(2)) };
        assert_eq!(members(&own, &newer), Err(Refusal::NoCommonProtocol));
    }

    #[test]
    fn a_caller_reaches_the_node_it_means() {
        assert_eq!(judge_intent(&identity(None, None), None), Ok(()));
        assert_eq!(judge_intent(&identity(None, None), Some(1)), Err(Refusal::NotJoined));
        assert_eq!(judge_intent(&identity(None, Some(1)), Some(1)), Ok(()));
        assert_eq!(judge_intent(&identity(None, Some(1)), Some(2)), Err(Refusal::WrongNode));
    }
}
