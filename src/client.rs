//! The record of one connection: what the room, the log and the view know of the client at its other end.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Instant;

/// One accepted connection. Only its name comes later, with the request for an upgrade.
#[derive(Debug)]
pub struct Client {
    /// The connection's number. It is unique; everything that refers to a connection does so by this.
    pub number: u64,
    /// The address that TCP gave.
    pub address: SocketAddr,
    /// When TCP was accepted.
    pub accepted: Instant,
    /// The thread that serves the connection, and with it the part of the room.
    pub part: usize,
    name: OnceLock<Name>,
}

#[derive(Debug)]
struct Name {
    id: Option<i64>,
    label: Box<str>,
}

impl Client {
    /// The record of a connection accepted now.
    pub fn new(number: u64, address: SocketAddr, part: usize) -> Self {
        Self { number, address, accepted: Instant::now(), part, name: OnceLock::new() }
    }

    /// Names the client of `/ws/{client_id}`. The id is a label: two connections may share one.
    pub fn name_chat(&self, client_id: i64) {
        self.set_name(Some(client_id), format!("Client #{client_id}"));
    }

    /// Names the client of `/echo`.
    pub fn name_echo(&self) {
        self.set_name(None, "Echo".into());
    }

    /// The first name stays: a connection is upgraded once.
    fn set_name(&self, id: Option<i64>, label: String) {
        let _ = self.name.set(Name { id, label: label.into() });
    }

    /// The id in the path of `/ws/{client_id}`.
    pub fn id(&self) -> Option<i64> {
        self.name.get()?.id
    }

    /// The name in the chat, the log and the view: `Client #42` or `Echo`. Empty before the request.
    pub fn name(&self) -> &str {
        self.name.get().map_or("", |name| &name.label)
    }

    /// What every member reads when this client says `text`, in parts: `Client #42 says: hi`.
    pub fn says<'a>(&'a self, text: &'a str) -> [&'a [u8]; 3] {
        [self.name().as_bytes(), b" says: ", text.as_bytes()]
    }
}

impl Display for Client {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}, {}", self.number, self.address)
    }
}
