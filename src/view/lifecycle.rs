//! The view of every connection's life: what happened, in which phase, and where it stands in the RFC.
//!
//! A [`Step`] is one thing that happened. [`Lifecycle`] takes steps from the connections and gives them to whoever
//! watches: the terminal ([`explain`](crate::view::explain)) and the viewers of `GET /lifecycle`
//! ([`events`](crate::view::events)). The rules: nobody watching costs one load of a flag; a watcher has a bounded queue, and
//! what it can't take is left out and counted, so it holds up nobody; cookies, credentials and addresses never get into a
//! step.

use crate::frame::{FrameView, count, escape};
use crate::http::refusal::quote;
use crate::limits::{FRAME_STEPS_PER_SECOND, STEPS_PER_SECOND, VIEWER_QUEUE};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The four phases of a connection, as the tutorial counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// 1: HTTP.
    Http,
    /// 2: the opening handshake.
    Upgrade,
    /// 3: messages.
    Loop,
    /// 4: the closing handshake, or whatever ends the connection.
    Termination,
}

impl Phase {
    /// The event name in the stream.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Upgrade => "upgrade",
            Self::Loop => "loop",
            Self::Termination => "termination",
        }
    }
}

/// Who did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Client,
    /// This server.
    Server,
    /// Neither: a reset, or silence.
    Network,
}

impl Display for Side {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Network => "network",
        })
    }
}

/// One thing that happened to one connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Counts the steps.
    pub id: u64,
    /// The connection's number.
    pub connection: u64,
    /// The id that its client calls itself by, once known.
    pub client_id: Option<i64>,
    /// The time since it was accepted.
    pub elapsed: Option<Duration>,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// TCP was accepted.
    Accepted,
    /// The request head, as it stood on the wire (secrets left out, see [`visible_head`]).
    Request(Vec<u8>),
    /// The head of a response that is no 101, as hyper wrote it.
    Response(Vec<u8>),
    /// One check of the opening handshake.
    Check {
        /// What it asks for.
        rule: &'static str,
        /// Where that stands.
        rfc: &'static str,
        /// What it looked at, escaped.
        sent: String,
        /// Whether the request passed it.
        passed: bool,
    },
    /// The key, and the bytes that it stands for.
    Key {
        /// The key.
        key: String,
        /// The bytes in hex.
        nonce: String,
    },
    /// Key and GUID, joined.
    JoinedKey(String),
    /// The SHA-1 of that, in hex.
    Digest(String),
    /// `Sec-WebSocket-Accept`.
    Accept(String),
    /// The head of the 101, as hyper wrote it.
    Switching(Vec<u8>),
    /// The connection has its place in the list.
    Joined {
        /// How many have one now.
        members: usize,
    },
    /// A frame came.
    FrameIn(FrameView),
    /// A frame goes out.
    FrameOut(FrameView),
    /// A message in fragments, as it stands.
    Fragment {
        /// How many there have been.
        fragments: u64,
        /// Their payload.
        bytes: u64,
    },
    /// A turn of the room writes to everyone.
    Broadcast {
        /// How many members of this thread.
        members: usize,
        /// How many bytes for each.
        bytes: usize,
        /// How many members are behind.
        behind: usize,
    },
    /// A Ping.
    Ping(Side),
    /// A Pong, and how long it took if it answers the server's Ping.
    Pong(Side, Option<Duration>),
    /// The first Close frame.
    Close(Side, Option<(u16, String)>),
    /// The second.
    CloseAnswer(Side),
    /// TCP ended.
    TcpClosed(Side),
    /// The place in the list was given back.
    Left {
        /// How many have one still.
        members: usize,
    },
    /// What the connection did in its life.
    Life {
        /// Messages that the client sent.
        messages: u64,
        /// Bytes that came, behind the handshake.
        bytes_in: u64,
        /// Bytes that went, behind the handshake.
        bytes_out: u64,
        /// From the 101 to the end of TCP.
        lasted: Duration,
    },
}

impl Event {
    /// The phase that this belongs to.
    pub fn phase(&self) -> Phase {
        match self {
            Self::Accepted | Self::Request(_) | Self::Response(_) => Phase::Http,
            Self::Check { .. }
            | Self::Key { .. }
            | Self::JoinedKey(_)
            | Self::Digest(_)
            | Self::Accept(_)
            | Self::Switching(_) => Phase::Upgrade,
            Self::Joined { .. }
            | Self::FrameIn(_)
            | Self::FrameOut(_)
            | Self::Fragment { .. }
            | Self::Broadcast { .. }
            | Self::Ping(_)
            | Self::Pong(..) => Phase::Loop,
            Self::Close(..) | Self::CloseAnswer(_) | Self::TcpClosed(_) | Self::Left { .. } | Self::Life { .. } => {
                Phase::Termination
            }
        }
    }

