//! Why a connection failed before or between its requests, or while a response was written.

use crate::server::throttle::Kind;
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
    /// Anything else.
    Http(hyper::Error),
}

impl FailedRequest {
    /// Tells the failures apart. `unread` are the bytes that hyper has read and not used.
    pub fn new(error: hyper::Error, unread: &[u8]) -> Self {
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        if source.is_some_and(|error| error.kind() == ErrorKind::TimedOut) {
            Self::NotTaken
        } else if unread.starts_with(TLS) {
            Self::Tls
        } else if unread.is_empty() {
            Self::None(error)
        } else {
            Self::Http(error)
        }
    }

    /// The level and the kind of its line in the log.
    pub fn kind(&self) -> (Level, Kind) {
        match self {
            Self::None(_) => (Level::Debug, Kind::NoRequest),
            Self::NotTaken | Self::Tls | Self::Http(_) => (Level::Warn, Kind::FailedRequest),
        }
    }
}

impl Display for FailedRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTaken => write!(f, "the client did not take the response in time"),
            Self::Tls => write!(f, "this looks like TLS, but this server speaks http:// and ws://, without TLS"),
            Self::None(error) | Self::Http(error) => write!(f, "{error}"),
        }
    }
}
