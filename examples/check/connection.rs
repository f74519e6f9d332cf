//! One connection to the server. It records what it sends and receives, and every read has a deadline.
//!
//! It accepts what a correct server may do: fragments in its messages, Pings and Pongs of its own, and messages of clients
//! that aren't part of the stage. It fails on any frame that breaks RFC 6455.

use super::checker::{Cause, Failure};
use super::transcript::{Direction, Entry, Kind, Transcript, opcode, quote};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use test_client::client::{Client, Ended};
use test_client::frame::{BINARY, CLOSE, CONTINUATION, FIN, Frame, PING, PONG, from_client, says_prefix, text};
use test_client::request::Response;
use tokio::runtime::Runtime;
use tokio::time::{Instant, timeout, timeout_at};

/// A longer response head is taken for noise.
const MAX_HEAD: usize = 64 * 1024;

const NOT_HTTP: &str = "The first bytes of an answer to an HTTP request are its status line.";
const NO_ANSWER: &str = "The request ends with an empty line, and the client keeps its side open. Does the server answer at the \
                         empty line, or does it read on? Does it flush what it writes?";
const CLOSED: &str = "A connection that ends without an answer often means that an error ended its handler. What does the \
                      server print?";
const BARE_LINES: &str = "Each line of a head ends with two bytes. Which?";
const TEXT_NOT_FRAME: &str = "These bytes are text. After the 101 there is no more HTTP, and no bare text: what goes around \
                              every message?";
const RESERVED_BITS: &str =
    "Look at the bits of the first byte one by one. Which of them may a server set without an extension?";
const MASKED: &str = "One side must mask its frames, the other must not. Which is the server?";
const BYTE_ORDER: &str = "Compare the length in the frame with the bytes that came after it. In which order do the bytes of a \
                          number travel?";
const LONG_FORM: &str = "There are three forms of a length. When may each be used?";
const CONTROL: &str = "Two rules hold for every control frame. Which does this one break?";
const STRAY: &str = "Look at the FIN bit and the opcode of each frame of the message.";
const UNMASKED_LATE: &str = "The payload that came back is still masked. What has to happen with the masking key?";
const NO_PREFIX: &str = "The text is there, but what does the server put in front of it?";
const CUT_TEXT: &str = "The text is cut. Does the length in the frame count characters or bytes?";
const WRONG_BYTES: &str = "The text has the right length, but wrong bytes. Which byte of the masking key belongs to byte i of the \
                           payload, however many reads it took?";
const PONG_PAYLOAD: &str = "What does a Pong have in common with its Ping, apart from the name?";

/// What the connections of a run share.
pub struct Shared {
    pub runtime: Runtime,
    /// Time limit for anything that should come at once.
    pub patience: Duration,
    pub transcript: RefCell<Transcript>,
    /// The ids of the stage's clients.
    pub members: RefCell<Vec<i64>>,
}

/// A message or a control frame of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
}

impl Incoming {
    pub fn in_words(&self) -> String {
        match self {
            Self::Text(text) => format!("the text {}", quote(text)),
            Self::Binary(bytes) => format!("a binary message of {} bytes", bytes.len()),
            Self::Pong(payload) => format!("a Pong with the payload {}", quote(payload)),
            Self::Close(code) => close_in_words(*code),
        }
    }
}

/// A Close frame, by its code.
pub fn close_in_words(code: Option<u16>) -> String {
    code.map_or("a Close without a code".into(), |code| format!("a Close with code {code}"))
}

/// What a read found at the start of its input.
enum Found<T> {
    /// This, in this number of bytes.
    Whole(T, usize),
    Part,
    Wrong(Failure),
}

pub struct Connection {
    pub id: i64,
    client: Client,
    shared: Rc<Shared>,
    /// The opcode and the payload so far of a message whose fragments arrive.
    unfinished: Option<(u8, Vec<u8>)>,
}

impl Connection {
    pub fn new(id: i64, client: Client, shared: Rc<Shared>) -> Self {
        Self { id, client, shared, unfinished: None }
    }

    /// Makes the client one of those whose messages the stage expects.
    pub fn joined(self) -> Self {
        self.shared.members.borrow_mut().push(self.id);
        self
    }

    fn record(&self, direction: Direction, kind: Kind, bytes: &[u8], note: &'static str) {
        self.shared.record(Entry { client: self.id, direction, kind, bytes: bytes.into(), note });
    }

    pub fn send_request(&mut self, request: &[u8]) {
        self.send_as(Kind::Http, request);
    }

