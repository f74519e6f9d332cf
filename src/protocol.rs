//! 5. The protocol (phase 3): a state machine without I/O, bytes in, messages and bytes out.
//!
//! In the RFC: a message is one or more frames (RFC 6455 5.4), text is UTF-8 (5.6, 8.1), a Ping gets a Pong (5.5.2), a Close
//! gets a Close (5.5.1), and a connection whose client breaks a rule is failed (7.1.7).
//!
//! [`Protocol`] never sees a socket, so every rule can be tested without one. Its contract: **each call consumes all its
//! input**, and how the bytes are split across calls does not affect the messages or the output.
//!
//! tungstenite's [`WebSocketContext`] decodes the frames. It reads from a stream in memory that returns
//! `WouldBlock`, not the end of the stream, when the input is exhausted. What is half read waits outside of it
//! (`half_read`), so the context exists only during a call or while the connection is closing. The most common input, a whole
//! text message in one frame, takes a fast path, see `Protocol::take_whole_messages`.

mod half_read;
mod memory;
pub mod output;
pub mod silence;

use crate::frame::text::{unmask, whole_text_frame};
use crate::frame::{Failure, Reached};
use half_read::Unfinished;
use memory::{Memory, failure_of, invalid_close_code, new_context};
use output::Output;
use silence::{Due, Silence};
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};
use tungstenite::error::Error;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocketContext};
use tungstenite::{Message, Utf8Bytes};

/// A message from the client (RFC 6455 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}

/// How the closing handshake began (RFC 6455 7.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closing {
    /// The client sent a Close frame. The answer has been written to the output.
    ByClient(Option<CloseFrame>),
    /// The server sent a Close frame, with this code and reason.
    ByServer(Failure),
}

/// One connection's protocol state, from the first byte after the handshake.
#[derive(Debug)]
pub struct Protocol {
    max_message_size: usize,
    /// Set while a message or a control frame is half read.
    unfinished: Option<Box<Unfinished>>,
    /// Set while the connection is closing.
    context: Option<Box<WebSocketContext>>,
    silence: Option<Silence>,
    closing: Option<Box<Closing>>,
    /// Whether further input is ignored: both Close frames were exchanged, or the connection failed.
    closed: bool,
    /// Whether both Close frames were exchanged, and the client's was its last frame.
    clean: bool,
}

impl Protocol {
    /// The state of a connection that opens now. `max_message_size` is in bytes of payload; `ping_interval` is the silence
    /// before a Ping, None for no Pings.
    pub fn new(max_message_size: usize, ping_interval: Option<Duration>, now: Instant) -> Self {
        Self {
            max_message_size,
            unfinished: None,
            context: None,
            silence: ping_interval.map(|interval| Silence::new(interval, now)),
            closing: None,
            closed: false,
            clean: false,
        }
    }

    /// Returns how the closing handshake began, if it has.
    pub fn closing(&self) -> Option<&Closing> {
        self.closing.as_deref()
    }

    /// Returns whether the server should close TCP now (RFC 6455 7.1.1).
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Returns whether both Close frames were exchanged (RFC 6455 7.1.4), and the client has nothing to send after its own (5.5.1).
    pub fn is_clean(&self) -> bool {
        self.clean
    }

    /// Returns whether the input ended between messages, not inside a message or a control frame.
    pub fn is_between_messages(&self) -> bool {
        self.unfinished.is_none()
    }

    /// When the unfinished message began, and its bytes so far, headers and control frames included. None if there is none.
    pub fn unfinished(&self) -> Option<(Instant, u64)> {
        self.unfinished.as_ref().map(|unfinished| (unfinished.since, unfinished.frames.unfinished_bytes()))
    }

    /// Returns when to call [`expire`](Self::expire). None while the connection is closing.
    pub fn deadline(&self) -> Option<Instant> {
        let silence = self.silence.map(|silence| silence.deadline());
        let message = self.unfinished.as_ref().map(|unfinished| unfinished.deadline());
        message.into_iter().chain(silence).min().filter(|_| self.closing.is_none())
    }

    /// Processes the bytes that were read. Each message goes to `deliver`. Pong and Close frames are appended to `output`, in
    /// the order of the input, along with anything that `deliver` writes. If `deliver` fails, the connection closes with that
    /// failure.
    pub fn receive(
        &mut self,
        input: &[u8],
        now: Instant,
        output: &mut Output,
        mut deliver: impl FnMut(Incoming<'_>, &mut Output) -> Result<(), Failure>,
    ) {
        if self.closed {
            self.clean &= input.is_empty();
            return;
        }
        let pong_may_follow = self.silence.as_mut().is_some_and(|silence| silence.hear(now));
        let input = self.take_whole_messages(input, output, &mut deliver);
        if input.is_empty() {
            // Whole messages only, so nothing needs an allocation.
            return;
        }
        let mut unfinished = self.unfinished.take().unwrap_or_else(|| Unfinished::new(self.max_message_size, now));
        let (good, reached) = unfinished.frames.advance(input);
        if good > 0 {
            self.decode(&mut unfinished, &input[..good], output, deliver);
        }
        // If a Ping crosses the client's Close, its Pong follows (RFC 6455 5.5.2).
        self.clean &= good == input.len() && !pong_may_follow;
        if let Reached::Fault(failure) = reached {
            self.fail(failure, output);
        }
        if let (Some(begun), false) = (unfinished.frames.begun_in(good), self.closed) {
            if begun {
                unfinished.since = now;
            }
            self.unfinished = Some(unfinished);
        }
    }

    /// Takes text messages from the start of the input, as long as each is one whole frame of valid UTF-8 and nothing is
    /// half read. Anything else, including every fault, is left to [`Frames`](crate::frame::Frames) and tungstenite. That path costs 52 ns per
    /// message instead of 14.
    fn take_whole_messages<'a>(
        &mut self,
        mut input: &'a [u8],
        output: &mut Output,
        deliver: &mut impl FnMut(Incoming<'_>, &mut Output) -> Result<(), Failure>,
    ) -> &'a [u8] {
        let mut clear = Vec::new();
        while self.unfinished.is_none() && self.closing.is_none() {
            let Some((frame, key, masked)) = whole_text_frame(input, self.max_message_size) else { break };
            clear.clear();
            unmask(masked, key, &mut clear);
            let Ok(text) = std::str::from_utf8(&clear) else { break };
            input = &input[frame..];
            if let Err(failure) = deliver(Incoming::Text(text), output) {
                self.close(failure, output);
            }
        }
        input
    }

