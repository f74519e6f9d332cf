//! 5. The protocol without I/O (phase 3): bytes in, messages and bytes out.
//!
//! In the RFC: messages are one or more frames (RFC 6455 5.4), text is UTF-8 (5.6, 8.1), a Ping gets a Pong (5.5.2), a Close
//! gets a Close (5.5.1), and whoever breaks a rule is failed (7.1.7).
//!
//! [`Protocol`] is given what was read and says what to write; it never sees a socket, so every rule can be tried
//! without one. Its contract: **each call takes all of its input**, and any split of a client's bytes into inputs gives the
//! same messages and the same bytes out.
//!
//! Frames are decoded by tungstenite's [`WebSocketContext`], over a stream in memory that is empty, not ended, when the
//! input is used up. The context lives only while a message is half read: an idle connection has none. One kind of frame
//! is so common and so plain that it does not need one: a whole text message, see `Protocol::take_whole_messages`.

use crate::frame::{Failure, Frames, Stop, unmask, whole_text_frame};
use crate::limits::UNFINISHED_MESSAGE_AGE;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};
use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Message, Utf8Bytes};

/// tungstenite's own read buffer in bytes. Over a stream in memory a small one is as fast as a large one.
const READ_BUFFER_SIZE: usize = 256;

/// Bytes on their way to the client.
pub type Output = VecDeque<u8>;

/// A message from the client (RFC 6455 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// Text, which is UTF-8.
    Text(&'a str),
    /// Anything.
    Binary(&'a [u8]),
}

/// How the closing handshake began (RFC 6455 7.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closing {
    /// The client sent a Close frame, and has its answer.
    ByClient(Option<CloseFrame>),
    /// The server sent a Close frame.
    ByServer {
        /// Its code and reason.
        failure: Failure,
        /// Whether the client's Close has come.
        answered: bool,
    },
}

/// One connection's protocol state, from the byte behind the handshake.
#[derive(Debug)]
pub struct Protocol {
    max_message_size: usize,
    frames: Frames,
    context: Option<Box<WebSocketContext>>,
    unfinished_since: Option<Instant>,
    watch: Option<Watch>,
    closing: Option<Box<Closing>>,
    /// Nothing that the client sends matters any more: both Close frames have been sent, or its bytes make no sense.
    closed: bool,
}

/// Looks out for a client that has fallen silent: after an interval without a byte it gets a Ping, after one more it is
/// given up (RFC 6455 5.5.2).
#[derive(Clone, Copy, Debug)]
struct Watch {
    interval: Duration,
    /// The last byte or, after that, the Ping.
    since: Instant,
    pinged: bool,
}

impl Watch {
    fn deadline(&self) -> Instant {
        self.since + self.interval
    }
}

impl Protocol {
    /// A connection that opens now. `max_message_size` is in bytes of payload; `ping_interval` is the silence before a
    /// Ping, none for never.
    pub fn new(max_message_size: usize, ping_interval: Option<Duration>, now: Instant) -> Self {
        Self {
            max_message_size,
            frames: Frames::new(max_message_size),
            context: None,
            unfinished_since: None,
            watch: ping_interval.map(|interval| Watch { interval, since: now, pinged: false }),
            closing: None,
            closed: false,
        }
    }

    /// How the closing handshake began, if it has.
    pub fn closing(&self) -> Option<&Closing> {
        self.closing.as_deref()
    }

    /// Whether there is nothing more to wait for: the server closes TCP now (RFC 6455 7.1.1).
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether nothing is half read.
    pub fn is_between_messages(&self) -> bool {
        self.frames.between_messages()
    }

    /// When [`expire`](Self::expire) is due. Once the connection is closing, never.
    pub fn deadline(&self) -> Option<Instant> {
        let silence = self.watch.map(|watch| watch.deadline());
        self.message_deadline().into_iter().chain(silence).min().filter(|_| self.closing.is_none())
    }

