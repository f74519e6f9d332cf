//! One room on several servers, under faults: real programs, a real Redis, and a checker of what all members received.
//!
//! | file | contents |
//! |---|---|
//! | `resp`, `redis` | a Redis server of the test's own, to kill, freeze, restart and command |
//! | `proxy` | the network between a node and Redis, to hold, reset, cut and switch |
//! | `node` | a node: the program with `--redis` |
//! | `load` | members on all nodes that talk while a test causes a fault; it records what each connection received |
//! | `log` | the room's log as Redis has it |
//! | `checker` | the rules that these records obey |
//! | `outcome` | who was told |
//! | the others | the faults, by what fails |
//!
//! They need `redis-server` (`apt-get install redis-server`) and Linux.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod checker;
mod load;
mod log;
mod node;
mod outcome;
mod proxy;
mod redis;
mod resp;

mod entries;
mod failover;
mod memory;
mod metrics;
mod network;
mod nodes;
mod pauses;
mod restarts;
mod start;
#[cfg(feature = "redis-tls")]
mod tls;

use std::time::Duration;
use test_client::program::Executable;

const SWITCHBOARD: Executable<&str> = Executable(env!("CARGO_BIN_EXE_switchboard"));

/// Time limit for everyone to be served after a fault. On an idle machine, it takes less than 2 s.
const RECOVERY: Duration = Duration::from_secs(5);

/// Time limit for members to be told after a fault. On an idle machine, it takes little more than 1 s.
const TOLD: Duration = Duration::from_secs(4);

/// Time limit for a node to find that Redis is away, with `--redis-patience 2`.
const LATE: Duration = Duration::from_secs(6);
