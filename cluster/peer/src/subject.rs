//! Which nodes a certificate may speak for.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::identity::NodeId;

/// The name in certificates that are good for any node.
pub(crate) const ANY_NODE: &str = "abide-node";

/// The name in certificates of one node.
pub(crate) fn name_of(node: NodeId) -> String {
    format!("{ANY_NODE}-{node}")
}

/// The nodes that the names of a certificate allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    any: bool,
    nodes: Vec<NodeId>,
}

impl Subject {
    /// Reads the names of a certificate; `None` if it cannot be read or is not one of a node.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = EndEntityCert::try_from(certificate).ok()?;
        let subject = Self::of_names(certificate.valid_dns_names());
        (subject.any || !subject.nodes.is_empty()).then_some(subject)
    }

    fn of_names<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut subject = Self { any: false, nodes: Vec::new() };
        for name in names {
            match name.strip_prefix(ANY_NODE) {
                Some("") => subject.any = true,
                Some(rest) => {
                    let number = rest.strip_prefix('-').and_then(|number| number.parse().ok());
                    // Only the one spelling: `abide-node-01` is no name of node 1.
                    subject.nodes.extend(number.filter(|number| name_of(*number) == name));
                }
                None => {}
            }
        }
        subject
    }

    /// The name by which a certificate may speak for `node`, or at all if the node is not known. A certificate that names
    /// nodes is good for these only, even if it names any node as well.
    pub(crate) fn name_for(&self, node: Option<NodeId>) -> Option<String> {
        match node {
            Some(node) if self.nodes.contains(&node) => Some(name_of(node)),
            Some(_) if !self.nodes.is_empty() => None,
            None if !self.nodes.is_empty() => Some(name_of(self.nodes[0])),
            _ => self.any.then(|| ANY_NODE.to_owned()),
        }
    }

    /// Whether the certificate may speak for the node, or for one that has no number yet.
    pub(crate) fn allows(&self, node: Option<NodeId>) -> bool {
        self.name_for(node).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specific_names_bind() {
        let of = |names: &[&'static str]| Subject::of_names(names.iter().copied());
        let any = of(&["host.example", "abide-node"]);
        assert!(any.allows(None) && any.allows(Some(1)) && any.allows(Some(2)));
        let one = of(&["abide-node-1"]);
        assert!(one.allows(None) && one.allows(Some(1)) && !one.allows(Some(2)) && !one.allows(Some(11)));
        let both = of(&["abide-node", "abide-node-2"]);
        assert!(!both.allows(Some(1)) && both.allows(Some(2)));
        for names in [&["host.example"], &["abide-node-01"], &["abide-node-x"], &["abide-nodes"], &["abide-node-"]] {
            assert!(!of(names).allows(None) && !of(names).allows(Some(1)), "{names:?}");
        }
    }
}
