//! The client of the nodes' two doors: blocking, bounded in time and size. Of several addresses the first that answers is
//! asked, from then on before the others.

use std::cell::Cell;
use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use ureq::Agent;
use ureq::http::{Method, Request};

use crate::error::CliError;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Everything but what RFC 3986 lets stand in a path segment unescaped.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~').remove(b'.');

/// What would break a message that quotes a body.
const UNPRINTABLE: &AsciiSet = CONTROLS;

/// One of the node's doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// For operators.
    Admin,
    /// For requests.
    Ingress,
}

impl Door {
    fn what(self) -> &'static str {
        match self {
            Self::Admin => "the admin API",
            Self::Ingress => "the ingress",
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Self::Admin => "--admin",
            Self::Ingress => "--ingress",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Self::Admin => "ABIDE_ADMIN",
            Self::Ingress => "ABIDE_INGRESS",
        }
    }
}

/// A client of one door.
pub(crate) struct Client {
    agent: Agent,
    bases: Vec<String>,
    /// Which of them answered last.
    current: Cell<usize>,
    door: Door,
}

/// What came back, whatever the status.
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// The body; not UTF-8 is replaced.
    pub(crate) body: String,
}

impl Client {
    /// A client of the door at `addresses`, each `http://host:port` or `host:port`. Waits at most `patience` for each
    /// answer; without it, for ever.
    ///
    /// # Errors
    /// [`CliError::Usage`] when one of them is no address.
    pub(crate) fn new(door: Door, addresses: &[String], patience: Option<Duration>) -> Result<Self, CliError> {
        let bases = addresses.iter().map(|address| base(door, address)).collect::<Result<Vec<_>, _>>()?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // The doors are local or in a private network; a proxy of the environment is for the outside.
            .proxy(None)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIME))
            .timeout_global(patience)
            .user_agent(concat!("abide-cli/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: config.into(), bases, current: Cell::new(0), door })
    }

    /// The same, which waits for its answers for ever: for what takes its time.
    ///
    /// # Errors
    /// None: the addresses are known to be some.
    pub(crate) fn patient(&self) -> Result<Self, CliError> {
        Self::new(self.door, &self.bases, None)
    }

    /// The address that answered last.
    pub(crate) fn base(&self) -> &str {
        &self.bases[self.current.get()]
    }

    /// A JSON document.
    ///
    /// # Errors
    /// No answer, an error status, or an answer that is not JSON.
    pub(crate) fn get(&self, path: &Path) -> Result<Value, CliError> {
        self.json(&Method::GET, path, None)
    }

    /// A request whose successful answer is a JSON document or, told as `null`, empty.
    ///
    /// # Errors
    /// No answer, an error status, or an answer that is not JSON.
    pub(crate) fn json(&self, method: &Method, path: &Path, body: Option<&Value>) -> Result<Value, CliError> {
        let answer = self.send(method, path, body)?.success()?;
        if answer.body.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&answer.body).map_err(|error| {
            CliError::Local(format!(
                "{} at {} answered {} with something that is not JSON ({error}); is it an Abide node?",
                self.door.what(),
                self.base(),
                path.0
            ))
        })
    }

    /// A request, answered with whatever status.
    ///
    /// # Errors
    /// No answer.
    pub(crate) fn send(&self, method: &Method, path: &Path, body: Option<&Value>) -> Result<Answer, CliError> {
        let first = self.current.get();
        let mut last = None;
        for offset in 0..self.bases.len() {
            let number = (first + offset) % self.bases.len();
            let base = &self.bases[number];
            match self.send_to(base, method, path, body) {
                Ok(answer) => {
                    self.current.set(number);
                    return Ok(answer);
                }
                Err(Lost::Address(error)) => return Err(error),
                // What may have been carried out is not asked for once more.
                Err(Lost::Answer(error)) if *method != Method::GET && !not_sent(&error) => {
                    return Err(self.unreachable(base.clone(), &error));
                }
                Err(Lost::Answer(error)) => last = Some(error),
            }
        }
        let error = last.expect("there is at least one address");
        Err(self.unreachable(self.bases.join(", "), &error))
    }

    fn send_to(&self, base: &str, method: &Method, path: &Path, body: Option<&Value>) -> Result<Answer, Lost> {
        let bad = |error: ureq::http::Error| {
            let text = format!("`{base}` is not an address for {}: {error}", self.door.what());
            Lost::Address(CliError::Usage(text))
        };
        let request = Request::builder().method(method).uri(format!("{base}{}", path.0));
        let request = request.header("accept", "application/json");
        let sent = match body {
            Some(body) => {
                let request = request.header("content-type", "application/json").body(body.to_string());
                self.agent.run(request.map_err(bad)?)
            }
            None => self.agent.run(request.body(()).map_err(bad)?),
        };
        let mut response = sent.map_err(Lost::Answer)?;
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).lossy_utf8(true).read_to_string();
        Ok(Answer { status: response.status().as_u16(), body: body.map_err(Lost::Answer)? })
    }

    fn unreachable(&self, address: String, error: &ureq::Error) -> CliError {
        CliError::Unreachable {
            what: self.door.what(),
            address,
            cause: error.to_string(),
            flag: self.door.flag(),
            variable: self.door.variable(),
        }
    }
}

