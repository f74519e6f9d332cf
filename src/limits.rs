//! The server's limits, with their units. [`per_second`] counts events against a limit; [`stop`] has those of a
//! stop, and [`cluster`] those of a room on several servers.
//!
//! Those in [`Limits`] are options of the command line. To add one: a field, its default, a row in [`Limits::OPTIONS`], and the
//! help block of the README, which `cargo test` compares.

pub mod cluster;
pub mod per_second;
pub mod stop;

use crate::client::LONGEST_SAYS;
use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The limits that the command line can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest message in bytes of payload, whole or as the sum of its fragments.
    pub max_message_size: usize,
    /// Bytes that a client may fall behind the room before its connection is closed with 1013.
    pub max_backlog: usize,
    /// Bytes per second that all speakers together may say while a member is far behind. 0: no limit.
    pub pace: u64,
    /// The most open connections, HTTP and WebSocket together.
    pub max_connections: usize,
    /// Silence before a client gets a Ping. It is dropped after the same time again. `None` disables both.
    pub ping_interval: Option<Duration>,
    /// How long a stop takes to close the members' connections one after the other, before it closes all that are left.
    pub drain: Duration,
    /// In a room on several servers: how long its log may be out of reach before all members are disconnected with 1013.
    pub redis_patience: Duration,
}

/// An option of the command line that sets one of the [`Limits`].
#[derive(Debug)]
pub struct LimitOption {
    /// The name of the option, without the dashes.
    pub name: &'static str,
    /// The placeholder of its value in `--help`.
    pub value: &'static str,
    /// The help text.
    pub help: &'static str,
    /// The default in words, if it isn't a fixed number.
    pub default: Option<&'static str>,
    /// The allowed values.
    pub range: RangeInclusive<u64>,
    /// Gets the limit.
    pub get: fn(&Limits) -> u64,
    /// Sets the limit.
    pub set: fn(&mut Limits, u64),
}

/// Converts to `usize`. The options' ranges ensure that it fits.
fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Limits {
    /// The options, in the order of `--help`.
    pub const OPTIONS: &[LimitOption] = &[
        LimitOption {
            name: "max-message-size",
            value: "BYTES",
            help: "disconnect (1009) a client that sends a larger message",
            default: None,
            range: 1..=LARGEST_MESSAGE,
            get: |limits| limits.max_message_size as u64,
            set: |limits, bytes| limits.max_message_size = size(bytes),
        },
        LimitOption {
            name: "max-backlog",
            value: "BYTES",
            help: "disconnect (1013) a client that falls further behind",
            default: None,
            range: 1..=usize::MAX as u64,
            get: |limits| limits.max_backlog as u64,
            set: |limits, bytes| limits.max_backlog = size(bytes),
        },
        LimitOption {
            name: "pace",
            value: "BYTES",
            help: "while a client is far behind, broadcast at most this much per second; 0 for no limit",
            default: None,
            range: 0..=FASTEST_PACE,
            get: |limits| limits.pace,
            set: |limits, bytes| limits.pace = bytes,
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
            help: "send a Ping after this much silence, and drop the client after as much again; 0 for never",
            default: None,
            range: 0..=LONGEST_PING_INTERVAL,
            get: |limits| limits.ping_interval.map_or(0, |interval| interval.as_secs()),
            set: |limits, seconds| limits.ping_interval = (seconds > 0).then(|| Duration::from_secs(seconds)),
        },
        LimitOption {
            name: "drain",
            value: "SECONDS",
            help: "on a stop, first close (1012) the clients one after the other, over this time, and answer 503",
            default: None,
            range: 0..=stop::LONGEST_DRAIN,
            get: |limits| limits.drain.as_secs(),
            set: |limits, seconds| limits.drain = Duration::from_secs(seconds),
        },
        LimitOption {
            name: "redis-patience",
            value: "SECONDS",
            help: "disconnect (1013) all clients after Redis was out of reach for this long",
            default: None,
            range: 1..=cluster::LONGEST_PATIENCE,
            get: |limits| limits.redis_patience.as_secs(),
            set: |limits, seconds| limits.redis_patience = Duration::from_secs(seconds),
        },
    ];

    /// The distance behind the room, in bytes, from which a member is far behind, and the room is paced. The rest of the
    /// backlog holds what is broadcast until the pace takes effect: a whole batch, and what each thread is reading.
    pub const fn far_behind(&self) -> u64 {
        self.max_backlog as u64 / 4
    }

    /// How long the room waits for a member that takes nothing: the time in which one that takes `pace` bytes per second
    /// empties half of a send buffer, which the system doubles. A full socket takes bytes again each time that about
    /// a third of that buffer is free.
    pub fn stuck_after(&self) -> Duration {
        STUCK_AFTER.max(Duration::from_millis(1000 * SEND_BUFFER as u64 / self.pace.max(1)))
    }

    /// Bytes that all unfinished messages together may have, headers and control frames included: 64 MiB, or eight of the largest
    /// messages if that is more, so that no message exceeds it alone.
    pub fn max_unfinished(&self) -> u64 {
        MAX_UNFINISHED.max(UNFINISHED_MESSAGES.saturating_mul(self.max_message_size as u64))
    }

    /// Checks that the limits fit together.
    ///
    /// # Errors
    /// A member that keeps up could be disconnected.
    pub fn check(&self) -> Result<(), BacklogTooSmall> {
        if smallest_backlog(self.max_message_size) <= self.max_backlog as u64 {
            return Ok(());
        }
        Err(BacklogTooSmall { max_message_size: self.max_message_size, max_backlog: self.max_backlog })
    }
}