    fn message_deadline(&self) -> Option<Instant> {
        self.unfinished_since.map(|since| since + UNFINISHED_MESSAGE_AGE)
    }

    /// Takes what was read. Each message goes to `deliver`, with the output as it stands; what the protocol itself has to
    /// say (Pong, Close) goes to `output`. Where `deliver` fails, the connection closes with that.
    pub fn receive(
        &mut self,
        input: &[u8],
        now: Instant,
        output: &mut Output,
        mut deliver: impl FnMut(Data<'_>, &mut Output) -> Result<(), Failure>,
    ) {
        if self.closed {
            return;
        }
        if let Some(watch) = &mut self.watch {
            *watch = Watch { since: now, pinged: false, ..*watch };
        }
        let input = self.take_whole_messages(input, output, &mut deliver);
        let (good, stop) = self.frames.advance(input);
        if good > 0 {
            self.decode(&input[..good], output, deliver);
        }
        if let Stop::At(failure) = stop {
            self.fail(failure, output);
        }
        self.unfinished_since = match self.frames.begun_in(good) {
            None => None,
            Some(true) => Some(now),
            Some(false) => self.unfinished_since,
        };
    }

    /// Takes the text messages that the input begins with, as long as each is one whole frame of good UTF-8 and nothing is
    /// half read. Everything else, every fault above all, is left to [`Frames`] and tungstenite; they would take these
    /// messages too, but at 52 ns each instead of 14, which showed in what a broadcast to 32 clients costs.
    fn take_whole_messages<'a>(
        &mut self,
        mut input: &'a [u8],
        output: &mut Output,
        deliver: &mut impl FnMut(Data<'_>, &mut Output) -> Result<(), Failure>,
    ) -> &'a [u8] {
        let mut clear = Vec::new();
        while self.frames.between_messages() && self.closing.is_none() {
            let Some((frame, key, masked)) = whole_text_frame(input, self.max_message_size) else { break };
            unmask(masked, key, &mut clear);
            let Ok(text) = std::str::from_utf8(&clear) else { break };
            input = &input[frame..];
            if let Err(failure) = deliver(Data::Text(text), output) {
                self.close(failure, output);
            }
        }
        input
    }

    fn decode(
        &mut self,
        input: &[u8],
        output: &mut Output,
        mut deliver: impl FnMut(Data<'_>, &mut Output) -> Result<(), Failure>,
    ) {
        let mut context = self.context.take().unwrap_or_else(|| self.new_context());
        let mut stream = Memory { input, output };
        loop {
            match context.read(&mut stream) {
                Ok(Message::Close(close)) => match self.close_code_refused() {
                    Some(failure) => return self.fail(failure, stream.output),
                    None => self.close_came(close),
                },
                Ok(Message::Text(text)) if self.closing.is_none() => {
                    if let Err(failure) = deliver(Data::Text(&text), stream.output) {
                        self.begin_close(&mut context, failure, stream.output);
                    }
                }
                Ok(Message::Binary(bytes)) if self.closing.is_none() => {
                    if let Err(failure) = deliver(Data::Binary(&bytes), stream.output) {
                        self.begin_close(&mut context, failure, stream.output);
                    }
                }
                // Ping: its Pong is written at the next read. Pong: nothing was asked. A message after the server's
                // Close: too late.
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => break,
                Err(Error::ConnectionClosed) => {
                    self.closed = true;
                    return;
                }
                // Not to be read again: tungstenite would skip the size limit.
                Err(error) => return self.fail(failure_of(&error), stream.output),
            }
        }
        if !self.frames.between_messages() || self.closing.is_some() {
            self.context = Some(context);
        }
    }

    fn new_context(&self) -> Box<WebSocketContext> {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_SIZE)
            .write_buffer_size(0)
            .max_message_size(Some(self.max_message_size))
            .max_frame_size(Some(self.max_message_size.max(125)));
        Box::new(WebSocketContext::new(Role::Server, Some(config)))
    }

