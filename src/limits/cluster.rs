//! The limits of a room on several servers.

use super::CLOSE_DEADLINE;
use std::time::Duration;

/// The longest `--redis-patience` in seconds. After ten times as long, Redis forgets which appends of a server it has seen.
pub const LONGEST_PATIENCE: u64 = 360;

/// Bytes in the outbox from which speakers are held. Another batch of that size may be on its way.
pub const OUTBOX: usize = 1024 * 1024;

/// The largest `--max-message-size` with `--redis`: 16 MiB. An entry of the log has at least one message, and must travel to
/// and from Redis within [`DEADLINE`].
pub const LARGEST_MESSAGE: usize = 16 * 1024 * 1024;

/// Bytes that the log keeps, for servers that are cut off for a while.
pub const LOG_KEEPS: u64 = 64 * 1024 * 1024;

/// Entries that are read from the log at a time. Each is at most about as large as the outbox, plus the largest message.
pub const ENTRIES_PER_READ: usize = 8;

/// The silence after which a server checks that it has not missed the end of the log. A read waits that long for an entry
/// before `--redis-patience` counts.
pub const CHECK: Duration = Duration::from_secs(1);

/// How long the engine may take to answer before the connection to it is given up.
pub const DEADLINE: Duration = Duration::from_secs(3);

/// The pause between two attempts to reach the engine.
pub const PAUSE: Duration = Duration::from_millis(100);

/// How long a client that leaves waits for its last words to come back from the engine.
pub const RETURN_DEADLINE: Duration = Duration::from_secs(1);

const _: () = {
    assert!(RETURN_DEADLINE.as_millis() < CLOSE_DEADLINE.as_millis());
    // A read of an idle log ends before it counts as unanswered.
    assert!(CHECK.as_millis() < DEADLINE.as_millis());
};