    /// The name of the step.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Request(_) => "request",
            Self::Response(_) => "response",
            Self::Check { .. } => "check",
            Self::Key { .. } => "key",
            Self::JoinedKey(_) => "joined-key",
            Self::Digest(_) => "digest",
            Self::Accept(_) => "accept",
            Self::Switching(_) => "switching",
            Self::Joined { .. } => "joined",
            Self::FrameIn(_) => "frame-in",
            Self::FrameOut(_) => "frame-out",
            Self::Fragment { .. } => "fragment",
            Self::Broadcast { .. } => "broadcast",
            Self::Ping(_) => "ping",
            Self::Pong(..) => "pong",
            Self::Close(..) => "close",
            Self::CloseAnswer(_) => "close-answer",
            Self::TcpClosed(_) => "tcp-closed",
            Self::Left { .. } => "left",
            Self::Life { .. } => "life",
        }
    }

    /// Where to read about it.
    pub fn rfc(&self) -> &'static str {
        match self {
            Self::Accepted => "RFC 9293 3.5",
            Self::Request(_) => "RFC 6455 4.1",
            Self::Response(_) => "RFC 9110 15",
            Self::Check { rfc, .. } => rfc,
            Self::Key { .. } => "RFC 6455 4.2.1, item 5",
            Self::JoinedKey(_) | Self::Digest(_) | Self::Accept(_) => "RFC 6455 4.2.2, item 5.4",
            Self::Switching(_) => "RFC 6455 4.2.2, item 5",
            Self::Joined { .. } => "RFC 6455 4.2.2: OPEN",
            Self::FrameIn(_) => "RFC 6455 5.2, 5.3",
            Self::FrameOut(_) => "RFC 6455 5.2, 5.1",
            Self::Fragment { .. } => "RFC 6455 5.4",
            Self::Broadcast { .. } => "RFC 6455 6.1",
            Self::Ping(_) => "RFC 6455 5.5.2",
            Self::Pong(..) => "RFC 6455 5.5.3",
            Self::Close(..) => "RFC 6455 7.1.3: CLOSING",
            Self::CloseAnswer(_) => "RFC 6455 5.5.1",
            Self::TcpClosed(_) => "RFC 6455 7.1.1",
            Self::Left { .. } => "RFC 6455 7.1",
            Self::Life { .. } => "RFC 6455 7.1.4: CLOSED",
        }
    }

    /// What happened, in a few words. Text from clients is escaped.
    pub fn headline(&self) -> String {
        match self {
            Self::Accepted => "TCP accepted".into(),
            Self::Request(_) => "request, as it stood on the wire".into(),
            Self::Response(_) => "response, as it was written".into(),
            Self::Check { rule, passed, sent, .. } => {
                format!("{rule}: {} ({sent})", if *passed { "passed" } else { "REFUSED" })
            }
            Self::Key { key, nonce } => format!("key {key}: 16 bytes {nonce}"),
            Self::JoinedKey(text) => format!("key and GUID joined: {text}"),
            Self::Digest(hex) => format!("SHA-1 of that: {hex}"),
            Self::Accept(value) => format!("base64 of the digest: {value}"),
            Self::Switching(_) => "101 Switching Protocols, as it was written".into(),
            Self::Joined { members } => format!("joined the list, {members} there now"),
            Self::FrameIn(frame) => format!("frame in: {frame}"),
            Self::FrameOut(frame) => format!("frame out: {frame}"),
            Self::Fragment { fragments, bytes } => {
                format!("message so far: {}, {}", count(*fragments, "fragment"), count(*bytes, "byte"))
            }
            Self::Broadcast { members, bytes, behind } => {
                let (bytes, members) = (count(*bytes as u64, "byte"), count(*members as u64, "member"));
                format!("broadcast: {bytes} to each of {members}, {behind} behind")
            }
            Self::Ping(by) => format!("Ping by the {by}"),
            Self::Pong(by, None) => format!("Pong by the {by}"),
            Self::Pong(by, Some(round_trip)) => format!("Pong by the {by} after {}", milliseconds(*round_trip)),
            Self::Close(by, close) => format!("the {by} closes: {}", close_in_words(close)),
            Self::CloseAnswer(by) => format!("closing handshake done by the {by}'s Close"),
            Self::TcpClosed(by) => format!("TCP closed first by the {by}"),
            Self::Left { members } => format!("left the list, {members} remain"),
            Self::Life { messages, bytes_in, bytes_out, lasted } => {
                format!(
                    "its life: {}, {} in, {bytes_out} out, {:.1} s",
                    count(*messages, "message"),
                    count(*bytes_in, "byte"),
                    lasted.as_secs_f64()
                )
            }
        }
    }

    /// What happened, for parsing: names and values, escaped.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Accepted => Vec::new(),
            Self::Request(head) => vec![("bytes", escape(head))],
            Self::Response(head) | Self::Switching(head) => vec![("status", status(head)), ("bytes", escape(head))],
            Self::Check { rule, sent, passed, .. } => vec![
                ("rule", (*rule).into()),
                ("sent", sent.clone()),
                ("result", if *passed { "passed" } else { "refused" }.into()),
            ],
            Self::Key { key, nonce } => vec![("key", key.clone()), ("bytes", nonce.clone())],
            Self::JoinedKey(text) => vec![("text", text.clone())],
            Self::Digest(hex) => vec![("sha1", hex.clone())],
            Self::Accept(value) => vec![("value", value.clone())],
            Self::Joined { members } | Self::Left { members } => vec![("members", members.to_string())],
            Self::FrameIn(frame) | Self::FrameOut(frame) => frame.fields(),
            Self::Fragment { fragments, bytes } => {
                vec![("fragments", fragments.to_string()), ("bytes", bytes.to_string())]
            }
            Self::Broadcast { members, bytes, behind } => {
                vec![("members", members.to_string()), ("bytes", bytes.to_string()), ("behind", behind.to_string())]
            }
            Self::Ping(by) | Self::TcpClosed(by) | Self::CloseAnswer(by) | Self::Pong(by, None) => {
                vec![("by", by.to_string())]
            }
            Self::Pong(by, Some(round_trip)) => {
                vec![("by", by.to_string()), ("round-trip", format!("{:.3}", round_trip.as_secs_f64() * 1e3))]
            }
            Self::Close(by, close) => close_fields(*by, close),
            Self::Life { messages, bytes_in, bytes_out, lasted } => vec![
                ("messages", messages.to_string()),
                ("bytes-in", bytes_in.to_string()),
                ("bytes-out", bytes_out.to_string()),
                ("seconds", format!("{:.3}", lasted.as_secs_f64())),
            ],
        }
    }
}