/// The smallest `--max-backlog` for a `--max-message-size`: two of the largest batches. A batch is what was pending, the largest
/// message, and all other messages of the same read. A member that is almost [far behind](Limits::far_behind) may get one
/// more batch, and half of another before the pace takes effect.
const fn smallest_backlog(max_message_size: usize) -> u64 {
    ((MAX_PENDING + READ_SIZE * MOST_GROWTH + BROADCAST_OVERHEAD) as u64 + max_message_size as u64).saturating_mul(2)
}

/// A `--max-backlog` of less than two batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BacklogTooSmall {
    max_message_size: usize,
    max_backlog: usize,
}

impl Display for BacklogTooSmall {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { max_message_size, max_backlog } = *self;
        write!(f, "--max-backlog {max_backlog} is too small for --max-message-size {max_message_size}: ")?;
        write!(f, "set --max-backlog to at least {}", smallest_backlog(max_message_size))?;
        match (max_backlog as u64).saturating_sub(smallest_backlog(0)) / 2 {
            0 => Ok(()),
            most => write!(f, ", or --max-message-size to at most {most}"),
        }
    }
}

impl Error for BacklogTooSmall {}

/// The default of `--max-message-size`.
const DEFAULT_MAX_MESSAGE_SIZE: usize = 64 * 1024;

/// The default of `--max-backlog`.
const DEFAULT_MAX_BACKLOG: usize = 16 * 1024 * 1024;

/// The default of `--pace`.
const DEFAULT_PACE: u64 = 1024 * 1024;

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_size: DEFAULT_MAX_MESSAGE_SIZE,
            max_backlog: DEFAULT_MAX_BACKLOG,
            pace: DEFAULT_PACE,
            // The program derives it from the open-file limit, where it can.
            max_connections: 10_000,
            ping_interval: Some(Duration::from_secs(20)),
            drain: Duration::ZERO,
            redis_patience: Duration::from_secs(10),
        }
    }
}

/// The largest `--max-message-size`: 1 GiB.
pub const LARGEST_MESSAGE: u64 = 1 << 30;

/// Limit on the wire size of an unfinished message, as a multiple of `max_message_size`. It counts headers and control frames,
/// because empty fragments have no payload to limit.
pub const UNFINISHED_MESSAGE_FACTOR: u64 = 4;

/// Bytes that the unfinished messages of all connections may have together, 64 MiB. With the defaults, that is a thousand of the
/// largest messages at a time, and as much memory as four backlogs. Beyond it, the oldest is given up.
const MAX_UNFINISHED: u64 = 64 * 1024 * 1024;

/// The same as a multiple of `max_message_size`, if that is more: two of the largest unfinished messages.
const UNFINISHED_MESSAGES: u64 = 2 * UNFINISHED_MESSAGE_FACTOR;

/// The least time that a client has for one message.
pub const UNFINISHED_MESSAGE_AGE: Duration = Duration::from_secs(30);

/// Bytes of an unfinished message that put its deadline off by a second: a large message may come over a slow line.
pub const UNFINISHED_MESSAGE_RATE: u64 = 16 * 1024;

/// The longest time to receive a request head, and the longest idle time before it: a client that has sent nothing yet, and one
/// between two requests, hold a place of `max_connections`.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// Requests on one connection; the response to the last one closes it. This limits how long requests alone hold a place of
/// `max_connections`; opening TCP for every 100 requests made each of them 4 % slower.
pub const MAX_REQUESTS: u32 = 1000;

/// How long a client may read none of a response before the connection is dropped.
pub const RESPONSE_DEADLINE: Duration = Duration::from_secs(30);

/// Header fields in a request. Browsers send about 20.
pub const MAX_HEADERS: usize = 64;

/// The size of a request head in bytes, request line included.
pub const MAX_HEAD_SIZE: usize = 16 * 1024;

/// The longest time for the closing handshake and, if it is not clean, for the client's close of TCP.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Bytes read from a socket at a time. All connections of a thread share one buffer of this size.
pub const READ_SIZE: usize = 64 * 1024;

