//! Why a connection failed before or between its requests, or while a response was written.

use crate::server::throttle::Kind;
use crate::service::HttpService;
use log::Level;
use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::io::{self, ErrorKind};

/// The first bytes of a TLS connection: a record with handshake messages (22), in a version that begins with 3
/// (RFC 8446 5.1).
const TLS: &[u8] = &[22, 3];

/// How HTTP failed.
#[derive(Debug)]
pub enum FailedRequest {
    /// The client took nothing of a response, see [`Wire`](super::wire::Wire).
    NotTaken,
    /// The client speaks TLS.
    Tls,
    /// The connection ended before a request. Browsers connect in advance and then send nothing.
    None(hyper::Error),
    /// The connection ended before the client had its 101.
    NotSwitched(hyper::Error),
    /// Anything else.
    Http(hyper::Error),
}

impl FailedRequest {
    /// Tells the failures apart. `unread` are the bytes that hyper has read and not used; `switches` says whether the last
    /// response was a 101.
    pub fn new(error: hyper::Error, unread: &[u8], switches: bool) -> Self {
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        if switches {
            Self::NotSwitched(error)
        } else if source.is_some_and(|error| error.kind() == ErrorKind::TimedOut) {
            Self::NotTaken
        } else if unread.starts_with(TLS) {
            Self::Tls
        } else if unread.is_empty() {
            Self::None(error)
        } else {
            Self::Http(error)
        }
    }

    /// Logs it. Also counts a WebSocket whose 101 failed, because its handshake was counted.
    pub fn log(&self, service: &HttpService) {
        let server = service.server();
        if let Self::NotSwitched(_) = self {
            server.view.counters().ends.add("socket_failed");
        }
        let (level, kind) = match self {
            Self::None(_) => (Level::Debug, Kind::NoRequest),
            Self::NotSwitched(_) => (Level::Info, Kind::Lost),
            Self::NotTaken | Self::Tls | Self::Http(_) => (Level::Warn, Kind::FailedRequest),
        };
        server.log.log(level, kind, || format!("{service}: {self}"));
    }
}

impl Display for FailedRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTaken => write!(f, "the client did not take the response in time"),
            Self::Tls => write!(f, "this looks like TLS, but this server speaks http:// and ws://, without TLS"),
            Self::NotSwitched(error) => write!(f, "the 101 could not be written: {error}"),
            Self::None(error) | Self::Http(error) => write!(f, "{error}"),
        }
    }
}
