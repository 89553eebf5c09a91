//! One caller's way to the node, and the check of what it answers.

use std::net::SocketAddr;

use abide::Client;
use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::args::Target;
use super::http1::Connection;
use crate::app::{Counter, Steps};

/// A way for one call at a time.
pub(super) enum Line {
    Client(Client),
    Http1(Connection),
    /// A share of an HTTP/2 connection.
    Http2(SendRequest<Full<Bytes>>),
}

/// What one call asks and what it has to answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) target: Target,
    pub(super) key: u64,
    /// The argument of flows.
    pub(super) number: i64,
}

impl Call {
    fn key(&self) -> String {
        format!("k{}", self.key)
    }

    fn path(&self) -> String {
        match self.target {
            Target::Add => format!("/Counter/k{}/add", self.key),
            Target::Get => format!("/Counter/k{}/get", self.key),
            Target::Echo => "/Flow/echo".into(),
            Target::Three => "/Flow/three".into(),
        }
    }

    fn body(&self) -> String {
        match self.target {
            Target::Add => "1".into(),
            Target::Get => String::new(),
            Target::Echo | Target::Three => self.number.to_string(),
        }
    }

    /// Whether `answer` can be the answer.
    fn check(&self, answer: i64) -> anyhow::Result<()> {
        let right = match self.target {
            Target::Add => answer > 0,
            Target::Get => answer >= 0,
            Target::Echo => answer == self.number,
            Target::Three => answer == self.number + 3,
        };
        if !right {
            bail!("a wrong answer: {answer} to {self:?}");
        }
        Ok(())
    }
}

/// Opens an HTTP/2 connection with prior knowledge.
pub(super) async fn open_http2(to: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = tokio::net::TcpStream::connect(to).await.context("connecting to the ingress")?;
    stream.set_nodelay(true)?;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // Its end is told to every call on it.
    tokio::spawn(connection);
    Ok(sender)
}

impl Line {
    /// Makes a call and checks the answer.
    pub(super) async fn call(&mut self, call: Call) -> anyhow::Result<()> {
        let answer = match self {
            Self::Client(client) => in_process(client, call).await?,
            Self::Http1(connection) => {
                let (status, body) = connection.post(&call.path(), &call.body()).await?;
                read(status, body)?
            }
            Self::Http2(sender) => {
                let request = Request::post(format!("http://b{}", call.path()))
                    .header("content-type", "application/json")
                    .body(Full::new(Bytes::from(call.body())))?;
                sender.ready().await?;
                let answer = sender.send_request(request).await?;
                let status = answer.status().as_u16();
                read(status, &answer.into_body().collect().await?.to_bytes())?
            }
        };
        call.check(answer)
    }
}

async fn in_process(client: &Client, call: Call) -> anyhow::Result<i64> {
    Ok(match call.target {
        Target::Add => client.object::<Counter>(call.key()).add(1).await?,
        Target::Get => client.object::<Counter>(call.key()).get().await?,
        Target::Echo => client.service::<Steps>().echo(call.number).await?,
        Target::Three => client.service::<Steps>().three(call.number).await?,
    })
}

fn read(status: u16, body: &[u8]) -> anyhow::Result<i64> {
    if status != 200 {
        bail!("status {status}: {}", String::from_utf8_lossy(body));
    }
    std::str::from_utf8(body)?.trim().parse().context("the answer is not a number")
}
