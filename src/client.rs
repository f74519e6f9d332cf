//! What the server knows about one connection, for the room, the log and the view.

use std::fmt::Arguments;
use std::io::Write;
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

/// A client's name and [`SAYS`]: written once, because every message needs it. It has no allocation of its own, which would take
/// another 32 bytes.
#[derive(Debug)]
struct Name {
    says: [u8; LONGEST_SAYS],
    length: u8,
}

/// What comes before the id in a client's name.
const CLIENT: &str = "Client #";

/// What comes between a client's name and its words.
const SAYS: &str = " says: ";

/// The length of the name with the longest id, and of what comes between it and the words.
pub const LONGEST_SAYS: usize = CLIENT.len() + "-9223372036854775808".len() + SAYS.len();

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
        self.set_name(format_args!("{CLIENT}{client_id}"));
    }

    /// Names the client of `/echo`.
    pub fn name_echo(&self) {
        self.set_name(format_args!("Echo"));
    }

    /// Only the first name counts: a request that sets a name is the last of its connection. A name is shown as it is, in
    /// the log, on the terminal and in `GET /lifecycle`, so it must not need escaping. The page's `BROADCAST` pattern reads
    /// the id back from it.
    fn set_name(&self, name: Arguments<'_>) {
        let mut says = [0; LONGEST_SAYS];
        let mut left = says.as_mut_slice();
        write!(left, "{name}{SAYS}").expect("the longest name fits");
        let length = LONGEST_SAYS - left.len();
        let _ = self.name.set(Name { says, length: length as u8 });
    }

    /// The id in the path of `/ws/{client_id}`.
    pub fn id(&self) -> Option<i64> {
        self.name()?.strip_prefix(CLIENT)?.parse().ok()
    }

    /// The name in the chat, the log and the view: `Client #42` or `Echo`. None before a request for one of these two.
    pub fn name(&self) -> Option<&str> {
        self.name.get()?;
        std::str::from_utf8(self.says()).ok()?.strip_suffix(SAYS)
    }

    /// What every member reads before the words of this client: `Client #42 says: `.
    pub fn says(&self) -> &[u8] {
        self.name.get().map_or(SAYS.as_bytes(), |name| &name.says[..name.length.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_once() {
        let client = Client::new(1, 0);
        assert_eq!((client.name(), client.id(), client.says()), (None, None, &b" says: "[..]));
        client.name_chat(-42);
        client.name_echo();
        assert_eq!((client.name(), client.id()), (Some("Client #-42"), Some(-42)));
        assert_eq!(client.says(), b"Client #-42 says: ");
    }

    #[test]
    fn every_name_fits() {
        let client = Client::new(1, 0);
        client.name_chat(i64::MIN);
        assert_eq!((client.name().map(str::len), client.id()), (Some(LONGEST_SAYS - SAYS.len()), Some(i64::MIN)));
        let echo = Client::new(2, 0);
        echo.name_echo();
        assert_eq!((echo.name(), echo.id()), (Some("Echo"), None));
    }
}