/// Why there is no answer.
enum Lost {
    /// The address is none.
    Address(CliError),
    /// It did not come.
    Answer(ureq::Error),
}

/// Whether a request never got to a node.
fn not_sent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        ureq::Error::Timeout(what) => matches!(what, ureq::Timeout::Connect | ureq::Timeout::Resolve),
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        _ => false,
    }
}

impl Answer {
    /// Itself, when the status says so.
    ///
    /// # Errors
    /// [`CliError::Answered`] with what the body says.
    pub(crate) fn success(self) -> Result<Self, CliError> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(self.error()) }
    }

    /// The body as an error: `{"message","restate_code"|"abide_code"}` or plain text.
    pub(crate) fn error(&self) -> CliError {
        let document: Value = serde_json::from_str(&self.body).unwrap_or_default();
        let code = ["abide_code", "restate_code"].iter().find_map(|name| document[*name].as_str());
        let message = match document["message"].as_str() {
            Some(message) => message.to_owned(),
            None if self.body.trim().is_empty() => format!("the server answered with status {}", self.status),
            None => {
                let text: String = self.body.trim().chars().take(500).collect();
                format!("the server answered with status {}: {}", self.status, utf8_percent_encode(&text, UNPRINTABLE))
            }
        };
        CliError::Answered { status: self.status, message, code: code.map(str::to_owned) }
    }
}

/// `http://host:port` without a slash at the end.
fn base(door: Door, address: &str) -> Result<String, CliError> {
    let bad = |reason: &str| {
        CliError::Usage(format!(
            "`{address}` is not an address for {}: {reason}; expected http://HOST:PORT (from {} or {})",
            door.what(),
            door.flag(),
            door.variable()
        ))
    };
    let address = address.trim().trim_end_matches('/');
    if address.starts_with("https://") {
        return Err(bad("nodes do not serve TLS on this door"));
    }
    let host = address.strip_prefix("http://").unwrap_or(address);
    if host.is_empty() || host.contains("://") || host.contains(char::is_whitespace) {
        return Err(bad("no HTTP address"));
    }
    Ok(format!("http://{host}"))
}

/// A path with its query, escaped as it is built.
pub(crate) struct Path(String);

impl Path {
    /// `/a/b`, each segment escaped.
    pub(crate) fn of<'a>(segments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut path = String::new();
        for segment in segments {
            path.push('/');
            path.extend(utf8_percent_encode(segment, SEGMENT));
        }
        Self(path)
    }

    /// With a query parameter, unless `value` is absent.
    pub(crate) fn with(mut self, name: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.0.push(if self.0.contains('?') { '&' } else { '?' });
            self.0.push_str(name);
            self.0.push('=');
            self.0.extend(utf8_percent_encode(&value.to_string(), SEGMENT));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_escaped() {
        let path = Path::of(["services", "A/b", "state", "ä ?"]).with("after", Some("x&y")).with("limit", None::<u32>);
        assert_eq!(path.with("n", Some(1)).0, "/services/A%2Fb/state/%C3%A4%20%3F?after=x%26y&n=1");
    }

    #[test]
    fn addresses_need_no_scheme_and_lose_their_slash() {
        for address in ["http://localhost:9070", "http://localhost:9070/", "localhost:9070", " localhost:9070 "] {
            assert_eq!(base(Door::Admin, address).unwrap(), "http://localhost:9070");
        }
        for address in ["", "https://x", "ftp://x", "a b"] {
            assert!(base(Door::Admin, address).unwrap_err().to_string().contains("ABIDE_ADMIN"), "{address}");
        }
    }

    #[test]
    fn errors_are_json_or_text() {
        let told = |status, body: &str| Answer { status, body: body.into() }.error().to_string();
        assert_eq!(told(404, r#"{"message":"no such","restate_code":null,"abide_code":"AB0404"}"#), "no such [AB0404]");
        assert_eq!(told(400, r#"{"message":"no","restate_code":"META0003"}"#), "no [META0003]");
        assert_eq!(told(400, "bad\u{1b}[31m"), "the server answered with status 400: bad%1B[31m");
        assert_eq!(told(500, ""), "the server answered with status 500");
    }
}
