//! Every limit, with its unit and its reason. Those in [`Limits`] are options of the command line.

pub mod per_second;

use std::ops::RangeInclusive;
use std::time::Duration;

/// The limits that the command line can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest message in bytes of payload, whole or as the sum of its fragments.
    pub max_message_size: usize,
    /// How many bytes a client may fall behind the room before it is closed with 1013.
    pub max_backlog: usize,
    /// Connections at a time, HTTP and WebSocket together.
    pub max_connections: usize,
    /// The silence before a client gets a Ping; after one more without a byte it is dropped. None: never.
    pub ping_interval: Option<Duration>,
}

/// An option of the command line that sets one of the [`Limits`].
#[derive(Debug)]
pub struct LimitOption {
    /// Its name, without the dashes.
    pub name: &'static str,
    /// The name of its value.
    pub value: &'static str,
    /// What it means.
    pub help: &'static str,
    /// The default in words, if it is not a number.
    pub default: Option<&'static str>,
    /// The values that it takes.
    pub range: RangeInclusive<u64>,
    /// Reads the limit.
    pub get: fn(&Limits) -> u64,
    /// Sets the limit to a value of the range.
    pub set: fn(&mut Limits, u64),
}

/// A number of bytes or of connections. The options' ranges keep it within `usize`.
fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Limits {
    /// The options of the command line, in the order of `--help`.
    pub const OPTIONS: [LimitOption; 4] = [
        LimitOption {
            name: "max-message-size",
            value: "BYTES",
            help: "close with 1009 on a larger message",
            default: None,
            range: 1..=LARGEST_MESSAGE,
            get: |limits| limits.max_message_size as u64,
            set: |limits, bytes| limits.max_message_size = size(bytes),
        },
        LimitOption {
            name: "max-backlog",
            value: "BYTES",
            help: "close a slow client with 1013 when it is further behind",
            default: None,
            range: 1..=usize::MAX as u64,
            get: |limits| limits.max_backlog as u64,
            set: |limits, bytes| limits.max_backlog = size(bytes),
        },
        LimitOption {
            name: "max-connections",
            value: "N",
            help: "answer 503 above N",
            default: Some("derived from the open-file limit"),
            range: 1..=MOST_CONNECTIONS as u64,
            get: |limits| limits.max_connections as u64,
            set: |limits, connections| limits.max_connections = size(connections),
        },
        LimitOption {
            name: "ping-interval",
            value: "SECONDS",
            help: "silence before a Ping; a client that stays silent for as long again is dropped; 0 for never",
            default: None,
            range: 0..=LONGEST_PING_INTERVAL,
            get: |limits| limits.ping_interval.map_or(0, |interval| interval.as_secs()),
            set: |limits, seconds| limits.ping_interval = (seconds > 0).then(|| Duration::from_secs(seconds)),
        },
    ];
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_size: 64 * 1024,
            max_backlog: 16 * 1024 * 1024,
            max_connections: 10_000,
            ping_interval: Some(Duration::from_secs(20)),
        }
    }
}

/// The largest `--max-message-size`: 1 GiB. More does not belong in one message.
pub const LARGEST_MESSAGE: u64 = 1 << 30;

/// Bytes of an unfinished message on the wire, in multiples of `max_message_size`: headers and control frames between its
/// fragments included. Fragments may be empty, so the payload alone bounds nothing.
pub const UNFINISHED_MESSAGE_FACTOR: u64 = 4;

/// How long a message may take from its first byte to its last.
pub const UNFINISHED_MESSAGE_AGE: Duration = Duration::from_secs(30);

/// How long a client has to send its whole request head.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// How long a client may take nothing of a response before the connection is dropped.
pub const RESPONSE_DEADLINE: Duration = Duration::from_secs(30);

/// Header fields in a request. Browsers send about 20.
pub const MAX_HEADERS: usize = 64;

/// The size of a request head in bytes, request line included.
pub const MAX_HEAD_SIZE: usize = 16 * 1024;

/// How long a connection may take to end after the first Close frame: the client's own Close, and its end of TCP.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// How long all connections together may take to close once the server is told to stop.
pub const STOP_DEADLINE: Duration = Duration::from_secs(3);

/// Bytes read from a socket at a time. One buffer of this size serves a whole thread.
pub const READ_SIZE: usize = 64 * 1024;

/// Pending bytes of the room that end a turn early. They bound what one turn can pile up, however many clients send at once.
pub const MAX_PENDING: usize = 1024 * 1024;

/// The pause after a failed accept, for instance when no file descriptor is left.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The most connections that can be counted.
pub const MOST_CONNECTIONS: usize = u32::MAX as usize;

/// The most threads. More threads than cores gain nothing.
pub const MOST_THREADS: usize = 256;

/// The longest `--ping-interval` in seconds: a day.
pub const LONGEST_PING_INTERVAL: u64 = 24 * 60 * 60;

/// Connections beyond `max_connections` that are answered with 503 at a time. The rest are closed without an answer.
pub const FULL_ANSWERS: usize = 16;

/// When a client that met a full or a stopping server may try again, in seconds.
pub const RETRY_AFTER: &str = "5";

/// Open files that are not connections: standard streams, listeners, the event queue of each thread, signals.
pub const OTHER_OPEN_FILES: usize = 64;

/// Log lines per second of one kind that clients can cause at will.
pub const LOG_LINES_PER_SECOND: u32 = 20;

/// Steps of the lifecycle that are shown per second. Nobody reads faster.
pub const STEPS_PER_SECOND: u32 = 2000;

/// Of those, steps that come with frames.
pub const FRAME_STEPS_PER_SECOND: u32 = 1500;

/// Bytes of the wire that take the room of one step. This bounds the copies made for the view: 8 MiB per second.
pub const RECORD_UNIT: usize = 4096;

/// Queue length per viewer; beyond it, steps are left out.
pub const VIEWER_QUEUE: usize = 4096;

/// Viewers of `GET /lifecycle` at a time.
pub const MOST_VIEWERS: usize = 16;

/// The silence before a viewer of `GET /lifecycle` gets a comment.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// Bytes of a frame's payload that are shown.
pub const SHOWN_PAYLOAD: usize = 48;

/// How often a thread's clock ticks: earlier than any deadline of a connection.
pub const TICK: Duration = Duration::from_secs(1);

/// Characters of a client's text that are quoted in a refusal or in the log.
pub const QUOTE_LENGTH: usize = 120;

const _: () = {
    // A stop waits for the closing handshakes that it starts.
    assert!(CLOSE_DEADLINE.as_secs() < STOP_DEADLINE.as_secs());
    assert!(TICK.as_secs() < CLOSE_DEADLINE.as_secs());
    // What one turn piles up must not make a client too slow.
    assert!(MAX_PENDING * 2 <= 16 * 1024 * 1024);
    assert!(FRAME_STEPS_PER_SECOND < STEPS_PER_SECOND);
    // A viewer that reads once a second misses nothing.
    assert!((STEPS_PER_SECOND as usize) < VIEWER_QUEUE);
    assert!(FULL_ANSWERS < OTHER_OPEN_FILES);
};
