//! Tests of the whole server over real sockets: raw bytes in, raw bytes out.
//!
//! They form one program, so that they are linked once and the few slow tests run beside the others.

#![allow(clippy::unwrap_used)]

mod after_the_upgrade;
mod before_the_upgrade;
mod chat;
mod command_line;
mod drain;
mod ends;
mod health;
mod keep_alive;
mod log;
mod pace;
mod page;
#[cfg(unix)]
mod stdin_socket;
mod unfinished;

use test_client::program::Executable;

const SWITCHBOARD: Executable<&str> = Executable(env!("CARGO_BIN_EXE_switchboard"));
