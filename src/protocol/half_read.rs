//! The frame and the message that have been read in part.
//!
//! tungstenite collects a frame in one buffer and a message in another, and the first does not shrink before the second is
//! dropped. So a message would take twice its payload until it is whole. Here it waits once, and tungstenite reads only
//! messages and control frames that are whole.
//!
//! The payload waits in parts of limited size. A single buffer would have to move as it grows, and leave holes in memory
//! that are too small for the next.

use crate::frame::header_reader::HeaderReader;
use crate::frame::text::unmask;
use crate::frame::{Frames, Header, MAX_HEADER};
use crate::limits::{UNFINISHED_MESSAGE_AGE, UNFINISHED_MESSAGE_RATE};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::mem::take;
use std::time::{Duration, Instant};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// The first part of a message in bytes. Each one that follows doubles the message, up to [`LARGEST_PART`]: what a client
/// announces and does not send takes no memory.
const FIRST_PART: usize = 256;

/// The largest part in bytes. The last part of a message may be almost empty, and the allocator adds some bytes to each.
const LARGEST_PART: usize = 4096;

/// A message that has been read in part, with the control frames between its fragments, or a control frame alone.
#[derive(Debug)]
pub(super) struct Unfinished {
    /// When it began, or when the client was last excused.
    pub since: Instant,
    /// The walk over its frames.
    pub frames: Frames,
    /// Its bytes.
    pub half_read: HalfRead,
}

impl Unfinished {
    /// An empty one, which begins now.
    pub fn new(max_message_size: usize, now: Instant) -> Box<Self> {
        Box::new(Self { since: now, frames: Frames::new(max_message_size), half_read: HalfRead::default() })
    }

    /// The time that the client has for it.
    pub fn time(&self) -> Duration {
        UNFINISHED_MESSAGE_AGE + Duration::from_secs(self.frames.unfinished_bytes() / UNFINISHED_MESSAGE_RATE)
    }

    /// When it must be finished.
    pub fn deadline(&self) -> Instant {
        self.since + self.time()
    }
}

/// What has been read of one client's current frame and message. [`Frames`] has checked the headers.
#[derive(Debug, Default)]
pub(super) struct HalfRead {
    header: HeaderReader,
    /// Set from the end of its header to the end of its payload.
    frame: Option<Frame>,
    /// A control frame, as it arrived.
    control: Vec<u8>,
    /// Set from the message's first header to its last byte.
    message: Option<Message>,
    /// Pieces of whole frames, not yet taken.
    whole: VecDeque<Vec<u8>>,
    /// Bytes of the first of these that have been taken.
    taken: usize,
}

#[derive(Debug)]
struct Frame {
    header: Header,
    masking_key: [u8; 4],
    payload_left: u64,
}

#[derive(Debug)]
struct Message {
    opcode: OpCode,
    length: usize,
    /// Its payload, unmasked.
    parts: VecDeque<Vec<u8>>,
    /// The beginning of a character, if that is where the text ends so far.
    character: Vec<u8>,
}

/// The whole frames of one client, up to the end of an input.
pub(super) struct Whole<'a> {
    half_read: &'a mut HalfRead,
    input: &'a [u8],
    /// Bytes of one frame at the start of the input.
    length: usize,
}

impl HalfRead {
    /// A stream of whole frames: what has been read so far, continued by this input. Reading it to the end keeps the rest.
    pub fn complete<'a>(&'a mut self, input: &'a [u8]) -> Whole<'a> {
        Whole { half_read: self, input, length: 0 }
    }

    /// The length of the frame at the start of the input, if it can be passed on as it is.
    fn whole_frame(&self, input: &[u8]) -> Option<usize> {
        if self.frame.is_some() || !self.header.bytes().is_empty() {
            return None;
        }
        let header_length = Header::length(*input.get(1)?);
        let header = Header::parse(input.get(..header_length)?);
        if header.opcode < 8 && (self.message.is_some() || !header.fin) {
            return None;
        }
        let length = header_length.checked_add(usize::try_from(header.payload_length).ok()?)?;
        (length <= input.len()).then_some(length)
    }

    /// Keeps the start of the input: the rest of a header or of a payload, as far as it is there.
    ///
    /// # Errors
    /// The message is not the text that it claims to be.
    fn keep(&mut self, input: &mut &[u8]) -> io::Result<()> {
        if self.frame.is_none() {
            *input = &input[self.header.read(input)..];
            if !self.header.is_whole() {
                return Ok(());
            }
            self.begin_frame();
        }
        let Some(frame) = &mut self.frame else { return Ok(()) };
        let length = usize::try_from(frame.payload_left).unwrap_or(usize::MAX).min(input.len());
        let (payload, rest) = input.split_at(length);
        *input = rest;
        match &mut self.message {
            Some(message) if frame.header.opcode < 8 => message.append(payload, &mut frame.masking_key)?,
            _ => self.control.extend_from_slice(payload),
        }
        frame.payload_left -= length as u64;
        if frame.payload_left == 0 {
            self.end_frame();
        }
        Ok(())
    }

