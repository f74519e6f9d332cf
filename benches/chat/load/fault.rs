//! What can be wrong with a run. A run with a fault has no figures.

use std::fmt;
use std::io;
use std::time::Duration;

pub enum Fault {
    /// The server did not start, or exited.
    Start(String),
    /// An operation failed.
    Io(&'static str, io::Error),
    Handshake {
        client: usize,
        seen: String,
    },
    /// Two receivers got different messages, or the same in a different order.
    DifferentOrder {
        client: usize,
        expected: String,
        seen: String,
    },
    /// A frame that is no message of a sender.
    UnexpectedFrame {
        expected: String,
        seen: String,
    },
    /// A sender's message is missing, duplicated or out of order.
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
    /// No client received anything for so long that the missing messages must be lost.
    Stalled {
        after: Duration,
        expected: usize,
        seen: usize,
        waiting: usize,
    },
    /// The server uses too much memory.
    Memory {
        bytes: u64,
    },
    /// The closing handshake was not completed.
    Close {
        seen: Vec<u8>,
    },
    /// A viewer of `/lifecycle` was refused, disconnected, or received nothing.
    Viewer {
        viewer: usize,
        seen: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Start(why) => write!(f, "did not start: {why}"),
            Fault::Io(doing, error) => write!(f, "{doing}: {error}"),
            Fault::Handshake { client, seen } => {
                write!(f, "client {client}: expected 101 with the accept value, got \"{seen}\"")
            }
            Fault::DifferentOrder { client, expected, seen } => write!(
                f,
                "client {client} received something else than the first receiver: expected \"{expected}\", got \"{seen}\""
            ),
            Fault::UnexpectedFrame { expected, seen } => write!(f, "expected {expected}, got \"{seen}\""),
            Fault::Sequence { sender, expected, seen } => write!(
                f,
                "client {sender}'s messages are lost, duplicated or out of order: expected number {expected}, got {seen}"
            ),
            Fault::Surplus { client, bytes } => {
                write!(f, "client {client}: expected no more messages, got {bytes} bytes")
            }
            Fault::Closed { client } => {
                write!(f, "client {client}: expected messages, got the end of the stream")
            }
            Fault::Stalled { after, expected, seen, waiting } => write!(
                f,
                "messages lost: expected {expected} bytes per client; {waiting} clients have fewer (one of them {seen}), \
                 and none received anything for {after:?}"
            ),
            Fault::Memory { bytes } => {
                write!(f, "run stopped: the server uses {} MiB of memory", bytes / (1024 * 1024))
            }
            Fault::Close { seen } => {
                write!(f, "expected a Close frame and then the end of the stream, got {seen:02x?}")
            }
            Fault::Viewer { viewer, seen } => write!(f, "viewer {viewer}: expected steps of the lifecycle, got {seen}"),
        }
    }
}
