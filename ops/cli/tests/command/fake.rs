//! A server of prepared answers that remembers what it was asked, and the command run against it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// `GET /path?query` and its body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) body: Value,
}

type Answers = Vec<(&'static str, u16, String)>;

/// The server; it lives as long as the test.
pub(crate) struct Fake {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// Answers each request with the first of `answers` whose beginning of `METHOD /path?query` fits; others with 404.
    pub(crate) fn start(answers: &[(&'static str, u16, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let remembered = Arc::clone(&asked);
        let answers: Answers =
            answers.iter().map(|(line, status, body)| (*line, *status, (*body).to_owned())).collect();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &answers, &remembered);
            }
        });
        Self { addr, asked }
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The first lines of what it was asked so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }

    /// The command, with both doors being this server, and nothing of the environment of the tests.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = bare(args);
        command.env("ABIDE_ADMIN", format!("http://{}/", self.addr)).env("ABIDE_INGRESS", self.addr.to_string());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&mut self.command(args))
    }
}

/// The command without a server.
pub(crate) fn bare(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_abide"));
    command.args(args).stdin(Stdio::null());
    for name in ["ABIDE_ADMIN", "ABIDE_INGRESS", "COLUMNS", "VISUAL", "EDITOR", "NO_COLOR"] {
        command.env_remove(name);
    }
    command
}

/// What became of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        Self {
            code: status.code().unwrap(),
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
        }
    }

    /// Standard output, which has to be one document.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn answer(mut stream: TcpStream, answers: &Answers, remembered: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let line = first.rsplit_once(' ').map_or("", |(line, _)| line).to_owned();
    let known = answers.iter().find(|(known, _, _)| line.starts_with(known));
    let (status, text) = known.map_or((404, r#"{"message":"nothing here"}"#), |(_, status, text)| (*status, text));
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    remembered.lock().unwrap().push(Asked { line, body });
    let length = text.len();
    write!(stream, "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{text}").unwrap();
}
