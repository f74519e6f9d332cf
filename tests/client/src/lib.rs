//! What the integration tests and the examples share: one WebSocket client over raw sockets, two healthy neighbours, the
//! list of faults, and servers to run them against.
//!
//! | module | contents |
//! |---|---|
//! | [`frame`] | frames as bytes, valid or not |
//! | [`request`] | HTTP requests and responses, and the opening handshake |
//! | [`client`] | the client, for async code |
//! | [`blocking`] | the same client, for tests in plain threads; every call has a deadline |
//! | [`target`] | the server under test, and what is known about it |
//! | [`neighbours`] | two clients that chat while a test causes trouble, and what they lost |
//! | [`flood`] | clients that say as much as the server takes, and slow readers |
//! | [`faults`] | everything a client can do wrong, and what this server answers |
//! | [`metrics`] | a strict parser for the answer to `GET /metrics` |
//! | [`server`] | the server inside the test process: the only module that uses the `switchboard` crate |
//! | [`program`] | the server as a program: options, output, signals, memory |
//! | [`started`] | any server, started by a shell command |
//!
//! Nothing here uses the server's own frame or handshake code, so a bug there can't hide itself.

pub mod blocking;
pub mod client;
pub mod faults;
pub mod flood;
pub mod frame;
pub mod metrics;
pub mod neighbours;
pub mod program;
pub mod request;
pub mod server;
pub mod started;
pub mod target;

use std::time::Duration;

/// Time limit for one answer, on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// Time limit for one answer while floods of data are in flight.
pub const FLOOD_DEADLINE: Duration = Duration::from_secs(10);

/// The first bytes, readable in the message of a failure.
pub fn excerpt(bytes: &[u8]) -> String {
    const LENGTH: usize = 300;
    let mut text = bytes[..bytes.len().min(LENGTH)].escape_ascii().to_string();
    if bytes.len() > LENGTH {
        text += &format!("... ({} bytes)", bytes.len());
    }
    text
}
