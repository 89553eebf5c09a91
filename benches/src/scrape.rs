//! What a node counts about itself, from its `/metrics`.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};

const TIMEOUT: Duration = Duration::from_secs(5);

/// The counters of a node at one moment, by name; the labels of one name are added up.
#[derive(Clone, Debug, Default)]
pub struct Page(BTreeMap<String, f64>);

impl Page {
    /// Asks the admin port of a node. Blocks.
    ///
    /// # Errors
    /// When it does not answer with a page.
    pub fn fetch(admin: SocketAddr) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(admin).context("connecting to the admin port")?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.write_all(format!("GET /metrics HTTP/1.0\r\nhost: {admin}\r\nconnection: close\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("reading /metrics")?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.lines().next().is_some_and(|line| line.contains(" 200")) => {
                Ok(Self::parse(body))
            }
            _ => bail!("/metrics answered: {}", answer.lines().next().unwrap_or_default()),
        }
    }

    fn parse(text: &str) -> Self {
        let mut values = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let name = name.split('{').next().unwrap_or(name);
            if let Ok(value) = value.parse::<f64>() {
                *values.entry(name.to_owned()).or_default() += value;
            }
        }
        Self(values)
    }

    /// The value of `name`, 0 when the page does not have it.
    #[must_use]
    pub fn value(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// How much `name` has grown since `before`.
    #[must_use]
    pub fn since(&self, before: &Self, name: &str) -> f64 {
        let value = |page: &Self| page.0.get(name).copied().unwrap_or_default();
        value(self) - value(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_added_up() {
        let page = Page::parse("# TYPE a counter\na{x=\"1\"} 2\na{x=\"2\"} 3\nb_sum 0.5\n");
        assert!((page.since(&Page::default(), "a") - 5.0).abs() < 1e-9);
        assert!((page.since(&page, "b_sum")).abs() < 1e-9);
    }
}
