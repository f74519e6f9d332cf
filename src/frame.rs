//! 4. Frames (RFC 6455 5.2): where one begins and ends, and the rules that its header obeys.
//!
//! On the wire, the text `hi`: from a client `81 82 37 fa 21 3d 5f 93`, from a server `81 02 68 69`.
//!
//! ```text
//! 81           1... ....  FIN: the last frame of its message (5.4)
//!              .000 ....  RSV1 to RSV3: for extensions, and there is none here
//!              .... 0001  opcode: 0 continuation, 1 text, 2 binary, 8 Close, 9 Ping, 10 Pong
//! 82           1... ....  MASK: a client's frame always, a server's never (5.1)
//!              .000 0010  payload length; 126: it stands in the next 2 bytes, 127: in the next 8
//! 37 fa 21 3d             masking key, if MASK is set (5.3)
//! 5f 93                   payload: each byte xor one of the key
//! ```
//!
//! [`Frames`] walks over the bytes of one client and never looks at a payload. It stops at the header that breaks a
//! rule, before its payload has come and before anything is allocated for it. Unmasking, joining fragments and checking
//! UTF-8 are tungstenite's, see [`protocol`](crate::protocol).

use crate::limits::{SHOWN_PAYLOAD, UNFINISHED_MESSAGE_FACTOR};
use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};
use std::io::Write;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// Why the server closes a connection: a close code (RFC 6455 7.4.1), and a reason that names the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The close code.
    pub code: CloseCode,
    /// The reason, for people. It fits a control frame: 123 bytes at most.
    pub reason: Cow<'static, str>,
}

impl Failure {
    /// A failure with this code and reason.
    pub fn new(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into() }
    }

    fn protocol(rule: &'static str) -> Self {
        Self::new(CloseCode::Protocol, rule)
    }
}

/// The longest frame header in bytes: 2, 8 of length, 4 of masking key.
const MAX_HEADER: usize = 14;

/// The longest payload of a control frame in bytes (RFC 6455 5.5).
const MAX_CONTROL_PAYLOAD: u64 = 125;

/// The first two bytes of a frame and its length, in the words of RFC 6455 5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    fin: bool,
    rsv: u8,
    opcode: u8,
    masked: bool,
    payload_length: u64,
}

impl Header {
    /// The length in bytes of the header that begins with these two.
    fn length(second: u8) -> usize {
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + extended + if second & 0x80 == 0 { 0 } else { 4 }
    }

    /// Reads a whole header.
    fn parse(bytes: &[u8]) -> Self {
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

/// Collects one header, however it is split.
#[derive(Clone, Copy, Debug, Default)]
struct HeaderReader {
    bytes: [u8; MAX_HEADER],
    length: usize,
}

impl HeaderReader {
    /// Takes what belongs to the header, and returns how much that was.
    fn read(&mut self, input: &[u8]) -> usize {
        // A header in one piece, as nearly all are: this halves what the walk costs.
        if let (0, Some(bytes)) = (self.length, input.first_chunk()) {
            self.bytes = *bytes;
            self.length = Header::length(bytes[1]);
            return self.length;
        }
        let before = self.length;
        for byte in input {
            if self.is_whole() {
                break;
            }
            self.bytes[self.length] = *byte;
            self.length += 1;
        }
        self.length - before
    }

    fn is_whole(&self) -> bool {
        self.length >= 2 && self.length == Header::length(self.bytes[1])
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Makes ready for the next header.
    fn clear(&mut self) {
        self.length = 0;
    }
}

/// Walks over the frames that one client sends.
#[derive(Debug)]
pub struct Frames {
    max_message_size: u64,
    /// The header that is being read, as far as it has come.
    header: HeaderReader,
    /// What is left to come of the payload of the frame that is being read.
    payload_left: u64,
    /// Set from the first fragment of a message to the last: the payload so far.
    message: Option<u64>,
    /// Bytes of the unfinished message so far, with all headers and the control frames in between.
    raw: u64,
    close: Option<CloseFrame>,
}

/// The Close frame that a client sends, as far as it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CloseFrame {
    masking_key: [u8; 4],
    length: u64,
    code: [u8; 2],
}

/// How far [`Frames::advance`] came.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// All of the input belongs to good frames.
    Nowhere,
    /// Behind a Close frame. What follows is to be discarded (RFC 6455 1.4).
    AfterClose,
    /// At a header that breaks a rule.
    At(Failure),
}

impl Frames {
    /// The walk at the first byte after the handshake.
    pub fn new(max_message_size: usize) -> Self {
        Self {
            max_message_size: max_message_size as u64,
            header: HeaderReader::default(),
            payload_left: 0,
            message: None,
            raw: 0,
            close: None,
        }
    }