    /// Sends frames in one packet.
    pub fn send(&mut self, frames: &[u8]) {
        self.send_as(Kind::Frames, frames);
    }

    pub fn say(&mut self, message: &str) {
        self.send(&text(message));
    }

    fn send_as(&mut self, kind: Kind, bytes: &[u8]) {
        self.record(Direction::Sent, kind, bytes, "");
        self.client.send(bytes);
        // If the server doesn't take the bytes, the answer is missing.
        let _ = self.within(async |client| client.flush().await);
    }

    /// Sends bytes one by one.
    pub fn trickle(&mut self, kind: Kind, bytes: &[u8]) {
        self.record(Direction::Sent, kind, bytes, ", one by one");
        // These few bytes always fit into the socket's buffer.
        self.shared.runtime.block_on(self.client.trickle(bytes));
    }

    /// Closes the client's side of TCP.
    pub fn finish(&mut self) {
        let _ = self.within(async |client| client.finish().await);
    }

    /// Drops the connection with a reset.
    pub fn reset(self) {
        let Self { client, shared, .. } = self;
        let _in_runtime = shared.runtime.enter();
        client.reset();
    }

    fn within<T>(&mut self, act: impl AsyncFnOnce(&mut Client) -> T) -> Option<T> {
        let Self { client, shared, .. } = self;
        shared.runtime.block_on(async { timeout(shared.patience, act(client)).await.ok() })
    }

    pub fn deadline(&self) -> Instant {
        Instant::now() + self.shared.patience
    }

    /// Reads until `find` finds something.
    fn read<T>(
        &mut self,
        kind: Kind,
        expected: &str,
        deadline: Instant,
        mut find: impl FnMut(&[u8]) -> Found<T>,
    ) -> Result<T, Failure> {
        loop {
            match find(self.client.unread()) {
                Found::Whole(found, length) => {
                    self.record(Direction::Came, kind, &self.client.unread()[..length], "");
                    self.client.skip(length);
                    return Ok(found);
                }
                Found::Part => {}
                Found::Wrong(failure) => {
                    self.record(Direction::Came, kind, self.client.unread(), "");
                    return Err(failure);
                }
            }
            let Self { client, shared, .. } = self;
            let more = shared.runtime.block_on(async { timeout_at(deadline, client.read_more()).await });
            if let Some(how) = match more {
                Ok(Ok(())) => None,
                Ok(Err(ended)) => Some(Some(ended)),
                Err(_) => Some(None),
            } {
                return Err(self.missing(kind, expected, how));
            }
        }
    }

    /// The failure of a read that ended before it found anything.
    fn missing(&self, kind: Kind, expected: &str, how: Option<Ended>) -> Failure {
        let unread = self.client.unread();
        if !unread.is_empty() {
            self.record(Direction::Came, kind, unread, ", which are not all");
        }
        let came = match (how, unread.len()) {
            (None, 0) => format!("nothing within {} s", self.shared.patience.as_secs_f64()),
            (None, length) => {
                format!("{length} bytes of it, and no more within {} s", self.shared.patience.as_secs_f64())
            }
            (Some(ended), 0) => format!("no byte, then {}", ended_in_words(ended)),
            (Some(ended), length) => format!("{length} bytes of it, then {}", ended_in_words(ended)),
        };
        let hint = match kind {
            Kind::Http if unread.windows(2).any(|bytes| bytes == b"\n\n") => BARE_LINES,
            Kind::Http if how.is_some() => CLOSED,
            Kind::Http => NO_ANSWER,
            Kind::Frames if is_swapped_length(unread) => BYTE_ORDER,
            _ => "",
        };
        let cause = if how.is_some() { Cause::Ended } else { Cause::Silence };
        Failure::new(expected, came).hint(hint).cause(cause)
    }