    /// tungstenite answers a forbidden close code by itself, but names no rule.
    fn close_code_refused(&self) -> Option<Failure> {
        let code = self.frames.close_code().filter(|code| !CloseCode::from(*code).is_allowed())?;
        let reason = format!("close code {code} must not be sent, RFC 6455 7.4");
        Some(Failure::new(CloseCode::Protocol, reason))
    }

    /// The client's Close: the first of the two, or the answer to ours. tungstenite writes the answer, where one is due,
    /// at the next read, and then says `ConnectionClosed`.
    fn close_came(&mut self, close: Option<CloseFrame>) {
        match self.closing.as_deref_mut() {
            Some(Closing::ByServer { answered, .. }) => *answered = true,
            _ => self.closing = Some(Box::new(Closing::ByClient(close))),
        }
    }

    /// Begins the closing handshake (RFC 6455 7.1.2). The client's Close is still to come.
    pub fn close(&mut self, failure: Failure, output: &mut Output) {
        if self.closing.is_none() {
            let mut context = self.context.take().unwrap_or_else(|| self.new_context());
            self.begin_close(&mut context, failure, output);
            self.context = Some(context);
        }
    }

    fn begin_close(&mut self, context: &mut WebSocketContext, failure: Failure, output: &mut Output) {
        let frame = CloseFrame { code: failure.code, reason: Utf8Bytes::from(failure.reason.as_ref()) };
        let mut stream = Memory { input: &[], output };
        context.close(&mut stream, Some(frame)).expect("an open context writes a Close to memory");
        self.closing = Some(Box::new(Closing::ByServer { failure, answered: false }));
    }

    /// Fails the connection (RFC 6455 7.1.7): a Close with the code, and no more is read, for what follows can't be
    /// understood or is not wanted.
    pub fn fail(&mut self, failure: Failure, output: &mut Output) {
        if self.closing.is_none() {
            let mut context = self.new_context();
            self.begin_close(&mut context, failure, output);
        }
        self.closed = true;
        self.context = None;
    }

    /// Does what is due: fails a connection whose message is not finished in time, sends a Ping into a silence. True
    /// where the Ping got no answer either: nobody is there.
    pub fn expire(&mut self, now: Instant, output: &mut Output) -> bool {
        if self.closing.is_some() {
            return false;
        }
        if self.message_deadline().is_some_and(|deadline| deadline <= now) {
            let seconds = UNFINISHED_MESSAGE_AGE.as_secs();
            let reason = format!("a message was not finished within {seconds} s, RFC 6455 10.4");
            self.fail(Failure::new(CloseCode::Policy, reason), output);
            return false;
        }
        match self.watch.as_mut().filter(|watch| watch.deadline() <= now) {
            None => false,
            Some(watch) if watch.pinged => true,
            Some(watch) => {
                watch.pinged = true;
                watch.since = now;
                Frame::ping(Vec::new()).format(output).expect("writing to memory does not fail");
                false
            }
        }
    }
}

/// The close code and the rule for what tungstenite finds. The rules of the frame header come first, see
/// [`Frames`](crate::frame::Frames).
fn failure_of(error: &Error) -> Failure {
    match error {
        Error::Utf8(_) => Failure::new(CloseCode::Invalid, "text and close reasons must be UTF-8, RFC 6455 8.1"),
        Error::Protocol(ProtocolError::InvalidCloseSequence) => {
            Failure::new(CloseCode::Protocol, "a Close frame has no payload or at least a 2-byte code, RFC 6455 5.5.1")
        }
        _ => Failure::new(CloseCode::Protocol, "the frames make no sense, RFC 6455 7.1.7"),
    }
}

/// The stream that tungstenite reads from and writes to: nothing but memory.
struct Memory<'a> {
    input: &'a [u8],
    output: &'a mut Output,
}

impl Read for Memory<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // `Ok(0)` would be the end of the stream; this one goes on with the next input.
        if self.input.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { self.input.read(buffer) }
    }
}

impl Write for Memory<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