/// A time as people read it.
pub fn milliseconds(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

fn close_in_words(close: &Option<(u16, String)>) -> String {
    match close {
        None => "without a code".into(),
        Some((code, reason)) if reason.is_empty() => format!("{code} {}", meaning(*code)),
        Some((code, reason)) => format!("{code} {}, \"{reason}\"", meaning(*code)),
    }
}

fn close_fields(by: Side, close: &Option<(u16, String)>) -> Vec<(&'static str, String)> {
    let mut fields = vec![("by", by.to_string())];
    if let Some((code, reason)) = close {
        fields.extend([("code", code.to_string()), ("meaning", meaning(*code).into()), ("reason", reason.clone())]);
    }
    fields
}

/// What a close code means (RFC 6455 7.4.1).
pub fn meaning(code: u16) -> &'static str {
    match code {
        1000 => "normal closure",
        1001 => "going away",
        1002 => "protocol error",
        1003 => "unsupported data",
        1007 => "invalid payload data",
        1008 => "policy violation",
        1009 => "message too big",
        1010 => "extension missing",
        1011 => "internal error",
        1012 => "service restart",
        1013 => "try again later",
        3000..=3999 => "registered by a library",
        4000..=4999 => "private use",
        _ => "unknown",
    }
}

/// The status in the first line of a response.
fn status(head: &[u8]) -> String {
    head.split(|byte| *byte == b' ').nth(1).map_or_else(String::new, quote)
}

/// Header fields that belong to the handshake. All others are none of a viewer's business: cookies, credentials,
/// addresses of clients behind a proxy. Nor is `Sec-WebSocket-Protocol`: pages that can't set header fields send tokens in it.
const VISIBLE: [&str; 13] = [
    "host",
    "upgrade",
    "connection",
    "origin",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-extensions",
    "sec-websocket-accept",
    "content-type",
    "content-length",
    "transfer-encoding",
    "allow",
    "date",
];

