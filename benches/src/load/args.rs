//! What the load generator is asked for.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::bail;
use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};

/// How calls reach the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Through its ingress, from another process.
    Http,
    /// Through the typed client of a node in the generator's own process.
    InProcess,
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// `Counter/{key}/add`: a durable turn.
    Add,
    /// `Counter/{key}/get`: a read.
    Get,
    /// `Flow/echo`: a flow without steps.
    Echo,
    /// `Flow/three`: a flow of three steps.
    Three,
}

/// Loads a node and prints one JSON object. It starts a node of its own unless `--to` names one.
#[derive(Clone, Debug, Parser, Serialize, Deserialize)]
#[command(name = "bench-load")]
pub struct Args {
    /// How calls reach the node.
    #[arg(long, value_enum, default_value = "http")]
    pub mode: Mode,
    /// What is called.
    #[arg(long, value_enum, default_value = "add")]
    pub target: Target,
    /// Calls at the same time. In an open loop the most of them: further ones wait, which their latency shows.
    #[arg(long, default_value_t = 64)]
    pub outstanding: usize,
    /// Open loop: calls per second, evenly spaced. Without it the loop is closed.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Number of keys, chosen evenly at random; 1 is one hot key.
    #[arg(long, default_value_t = 100_000)]
    pub keys: u64,
    /// Seed of the choice of keys.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Seconds of load before that.
    #[arg(long, default_value_t = 1.0)]
    pub warmup: f64,
    /// Read every key once before the warm-up, so that the objects are in memory.
    #[arg(long)]
    pub touch: bool,
    /// HTTP connections. HTTP/1.1 needs one for each call, which is the default; h2c has one by default.
    #[arg(long)]
    pub connections: Option<usize>,
    /// HTTP/2 with prior knowledge instead of HTTP/1.1.
    #[arg(long)]
    pub h2c: bool,
    /// Ingress of a node that runs already (HTTP).
    #[arg(long, requires = "admin")]
    pub to: Option<SocketAddr>,
    /// Ingress of another node of the same cluster; calls are spread over all (HTTP/1.1). May be repeated.
    #[arg(long, requires = "to", conflicts_with = "h2c")]
    pub also: Vec<SocketAddr>,
    /// Its admin port.
    #[arg(long, requires = "to")]
    pub admin: Option<SocketAddr>,
    /// Its process, for CPU, memory and bytes written.
    #[arg(long, requires = "to")]
    pub pid: Option<u32>,
    /// Partitions of the node that is started.
    #[arg(long, default_value_t = 8)]
    pub partitions: u32,
    /// Where the data folder of the node that is started goes; default: beside this program.
    #[arg(long)]
    pub scratch: Option<PathBuf>,
    /// Further settings of the node that is started, behind `--`.
    #[arg(last = true)]
    pub node: Vec<String>,
}

impl Args {
    /// Connections to open.
    ///
    /// # Errors
    /// When the numbers do not fit together.
    pub fn connections(&self) -> anyhow::Result<usize> {
        let connections = self.connections.unwrap_or(if self.h2c { 1 } else { self.outstanding });
        if self.outstanding == 0 || connections == 0 || self.keys == 0 {
            bail!("--outstanding, --connections and --keys are at least 1");
        }
        if self.rate.is_some_and(|rate| !(rate > 0.0 && rate <= 1e7)) {
            bail!("--rate is above 0 and at most 10,000,000");
        }
        if !self.h2c && self.mode == Mode::Http && connections != self.outstanding {
            bail!("HTTP/1.1 carries one call a connection: leave --connections out or set it to --outstanding");
        }
        if connections > self.outstanding {
            bail!("{connections} connections cannot all be used by {} calls", self.outstanding);
        }
        Ok(connections)
    }
}
