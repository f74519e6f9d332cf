//! What the server shows of each connection's life: over HTTP, on the terminal, and with `switchboard accept`.
//!
//! Tests compare the whole output. Only times, dates and ports are masked.

#![allow(clippy::unwrap_used)]

mod accept_key;
mod access;
mod explain;
mod frames;
mod members;
mod metrics;
mod secrets;
mod slow;
mod steps;
mod viewer;

use test_client::program::Executable;

const SWITCHBOARD: Executable<&str> = Executable(env!("CARGO_BIN_EXE_switchboard"));
