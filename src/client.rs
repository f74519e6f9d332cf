//! What the server knows about one connection, for the room, the log and the view.

use crate::escape::escape;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

/// One accepted connection. An idle connection needs little memory besides this and its task, so this is kept small.
#[derive(Debug)]
pub struct Client {
    /// The connection's number. It is unique; everything that refers to a connection does so by this.
    pub number: u64,
    /// When TCP was accepted.
    pub accepted: Instant,
    /// The thread that serves the connection, and with it the part of the room.
    pub part: usize,
    /// The client's name, set by its request for `/ws/{client_id}` or `/echo`, even if the handshake then fails.
    name: OnceLock<Name>,
    /// Requests that were answered, or are being answered.
    requests: AtomicU32,
}

#[derive(Debug)]
struct Name {
    id: Option<i64>,
    /// The name, and [`SAYS`]: written once, because every message needs it.
    says: Box<str>,
}

/// What comes between a client's name and its words.
const SAYS: &str = " says: ";

impl Client {
    /// A connection accepted now.
    pub fn new(number: u64, part: usize) -> Self {
        Self { number, accepted: Instant::now(), part, name: OnceLock::new(), requests: AtomicU32::new(0) }
    }

    /// Counts a request.
    pub fn count_request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// The number of requests so far.
    pub fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    /// Names the client of `/ws/{client_id}`. The id is a label: two connections may share one.
    pub fn name_chat(&self, client_id: i64) {
        self.set_name(Some(client_id), &format!("Client #{client_id}"));
    }

    /// Names the client of `/echo`.
    pub fn name_echo(&self) {
        self.set_name(None, "Echo");
    }

    /// Only the first name counts: a request that sets a name is the last of its connection. A name is shown as it is, in
    /// the log, on the terminal and in `GET /lifecycle`, so it must not need escaping. The page's `BROADCAST` pattern reads
    /// the id back from it.
    fn set_name(&self, id: Option<i64>, name: &str) {
        debug_assert_eq!(escape(name.as_bytes()), name, "a name needs no escape");
        let _ = self.name.set(Name { id, says: format!("{name}{SAYS}").into() });
    }

    /// The id in the path of `/ws/{client_id}`.
    pub fn id(&self) -> Option<i64> {
        self.name.get()?.id
    }

    /// The name in the chat, the log and the view: `Client #42` or `Echo`. None before a request for one of these two.
    pub fn name(&self) -> Option<&str> {
        self.name.get()?.says.strip_suffix(SAYS)
    }

    /// What every member reads before the words of this client: `Client #42 says: `.
    pub fn says(&self) -> &str {
        self.name.get().map_or(SAYS, |name| &name.says)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_once() {
        let client = Client::new(1, 0);
        assert_eq!((client.name(), client.id()), (None, None));
        client.name_chat(-42);
        client.name_echo();
        assert_eq!((client.name(), client.id()), (Some("Client #-42"), Some(-42)));
        assert_eq!(client.says(), "Client #-42 says: ");
    }
}