/// Bytes of frames for one client alone above which the server stops reading from it: that client isn't reading.
pub const MAX_OWN_OUTPUT: usize = 64 * 1024;

/// Pending bytes of the room that trigger a turn at once. This limits the memory of a turn.
pub const MAX_PENDING: usize = 1024 * 1024;

/// The largest `--pace`, in bytes per second. Once everyone has caught up, the pace doubles until it is above this.
pub const FASTEST_PACE: u64 = 1 << 30;

/// How often the pace is adjusted while the room is paced.
pub const PACE_TICK: Duration = Duration::from_millis(5);

/// The time between two doublings of the pace. Shorter, and the limit would grow past what 100 members take before a slow one is
/// noticed again.
pub const PACE_STEP: Duration = Duration::from_millis(250);

/// How much silence speakers may make up for, because they may be woken a whole [`PACE_TICK`] late.
pub const PACE_CREDIT: Duration = PACE_TICK.saturating_mul(2);

/// Bytes that are read at a time while the room is paced. Less would cost more, more would make others wait longer.
pub const PACED_READ: usize = 4 * 1024;

/// The time in which what a speaker said counts half as much. Shorter, and one of 100 speakers of large messages would seem
/// quiet before its next turn.
pub const HALF_LIFE: Duration = Duration::from_secs(4);

/// Bytes read lately below which a speaker counts as quiet.
pub const QUIET: u32 = 32 * 1024;

/// How far ahead of the pace a speaker may be that has said nothing lately. All quiet speakers together can't be further ahead.
pub const QUIET_ADVANCE: Duration = Duration::from_millis(250);

/// The least time that the room waits for a member that takes nothing.
pub const STUCK_AFTER: Duration = Duration::from_millis(250);

/// How many times longer the room waits for a member that has read before while it was behind.
pub const PATIENCE: u32 = 8;

/// The size of each socket's send buffer, in bytes. A larger one would keep more memory for a slow client, would delay the
/// sign that the client reads, and was slower: in a flood, 256 KiB stay in the processor's cache, and 4 MiB don't.
pub const SEND_BUFFER: u32 = 256 * 1024;

/// The bytes that a broadcast adds to a message: a server's frame header, and `Client #N says: ` with the longest N.
pub const BROADCAST_OVERHEAD: usize = 10 + LONGEST_SAYS;

/// Limit on the growth of input that is broadcast. An empty message grows most: from 6 bytes to 37.
pub const MOST_GROWTH: usize = 7;

/// Connections that wait to be accepted. If the queue is full, the kernel drops a client's SYN, and the client repeats it only a
/// second later. Linux allows 4,096 by default (`net.core.somaxconn`).
pub const ACCEPT_QUEUE: u32 = 4096;

/// The pause after a failed accept, for example when file descriptors run out.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The largest `--max-connections`.
pub const MOST_CONNECTIONS: usize = u32::MAX as usize;

/// The largest `--threads`.
pub const MOST_THREADS: usize = 256;

/// Connections that the first thread serves by itself. In a small room where many speak at once, a second thread makes each
/// message cost more: a member gets two writes, for what the clients of each thread said, instead of one.
pub const SPREAD_AFTER: usize = 256;

/// The longest `--ping-interval` in seconds: a day.
pub const LONGEST_PING_INTERVAL: u64 = 24 * 60 * 60;

/// Connections beyond `max_connections` that are answered with 503 at a time. The rest are closed without an answer.
pub const FULL_ANSWERS: usize = 16;

/// The value of `Retry-After` in a 503, in seconds.
pub const RETRY_AFTER: &str = "5";

/// Open files besides `max_connections`: [`FULL_ANSWERS`], standard streams, listeners, an event queue, signals.
pub const OTHER_OPEN_FILES: usize = 64;

/// Open files per further thread: event queue (2), what wakes it (1), signals (1).
pub const OPEN_FILES_PER_THREAD: usize = 4;

/// Connections below which the program warns that the limit on open files leaves so few.
pub const FEW_CONNECTIONS: usize = 1000;

/// Log lines per second of one kind, such as refusals with one status. Clients can cause them at will.
pub const LOG_LINES_PER_SECOND: u32 = 20;

/// The same for failed accepts. If accepting fails, it tends to fail many times in a row for the same reason.
pub const FAILED_ACCEPTS_PER_SECOND: u32 = 1;

/// Bytes of log lines that wait while nobody reads them. Beyond it, lines are left out.
pub const LOG_BUFFER: usize = 256 * 1024;

/// Steps of the lifecycle that are shown per second. More would be unreadable.
pub const STEPS_PER_SECOND: u32 = 2000;

/// The share of these that frames may use.
pub const FRAME_STEPS_PER_SECOND: u32 = 1500;

