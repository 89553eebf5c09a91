//! What a program that is a node logs: to standard error, as the environment says or the cluster does.

use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// Without anything said.
const DEFAULT: &str = "warn";
/// Libraries below, whose details say nothing of the node: with `debug` and `trace` they keep to this.
const BELOW: [&str; 12] = [
    "actix",
    "aws_config",
    "aws_smithy_runtime",
    "fjall",
    "h2",
    "hyper",
    "hyper_util",
    "lsm_tree",
    "mio",
    "rustls",
    "tonic",
    "tower",
];

/// The logging of this process, whose level can be changed.
pub(crate) struct Logging(reload::Handle<EnvFilter, Registry>);

/// Sets logging up. A program that has set up its own keeps it, and its level: then there is nothing to change.
pub(crate) fn init() -> Option<Logging> {
    let (filter, handle) = reload::Layer::new(of_environment());
    let layer = fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(layer).try_init().ok().map(|()| Logging(handle))
}

impl Logging {
    /// Logs with this level; without one as the environment says.
    pub(crate) fn set(&self, level: Option<&str>) {
        let filter = level.map_or_else(of_environment, |level| EnvFilter::new(directives(level)));
        // It fails when the subscriber is gone, which nobody logs to then.
        let _ = self.0.reload(filter);
    }
}

fn of_environment() -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT))
}

fn directives(level: &str) -> String {
    if !matches!(level, "debug" | "trace") {
        return level.to_owned();
    }
    let below = BELOW.iter().map(|library| format!("{library}=info"));
    std::iter::once(level.to_owned()).chain(below).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_below_keep_quiet() {
        assert_eq!(directives("error"), "error");
        let debug = directives("debug");
        assert!(debug.starts_with("debug,") && debug.contains(",h2=info,"), "{debug}");
        assert_eq!(
            debug.parse::<EnvFilter>().unwrap().max_level_hint(),
            Some(tracing_subscriber::filter::LevelFilter::DEBUG)
        );
    }
}
