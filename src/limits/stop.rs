//! The limits of a stop.

use super::CLOSE_DEADLINE;
use std::time::Duration;

/// The longest `--drain` in seconds: an hour.
pub const LONGEST_DRAIN: u64 = 60 * 60;

/// The time between two groups of connections that a drain closes.
pub const DRAIN_TICK: Duration = Duration::from_millis(50);

/// How long a stop may take after the drain, output included.
pub const STOP_DEADLINE: Duration = Duration::from_secs(3);

/// The time that a stop reserves for the last steps of `--explain`, and again for the last lines of the log.
pub const OUTPUT_DEADLINE: Duration = Duration::from_millis(250);

/// How long the program tries to print why it ends. Longer, because on a busy machine a quarter of a second was too short.
pub const COMPLAINT_DEADLINE: Duration = Duration::from_secs(1);

/// How long all connections together may take to close, before the output's share of the stop's deadline.
pub const STOP_CONNECTIONS_DEADLINE: Duration = STOP_DEADLINE.saturating_sub(OUTPUT_DEADLINE.saturating_mul(2));

// It waits for the closing handshakes that it starts.
const _: () = assert!(CLOSE_DEADLINE.as_millis() < STOP_CONNECTIONS_DEADLINE.as_millis());
