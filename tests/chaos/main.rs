//! What clients and the network can do to the whole server, over real sockets, beside neighbours that must not notice.
//!
//! Every wait has a deadline. A test that waits for the server to release something polls until it has.

#![allow(clippy::unwrap_used)]

#[cfg(target_os = "linux")]
mod bytes;
#[cfg(target_os = "linux")]
mod limits;
mod list;
#[cfg(target_os = "linux")]
mod network;

#[cfg(target_os = "linux")]
use test_client::{
    FLOOD_DEADLINE,
    program::{Executable, Program},
};

#[cfg(target_os = "linux")]
const SWITCHBOARD: Executable<&str> = Executable(env!("CARGO_BIN_EXE_switchboard"));

/// Waits until the program has at most this number of files open.
#[cfg(target_os = "linux")]
async fn files_closed(program: &Program, left: usize) {
    let open = program.settle(left, FLOOD_DEADLINE).await.unwrap().open_files;
    assert!(open <= left, "{open} files are open, not {left}");
}
