//! A client that sends exactly the bytes it is told, HTTP/1.1 only, so that malformed requests can be sent too.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One connection, with what was read beyond the last response.
pub(super) struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
}

/// A response read whole.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    head: String,
    pub(super) body: String,
}

impl Client {
    pub(super) async fn connect(addr: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(addr).await.unwrap(), bytes: Vec::new() }
    }

    pub(super) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        // A peer that refuses may close before it has read everything.
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// The next response; `None` when the connection ends first.
    pub(super) async fn read(&mut self) -> Option<Reply> {
        let head_len = loop {
            if let Some(at) = self.bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.read_more().await?;
        };
        let head: Vec<u8> = self.bytes.drain(..head_len).collect();
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply { status, head, body: String::new() };
        let length: usize = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.bytes.len() < length {
            self.read_more().await?;
        }
        reply.body = String::from_utf8(self.bytes.drain(..length).collect()).unwrap();
        Some(reply)
    }

    /// `None` at the end of the connection.
    async fn read_more(&mut self) -> Option<()> {
        (self.stream.read_buf(&mut self.bytes).await.ok()? > 0).then_some(())
    }

    /// Whether the peer has closed the connection, waiting for it.
    pub(super) async fn closed(&mut self) -> bool {
        let mut rest = Vec::new();
        matches!(self.stream.read_to_end(&mut rest).await, Ok(_) | Err(_))
    }
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends one request on a connection of its own.
pub(super) async fn request(addr: SocketAddr, line: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut client = Client::connect(addr).await;
    let mut head = format!("{line} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    client.write(format!("{head}\r\n{body}")).await;
    client.read().await.expect("a response")
}

/// A JSON request.
pub(super) async fn post(addr: SocketAddr, path: &str, body: &str) -> Reply {
    request(addr, &format!("POST {path}"), &[("content-type", "application/json")], body).await
}

/// A request without body.
pub(super) async fn get(addr: SocketAddr, path: &str) -> Reply {
    request(addr, &format!("GET {path}"), &[], "").await
}
