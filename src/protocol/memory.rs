//! tungstenite without a socket.

use super::output::Output;
use crate::frame::{Failure, Frames};
use std::io::{self, ErrorKind, Read, Write};
use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

/// The size of tungstenite's read buffer in bytes. It reads from memory, so a small buffer is as fast as a large one.
const READ_BUFFER_SIZE: usize = 256;

/// What decodes whole messages of up to this size in bytes, and control frames.
pub(super) fn new_context(max_message_size: usize) -> Box<WebSocketContext> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_SIZE)
        .write_buffer_size(0)
        .max_message_size(Some(max_message_size))
        .max_frame_size(Some(max_message_size.max(125)));
    Box::new(WebSocketContext::new(Role::Server, Some(config)))
}

/// The stream that tungstenite reads from and writes to: memory.
pub(super) struct Memory<'a, R> {
    pub input: R,
    pub output: &'a mut Output,
}

impl<R: Read> Read for Memory<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // `Ok(0)` would be the end of the stream; this one continues with the next input.
        match self.input.read(buffer)? {
            0 => Err(ErrorKind::WouldBlock.into()),
            length => Ok(length),
        }
    }
}

impl<R> Write for Memory<'_, R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The close code and the rule for a tungstenite error. [`Frames`] has already checked the headers.
pub(super) fn failure_of(error: &Error) -> Failure {
    match error {
        Error::Utf8(_) | Error::Io(_) => {
            Failure::new(CloseCode::Invalid, "text and close reasons must be UTF-8, RFC 6455 8.1")
        }
        Error::Protocol(ProtocolError::InvalidCloseSequence) => {
            Failure::new(CloseCode::Protocol, "a Close frame has no payload or at least a 2-byte code, RFC 6455 5.5.1")
        }
        _ => Failure::new(CloseCode::Protocol, "the frames make no sense, RFC 6455 7.1.7"),
    }
}

/// The failure for a close code that must not be sent. tungstenite rejects it too, but without naming the rule.
pub(super) fn invalid_close_code(frames: &Frames) -> Option<Failure> {
    let code = frames.close_code().filter(|code| !CloseCode::from(*code).is_allowed())?;
    let reason = format!("close code {code} must not be sent, RFC 6455 7.4");
    Some(Failure::new(CloseCode::Protocol, reason))
}
