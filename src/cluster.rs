//! One room on several servers, on Redis (feature `redis`, `--redis URL`).
//!
//! The servers are *nodes* of one room. What a member says goes to the [`outbox`](crate::room::outbox) of its room; the node
//! appends it to a *log* that all nodes read, and broadcasts what it reads. So all members of all nodes receive the same
//! messages in the same order, and a client that has received its own message knows that everyone does, unless the engine
//! loses it.
//!
//! - The log is a Redis stream. An `engine` is the node's access to it: appending, reading, and where it ends.
//! - An entry of the log holds whole frames. It names its place, counted in bytes since the log began, and the entry before it. A
//!   `chain` checks that nothing is missing between two entries, and that no entry of this node is lost.
//! - A `node` follows the log from its end on. When the chain breaks, or the engine is out of reach for
//!   `--redis-patience`, its members are told by a Close (1012, 1013), and it begins again at the end of the log.
//! - An `outage` is a time in which the engine fails. The log and `GET /metrics` tell it.
//!
//! Elsewhere, Redis appears only in options, metrics and texts. Without the feature, [`Address`] has no values.

#[cfg(feature = "redis")]
mod address;
#[cfg(feature = "redis")]
mod chain;
#[cfg(feature = "redis")]
mod engine;
#[cfg(feature = "redis")]
mod node;
#[cfg(feature = "redis")]
mod outage;

use crate::limits::Limits;
use crate::room::Room;
use std::io;
use std::sync::Arc;
use tokio::task::JoinHandle;

#[cfg(feature = "redis")]
pub use address::Address;

/// Where the log of a room is. This build has no engine for one.
#[cfg(not(feature = "redis"))]
#[derive(Clone, Debug)]
pub enum Address {}

#[cfg(not(feature = "redis"))]
impl std::str::FromStr for Address {
    type Err = &'static str;

    fn from_str(_: &str) -> Result<Self, Self::Err> {
        Err("this build has no support for Redis; build it with `--features redis`")
    }
}

/// Makes the server a node of the room at an address. The task follows the log until it is aborted.
///
/// # Errors
/// The engine is out of reach, or not fit for a room.
pub async fn join(room: &Arc<Room>, address: Option<Address>, limits: &Limits) -> io::Result<Option<JoinHandle<()>>> {
    #[cfg(feature = "redis")]
    if let Some(address) = address {
        let node = node::Node::join(Arc::clone(room), address, limits.redis_patience).await?;
        return Ok(Some(tokio::spawn(node.follow())));
    }
    let _ = (room, address, limits);
    Ok(None)
}