/// The head of a message of HTTP as it stood on the wire, but for the query, an address that is more than a path, and the
/// values of header fields that are not the handshake's: `...` stands for those.
pub fn visible_head(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(bytes.len(), |end| end + 4);
    let mut visible = Vec::with_capacity(end);
    for (index, line) in bytes[..end].split_inclusive(|byte| *byte == b'\n').enumerate() {
        let cut = if index == 0 { hidden_target(line) } else { hidden_value(line) };
        match cut {
            None => visible.extend_from_slice(line),
            Some((start, end)) => {
                visible.extend_from_slice(&line[..start]);
                visible.extend_from_slice(b"...");
                visible.extend_from_slice(&line[end..]);
            }
        }
    }
    visible
}

/// Where that part of a request line stands that is not to be seen: the query, or a target that is no path, for it may
/// have credentials in it (RFC 9112 3.2.2). A status line has none.
fn hidden_target(line: &[u8]) -> Option<(usize, usize)> {
    if line.starts_with(b"HTTP/") {
        return None;
    }
    let target = line.iter().position(|byte| *byte == b' ')? + 1;
    let end = line.iter().rposition(|byte| *byte == b' ').filter(|end| *end >= target);
    let end = end.unwrap_or(line.trim_ascii_end().len());
    let path = line.get(target..end)?;
    let start = if path.starts_with(b"/") { path.iter().position(|byte| b"?#".contains(byte))? + 1 } else { 0 };
    Some((target + start, end))
}

/// Where the value of a header line stands that is not to be seen. A line without a name is hidden as a whole.
fn hidden_value(line: &[u8]) -> Option<(usize, usize)> {
    let end = line.trim_ascii_end().len();
    let colon = line[..end].iter().position(|byte| *byte == b':');
    let name = colon.map(|colon| line[..colon].to_ascii_lowercase());
    match (name, colon) {
        (Some(name), _) if VISIBLE.iter().any(|visible| visible.as_bytes() == name) => None,
        (_, Some(colon)) => {
            let value = colon + 1 + usize::from(line.get(colon + 1) == Some(&b' '));
            Some((value, end)).filter(|(value, end)| value < end)
        }
        (_, None) => Some((0, end)).filter(|(_, end)| *end > 0),
    }
}

/// The terminal's number among the watchers. The others have the number of their connection; no connection has this one.
pub const TERMINAL: u64 = 0;

/// What a watcher gets.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A step.
    Step(Arc<Step>),
    /// At least so many steps were left out, for there were too many.
    Missed(u64),
}

/// Takes steps from the connections, gives them to the watchers.
#[derive(Debug, Default)]
pub struct Lifecycle {
    watched: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    steps: u64,
    watchers: Vec<Watcher>,
    /// What every connection's steps have in common.
    trails: BTreeMap<u64, Trail>,
    second: Option<Instant>,
    steps_in_second: u32,
}

#[derive(Debug)]
struct Watcher {
    id: u64,
    queue: mpsc::Sender<Seen>,
    missed: u64,
    /// Since when the queue has been full.
    stuck: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Trail {
    accepted: Instant,
    client_id: Option<i64>,
    /// Whether it has a place in the list.
    joined: bool,
}

impl Lifecycle {
    /// Whether anybody watches. Where nobody does, this is all that a step costs.
    pub fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to watch: first come those who are in the list already. `id` is for [`unwatch`](Self::unwatch); the queue is bounded.
    pub fn watch(&self, id: u64) -> mpsc::Receiver<Seen> {
        let (queue, seen) = mpsc::channel(VIEWER_QUEUE);
        let mut state = self.state();
        let mut watcher = Watcher { id, queue, missed: 0, stuck: None };
        state.introduce(&mut watcher);
        state.watchers.push(watcher);
        drop(state);
        self.watched.store(true, Ordering::Relaxed);
        seen
    }

    /// Ends a watch.
    pub fn unwatch(&self, id: u64) {
        let mut state = self.state();
        state.watchers.retain(|watcher| watcher.id != id);
        self.settle(&mut state);
    }

    /// Ends all watches: their queues end when they are empty.
    pub fn end(&self) {
        let mut state = self.state();
        state.watchers.clear();
        self.settle(&mut state);
    }

    fn settle(&self, state: &mut State) {
        if state.watchers.is_empty() {
            self.watched.store(false, Ordering::Relaxed);
        }
    }

    /// How many watch, the terminal apart.
    pub fn viewers(&self) -> usize {
        self.state().watchers.iter().filter(|watcher| watcher.id != TERMINAL).count()
    }