    /// Whether the last byte was the last of a message or of a control frame between messages: nothing is half read.
    pub fn between_messages(&self) -> bool {
        self.raw == 0
    }

    /// Whether a message is half read, and if so, whether it began in the last `advanced` bytes.
    pub fn begun_in(&self, advanced: usize) -> Option<bool> {
        (!self.between_messages()).then_some(self.raw <= advanced as u64)
    }

    /// The close code of the Close frame that was stopped behind, if it has one.
    pub fn close_code(&self) -> Option<u16> {
        self.close.filter(|close| close.length >= 2).map(|close| u16::from_be_bytes(close.code))
    }

    /// Walks on over `input`. Returns how many of its bytes may be decoded, and why it stopped there.
    ///
    /// Any split of a stream into inputs stops at the same frame for the same reason.
    pub fn advance(&mut self, input: &[u8]) -> (usize, Stop) {
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
                    return (start, Stop::At(failure));
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
                    return (at, Stop::AfterClose);
                }
            }
        }
        (at, Stop::Nowhere)
    }

    /// A header has come: checks it (RFC 6455 5.1 to 5.5).
    fn begin_frame(&mut self) -> Result<(), Failure> {
        let header = Header::parse(self.header.bytes());
        self.check(&header)?;
        self.payload_left = header.payload_length;
        if header.opcode == u8::from(OpCode::Control(Control::Close)) {
            let mut masking_key = [0; 4];
            masking_key.copy_from_slice(&self.header.bytes()[self.header.length - 4..]);
            self.close = Some(CloseFrame { masking_key, length: header.payload_length, code: [0; 2] });
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
        if header.is_control() { Self::check_control(header) } else { self.check_data(header) }?;
        if self.raw > UNFINISHED_MESSAGE_FACTOR * self.max_message_size + MAX_HEADER as u64 {
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
        if message_size <= self.max_message_size {
            return Ok(());
        }
        let reason =
            format!("a message of {message_size} bytes, the limit is {}, RFC 6455 10.4", self.max_message_size);
        Err(Failure::new(CloseCode::Size, reason))
    }

    /// Keeps the first two bytes of a Close frame's payload, unmasked (RFC 6455 5.3, 5.5.1).
    fn read_close_code(&mut self, payload: &[u8]) {
        let Some(close) = &mut self.close else { return };
        let offset = usize::try_from(close.length - self.payload_left).expect("a control frame is short");
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

/// One frame as it stood on the wire, for people: the whole header, and the first bytes of the payload in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameView {
    header: Vec<u8>,
    payload: Vec<u8>,
}

impl FrameView {
    fn parse(&self) -> Header {
        Header::parse(&self.header)
    }

    /// The bytes of the header.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The first bytes of the payload, not masked.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload's length in bytes.
    pub fn length(&self) -> u64 {
        self.parse().payload_length
    }

    /// Whether this frame ends its message.
    pub fn is_final(&self) -> bool {
        self.parse().fin
    }

    /// The opcode, as a number.
    pub fn opcode(&self) -> u8 {
        self.parse().opcode
    }

    /// The masking key, in a client's frame.
    pub fn masking_key(&self) -> Option<[u8; 4]> {
        let key = self.header.len().checked_sub(4).filter(|_| self.parse().masked)?;
        self.header[key..].try_into().ok()
    }

    /// The first bytes of the payload as they stood on the wire.
    pub fn masked(&self) -> Vec<u8> {
        let key = self.masking_key().unwrap_or_default();
        self.payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
    }

    /// The opcode in words (RFC 6455 5.2).
    pub fn name(&self) -> &'static str {
        match self.opcode() {
            0 => "continuation",
            1 => "text",
            2 => "binary",
            8 => "close",
            9 => "ping",
            10 => "pong",
            _ => "reserved",
        }
    }

    /// The bits that the payload's length takes in this header: 7, 16 or 64.
    pub fn length_form(&self) -> u8 {
        match self.header[1] & 0x7f {
            126 => 16,
            127 => 64,
            _ => 7,
        }
    }

    /// Names and values, for parsing.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let header = self.parse();
        let mut fields = vec![
            ("header", hex(&self.header)),
            ("fin", u8::from(header.fin).to_string()),
            ("rsv", format!("{:03b}", header.rsv >> 4)),
            ("opcode", header.opcode.to_string()),
            ("name", self.name().into()),
            ("mask", u8::from(header.masked).to_string()),
            ("length", header.payload_length.to_string()),
            ("form", self.length_form().to_string()),
        ];
        if let Some(key) = self.masking_key() {
            fields.extend([("masking-key", hex(&key)), ("masked", hex(&self.masked()))]);
        }
        fields.extend([("payload", hex(&self.payload)), ("text", self.text())]);
        fields
    }

    /// The first bytes of the payload as text, escaped; a close code as its number.
    fn text(&self) -> String {
        match (self.opcode(), self.payload.as_slice()) {
            (8, [high, low]) => u16::from_be_bytes([*high, *low]).to_string(),
            (8, [high, low, reason @ ..]) => {
                format!("{} {}", u16::from_be_bytes([*high, *low]), escape(reason))
            }
            (_, payload) => escape(payload),
        }
    }
}

