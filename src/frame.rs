//! 4. Frames (RFC 6455 5.2): where one begins and ends, and the rules for its header.
//!
//! On the wire, the text `hi`: from a client `81 82 37 fa 21 3d 5f 93`, from a server `81 02 68 69`.
//!
//! ```text
//! 81           1... ....  FIN: the last frame of its message (5.4)
//!              .000 ....  RSV1 to RSV3: for extensions, so 0 here
//!              .... 0001  opcode: 0 continuation, 1 text, 2 binary, 8 Close, 9 Ping, 10 Pong
//! 82           1... ....  MASK: set in every frame from a client, in none from a server (5.1)
//!              .000 0010  payload length; 126: the next 2 bytes have it, 127: the next 8
//! 37 fa 21 3d             masking key, if MASK is set (5.3)
//! 5f 93                   payload: each byte XORed with a byte of the key
//! ```
//!
//! [`Frames`] walks over the bytes of one client. It reads only the headers, and the code of a Close frame. It stops at
//! a header that breaks a rule, before the payload has arrived and before anything is allocated for it. The
//! [`protocol`](crate::protocol) unmasks, joins fragments and checks UTF-8.

mod failure;
pub mod header_reader;
mod length;
pub mod text;

use crate::limits::UNFINISHED_MESSAGE_FACTOR;
pub use failure::Failure;
use header_reader::HeaderReader;
use std::io::Write;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// The longest frame header in bytes: 2, 8 of length, 4 of masking key.
pub const MAX_HEADER: usize = 14;

/// The longest payload of a control frame in bytes (RFC 6455 5.5).
const MAX_CONTROL_PAYLOAD: u64 = 125;

/// The first two bytes of a frame and its payload length, in the words of RFC 6455 5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether the frame is the last of its message.
    pub fin: bool,
    /// RSV1 to RSV3, as they are in the first byte: `0x40`, `0x20`, `0x10`.
    pub rsv: u8,
    /// The opcode.
    pub opcode: u8,
    /// Whether the payload is masked.
    pub masked: bool,
    /// The length of the payload in bytes.
    pub payload_length: u64,
}

impl Header {
    /// The length in bytes of a header, which follows from its second byte.
    pub fn length(second: u8) -> usize {
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + extended + if second & 0x80 == 0 { 0 } else { 4 }
    }

    /// Reads a whole header.
    pub fn parse(bytes: &[u8]) -> Self {
        let extended = |n: usize| bytes[2..2 + n].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Self {
            fin: bytes[0] & 0x80 != 0,
            rsv: bytes[0] & 0x70,
            opcode: bytes[0] & 0x0f,
            masked: bytes[1] & 0x80 != 0,
            payload_length: match bytes[1] & 0x7f {
                126 => extended(2),
                127 => extended(8),
                short => u64::from(short),
            },
        }
    }

    fn is_control(&self) -> bool {
        self.opcode >= 8
    }
}

/// Walks over the frames that one client sends.
#[derive(Debug)]
pub struct Frames {
    max_message_size: usize,
    /// The header that is being read.
    header: HeaderReader,
    /// Payload bytes of the current frame that have not arrived yet.
    payload_left: u64,
    /// The payload length of the unfinished message so far. Set from its first fragment to its last.
    message: Option<u64>,
    /// Bytes of the unfinished message so far, with all headers, and with the control frames between its fragments.
    raw: u64,
    close: Option<ClosePayload>,
}

/// The payload of the client's Close frame: what it takes to read its close code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ClosePayload {
    masking_key: [u8; 4],
    /// At most 125, so a byte.
    length: u8,
    code: [u8; 2],
}

/// Where [`Frames::advance`] stopped.
#[derive(Debug, PartialEq, Eq)]
pub enum Reached {
    /// The end of the input, without a fault so far.
    End,
    /// The end of a Close frame. The bytes after it are to be discarded (RFC 6455 1.4).
    Close,
    /// A header that breaks a rule.
    Fault(Failure),
}

impl Frames {
    /// A walk that begins between two messages. `max_message_size` is in bytes of payload.
    pub fn new(max_message_size: usize) -> Self {
        Self { max_message_size, header: HeaderReader::default(), payload_left: 0, message: None, raw: 0, close: None }
    }

    /// Whether the input so far ends between two messages: no message or control frame is partly read.
    fn between_messages(&self) -> bool {
        self.raw == 0
    }

    /// Returns the bytes of the unfinished message so far, with headers and control frames.
    pub fn unfinished_bytes(&self) -> u64 {
        self.raw
    }

    /// None if nothing is partly read. Otherwise whether the unfinished message began in the last `advanced` bytes.
    pub fn begun_in(&self, advanced: usize) -> Option<bool> {
        (!self.between_messages()).then_some(self.raw <= advanced as u64)
    }

    /// The close code of the Close frame, if it has one.
    pub fn close_code(&self) -> Option<u16> {
        self.close.filter(|close| close.length >= 2).map(|close| u16::from_be_bytes(close.code))
    }

