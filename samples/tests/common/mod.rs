//! A node in the test's process, on a folder and on ports of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use abide::{Config, Running, ServerBuilder};

/// Starts what is bound, with its data in `dir`.
pub(crate) async fn start(server: ServerBuilder, dir: &Path) -> Running {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config { data: dir.join("data"), ..Config::default() };
    config.ingress.addr = any_port;
    config.admin.addr = any_port;
    config.peer.addr = any_port;
    server.config(config).start().await.expect("the node starts")
}