impl Display for FrameView {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let more = if self.is_final() { "" } else { ", more to come" };
        let cut = if self.length() > self.payload.len() as u64 { "…" } else { "" };
        write!(f, "{} of {}{more}: \"{}{cut}\"", self.name(), count(self.length(), "byte"), self.text())
    }
}

/// A client's bytes as text, safe for a terminal: what stands between double quotes, and is whole.
pub fn escape(bytes: &[u8]) -> String {
    // An apostrophe needs no escape there, and is in every other message.
    String::from_utf8_lossy(bytes).escape_debug().to_string().replace("\\'", "'")
}

/// A number of things, for instance `1 byte` or `2 bytes`.
pub fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Bytes in hex, for instance `81 05 48`.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// Sees the frames of one direction go by, for people who watch. It checks nothing.
#[derive(Debug, Default)]
pub struct Spectator {
    header: HeaderReader,
    payload: Vec<u8>,
    payload_seen: u64,
}

impl Spectator {
    /// Sees bytes go by, and tells of each frame that ends in them.
    pub fn see(&mut self, mut bytes: &[u8], mut found: impl FnMut(FrameView)) {
        while !bytes.is_empty() {
            let header = self.header.read(bytes);
            bytes = &bytes[header..];
            if !self.header.is_whole() {
                return;
            }
            let left = Header::parse(self.header.bytes()).payload_length.saturating_sub(self.payload_seen);
            let (payload, rest) = bytes.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()));
            bytes = rest;
            let shown = payload.len().min(SHOWN_PAYLOAD - self.payload.len());
            self.payload.extend_from_slice(&payload[..shown]);
            self.payload_seen += payload.len() as u64;
            if payload.len() as u64 == left {
                found(std::mem::take(self).view());
            }
        }
    }

    fn view(self) -> FrameView {
        let wire = FrameView { header: self.header.bytes().to_vec(), payload: self.payload };
        // The payload was masked as it came: masking once more is unmasking (RFC 6455 5.3).
        FrameView { payload: wire.masked(), ..wire }
    }
}