    /// Reads the head of a response.
    pub fn head(&mut self) -> Result<Response, Failure> {
        const EXPECTED: &str = "a response in HTTP/1.1";
        self.read(Kind::Http, EXPECTED, self.deadline(), |bytes| {
            let wrong = || Found::Wrong(Failure::new(EXPECTED, "bytes that are not HTTP").hint(NOT_HTTP));
            let start = &b"HTTP/"[..bytes.len().min(5)];
            if !bytes.starts_with(start) || bytes.len() > MAX_HEAD {
                return wrong();
            }
            let end = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|end| end + 4);
            end.map_or(Found::Part, |end| {
                Response::parse(&bytes[..end]).map_or_else(wrong, |response| Found::Whole(response, end))
            })
        })
    }

    /// Reads the body that follows a response head (RFC 9112 6.3). Returns its length on the wire.
    pub fn body(&mut self, response: &Response) -> Result<usize, Failure> {
        let deadline = self.deadline();
        let length = response.header("content-length").and_then(|length| length.parse::<usize>().ok());
        if let Some(length) = length {
            return self.read(Kind::Body, &format!("a body of {length} bytes"), deadline, |bytes| {
                if bytes.len() < length { Found::Part } else { Found::Whole(length, length) }
            });
        }
        if response.has_token("transfer-encoding", "chunked") {
            return self.read(Kind::Body, "the last chunk of the body", deadline, |bytes| {
                if bytes.ends_with(b"0\r\n\r\n") { Found::Whole(bytes.len(), bytes.len()) } else { Found::Part }
            });
        }
        self.rest().ok_or_else(|| {
            Failure::new("the end of the body", "neither Content-Length, nor chunks, nor the end of the connection")
        })
    }

    /// Reads to the end of the connection. Returns the number of bytes, or `None` if the end doesn't come.
    pub fn rest(&mut self) -> Option<usize> {
        let ended = self.within(async |client| client.read_to_end().await);
        let unread = self.client.unread().to_vec();
        if !unread.is_empty() {
            let kind = if self.shared.members.borrow().contains(&self.id) { Kind::Frames } else { Kind::Body };
            self.record(Direction::Came, kind, &unread, "");
        }
        ended.map(|_| unread.len())
    }

    /// Reads a frame, and checks what RFC 6455 5 says about it.
    fn frame(&mut self, expected: &str, deadline: Instant) -> Result<Frame, Failure> {
        self.read(Kind::Frames, expected, deadline, |bytes| {
            if let Some((came, hint)) = header_fault(bytes) {
                return Found::Wrong(Failure::new(expected, came).hint(hint));
            }
            Frame::parse(bytes).map_or(Found::Part, |(frame, length)| Found::Whole(frame, length))
        })
    }

    /// Reads the next message, Pong or Close. Answers Pings, and leaves out messages of clients that aren't of the stage.
    pub fn next(&mut self, expected: &str, deadline: Instant) -> Result<Incoming, Failure> {
        loop {
            let frame = self.frame(expected, deadline)?;
            match frame.first & 0x0f {
                PING => self.send(&from_client(FIN | PONG, &frame.payload)),
                PONG => return Ok(Incoming::Pong(frame.payload)),
                CLOSE if frame.payload.len() == 1 => {
                    return Err(Failure::new(expected, "a Close with 1 byte of payload").hint(CONTROL));
                }
                CLOSE => return Ok(Incoming::Close(frame.close_code())),
                _ => match self.add(frame, expected)? {
                    Some(Incoming::Text(text)) if self.is_of_another(&text) => {}
                    Some(message) => return Ok(message),
                    None => {}
                },
            }
        }
    }

    /// Adds a data frame to the message. Returns it when it is complete (RFC 6455 5.4).
    fn add(&mut self, frame: Frame, expected: &str) -> Result<Option<Incoming>, Failure> {
        let opcode = frame.first & 0x0f;
        let (opcode, mut payload) = match (opcode, self.unfinished.take()) {
            (CONTINUATION, Some(so_far)) => so_far,
            (CONTINUATION, None) => {
                return Err(Failure::new(expected, "a continuation frame without a message to continue").hint(STRAY));
            }
            (_, Some(_)) => return Err(Failure::new(expected, "a new message inside a message").hint(STRAY)),
            (opcode, None) => (opcode, Vec::new()),
        };
        payload.extend(frame.payload);
        Ok(match (frame.first & FIN, opcode) {
            (0, _) => {
                self.unfinished = Some((opcode, payload));
                None
            }
            (_, BINARY) => Some(Incoming::Binary(payload)),
            _ => Some(Incoming::Text(payload)),
        })
    }

    /// True for a message of or about a client that isn't of the stage.
    fn is_of_another(&self, text: &[u8]) -> bool {
        let id = text.strip_prefix(b"Client #").map(|rest| rest.split(|byte| !byte.is_ascii_digit()).next());
        let id = id.flatten().and_then(|id| str::from_utf8(id).ok()?.parse().ok());
        id.is_some_and(|id| !self.shared.members.borrow().contains(&id))
    }

    /// Expects the broadcast of a message that a client has sent.
    pub fn expect_text(&mut self, from: i64, message: &str) -> Result<(), Failure> {
        let wanted = format!("{}{message}", says_prefix(from));
        let expected = format!("the text {} at client {}", quote(wanted.as_bytes()), self.id);
        let deadline = self.deadline();
        loop {
            match self.next(&expected, deadline)? {
                Incoming::Text(text) if text == wanted.as_bytes() => return Ok(()),
                Incoming::Pong(_) => {}
                Incoming::Text(text) => {
                    let hint = hint_for_text(&wanted, message, &text);
                    return Err(Failure::new(expected, Incoming::Text(text).in_words()).hint(hint));
                }
                other => return Err(Failure::new(expected, other.in_words())),
            }
        }
    }

    pub fn expect_pong(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let expected = Incoming::Pong(payload.into()).in_words();
        match self.next(&expected, self.deadline())? {
            Incoming::Pong(came) if came == payload => Ok(()),
            other @ Incoming::Pong(_) => Err(Failure::new(expected, other.in_words()).hint(PONG_PAYLOAD)),
            other => Err(Failure::new(expected, other.in_words())),
        }
    }

    /// Expects a Close with one of these codes.
    pub fn expect_close(&mut self, codes: &[Option<u16>]) -> Result<(), Failure> {
        let words: Vec<_> = codes.iter().map(|code| close_in_words(*code)).collect();
        let expected = words.join(" or ");
        let deadline = self.deadline();
        loop {
            match self.next(&expected, deadline)? {
                Incoming::Close(code) if codes.contains(&code) => return Ok(()),
                Incoming::Pong(_) => {}
                other => return Err(Failure::new(expected, other.in_words())),
            }
        }
    }

    /// Expects that the server closes TCP and sends nothing before.
    pub fn expect_end(&mut self) -> Result<(), Failure> {
        const EXPECTED: &str = "the end of the TCP connection";
        match self.rest() {
            Some(0) => Ok(()),
            Some(length) => Err(Failure::new(EXPECTED, format!("{length} more bytes, then the end"))),
            None => Err(Failure::new(EXPECTED, "the server keeps the connection open").cause(Cause::Silence)),
        }
    }
}

