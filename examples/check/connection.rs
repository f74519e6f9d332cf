//! One connection to the server. It records what it sends and receives, and every read has a deadline.
//!
//! It accepts what a correct server may do: fragments in its messages, Pings and Pongs of its own, and messages of clients
//! that aren't part of the stage. It fails on any frame that breaks RFC 6455.

use super::checker::{Cause, Failure};
use super::mistakes::{CLOSE_PAYLOAD, header_fault, hint_for_cut_frame, hint_for_text};
use super::transcript::{Direction, Entry, Kind, Transcript, quote};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use test_client::client::{Client, Ended};
use test_client::frame::{BINARY, CLOSE, CONTINUATION, FIN, Frame, PING, PONG, close, from_client, says_prefix, text};
use test_client::request::Response;
use tokio::runtime::Runtime;
use tokio::time::{Instant, timeout, timeout_at};

/// A longer response head is taken for noise.
const MAX_HEAD: usize = 64 * 1024;

/// The pause between two bytes that are sent one by one: long enough for most servers to read each on its own.
const DRIP: Duration = Duration::from_millis(2);

/// Time limit for the server's side of a closing handshake that isn't checked.
const FAREWELL: Duration = Duration::from_millis(100);

const NOT_HTTP: &str = "The first bytes of an answer to an HTTP request are its status line.";
const NO_ANSWER: &str = "The request ends with an empty line, and the client keeps its side open. Does the server answer at the \
                         empty line, or does it read on? Does it flush what it writes?";
const CLOSED: &str = "A connection that ends without an answer often means that an error ended its handler. What does the \
                      server print?";
const BARE_LINES: &str = "Each line of a head ends with two bytes. Which?";
const HEAD_END: &str = "The head of a response ends with an empty line, too.";
const STRAY: &str = "Look at the FIN bit and the opcode of each frame of the message.";
const FOUND_INVALID: &str = "The server says that the text isn't UTF-8, but it is. Which bytes does it check, and are they \
                             unmasked?";
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
    /// Whether the server has switched protocols, so that it may expect a Close.
    open: bool,
}

impl Connection {
    pub fn new(id: i64, client: Client, shared: Rc<Shared>) -> Self {
        Self { id, client, shared, unfinished: None, open: false }
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
        self.shared.runtime.block_on(self.client.trickle(bytes, DRIP));
    }

    /// Closes the client's side of TCP.
    pub fn finish(&mut self) {
        let _ = self.within(async |client| client.finish().await);
    }

    /// Drops the connection with a reset.
    pub fn reset(mut self) {
        self.open = false;
        // Without it, the connection ends in order.
        let _ = self.client.socket().set_zero_linger();
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
            Kind::Http if !unread.is_empty() => HEAD_END,
            Kind::Http if how.is_some() => CLOSED,
            Kind::Http => NO_ANSWER,
            Kind::Frames => hint_for_cut_frame(unread),
            _ => "",
        };
        let cause = if how.is_some() { Cause::Ended } else { Cause::Silence };
        Failure::new(expected, came).hint(hint).cause(cause)
    }

    /// Reads the head of a response.
    pub fn head(&mut self) -> Result<Response, Failure> {
        const EXPECTED: &str = "a response in HTTP/1.1";
        let response = self.read(Kind::Http, EXPECTED, self.deadline(), |bytes| {
            let wrong = || Found::Wrong(Failure::new(EXPECTED, "bytes that are not HTTP").hint(NOT_HTTP));
            let start = &b"HTTP/"[..bytes.len().min(5)];
            if !bytes.starts_with(start) || bytes.len() > MAX_HEAD {
                return wrong();
            }
            let end = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|end| end + 4);
            end.map_or(Found::Part, |end| {
                Response::parse(&bytes[..end]).map_or_else(wrong, |response| Found::Whole(response, end))
            })
        })?;
        self.open = response.status == 101;
        Ok(response)
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
                    return Err(Failure::new(expected, "a Close with 1 byte of payload").hint(CLOSE_PAYLOAD));
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

    /// Reads the next text, and leaves out Pongs.
    pub fn next_text(&mut self, expected: &str, deadline: Instant) -> Result<Vec<u8>, Failure> {
        loop {
            match self.next(expected, deadline)? {
                Incoming::Text(text) => return Ok(text),
                Incoming::Pong(_) => {}
                other => {
                    let hint = if other == Incoming::Close(Some(1007)) { FOUND_INVALID } else { "" };
                    return Err(Failure::new(expected, other.in_words()).hint(hint));
                }
            }
        }
    }

    /// Expects the broadcast of a message that a client has sent.
    pub fn expect_text(&mut self, from: i64, message: &str) -> Result<(), Failure> {
        let wanted = format!("{}{message}", says_prefix(from));
        let expected = format!("the text {} at client {}", quote(wanted.as_bytes()), self.id);
        let text = self.next_text(&expected, self.deadline())?;
        if text == wanted.as_bytes() {
            return Ok(());
        }
        let hint = hint_for_text(&wanted, message, &text);
        Err(Failure::new(expected, Incoming::Text(text).in_words()).hint(hint))
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

/// Leaves with a Close, so that only the stage about it depends on how the server takes the loss of a client.
impl Drop for Connection {
    fn drop(&mut self) {
        if self.open {
            self.client.send(&close(1000, ""));
            let Self { client, shared, .. } = self;
            // The server may not know about Close yet.
            let _ = shared.runtime.block_on(async { timeout(FAREWELL, client.end()).await });
        }
    }
}

fn ended_in_words(ended: Ended) -> &'static str {
    match ended {
        Ended::InOrder => "the server closed the connection",
        Ended::Reset => "the server dropped the connection with a reset",
    }
}