/// The text frame that `bytes` begin with, if it is all there, a message of its own, and no longer than `most`: its length on
/// the wire, its masking key, and its payload as it came.
pub fn whole_text_frame(bytes: &[u8], most: usize) -> Option<(usize, [u8; 4], &[u8])> {
    const FIN_TEXT: u8 = 0x81;
    let (&[FIN_TEXT, second], _) = bytes.split_first_chunk()? else { return None };
    if second & 0x80 == 0 {
        return None;
    }
    let header = bytes.get(..Header::length(second))?;
    let length = usize::try_from(Header::parse(header).payload_length).ok().filter(|length| *length <= most)?;
    let (payload, key) = (bytes[header.len()..].get(..length)?, *header.last_chunk()?);
    Some((header.len() + length, key, payload))
}

/// Puts the payload in clear into `clear` (RFC 6455 5.3).
pub fn unmask(payload: &[u8], masking_key: [u8; 4], clear: &mut Vec<u8>) {
    clear.clear();
    clear.extend_from_slice(payload);
    let key = u32::from_ne_bytes(masking_key);
    let (words, rest) = clear.as_chunks_mut();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ key).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(masking_key) {
        *byte ^= key;
    }
}

/// Writes one data frame as a server sends it: whole, and not masked (RFC 6455 5.1). The payload comes in parts.
pub fn encode(opcode: Data, payload: &[&[u8]], output: &mut impl Write) {
    const MEMORY: &str = "writing to memory does not fail";
    let length: usize = payload.iter().map(|part| part.len()).sum();
    let header = FrameHeader { opcode: OpCode::Data(opcode), ..FrameHeader::default() };
    header.format(length as u64, output).expect(MEMORY);
    for part in payload {
        output.write_all(part).expect(MEMORY);
    }
}

