//! A network of its own: a namespace for each node, a bridge between them, and rules that drop what is to be lost.
//!
//! A test that needs one runs itself again inside new namespaces ([`enter`]): of the network, of mounts, so that the names
//! of the nodes' namespaces are its own, and of processes, so that nothing outlives it however it ends. There it makes a
//! [`Network`]. Clients are in the namespace of the bridge and reach every node, whatever is cut between them.

use std::env;
use std::process::Command;

use crate::{in_ci, report};

/// Set inside of [`enter`].
const INSIDE: &str = "E2E_INSIDE_NAMESPACE";
/// What a suite with namespaces needs; `ops/ci/install.sh` installs it.
const TOOLS: [&str; 4] = ["ip", "iptables", "unshare", "mount"];

/// Where a test is after [`enter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Inside: go on, and make a [`Network`].
    Inside,
    /// Outside, and it has run inside: there is nothing more to do.
    Done,
    /// Outside, and it cannot run inside; why was printed.
    Impossible,
}

/// Runs the test of this name, which calls this, again inside new namespaces.
///
/// # Panics
/// When it fails there, or tools are missing in CI.
#[must_use]
pub fn enter(test: &str) -> Place {
    if env::var_os(INSIDE).is_some() {
        return Place::Inside;
    }
    for tool in TOOLS {
        if Command::new(tool).arg("-V").output().is_err() {
            assert!(!in_ci(), "{tool} is missing; ops/ci/install.sh installs it");
            report(&format!("skipped: {test} needs {tool}, which is not installed"));
            return Place::Impossible;
        }
    }
    let unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let attempt = "mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && ip link add br0 type bridge && \
                   ip netns add n && ip netns exec n iptables -w -A INPUT -j DROP";
    let tried = Command::new(unshare[0]).args(&unshare[1..]).args(["sh", "-c", attempt]).output().unwrap();
    if !tried.status.success() {
        let why = String::from_utf8_lossy(&tried.stderr);
        report(&format!("skipped: {test} needs network namespaces, which are not permitted here: {}", why.trim()));
        return Place::Impossible;
    }
    let mut command = Command::new(unshare[0]);
    command.args(&unshare[1..]).arg(env::current_exe().unwrap());
    command.args([test, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"]);
    let status = command.env(INSIDE, "1").status().unwrap();
    assert!(status.success(), "inside of its namespaces the test failed: {status}");
    Place::Done
}

/// Whether a command can be run and succeeds.
fn runs(words: &[&str]) -> bool {
    Command::new(words[0]).args(&words[1..]).output().is_ok_and(|output| output.status.success())
}

/// A network with a number of nodes. Dropping it removes it.
pub struct Network {
    nodes: usize,
}

impl Network {
    /// Makes it. Only inside of [`enter`]: nothing of it is unique.
    ///
    /// # Panics
    /// When that does not work.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        assert!(env::var_os(INSIDE).is_some(), "this would be a network of the whole machine");
        run("mkdir -p /run/netns");
        run("mount -t tmpfs tmpfs /run/netns");
        run("ip link set lo up");
        run("ip link add br0 type bridge");
        run("ip addr add 10.77.0.254/24 dev br0");
        run("ip link set br0 up");
        let network = Self { nodes };
        for node in 0..nodes {
            let (name, address) = (Self::name(node), Self::address(node));
            run(&format!("ip netns add {name}"));
            run(&format!("ip link add to-{name} type veth peer name eth0 netns {name}"));
            run(&format!("ip link set to-{name} master br0 up"));
            run(&format!("ip -n {name} addr add {address}/24 dev eth0"));
            run(&format!("ip -n {name} link set eth0 up"));
            run(&format!("ip -n {name} link set lo up"));
        }
        network
    }

    fn name(node: usize) -> String {
        format!("node-{node}")
    }

    /// Where a node is.
    #[must_use]
    pub fn address(node: usize) -> String {
        format!("10.77.0.{}", node + 1)
    }

    /// The command that runs another one as this node.
    #[must_use]
    pub fn wrapper(node: usize) -> Vec<String> {
        ["ip", "netns", "exec", &Self::name(node)].map(str::to_owned).into()
    }

    /// Nothing that `from` sends reaches `to` any more.
    ///
    /// # Panics
    /// When the rule cannot be made.
    pub fn cut(&self, from: usize, to: usize) {
        assert!(from < self.nodes && to < self.nodes, "there are {} nodes", self.nodes);
        run(&format!("ip netns exec {} iptables -w -A INPUT -s {} -j DROP", Self::name(to), Self::address(from)));
    }

    /// Nothing passes between this node and the others. Clients reach it.
    ///
    /// # Panics
    /// As [`Network::cut`].
    pub fn isolate(&self, node: usize) {
        self.deafen(node);
        self.mute(node);
    }

    /// It hears no other node; they hear it.
    ///
    /// # Panics
    /// As [`Network::cut`].
    pub fn deafen(&self, node: usize) {
        (0..self.nodes).filter(|other| *other != node).for_each(|other| self.cut(other, node));
    }

    /// No other node hears it; it hears them.
    ///
    /// # Panics
    /// As [`Network::cut`].
    pub fn mute(&self, node: usize) {
        (0..self.nodes).filter(|other| *other != node).for_each(|other| self.cut(node, other));
    }

    /// Everything passes again.
    ///
    /// # Panics
    /// When a rule cannot be removed.
    pub fn heal(&self) {
        for node in 0..self.nodes {
            run(&format!("ip netns exec {} iptables -w -F", Self::name(node)));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // With its namespace a node's end of the link goes, and with that the other end.
        for node in 0..self.nodes {
            runs(&["ip", "netns", "del", &Self::name(node)]);
        }
        runs(&["ip", "link", "del", "br0"]);
        runs(&["umount", "/run/netns"]);
    }
}

fn run(line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "`{line}`: {}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Stdio};

    /// A program of a node that answers what its neighbour asks: `nc` is not everywhere, this is.
    fn serve(node: usize) -> Child {
        let words = Network::wrapper(node);
        let script =
            "import socket as s; l = s.create_server(('', 7000)); print(flush=True)\nwhile 1: l.accept()[0].close()";
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["python3", "-c", script]).stdout(Stdio::piped());
        command.spawn().unwrap()
    }

    fn reaches(from: Option<usize>, to: usize) -> bool {
        let script = format!("import socket; socket.create_connection(('{}', 7000), 0.5)", Network::address(to));
        let mut words = from.map(Network::wrapper).unwrap_or_default();
        words.extend(["python3", "-c", &script].map(str::to_owned));
        runs(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_cut_does_not_pass() {
        if !runs(&["python3", "-V"]) {
            return report("skipped: no python3");
        }
        if enter("netns::tests::what_is_cut_does_not_pass") != Place::Inside {
            return;
        }
        let network = Network::new(3);
        let mut servers: Vec<_> = (0..3).map(serve).collect();
        for server in &mut servers {
            let mut line = [0; 1];
            std::io::Read::read_exact(server.stdout.as_mut().unwrap(), &mut line).unwrap();
        }
        assert!(reaches(Some(0), 1) && reaches(Some(1), 0) && reaches(Some(1), 2) && reaches(None, 0));
        network.isolate(0);
        assert!(!reaches(Some(0), 1) && !reaches(Some(1), 0));
        assert!(reaches(Some(1), 2) && reaches(None, 0), "only node 0 was cut off, and clients were not");
        network.heal();
        assert!(reaches(Some(0), 1) && reaches(Some(1), 0));
        for mut server in servers {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }
}
