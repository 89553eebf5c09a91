//! What a node says of itself, looked at.

use abide_model::command::NodeInfo;
use abide_model::limits::{ADDRESS_BYTES_MAX, NODE_TEXT_BYTES_MAX};

/// What is wrong with it, for whoever runs the node; `None` when nothing is.
pub(super) fn fault(info: &NodeInfo) -> Option<String> {
    if info.store_uuid.is_empty() {
        return Some("the node does not say which data folder it has".into());
    }
    let texts = [("id of the data folder", &info.store_uuid), ("zone", &info.zone), ("build", &info.build)];
    for (what, text) in texts {
        if text.len() > NODE_TEXT_BYTES_MAX || text.chars().any(char::is_control) {
            return Some(format!(
                "the {what} of the node is longer than {NODE_TEXT_BYTES_MAX} bytes, or no line of text"
            ));
        }
    }
    if info.address.is_empty() {
        return Some("the node does not say where others reach it".into());
    }
    for (what, text) in [("peer", &info.address), ("ingress", &info.ingress), ("admin", &info.admin)] {
        if !text.is_empty() && !is_address(text) {
            let shown: String = text.chars().take(64).collect();
            return Some(format!("the {what} address of the node is not `host:port`: `{shown}`"));
        }
    }
    None
}

/// `host:port`, with a host that a URL can carry.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let host_fits = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(plain),
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= ADDRESS_BYTES_MAX && host_fits && digits && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::meta::words::info;

    #[test]
    fn addresses_are_a_host_and_a_port() {
        for text in ["127.0.0.1:1", "localhost:65535", "n-1.abide_peers.svc:9000", "[::1]:9000"] {
            assert!(is_address(text), "{text}");
        }
        for text in
            ["", ":", "a", "a:", ":1", "a:0", "a:65536", "a:+1", "a b:1", "::1:1", "[a]:1", "[]:1", "http://a:1", "é:1"]
        {
            assert!(!is_address(text), "{text}");
        }
        assert!(!is_address(&format!("{}:1", "a".repeat(ADDRESS_BYTES_MAX))));
    }

    #[test]
    fn what_a_node_says_is_bounded() {
        assert_eq!(fault(&info(1)), None);
        let long = || "x".repeat(NODE_TEXT_BYTES_MAX + 1);
        for info in [
            NodeInfo { store_uuid: String::new(), ..info(1) },
            NodeInfo { store_uuid: long(), ..info(1) },
            NodeInfo { zone: long(), ..info(1) },
            NodeInfo { zone: "a\nb".into(), ..info(1) },
            NodeInfo { build: long(), ..info(1) },
            NodeInfo { address: String::new(), ..info(1) },
            NodeInfo { address: "a".into(), ..info(1) },
            NodeInfo { ingress: "a".into(), ..info(1) },
            NodeInfo { admin: "a:0".into(), ..info(1) },
        ] {
            assert!(fault(&info).is_some(), "{info:?}");
        }
        assert_eq!(
            fault(&NodeInfo { ingress: String::new(), admin: String::new(), zone: String::new(), ..info(1) }),
            None
        );
    }
}