    /// How long a watcher has taken nothing, with its queue full. None if it is gone.
    pub fn stuck(&self, id: u64) -> Option<Duration> {
        let state = self.state();
        let watcher = state.watchers.iter().find(|watcher| watcher.id == id)?;
        // Who has made room since has taken something, even if nothing has come for him since.
        let stuck = watcher.stuck.filter(|_| watcher.queue.capacity() == 0);
        Some(stuck.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    /// How many steps a watcher has missed that he has not been told of; now he is.
    pub fn take_missed(&self, id: u64) -> u64 {
        let mut state = self.state();
        let watcher = state.watchers.iter_mut().find(|watcher| watcher.id == id);
        watcher.map_or(0, |watcher| std::mem::take(&mut watcher.missed))
    }

    /// A connection was accepted.
    pub fn accepted(&self, connection: u64) {
        let trail = Trail { accepted: Instant::now(), client_id: None, joined: false };
        self.state().trails.insert(connection, trail);
        self.step(connection, || Event::Accepted);
    }

    /// A connection's client says who it is.
    pub fn named(&self, connection: u64, client_id: i64) {
        if let Some(trail) = self.state().trails.get_mut(&connection) {
            trail.client_id = Some(client_id);
        }
    }

    /// A connection has its place in the list, of so many.
    pub fn joined(&self, connection: u64, members: usize) {
        if let Some(trail) = self.state().trails.get_mut(&connection) {
            trail.joined = true;
        }
        self.step(connection, || Event::Joined { members });
    }

    /// A connection gave its place back; so many remain.
    pub fn left(&self, connection: u64, members: usize) {
        if let Some(trail) = self.state().trails.get_mut(&connection) {
            trail.joined = false;
        }
        self.step(connection, || Event::Left { members });
    }

    /// A connection is over: no step comes after this.
    pub fn forget(&self, connection: u64) {
        self.state().trails.remove(&connection);
    }

    /// Something happened. `event` is called only if somebody watches and can take it.
    pub fn step(&self, connection: u64, event: impl FnOnce() -> Event) {
        if self.is_watched() {
            self.state().take(connection, STEPS_PER_SECOND, event);
        }
    }

    /// A frame or what comes with one. Frames come in floods, and leave room for the rest.
    pub fn frame_step(&self, connection: u64, event: impl FnOnce() -> Event) {
        if self.is_watched() {
            self.state().take(connection, FRAME_STEPS_PER_SECOND, event);
        }
    }

    /// Whether steps of frames can be taken just now. If not, it counts as one that was left out.
    pub fn takes_frames(&self) -> bool {
        self.is_watched() && self.state().has_room(FRAME_STEPS_PER_SECOND)
    }
}

impl State {
    /// Tells a new watcher who is in the list.
    fn introduce(&mut self, watcher: &mut Watcher) {
        let present: Vec<u64> =
            self.trails.iter().filter(|(_, trail)| trail.joined).map(|(number, _)| *number).collect();
        for connection in &present {
            let step = self.stamp(*connection, Event::Joined { members: present.len() });
            watcher.give(&step);
        }
    }

    fn stamp(&mut self, connection: u64, event: Event) -> Seen {
        self.steps += 1;
        let trail = self.trails.get(&connection);
        Seen::Step(Arc::new(Step {
            id: self.steps,
            connection,
            client_id: trail.and_then(|trail| trail.client_id),
            elapsed: trail.map(|trail| trail.accepted.elapsed()),
            event,
        }))
    }

    fn take(&mut self, connection: u64, most: u32, event: impl FnOnce() -> Event) {
        if !self.has_room(most) {
            return;
        }
        self.steps_in_second += 1;
        let step = self.stamp(connection, event());
        for watcher in &mut self.watchers {
            watcher.give(&step);
        }
    }

    /// Whether this second has room for a step; counts it as missed if not.
    fn has_room(&mut self, most: u32) -> bool {
        if self.second.is_none_or(|second| second.elapsed() >= Duration::from_secs(1)) {
            self.second = Some(Instant::now());
            self.steps_in_second = 0;
        }
        let room = self.steps_in_second < most;
        if !room {
            self.watchers.iter_mut().for_each(|watcher| watcher.missed += 1);
        }
        room
    }
}

impl Watcher {
    fn give(&mut self, step: &Seen) {
        if self.missed > 0 && self.queue.try_send(Seen::Missed(self.missed)).is_ok() {
            (self.missed, self.stuck) = (0, None);
        }
        if self.missed == 0 && self.queue.try_send(step.clone()).is_ok() {
            self.stuck = None;
        } else {
            self.missed += 1;
            self.stuck.get_or_insert_with(Instant::now);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