    /// Continues the walk over `input`. Returns how many bytes of `input` may be decoded, and what comes after them.
    ///
    /// However a stream is split into inputs, the walk stops at the same frame for the same reason.
    pub fn advance(&mut self, input: &[u8]) -> (usize, Reached) {
        let mut at = 0;
        while at < input.len() {
            let start = at;
            if self.payload_left == 0 {
                at += self.header.read(&input[at..]);
                self.raw += (at - start) as u64;
                if !self.header.is_whole() {
                    break;
                }
                if let Err(failure) = self.begin_frame() {
                    return (start, Reached::Fault(failure));
                }
            } else {
                let taken = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(input.len() - at);
                self.read_close_code(&input[at..at + taken]);
                at += taken;
                self.payload_left -= taken as u64;
                self.raw += taken as u64;
            }
            if self.payload_left == 0 {
                self.end_frame();
                if self.close.is_some() {
                    return (at, Reached::Close);
                }
            }
        }
        (at, Reached::End)
    }

    /// Checks the header that is now complete (RFC 6455 5.1 to 5.5, and the limits of 10.4).
    fn begin_frame(&mut self) -> Result<(), Failure> {
        let header = Header::parse(self.header.bytes());
        self.check(&header)?;
        self.payload_left = header.payload_length;
        if header.opcode == u8::from(OpCode::Control(Control::Close)) {
            let mut masking_key = [0; 4];
            masking_key.copy_from_slice(&self.header.bytes()[self.header.bytes().len() - 4..]);
            let length = u8::try_from(header.payload_length).expect("a control frame is short");
            self.close = Some(ClosePayload { masking_key, length, code: [0; 2] });
        }
        if !header.is_control() {
            let so_far = self.message.unwrap_or(0);
            self.message = (!header.fin).then_some(so_far + header.payload_length);
        }
        Ok(())
    }

    fn check(&self, header: &Header) -> Result<(), Failure> {
        if !header.masked {
            return Err(Failure::protocol("a client must mask every frame, RFC 6455 5.1"));
        }
        if header.rsv != 0 {
            return Err(Failure::protocol("RSV1 to RSV3 must be 0 without an extension, RFC 6455 5.2"));
        }
        if matches!(
            OpCode::from(header.opcode),
            OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_))
        ) {
            return Err(Failure::protocol("opcodes 3 to 7 and 11 to 15 are reserved, RFC 6455 5.2"));
        }
        length::check(self.header.bytes()[1], header.payload_length)?;
        if header.is_control() { Self::check_control(header) } else { self.check_data(header) }?;
        if self.raw > UNFINISHED_MESSAGE_FACTOR * self.max_message_size as u64 + MAX_HEADER as u64 {
            let reason = format!("{} bytes and the message is not finished, RFC 6455 10.4", self.raw);
            return Err(Failure::new(CloseCode::Policy, reason));
        }
        Ok(())
    }

    fn check_control(header: &Header) -> Result<(), Failure> {
        if !header.fin {
            return Err(Failure::protocol("a control frame must not be fragmented, RFC 6455 5.5"));
        }
        if header.payload_length > MAX_CONTROL_PAYLOAD {
            return Err(Failure::protocol("a control frame has at most 125 bytes of payload, RFC 6455 5.5"));
        }
        Ok(())
    }

    fn check_data(&self, header: &Header) -> Result<(), Failure> {
        let continues = header.opcode == u8::from(OpCode::Data(Data::Continue));
        match (continues, self.message) {
            (true, None) => Err(Failure::protocol("there is no message to continue, RFC 6455 5.4")),
            (false, Some(_)) => Err(Failure::protocol("the message before is not finished, RFC 6455 5.4")),
            (_, so_far) => self.check_size(so_far.unwrap_or(0).saturating_add(header.payload_length)),
        }
    }

    fn check_size(&self, message_size: u64) -> Result<(), Failure> {
        if message_size <= self.max_message_size as u64 {
            return Ok(());
        }
        let reason =
            format!("a message of {message_size} bytes, the limit is {}, RFC 6455 10.4", self.max_message_size);
        Err(Failure::new(CloseCode::Size, reason))
    }

    /// Keeps the first two bytes of a Close frame's payload, unmasked (RFC 6455 5.3, 5.5.1).
    fn read_close_code(&mut self, payload: &[u8]) {
        let Some(close) = &mut self.close else { return };
        let offset = usize::from(close.length) - usize::try_from(self.payload_left).expect("a control frame is short");
        for (index, byte) in payload.iter().enumerate() {
            if let Some(code) = close.code.get_mut(offset + index) {
                *code = byte ^ close.masking_key[offset + index];
            }
        }
    }

    fn end_frame(&mut self) {
        self.header.clear();
        if self.message.is_none() {
            self.raw = 0;
        }
    }
}

/// Writes one data frame as a server sends it: unfragmented and unmasked (RFC 6455 5.1). `payload` is given in parts.
pub fn encode(opcode: Data, payload: &[&[u8]], output: &mut impl Write) {
    const MEMORY: &str = "writing to memory does not fail";
    let length: usize = payload.iter().map(|part| part.len()).sum();
    let header = FrameHeader { opcode: OpCode::Data(opcode), ..FrameHeader::default() };
    header.format(length as u64, output).expect(MEMORY);
    for part in payload {
        output.write_all(part).expect(MEMORY);
    }
}

/// The length on the wire of the frame at the start of `bytes`, header and payload.
pub fn length_on_wire(bytes: impl Iterator<Item = u8>) -> u64 {
    let mut header = [0; MAX_HEADER];
    for (slot, byte) in header.iter_mut().zip(bytes) {
        *slot = byte;
    }
    (Header::length(header[1]) as u64).saturating_add(Header::parse(&header).payload_length)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests;
