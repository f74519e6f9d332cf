//! What the tests share: a server inside the test or beside it, a client that writes and reads raw bytes, and two
//! neighbours who notice if anybody's trouble becomes theirs.
//!
//! Every read and every wait has a [`DEADLINE`], so a test fails where a server hangs.

pub mod client;
pub mod frame;
pub mod neighbours;
pub mod program;
pub mod server;

use std::time::Duration;

/// How long the slowest answer may take, on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(5);
