//! As little of an HTTP/1.1 client as the ingress needs, so that the generator does not measure itself: one call at a
//! time on a connection that stays open, answers with a `content-length`.

use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An open connection.
pub(super) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(to: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(to).await.context("connecting to the ingress")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: Vec::with_capacity(256), answer: Vec::with_capacity(1024) })
    }

    /// Posts a JSON body and returns the status and the body of the answer.
    pub(super) async fn post(&mut self, path: &str, body: &str) -> anyhow::Result<(u16, &[u8])> {
        self.request.clear();
        let (length, kind) = (body.len(), "content-type: application/json");
        write!(self.request, "POST {path} HTTP/1.1\r\nhost: b\r\n{kind}\r\ncontent-length: {length}\r\n\r\n{body}")?;
        self.stream.write_all(&self.request).await.context("writing a request")?;
        self.answer.clear();
        loop {
            if let Some(head) = Head::parse(&self.answer)? {
                if self.answer.len() == head.end + head.content {
                    return Ok((head.status, &self.answer[head.end..]));
                }
                if self.answer.len() > head.end + head.content {
                    bail!("the ingress sent more than one answer");
                }
            }
            if self.stream.read_buf(&mut self.answer).await.context("reading an answer")? == 0 {
                bail!("the ingress closed the connection");
            }
        }
    }
}

/// What matters of an answer's head.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Where the body begins.
    end: usize,
    /// Length of the body.
    content: usize,
}

impl Head {
    /// The head at the start of `bytes`; `None` while it is incomplete.
    fn parse(bytes: &[u8]) -> anyhow::Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&bytes[..end]).context("the head of an answer is not text")?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|line| line.get(..3));
        let status = status.and_then(|status| status.parse().ok()).context("the status line is not HTTP/1.1")?;
        let lengths = lines.filter_map(|line| line.split_once(':'));
        let content = lengths
            .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .find_map(|(_, value)| value.trim().parse().ok())
            .context("an answer without a content-length")?;
        Ok(Some(Self { status, end: end + 4, content }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Type: a\r\nContent-Length: 2\r\n\r\n42";
        assert_eq!(Head::parse(answer).unwrap(), Some(Head { status: 200, end: 55, content: 2 }));
        assert_eq!(Head::parse(&answer[..40]).unwrap(), None);
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(Head::parse(b"SSH-2.0\r\n\r\n").is_err());
    }
}