    fn begin_frame(&mut self) {
        let bytes = self.header.bytes();
        let header = Header::parse(bytes);
        let mut masking_key = [0; 4];
        masking_key.copy_from_slice(&bytes[bytes.len() - 4..]);
        self.frame = Some(Frame { header, masking_key, payload_left: header.payload_length });
        if header.opcode >= 8 {
            self.control.extend_from_slice(bytes);
        } else if self.message.is_none() {
            let opcode = OpCode::from(header.opcode);
            self.message = Some(Message { opcode, length: 0, parts: VecDeque::new(), character: Vec::new() });
        }
        self.header.clear();
    }

    fn end_frame(&mut self) {
        let Some(Frame { header, .. }) = self.frame.take() else { return };
        if header.opcode >= 8 {
            self.whole.push_back(take(&mut self.control));
        } else if let Some(message) = self.message.take_if(|_| header.fin) {
            message.finish(&mut self.whole);
        }
    }
}

impl Message {
    /// Appends payload of a frame, and turns its masking key to the next byte.
    ///
    /// # Errors
    /// The text is not UTF-8.
    fn append(&mut self, mut payload: &[u8], masking_key: &mut [u8; 4]) -> io::Result<()> {
        while !payload.is_empty() {
            if self.parts.back().is_none_or(|part| part.len() == part.capacity()) {
                self.parts.push_back(Vec::with_capacity(self.length.clamp(FIRST_PART, LARGEST_PART)));
            }
            let Some(part) = self.parts.back_mut() else { break };
            let start = part.len();
            let (taken, rest) = payload.split_at(payload.len().min(part.capacity() - start));
            unmask(taken, *masking_key, part);
            masking_key.rotate_left(taken.len() % 4);
            self.length += taken.len();
            payload = rest;
            if self.opcode == OpCode::Data(Data::Text) {
                check_text(&mut self.character, &part[start..])?;
            }
        }
        Ok(())
    }

    /// The message as one frame, masked with a key of zeros.
    fn finish(self, frames: &mut VecDeque<Vec<u8>>) {
        let mut header = Vec::with_capacity(MAX_HEADER);
        FrameHeader { opcode: self.opcode, mask: Some([0; 4]), ..FrameHeader::default() }
            .format(self.length as u64, &mut header)
            .expect("writing to memory does not fail");
        frames.push_back(header);
        frames.extend(self.parts);
    }
}

/// Checks that text continues in UTF-8 (RFC 6455 8.1). `character` has its last character, if that is incomplete.
///
/// # Errors
/// It does not.
fn check_text(character: &mut Vec<u8>, mut text: &[u8]) -> io::Result<()> {
    let not_utf8 = || Err(ErrorKind::InvalidData.into());
    while !character.is_empty() {
        let Some((first, rest)) = text.split_first() else { return Ok(()) };
        character.push(*first);
        text = rest;
        match std::str::from_utf8(character) {
            Ok(_) => character.clear(),
            Err(error) if error.error_len().is_none() => {}
            Err(_) => return not_utf8(),
        }
    }
    match std::str::from_utf8(text) {
        Ok(_) => {}
        Err(error) if error.error_len().is_none() => character.extend_from_slice(&text[error.valid_up_to()..]),
        Err(_) => return not_utf8(),
    }
    Ok(())
}

impl Read for Whole<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let kept = self.half_read.take_kept(buffer);
            if kept > 0 {
                return Ok(kept);
            }
            if self.length == 0 {
                self.length = self.half_read.whole_frame(self.input).unwrap_or(0);
            }
            let length = self.length.min(buffer.len());
            if length > 0 || self.input.is_empty() {
                let (taken, rest) = self.input.split_at(length);
                buffer[..length].copy_from_slice(taken);
                self.input = rest;
                self.length -= length;
                return Ok(length);
            }
            self.half_read.keep(&mut self.input)?;
        }
    }
}

impl HalfRead {
    /// Takes bytes of the whole frames that waited here.
    fn take_kept(&mut self, buffer: &mut [u8]) -> usize {
        let Some(first) = self.whole.front() else { return 0 };
        let left = &first[self.taken..];
        let length = left.len().min(buffer.len());
        buffer[..length].copy_from_slice(&left[..length]);
        self.taken += length;
        if self.taken == first.len() {
            self.whole.pop_front();
            self.taken = 0;
        }
        length
    }
}
