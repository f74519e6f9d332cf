//! How a connection ended, as the log tells it.

use crate::client::Client;
use crate::escape::{count, quote};
use crate::protocol::Closing;
use crate::server::shared::Shared;
use crate::server::throttle::Kind;
use crate::view::counters::{Counters, FIRST_OF_APPLICATIONS, NO_CODE};
use log::Level;
use std::fmt::{self, Display, Formatter};
use std::io;
use std::time::Duration;
use tungstenite::protocol::frame::coding::CloseCode;

/// Why a connection ended.
#[derive(Debug)]
pub enum Ending {
    /// With a closing handshake, or with the server's half of one.
    Closed {
        /// How it began.
        closing: Closing,
        /// Whether the server waited for the client's Close in vain. It does not wait if it failed the connection
        /// (RFC 6455 7.1.7).
        unanswered: bool,
    },
    /// The client ended its side of TCP without a Close frame.
    EndOfStream,
    /// The socket failed: a reset, for instance.
    Lost(io::ErrorKind),
    /// The client was silent, and did not answer a Ping.
    Silence,
}

impl Ending {
    /// Counts the end, and logs it: a warning if the server closed for a fault.
    pub fn log(&self, server: &Shared, client: &Client, lasted: Duration, messages: u64) {
        self.count(server.view.counters());
        let level = if self.is_expected(server.stop.has_begun()) { Level::Info } else { Level::Warn };
        server.log.log(level, self.kind(), || {
            let (number, name, seconds) = (client.number, client.name().unwrap_or_default(), lasted.as_secs_f64());
            let said = count(messages, "message");
            format!("connection {number}: {name} disconnected: {self}, after {seconds:.1} s and {said}")
        });
    }

    fn count(&self, counters: &Counters) {
        match self {
            Self::Closed { closing: Closing::ByClient(None), .. } => counters.closes.add(("client", NO_CODE)),
            Self::Closed { closing: Closing::ByClient(Some(close)), .. } => {
                counters.closes.add(("client", u16::from(close.code).min(FIRST_OF_APPLICATIONS)));
            }
            Self::Closed { closing: Closing::ByServer(failure), .. } => {
                counters.closes.add(("server", failure.code.into()));
            }
            Self::EndOfStream => counters.ends.add("end_of_stream"),
            Self::Lost(_) => counters.ends.add("socket_failed"),
            Self::Silence => counters.ends.add("silence"),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            // The client chooses its code, so the code makes no kind of its own.
            Self::Closed { closing: Closing::ByClient(_), .. } => Kind::ClosedByClient,
            Self::Closed { closing: Closing::ByServer(failure), .. } => Kind::ClosedByServer(failure.code.into()),
            Self::EndOfStream => Kind::EndOfStream,
            Self::Lost(_) => Kind::Lost,
            Self::Silence => Kind::Silence,
        }
    }

    /// Whether a connection may end like this without a fault. The server sends 1012 when it stops, and also if it has lost
    /// messages of a room on several servers.
    fn is_expected(&self, stopping: bool) -> bool {
        match self {
            Self::Closed { closing: Closing::ByServer(failure), .. } => match failure.code {
                CloseCode::Away => true,
                CloseCode::Restart => stopping,
                _ => false,
            },
            Self::Closed { .. } | Self::EndOfStream | Self::Lost(_) | Self::Silence => true,
        }
    }
}

impl Display for Ending {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { closing: Closing::ByClient(None), .. } => write!(f, "the client closed without a code"),
            Self::Closed { closing: Closing::ByClient(Some(close)), .. } => {
                write!(f, "the client closed with {} \"{}\"", close.code, quote(close.reason.as_bytes()))
            }
            Self::Closed { closing: Closing::ByServer(failure), unanswered } => {
                let answer = if *unanswered { ", without an answer" } else { "" };
                write!(f, "the server closed with {} \"{}\"{answer}", failure.code, failure.reason)
            }
            Self::EndOfStream => write!(f, "end of stream without a Close frame"),
            Self::Lost(kind) => write!(f, "{kind}"),
            Self::Silence => write!(f, "silence, and no answer to a Ping"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Failure;

    #[test]
    fn close_by_the_server_is_expected_when_it_stops() {
        let is_expected = |code, stopping| {
            let closing = Closing::ByServer(Failure::new(code, "why"));
            Ending::Closed { closing, unanswered: false }.is_expected(stopping)
        };
        let codes = [CloseCode::Away, CloseCode::Restart, CloseCode::Again];
        assert_eq!(codes.map(|code| is_expected(code, true)), [true, true, false]);
        assert_eq!(codes.map(|code| is_expected(code, false)), [true, false, false]);
    }

    #[test]
    fn close_by_the_server_says_whether_it_waited_in_vain() {
        let text = |unanswered| {
            let closing = Closing::ByServer(Failure::new(CloseCode::Away, "why"));
            Ending::Closed { closing, unanswered }.to_string()
        };
        assert_eq!(text(false), "the server closed with 1001 \"why\"");
        assert_eq!(text(true), "the server closed with 1001 \"why\", without an answer");
    }
}
