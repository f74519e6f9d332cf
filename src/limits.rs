//! Every limit, with its unit and its reason. The ones in [`Limits`] are options of the command line.

use std::time::Duration;

/// The limits that the command line can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest message that is taken, in bytes of payload, whole or as the sum of its fragments.
    pub max_message_size: usize,
    /// How far, in bytes, a client may fall behind the room before it is closed with 1013.
    pub max_backlog: usize,
    /// How many connections there may be at a time, HTTP and WebSocket together.
    pub max_connections: usize,
    /// The silence after which a client gets a Ping; after one more without a byte it is dropped. None: never.
    pub ping_interval: Option<Duration>,
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

/// The largest `--max-message-size`: 1 GiB. More than that does not belong in one message.
pub const LARGEST_MESSAGE: usize = 1 << 30;

/// The bytes of an unfinished message as they come over the wire, headers and control frames
/// between its fragments included, in multiples of `max_message_size`. Fragments may be empty, so the payload alone
/// bounds nothing.
pub const UNFINISHED_MESSAGE_FACTOR: u64 = 4;

/// How long a message may take from its first byte to its last.
pub const UNFINISHED_MESSAGE_AGE: Duration = Duration::from_secs(30);

/// How long a client has to send its whole request head.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// How long one HTTP exchange may take, the response included. A page is read in far less.
pub const EXCHANGE_DEADLINE: Duration = Duration::from_secs(30);

/// How many header fields a request may have. Browsers send about 20.
pub const MAX_HEADERS: usize = 64;

/// The size of a request head in bytes, request line included.
pub const MAX_HEAD_SIZE: usize = 16 * 1024;

/// How long the rest of a connection may take once a Close frame is on its way: the client's own Close, and its end
/// of the TCP connection.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// How long all connections together may take to close once the server is told to stop.
pub const STOP_DEADLINE: Duration = Duration::from_secs(3);

/// How much is read from a socket at a time, in bytes. One buffer of this size serves a whole thread.
pub const READ_SIZE: usize = 64 * 1024;

/// The pending bytes of the room that end a turn early. It bounds what one turn can pile up, however many clients send at once.
pub const MAX_PENDING: usize = 1024 * 1024;

/// How long accepting pauses when it fails, for lack of file descriptors for instance.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The most connections that can be counted.
pub const MOST_CONNECTIONS: usize = u32::MAX as usize;

/// The most threads. More than a machine's cores gain nothing.
pub const MOST_THREADS: usize = 256;

/// The longest `--ping-interval` in seconds: a day.
pub const LONGEST_PING_INTERVAL: u64 = 24 * 60 * 60;

/// How many connections beyond `max_connections` are answered with 503 at a time. The rest are just closed.
pub const FULL_ANSWERS: usize = 16;

/// When a client that met a full or a stopping server may come again, in seconds.
pub const RETRY_AFTER: &str = "5";

/// Open files that are not connections: standard streams, listeners, the event queue of each thread, signals.
pub const OTHER_OPEN_FILES: usize = 64;

/// How many lines a second the log takes of one kind that clients can cause at will.
pub const LOG_LINES_PER_SECOND: u32 = 20;

/// How many steps of the lifecycle are shown in a second. A terminal can't be read faster.
pub const STEPS_PER_SECOND: u32 = 2000;

/// How many of them may be frames.
pub const FRAME_STEPS_PER_SECOND: u32 = 1500;

/// How many steps wait for one who watches. It is then that some are left out.
pub const VIEWER_QUEUE: usize = 4096;

/// How many may watch `GET /lifecycle` at a time.
pub const MOST_VIEWERS: usize = 16;

/// The silence after which a viewer of `GET /lifecycle` is sent a comment.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// How much of a frame's payload is shown, in bytes.
pub const SHOWN_PAYLOAD: usize = 48;

/// How often a thread's clock ticks: sooner than any deadline of a connection.
pub const TICK: Duration = Duration::from_secs(1);

/// How much of a client's text is quoted in a refusal or on the terminal, in characters.
pub const QUOTE_LENGTH: usize = 120;

const _: () = {
    assert!(REQUEST_DEADLINE.as_secs() < EXCHANGE_DEADLINE.as_secs());
    // An ordered stop waits for the closing handshakes it starts.
    assert!(CLOSE_DEADLINE.as_secs() < STOP_DEADLINE.as_secs());
    assert!(TICK.as_secs() < CLOSE_DEADLINE.as_secs());
    // What one turn piles up is no reason to call a client slow.
    assert!(MAX_PENDING * 2 <= 16 * 1024 * 1024);
    assert!(FRAME_STEPS_PER_SECOND < STEPS_PER_SECOND);
    // Within one second nobody who takes what he gets misses any.
    assert!((STEPS_PER_SECOND as usize) < VIEWER_QUEUE);
    assert!(FULL_ANSWERS < OTHER_OPEN_FILES);
};