/// Bytes on the wire that are charged as one step. This limits what is copied for the view to 8 MiB per second.
pub const RECORD_UNIT: usize = 4096;

/// Queue length per viewer; beyond it, steps are left out.
pub const VIEWER_QUEUE: usize = 4096;

/// Viewers of `GET /lifecycle` at a time.
pub const MOST_VIEWERS: usize = 16;

/// Viewers of `GET /members` at a time. Each costs a look at the clock per [`MEMBERS_PAUSE`].
pub const MOST_MEMBER_LISTS: usize = 100;

/// Members that `GET /members` lists. A larger room is only counted: to list it would keep others waiting for its lock.
pub const LISTED_MEMBERS: usize = 100;

/// The least time between two lists of the members.
pub const MEMBERS_PAUSE: Duration = Duration::from_millis(250);

/// The silence before a viewer of `GET /lifecycle` gets a comment.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// The time that a speaker has waited when the view is told. Paced speakers wait before each read, which would be too many steps.
pub const SHOWN_WAIT: Duration = Duration::from_millis(250);

/// Bytes of a frame's payload that are shown.
pub const SHOWN_PAYLOAD: usize = 48;

/// The interval of each thread's clock, which keeps connections' timers from becoming tokio's next timer.
pub const TICK: Duration = Duration::from_secs(1);

/// Characters of a client's text that are quoted in a refusal or in the log.
pub const QUOTE_LENGTH: usize = 120;

const _: () = {
    // One message alone, with its last frame, is not too many.
    assert!(UNFINISHED_MESSAGES > UNFINISHED_MESSAGE_FACTOR + 1);
    assert!(TICK.as_secs() < CLOSE_DEADLINE.as_secs());
    // With the defaults, two turns must not make a client too slow.
    assert!(smallest_backlog(DEFAULT_MAX_MESSAGE_SIZE) <= DEFAULT_MAX_BACKLOG as u64);
    assert!(FRAME_STEPS_PER_SECOND < STEPS_PER_SECOND);
    // A viewer that reads once a second misses nothing.
    assert!((STEPS_PER_SECOND as usize) < VIEWER_QUEUE);
    assert!(FULL_ANSWERS < OTHER_OPEN_FILES);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;
    use crate::frame::encode;
    use tungstenite::protocol::frame::coding::Data;

    fn broadcast(client_id: i64, message: &[u8]) -> usize {
        let client = Client::new(1, 0);
        client.name_chat(client_id);
        let mut frame = Vec::new();
        encode(Data::Text, &[client.says(), message], &mut frame);
        frame.len()
    }

    #[test]
    fn broadcast_overhead_is_that_of_the_longest_client_id() {
        assert_eq!(broadcast(i64::MIN, &[b'x'; 70_000]), 70_000 + BROADCAST_OVERHEAD);
    }

    #[test]
    fn no_input_grows_more_than_the_limit_on_growth() {
        // A client's frame has 4 bytes of masking key, and its header is as long as that of the broadcast, or shorter.
        for (length, header) in [(0, 2), (1, 2), (89, 2), (90, 2), (91, 2), (125, 2), (126, 4), (65_535, 4)] {
            let input = header + 4 + length;
            assert!(broadcast(i64::MIN, &vec![b'x'; length]) <= input * MOST_GROWTH, "{length}");
        }
    }

    #[test]
    fn all_unfinished_messages_together_may_have_64_mib_or_eight_of_the_largest() {
        let most = |max_message_size| Limits { max_message_size, ..Limits::default() }.max_unfinished();
        assert_eq!(Limits::default().max_unfinished(), 64 << 20);
        assert_eq!([most(8 << 20), most((8 << 20) + 1)], [64 << 20, (64 << 20) + 8]);
        assert_eq!(most(usize::MAX), u64::MAX);
    }

    #[test]
    fn room_waits_as_long_as_a_reader_at_the_pace_needs_for_half_a_send_buffer() {
        let after = |pace| Limits { pace, ..Limits::default() }.stuck_after().as_millis();
        assert_eq!([1 << 30, 1 << 20, 256 << 10, 1 << 10].map(after), [250, 250, 1000, 256_000]);
    }

    #[test]
    fn backlog_must_hold_two_turns_with_the_largest_message() {
        let limits = |max_message_size, max_backlog| Limits { max_message_size, max_backlog, ..Limits::default() };
        assert_eq!(Limits::default().check(), Ok(()));
        let needed = 2 * (MAX_PENDING + 7 * READ_SIZE + 45 + 1000);
        assert_eq!(limits(1000, needed).check(), Ok(()));
        let error = BacklogTooSmall { max_message_size: 1000, max_backlog: needed - 1 };
        assert_eq!(limits(1000, needed - 1).check(), Err(error));
        assert!(limits(usize::MAX >> 1, usize::MAX).check().is_ok());
    }
}