/// The length on the wire of the frame that `bytes` begin with, header and payload.
pub fn length_on_wire(bytes: impl Iterator<Item = u8>) -> u64 {
    let mut header = [0; MAX_HEADER];
    for (slot, byte) in header.iter_mut().zip(bytes) {
        *slot = byte;
    }
    (Header::length(header[1]) as u64).saturating_add(Header::parse(&header).payload_length)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};
    use std::io::Cursor;

    /// The limit of all streams here, in bytes of payload.
    pub const LIMIT: usize = 300;

    /// The masking key of RFC 6455 5.7.
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    /// One frame as a client sends it. `first` is FIN, RSV and opcode.
    pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let body = payload.iter().zip(KEY.iter().cycle());
        let mut frame = claim(first, payload.len() as u64);
        frame.extend(body.map(|(byte, key)| byte ^ key));
        frame
    }

    /// The header alone of a client's frame that claims to have this much payload.
    pub fn claim(first: u8, length: u64) -> Vec<u8> {
        let mut header = vec![first];
        match length {
            0..=125 => header.push(0x80 | u8::try_from(length).unwrap()),
            126..=0xffff => {
                header.push(0xfe);
                header.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                header.push(0xff);
                header.extend(length.to_be_bytes());
            }
        }
        header.extend(KEY);
        header
    }

    /// A text or binary message in one or more fragments, with Pings and Pongs between them.
    fn message() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let text = prop_oneof![3 => "\\PC{0,20}", 1 => "[a-zé]{126,150}"].prop_map(String::into_bytes);
        let data = prop_oneof![(Just(1), text), (Just(2), vec(any::<u8>(), 0..LIMIT))];
        let cuts = vec((any::<Index>(), option::of(control())), 0..4);
        (data, cuts).prop_map(|((opcode, payload), mut cuts)| {
            cuts.sort_by_key(|(cut, _)| cut.index(payload.len() + 1));
            let (mut frames, mut start, mut opcode) = (Vec::new(), 0, opcode);
            for (cut, control) in cuts {
                let end = cut.index(payload.len() + 1);
                frames.push(masked(opcode, &payload[start..end]));
                frames.extend(control);
                (start, opcode) = (end, 0);
            }
            frames.push(masked(0x80 | opcode, &payload[start..]));
            frames
        })
    }

    fn control() -> impl Strategy<Value = Vec<u8>> {
        (select(vec![0x89, 0x8a]), vec(any::<u8>(), 0..=125)).prop_map(|(first, payload)| masked(first, &payload))
    }

    /// The frames of a client that breaks no rule, without its Close.
    pub fn valid_frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let steps = prop_oneof![3 => message(), 1 => control().prop_map(|frame| vec![frame])];
        vec(steps, 0..6).prop_map(|steps| steps.concat())
    }

    /// Where to split a stream.
    pub fn cuts() -> impl Strategy<Value = Vec<Index>> {
        vec(any::<Index>(), 0..12)
    }

    /// The stream in pieces; some may be empty.
    pub fn split<'a>(stream: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        ends.sort_unstable();
        ends.push(stream.len());
        let mut start = 0;
        let piece = |end| &stream[std::mem::replace(&mut start, end)..end];
        ends.into_iter().map(piece).collect()
    }

    fn tungstenite_reads(frame: &[u8]) -> (FrameHeader, usize) {
        let mut cursor = Cursor::new(frame);
        let (header, length) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
        let whole = cursor.position() + length;
        (header, usize::try_from(whole).unwrap())
    }

    /// The offsets where no message is half read, by tungstenite's reading of the headers.
    fn offsets_between_messages(frames: &[Vec<u8>]) -> Vec<usize> {
        let (mut offsets, mut at, mut open) = (vec![0], 0, false);
        for frame in frames {
            let (header, length) = tungstenite_reads(frame);
            at += length;
            if matches!(header.opcode, OpCode::Data(_)) {
                open = !header.is_final;
            }
            if !open {
                offsets.push(at);
            }
        }
        offsets
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn between_messages_and_begun_in_agree_with_tungstenites_reading(
            frames in valid_frames(),
            cuts in cuts(),
        ) {
            let offsets = offsets_between_messages(&frames);
            let stream = frames.concat();
            let (mut walk, mut at) = (Frames::new(LIMIT), 0);
            for piece in split(&stream, &cuts) {
                prop_assert_eq!(walk.advance(piece), (piece.len(), Stop::Nowhere));
                let start = at;
                at += piece.len();
                prop_assert_eq!(walk.between_messages(), offsets.contains(&at));
                let begin = offsets.iter().rev().find(|offset| **offset <= at).unwrap();
                let begun = (*begin != at).then_some(*begin >= start);
                prop_assert_eq!(walk.begun_in(piece.len()), begun);
            }
        }
    }

    /// So tungstenite, which would allocate what the header claims, never has the whole of it.
    #[test]
    fn a_header_that_breaks_a_rule_is_not_handed_on() {
        let huge = claim(0x82, u64::MAX);
        let (mut walk, good) = (Frames::new(LIMIT), masked(0x81, b"good"));
        let failure =
            Failure::new(CloseCode::Size, "a message of 18446744073709551615 bytes, the limit is 300, RFC 6455 10.4");
        let stream = [&good[..], &huge, b"payload"].concat();
        assert_eq!(walk.advance(&stream), (good.len(), Stop::At(failure.clone())));

        let mut walk = Frames::new(LIMIT);
        let (last, rest) = huge.split_last().unwrap();
        assert_eq!(walk.advance(rest), (rest.len(), Stop::Nowhere));
        assert_eq!(walk.advance(&[*last, 0]), (0, Stop::At(failure)));
    }

    #[test]
    fn the_walk_stops_behind_a_close_and_knows_its_code() {
        let close = masked(0x88, b"\x03\xe9bye");
        let stream = [&close[..], &masked(0x81, b"late")].concat();
        let mut walk = Frames::new(LIMIT);
        assert_eq!(walk.advance(&stream), (close.len(), Stop::AfterClose));
        assert_eq!(walk.close_code(), Some(1001));

        let mut walk = Frames::new(LIMIT);
        for byte in &close[..close.len() - 1] {
            assert_eq!(walk.advance(&[*byte]), (1, Stop::Nowhere));
        }
        assert_eq!(walk.advance(&close[close.len() - 1..]), (1, Stop::AfterClose));
        assert_eq!(walk.close_code(), Some(1001));
    }

    #[test]
    fn a_close_without_two_bytes_has_no_code() {
        for payload in [&b""[..], b"\x03"] {
            let (mut walk, close) = (Frames::new(LIMIT), masked(0x88, payload));
            assert_eq!(walk.advance(&close), (close.len(), Stop::AfterClose));
            assert_eq!(walk.close_code(), None);
        }
    }

    #[test]
    fn the_servers_frames_of_rfc_6455_5_7_are_encoded_as_there() {
        let encoded = |opcode, payload: &[u8]| {
            let mut output = Vec::new();
            encode(opcode, &[payload], &mut output);
            output
        };
        assert_eq!(encoded(Data::Text, b"Hello"), b"\x81\x05Hello");
        let bytes = vec![7; 65536];
        assert_eq!(encoded(Data::Binary, &bytes[..256]), [b"\x82\x7e\x01\x00", &bytes[..256]].concat());
        assert_eq!(encoded(Data::Binary, &bytes), [b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", &bytes[..]].concat());
    }

    #[test]
    fn an_encoded_frame_is_read_back_by_tungstenite_at_every_length_of_length() {
        for length in [0, 1, 125, 126, 65535, 65536] {
            let (payload, mut frame) = (vec![b'x'; length], Vec::new());
            let (front, back) = payload.split_at(length / 3);
            encode(Data::Text, &[front, back, b""], &mut frame);
            let (header, whole) = tungstenite_reads(&frame);
            let expected = FrameHeader { opcode: OpCode::Data(Data::Text), ..FrameHeader::default() };
            assert_eq!(header, expected, "{length}");
            assert_eq!(whole, frame.len(), "{length}");
            assert!(frame.ends_with(&payload), "{length}");
            // What follows is not looked at.
            let stream = frame.iter().copied().chain([0xff; 20]);
            assert_eq!(length_on_wire(stream), frame.len() as u64, "{length}");
        }
    }

    /// What a spectator sees of a stream.
    fn seen(pieces: &[&[u8]]) -> Vec<FrameView> {
        let (mut spectator, mut views) = (Spectator::default(), Vec::new());
        for piece in pieces {
            spectator.see(piece, |view| views.push(view));
        }
        views
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn a_spectator_sees_each_frame_once_however_the_stream_is_split(
            frames in valid_frames(),
            cuts in cuts(),
        ) {
            let views = seen(&split(&frames.concat(), &cuts));
            prop_assert_eq!(views.len(), frames.len());
            for (view, frame) in views.iter().zip(&frames) {
                let (header, whole) = tungstenite_reads(frame);
                let (head, payload) = frame.split_at(view.header().len());
                let shown = &payload[..payload.len().min(SHOWN_PAYLOAD)];
                prop_assert_eq!(view.header(), head);
                prop_assert_eq!(view.length(), (whole - head.len()) as u64);
                prop_assert_eq!(view.is_final(), header.is_final);
                prop_assert_eq!(view.opcode(), u8::from(header.opcode));
                prop_assert_eq!(view.masking_key(), Some(KEY));
                prop_assert_eq!(view.masked(), shown);
                prop_assert_eq!(masked(frame[0], view.payload()), masked_prefix(frame, shown));
            }
        }
    }

    /// A frame with this first byte and so much of the other's masked payload.
    fn masked_prefix(frame: &[u8], shown: &[u8]) -> Vec<u8> {
        [&claim(frame[0], shown.len() as u64), shown].concat()
    }

    #[test]
    fn a_frame_is_shown_in_words() {
        let shown = |frame: &[u8]| {
            let views = seen(&[frame]);
            assert_eq!(views.len(), 1);
            views[0].to_string()
        };
        assert_eq!(shown(b"\x81\x05Hello"), "text of 5 bytes: \"Hello\"");
        assert_eq!(shown(&masked(0x01, b"Hel\x1b")), r#"text of 4 bytes, more to come: "Hel\u{1b}""#);
        assert_eq!(shown(&masked(0x80, b"lo")), "continuation of 2 bytes: \"lo\"");
        assert_eq!(shown(&masked(0x82, &[b'x'; 49])), format!("binary of 49 bytes: \"{}…\"", "x".repeat(48)));
        assert_eq!(shown(&masked(0x82, &[b'x'; 48])), format!("binary of 48 bytes: \"{}\"", "x".repeat(48)));
        assert_eq!(shown(&masked(0x88, b"\x03\xe8bye\n")), r#"close of 6 bytes: "1000 bye\n""#);
        assert_eq!(shown(&masked(0x88, b"")), "close of 0 bytes: \"\"");
        assert_eq!(shown(&masked(0x89, b"")), "ping of 0 bytes: \"\"");
        assert_eq!(shown(&masked(0x8a, b"p")), "pong of 1 byte: \"p\"");
        assert_eq!(shown(&masked(0x83, b"")), "reserved of 0 bytes: \"\"");
    }

    #[test]
    fn the_fields_of_a_frame_are_named_as_in_rfc_6455_5_2() {
        let fields = |frame: &[u8]| {
            let fields = seen(&[frame]).remove(0).fields().into_iter();
            fields.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(
            fields(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
            "header=81 85 37 fa 21 3d; fin=1; rsv=000; opcode=1; name=text; mask=1; length=5; form=7; \
             masking-key=37 fa 21 3d; masked=7f 9f 4d 51 58; payload=48 65 6c 6c 6f; text=Hello"
        );
        assert_eq!(
            fields(b"\x31\x01x"),
            "header=31 01; fin=0; rsv=011; opcode=1; name=text; mask=0; length=1; form=7; payload=78; text=x"
        );
        for (length, form) in [(125, 7), (126, 16), (65535, 16), (65536, 64)] {
            assert_eq!(seen(&[&masked(0x82, &vec![0; length])])[0].length_form(), form);
        }
    }

    #[test]
    fn length_on_wire_counts_a_masking_key_and_never_overflows() {
        for length in [0, 125, 126, 65535, 65536, 1 << 40] {
            let header = claim(0x82, length);
            assert_eq!(length_on_wire(header.iter().copied()), header.len() as u64 + length);
        }
        assert_eq!(length_on_wire(claim(0x82, u64::MAX).into_iter()), u64::MAX);
    }

    #[test]
    fn a_text_frame_that_is_not_masked_is_no_whole_text_frame() {
        for length in [0, 5, 125, 126, 65_535, 65_536] {
            let mut frame = Vec::new();
            encode(Data::Text, &[&vec![b'x'; length]], &mut frame);
            assert_eq!(whole_text_frame(&frame, usize::MAX), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn unmasking_is_the_exclusive_or_with_the_key_over_and_over(payload in vec(any::<u8>(), 0..70), key: [u8; 4]) {
            let mut clear = b"what was there before".to_vec();
            unmask(&payload, key, &mut clear);
            let expected: Vec<u8> = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            prop_assert_eq!(clear, expected);
        }
    }
}
