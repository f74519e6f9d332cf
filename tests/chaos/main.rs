//! What clients and the network can do to the whole server: over real sockets, with neighbours who must not notice.
//!
//! Every wait has a deadline. Where a test waits for the server to forget something, it asks until it has.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "the example uses the rest")]
#[path = "../../examples/chaos/faults/mod.rs"]
mod faults;
#[allow(dead_code, reason = "the tests of the wire use the rest")]
#[path = "../wire/support/program.rs"]
mod program;

#[cfg(target_os = "linux")]
mod bytes;
#[cfg(target_os = "linux")]
mod limits;
mod list;
#[cfg(target_os = "linux")]
mod network;
mod server;

use std::time::Duration;

/// How long the slowest answer may take, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(10);