    fn decode(
        &mut self,
        unfinished: &mut Unfinished,
        input: &[u8],
        output: &mut Output,
        mut deliver: impl FnMut(Incoming<'_>, &mut Output) -> Result<(), Failure>,
    ) {
        let Unfinished { frames, half_read, .. } = unfinished;
        let mut context = self.context.take().unwrap_or_else(|| new_context(self.max_message_size));
        let mut stream = Memory { input: half_read.complete(input), output };
        loop {
            match context.read(&mut stream) {
                Ok(Message::Close(close)) => match invalid_close_code(frames) {
                    Some(failure) => return self.fail(failure, stream.output),
                    None => self.take_close(close),
                },
                Ok(Message::Text(text)) if self.closing.is_none() => {
                    if let Err(failure) = deliver(Incoming::Text(&text), stream.output) {
                        self.begin_close(&mut context, failure, stream.output);
                    }
                }
                Ok(Message::Binary(bytes)) if self.closing.is_none() => {
                    if let Err(failure) = deliver(Incoming::Binary(&bytes), stream.output) {
                        self.begin_close(&mut context, failure, stream.output);
                    }
                }
                // tungstenite writes the Pong for a Ping at the next read. Pongs need no action. Messages after the server's
                // Close are discarded.
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => break,
                Err(Error::ConnectionClosed) => {
                    (self.closed, self.clean) = (true, true);
                    return;
                }
                // Don't read again: after an error tungstenite no longer checks the size limit.
                Err(error) => return self.fail(failure_of(&error), stream.output),
            }
        }
        self.context = self.closing.is_some().then_some(context);
    }

    /// Records the client's Close, which begins or answers the closing handshake. If an answer is due, tungstenite writes it at
    /// the next read. Then it returns `ConnectionClosed`.
    fn take_close(&mut self, close: Option<CloseFrame>) {
        self.closing.get_or_insert_with(|| Box::new(Closing::ByClient(close)));
    }

    /// Begins the closing handshake (RFC 6455 7.1.2). The client is then expected to answer.
    pub fn close(&mut self, failure: Failure, output: &mut Output) {
        if self.closing.is_none() {
            let mut context = self.context.take().unwrap_or_else(|| new_context(self.max_message_size));
            self.begin_close(&mut context, failure, output);
            self.context = Some(context);
        }
    }

    fn begin_close(&mut self, context: &mut WebSocketContext, failure: Failure, output: &mut Output) {
        let frame = CloseFrame { code: failure.code, reason: Utf8Bytes::from(failure.reason.as_ref()) };
        let mut stream = Memory { input: io::empty(), output };
        context.close(&mut stream, Some(frame)).expect("an open context writes a Close to memory");
        self.closing = Some(Box::new(Closing::ByServer(failure)));
    }

    /// Fails the connection (RFC 6455 7.1.7): sends a Close with the failure's code, unless one was sent, and ignores further
    /// input, a Close from the client included.
    pub fn fail(&mut self, failure: Failure, output: &mut Output) {
        if self.closing.is_none() {
            let mut context = new_context(self.max_message_size);
            self.begin_close(&mut context, failure, output);
        }
        self.closed = true;
        (self.unfinished, self.context) = (None, None);
    }

    /// The client's socket, which was full, took bytes: it is alive.
    pub fn note_progress(&mut self, at: Option<Instant>) {
        if let (Some(silence), Some(at)) = (&mut self.silence, at) {
            silence.end(at);
        }
    }

    /// The client was not read until now: neither its silence nor an unfinished message is its fault.
    pub fn excuse(&mut self, now: Instant) {
        self.note_progress(Some(now));
        if let Some(unfinished) = &mut self.unfinished {
            unfinished.since = now;
        }
    }

    /// Handles an expired deadline: fails a connection whose message is not finished in time, or sends a Ping to a silent
    /// client. Returns true if the client did not answer the last Ping.
    pub fn expire(&mut self, now: Instant, output: &mut Output) -> bool {
        if self.closing.is_some() {
            return false;
        }
        if let Some(late) = self.unfinished.take_if(|unfinished| unfinished.deadline() <= now) {
            let seconds = late.time().as_secs();
            let reason = format!("a message was not finished within {seconds} s, RFC 6455 10.4");
            self.fail(Failure::new(CloseCode::Policy, reason), output);
            return false;
        }
        match self.silence.as_mut().map_or(Due::Nothing, |silence| silence.expire(now)) {
            Due::Nothing => false,
            Due::Ping => {
                Frame::ping(Vec::new()).format(output).expect("writing to memory does not fail");
                false
            }
            Due::End => true,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
