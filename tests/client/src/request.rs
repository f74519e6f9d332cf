//! HTTP as a client writes and reads it: the opening handshake, requests with one thing spoiled, response heads.

use std::net::SocketAddr;

/// The sample key of RFC 6455 1.3, and its accept value.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A valid opening handshake (RFC 6455 4.1).
pub fn opening(address: SocketAddr, path: &str) -> String {
    Request::opening(&address.to_string(), path).head()
}

/// The response to [`opening`], without its `date`.
pub fn switching_protocols() -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {ACCEPT}\r\n\r\n"
    )
}

/// A request. Each method changes one thing about it.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub version: String,
    pub headers: Vec<(String, String)>,
    /// Bytes sent in the same packet, after the head.
    pub rest: Vec<u8>,
}

impl Request {
    /// A valid opening handshake (RFC 6455 4.1).
    pub fn opening(host: &str, path: &str) -> Self {
        let headers = [
            ("Host", host),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", KEY),
            ("Sec-WebSocket-Version", "13"),
        ];
        Self {
            method: "GET".into(),
            path: path.into(),
            version: "HTTP/1.1".into(),
            headers: headers.map(|(name, value)| (name.into(), value.into())).into(),
            rest: Vec::new(),
        }
    }

    pub fn method(self, method: &str) -> Self {
        Self { method: method.into(), ..self }
    }

    pub fn path(self, path: &str) -> Self {
        Self { path: path.into(), ..self }
    }

    pub fn version(self, version: &str) -> Self {
        Self { version: version.into(), ..self }
    }

    pub fn rest(self, bytes: &[u8]) -> Self {
        Self { rest: bytes.into(), ..self }
    }

    /// Removes every line of a header field.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(header, _)| header != name);
        self
    }

    /// Adds a header line.
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Replaces the value of a header field.
    pub fn with(self, name: &str, value: &str) -> Self {
        self.without(name).and(name, value)
    }

    fn head(&self) -> String {
        let Self { method, path, version, headers, .. } = self;
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{method} {path} {version}\r\n{lines}\r\n")
    }

    pub fn bytes(&self) -> Vec<u8> {
        [self.head().as_bytes(), &self.rest].concat()
    }
}

/// The head of a response.
#[derive(Clone, Debug)]
pub struct Response {
    /// `HTTP/1.1`, for example.
    pub version: String,
    pub status: u16,
    headers: Vec<(String, String)>,
}

impl Response {
    /// Parses a response head. Returns `None` if the bytes aren't HTTP.
    pub fn parse(head: &[u8]) -> Option<Self> {
        let head = String::from_utf8_lossy(head);
        let mut lines = head.split("\r\n");
        let (version, rest) = lines.next()?.split_once(' ')?;
        let status = rest.split(' ').next()?.parse().ok().filter(|_| version.starts_with("HTTP/"))?;
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Some(Self { version: version.into(), status, headers })
    }

    /// The value of a header field. `name` is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key == name);
        values.next().map(|(_, value)| value.as_str())
    }

    /// True if a header field is a list that contains a token, in any case. `name` is in lower case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        let lines = self.headers.iter().filter(|(key, _)| key == name);
        lines.flat_map(|(_, value)| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
    }
}