fn ended_in_words(ended: Ended) -> &'static str {
    match ended {
        Ended::InOrder => "the server closed the connection",
        Ended::Reset => "the server dropped the connection with a reset",
    }
}

/// The length that a frame's header announces, and the bytes of it, if it has one of the longer forms.
fn extended_length(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let extended = match bytes.get(1)? & 0x7f {
        126 => bytes.get(2..4)?,
        127 => bytes.get(2..10)?,
        _ => return None,
    };
    Some((extended.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)), extended))
}

/// What is wrong with the header at the start of `bytes`, as far as it has arrived, and a hint.
fn header_fault(bytes: &[u8]) -> Option<(String, &'static str)> {
    let [first, second, ..] = *bytes else { return None };
    let length = extended_length(bytes);
    let control = first & 0x08 != 0;
    if first & 0x70 != 0 {
        let text = bytes.iter().take(4).all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
        let came = format!("a frame with RSV bits set, which begins with {first:#04x}");
        return Some((came, if text { TEXT_NOT_FRAME } else { RESERVED_BITS }));
    }
    if opcode(first) == "reserved" {
        return Some((format!("a frame with the reserved opcode {}", first & 0x0f), RESERVED_BITS));
    }
    if second & 0x80 != 0 {
        return Some((format!("a masked {} frame", opcode(first)), MASKED));
    }
    if control && (first & FIN == 0 || second & 0x7f > 125) {
        return Some((format!("a {} frame that is fragmented or over 125 bytes", opcode(first)), CONTROL));
    }
    match length {
        Some((value, extended)) if value <= if extended.len() == 2 { 125 } else { 0xffff } => {
            Some((format!("the length {value} in {} bytes", extended.len()), LONG_FORM))
        }
        _ => None,
    }
}

/// True if the length of a frame fits its payload once its bytes are in the other order.
fn is_swapped_length(bytes: &[u8]) -> bool {
    extended_length(bytes).is_some_and(|(_, extended)| {
        let swapped = extended.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        swapped == (bytes.len() - 2 - extended.len()) as u64
    })
}

/// A hint for a text that isn't the wanted one, if the mistake is a known one.
fn hint_for_text(wanted: &str, message: &str, came: &[u8]) -> &'static str {
    let masked = text(message);
    let masked = &masked[masked.len() - message.len()..];
    if came == message.as_bytes() {
        NO_PREFIX
    } else if came.ends_with(masked) {
        UNMASKED_LATE
    } else if wanted.as_bytes().starts_with(came) {
        CUT_TEXT
    } else if came.len() == wanted.len() {
        WRONG_BYTES
    } else {
        ""
    }
}
