//! The node under load.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::app;
use crate::role::Role;

/// Runs a node with the flags, environment and file of every program on [`abide::Server`]. With `attached` it ends when
/// its standard input is closed, so that it cannot outlive whoever started it.
#[must_use]
pub fn serve(attached: bool) -> ExitCode {
    if attached {
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(0);
        });
    }
    app::bind(abide::Server::builder()).serve()
}

/// The settings of a node on free ports over `data`.
#[must_use]
pub fn flags(data: &Path, partitions: u32, more: &[String]) -> Vec<String> {
    let mut flags: Vec<String> =
        ["--ingress", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--peer", "127.0.0.1:0", "--data"]
            .map(Into::into)
            .into();
    flags.push(data.display().to_string());
    flags.extend(["--partitions".into(), partitions.to_string()]);
    flags.extend_from_slice(more);
    flags
}

/// A node in a process of its own; killed when dropped.
pub struct NodeProcess {
    child: Child,
    /// Kept open: the node may have more to say.
    _output: BufReader<ChildStdout>,
    /// Where requests are taken.
    pub ingress: SocketAddr,
    /// Where metrics are.
    pub admin: SocketAddr,
    /// Where other nodes reach it.
    pub peer: SocketAddr,
    /// From the start of the process until it said where it serves.
    pub start: Duration,
}

impl NodeProcess {
    /// Starts a node and waits until it serves.
    ///
    /// # Errors
    /// When it does not start, or does not say where it serves.
    pub fn start(flags: &[String]) -> anyhow::Result<Self> {
        let started = Instant::now();
        let mut child = Role::Node
            .command()?
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the node")?;
        let mut output = BufReader::new(child.stdout.take().context("the output of the node")?);
        let (mut ingress, mut admin, mut peer) = (None, None, None);
        let mut line = String::new();
        while output.read_line(&mut line).context("reading the output of the node")? > 0 {
            match line.split_once("http://") {
                Some((name, addr)) if name.trim() == "ingress" => ingress = Some(addr.trim().parse()?),
                Some((name, addr)) if name.trim() == "admin" => admin = Some(addr.trim().parse()?),
                _ => {}
            }
            if let Some(addr) = line.strip_prefix("peer ") {
                peer = Some(addr.trim().parse()?);
            }
            if let (Some(ingress), Some(admin), Some(peer)) = (ingress, admin, peer) {
                return Ok(Self { child, _output: output, ingress, admin, peer, start: started.elapsed() });
            }
            line.clear();
        }
        let status = child.wait();
        bail!("the node ended before it served: {status:?}")
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // Its data folder goes with it: nothing needs to be written out.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
