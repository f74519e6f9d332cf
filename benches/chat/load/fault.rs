//! What a run can find wrong. Whatever it is, the run has no figures then.

use std::fmt;
use std::io;
use std::time::Duration;

pub enum Fault {
    /// The server could not be started, or ended on its own.
    Start(String),
    Io(&'static str, io::Error),
    Handshake {
        client: usize,
        seen: String,
    },
    /// Two receivers were told different things, or in a different order.
    TwoOrders {
        client: usize,
        expected: String,
        seen: String,
    },
    /// A frame that no sender's message makes.
    Garbled {
        expected: String,
        seen: String,
    },
    /// A sender's message is missing, doubled or out of order.
    Sequence {
        sender: usize,
        expected: u64,
        seen: u64,
    },
    Surplus {
        client: usize,
        bytes: usize,
    },
    Closed {
        client: usize,
    },
    /// Nobody got anything for so long that what is missing must be lost.
    Stalled {
        after: Duration,
        expected: usize,
        seen: usize,
        waiting: usize,
    },
    Memory {
        bytes: u64,
    },
    Close {
        seen: Vec<u8>,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Start(why) => write!(f, "did not start: {why}"),
            Fault::Io(doing, error) => write!(f, "{doing}: {error}"),
            Fault::Handshake { client, seen } => {
                write!(f, "client {client}: expected 101 with the accept value, saw \"{seen}\"")
            }
            Fault::TwoOrders { client, expected, seen } => write!(
                f,
                "client {client} was told something else than the first receiver: expected \"{expected}\", saw \"{seen}\""
            ),
            Fault::Garbled { expected, seen } => write!(f, "expected {expected}, saw \"{seen}\""),
            Fault::Sequence { sender, expected, seen } => write!(
                f,
                "client {sender}'s messages are lost, doubled or out of order: expected its number {expected}, saw {seen}"
            ),
            Fault::Surplus { client, bytes } => {
                write!(f, "client {client}: expected no more messages, saw {bytes} bytes")
            }
            Fault::Closed { client } => {
                write!(f, "client {client}: expected messages, saw the end of the connection")
            }
            Fault::Stalled { after, expected, seen, waiting } => write!(
                f,
                "messages lost: expected {expected} bytes for each client, {waiting} of them do not have all (one has \
                 {seen}), and nothing came for {after:?}"
            ),
            Fault::Memory { bytes } => {
                write!(f, "given up: the server holds {} MiB", bytes / (1024 * 1024))
            }
            Fault::Close { seen } => {
                write!(f, "expected the Close frame back and then the end of the connection, saw {seen:02x?}")
            }
        }
    }
}
