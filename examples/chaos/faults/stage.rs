//! Where a fault is acted out: the server, what is known of it, and the opening handshake with it.

use super::client::{Client, KEY};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A server to act against, and what it was started with.
#[derive(Clone, Debug)]
pub struct Stage {
    pub address: SocketAddr,
    /// The value of `Host`.
    pub host: String,
    /// The path of the chat, with `{id}` in it.
    pub path: String,
    /// How long to wait for what should come at once.
    pub patience: Duration,
    pub ping_interval: Duration,
    /// How far in bytes a client may fall behind.
    pub max_backlog: usize,
    /// How many clients at once do not read.
    pub crowd: usize,
    /// The last client id that was given out.
    pub ids: Arc<AtomicI64>,
}

impl Stage {
    /// A client id that nobody else has.
    pub fn id(&self) -> i64 {
        self.ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The opening handshake of a client, without a fault.
    pub fn request(&self, client_id: &str) -> Request {
        let headers = [
            ("Host", self.host.as_str()),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", KEY),
        ];
        Request {
            method: "GET".into(),
            path: self.path.replace("{id}", client_id),
            version: "HTTP/1.1".into(),
            headers: headers.map(|(name, value)| (name.into(), value.into())).into(),
            behind: Vec::new(),
        }
    }

    /// A client that has seen its 101.
    pub async fn join(&self, id: i64) -> io::Result<Client> {
        self.open(Client::connect(self.address).await?, id).await
    }

    /// The same, over a connection that is there already.
    pub async fn open(&self, mut client: Client, id: i64) -> io::Result<Client> {
        client.send(&self.request(&id.to_string()).bytes());
        let response = tokio::time::timeout(self.patience, client.response()).await;
        match response {
            Ok(Ok(Some(response))) if response.status == 101 => Ok(client),
            other => Err(io::Error::other(format!("no 101: {other:?}"))),
        }
    }
}

/// A request, to be spoiled in one place.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub version: String,
    pub headers: Vec<(String, String)>,
    /// What follows in the same packet.
    pub behind: Vec<u8>,
}

impl Request {
    pub fn method(self, method: &str) -> Self {
        Self { method: method.into(), ..self }
    }

    pub fn path(self, path: &str) -> Self {
        Self { path: path.into(), ..self }
    }

    pub fn version(self, version: &str) -> Self {
        Self { version: version.into(), ..self }
    }

    pub fn behind(self, bytes: &[u8]) -> Self {
        Self { behind: bytes.into(), ..self }
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(header, _)| header != name);
        self
    }

    /// One more header line.
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// A header field with another value.
    pub fn with(self, name: &str, value: &str) -> Self {
        self.without(name).and(name, value)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let Self { method, path, version, headers, behind } = self;
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut bytes = format!("{method} {path} {version}\r\n{lines}\r\n").into_bytes();
        bytes.extend(behind);
        bytes
    }
}
