//! What the server tells of each connection's life: over HTTP, on the terminal, and by `switchboard accept`.
//!
//! The whole of what is told is compared; only times, dates and ports are masked, see [`viewer::masked`].

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "the tests of the wire use the rest")]
#[path = "../wire/support/mod.rs"]
mod support;
mod viewer;

mod accept_key;
mod access;
mod explain;
mod secrets;
mod slow;
mod steps;
