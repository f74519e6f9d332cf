//! What clients and the network can do to the whole server: over real sockets, with neighbours who must not notice.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "the example uses the rest")]
#[path = "../../examples/chaos/faults/mod.rs"]
mod faults;
mod list;
mod server;
