//! What the hooks tell the view's thread: records of the events of connections.

use crate::client::Client;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An event of one connection.
#[derive(Debug)]
pub struct Record {
    /// The connection.
    pub client: Arc<Client>,
    /// Whether the client had a name at that time.
    pub named: bool,
    /// When it happened.
    pub at: Instant,
    /// The number of dropped records and steps so far, of all connections.
    pub missed: u64,
    /// What happened.
    pub what: What,
}

/// The kinds of events.
#[derive(Debug)]
pub enum What {
    /// TCP was accepted.
    Accepted,
    /// Bytes of HTTP were read. Empty: the client half-closed.
    HeadRead(Bytes, Start),
    /// Bytes of HTTP were written.
    HeadWritten(Bytes, Start),
    /// Bytes of frames were read. Empty: the client half-closed.
    Read(Bytes, Start),
    /// Bytes of frames were written.
    Written(Bytes, Start),
    /// The server ended its side of TCP, or closes TCP.
    Shutdown,
    /// The connection of a member is open.
    Joined {
        /// Members, this one included.
        members: usize,
    },
    /// Messages of the client were broadcast.
    Broadcast {
        /// Bytes for each member.
        bytes: usize,
        /// Members that receive it.
        members: usize,
        /// Members that are behind.
        behind: usize,
        /// In a room on several servers: since they were said.
        after: Option<Duration>,
    },
    /// Messages of the client were appended to the log of a room on several servers.
    Appended {
        /// Bytes for each member.
        bytes: usize,
        /// Since they were said.
        after: Duration,
    },
    /// The client had more to say, and was not read for this long.
    Waited(Duration),
    /// The connection left the room.
    Left {
        /// Members that remain.
        members: usize,
    },
    /// The connection is over.
    Ended(Option<Life>),
}

/// Whether a record is known to begin with a head or a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first byte of a head, or of a frame that is not a continuation.
    Aligned,
    /// Anywhere, perhaps inside a head, a body or a frame.
    Anywhere,
}

impl Start {
    /// `Aligned` if true, `Anywhere` if false.
    pub fn aligned(aligned: bool) -> Self {
        if aligned { Self::Aligned } else { Self::Anywhere }
    }
}

/// The totals of one WebSocket connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Messages that the client sent and the server accepted.
    pub messages: u64,
    /// Bytes read before the closing handshake.
    pub bytes_in: u64,
    /// Bytes written after the handshake.
    pub bytes_out: u64,
    /// From the accept to the end of TCP.
    pub lasted: Duration,
}
