//! What a stage sent and what came back, as bytes and decoded side by side. It decodes anything, valid or not.

use std::fmt::Write;

/// Bytes per row.
const ROW: usize = 12;

/// The rows of one entry; the rest is counted.
const MOST_ROWS: usize = 16;

/// The entries that are kept: the first one, which opens the connection, and the last ones.
const MOST_ENTRIES: usize = 8;

/// Longer payloads are cut, in characters.
const MOST_TEXT: usize = 48;

/// Longer head lines are cut, in bytes.
const MOST_LINE: usize = 80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Sent,
    Came,
    /// An opening handshake that got its 101. It has no bytes, since the stage is about what comes after.
    Joined,
}

/// What bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An HTTP head. After its empty line, frames.
    Http,
    /// Frames, maybe cut.
    Frames,
    /// The body of a response.
    Body,
}

#[derive(Clone, Debug)]
pub struct Entry {
    /// The id of the client that sent or received.
    pub client: i64,
    pub direction: Direction,
    pub kind: Kind,
    pub bytes: Vec<u8>,
    /// Something to know about the bytes, or empty.
    pub note: &'static str,
}

/// A stage's entries, in order.
#[derive(Debug, Default)]
pub struct Transcript {
    pub entries: Vec<Entry>,
    /// Entries left out after the first one.
    pub left_out: usize,
}

impl Transcript {
    pub fn add(&mut self, entry: Entry) {
        self.entries.push(entry);
        if self.entries.len() > MOST_ENTRIES {
            self.entries.remove(1);
            self.left_out += 1;
        }
    }

    /// Replaces the last two entries, a client's handshake and the 101.
    pub fn fold_handshake(&mut self, client: i64) {
        self.entries.truncate(self.entries.len().saturating_sub(2));
        self.add(Entry { client, direction: Direction::Joined, kind: Kind::Http, bytes: Vec::new(), note: "" });
    }
}

/// Bytes, and what they mean.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    pub hex: String,
    pub text: String,
}

impl Row {
    fn new(bytes: &[u8], text: impl Into<String>) -> Self {
        let shown = if bytes.len() > ROW { &bytes[..ROW - 1] } else { bytes };
        let more = if bytes.len() > ROW { " .." } else { "" };
        Self { hex: format!("{}{more}", hex(shown)), text: text.into() }
    }

    /// A row about the bytes, without any.
    fn remark(text: impl Into<String>) -> Self {
        Self::new(&[], text)
    }
}

/// Bytes in hexadecimal, with spaces.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let space = if text.is_empty() { "" } else { " " };
        // Writing to a String doesn't fail.
        let _ = write!(text, "{space}{byte:02x}");
    }
    text
}

/// Text from the server, in quotes and without control characters, and cut.
pub fn quote(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let start: String = text.chars().take(MOST_TEXT).collect();
    if start.len() < text.len() { format!("{start:?}... ({} bytes)", bytes.len()) } else { format!("{start:?}") }
}

impl Entry {
    /// Decodes the bytes.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = match self.kind {
            Kind::Http => http(&self.bytes),
            Kind::Frames => frames(&self.bytes),
            Kind::Body => vec![Row::new(&self.bytes, quote(&self.bytes))],
        };
        if rows.len() > MOST_ROWS {
            let more = rows.len() - MOST_ROWS;
            rows.truncate(MOST_ROWS);
            rows.push(Row::remark(format!("... {more} more lines")));
        }
        rows
    }
}

fn http(mut bytes: &[u8]) -> Vec<Row> {
    let mut rows = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
        let (line, rest) = bytes.split_at(end);
        let ends = match line {
            [.., b'\r', b'\n'] => "",
            [.., b'\n'] => "   (ends with LF alone)",
            _ => "   (the line does not end)",
        };
        let text: &[u8] = line.trim_ascii_end();
        bytes = rest;
        if line == b"\r\n" {
            rows.push(Row::new(line, "(the empty line: the head ends)"));
            break;
        }
        let quoted = quote(text);
        // A head line is shown as it is, unless it has to be escaped.
        let plain = text.iter().all(|byte| (b' '..0x7f).contains(byte)) && text.len() <= MOST_LINE;
        let shown = if plain { String::from_utf8_lossy(text).into_owned() } else { quoted };
        rows.push(Row::new(line, format!("{shown}{ends}")));
    }
    rows.extend(frames(bytes));
    rows
}

/// Decodes frames (RFC 6455 5.2), the last of which may be cut.
fn frames(mut bytes: &[u8]) -> Vec<Row> {
    let mut rows = Vec::new();
    while let [first, ..] = bytes {
        rows.push(Row::new(&bytes[..1], first_byte(*first)));
        let Some(second) = bytes.get(1) else {
            rows.push(Row::remark("the frame is cut here, after 1 byte"));
            break;
        };
        bytes = rest_of_frame(*first & 0x0f, *second, &bytes[1..], &mut rows);
    }
    rows
}

fn first_byte(first: u8) -> String {
    let rsv = (first >> 4) & 7;
    format!("FIN {}, RSV {rsv:03b}, opcode {} ({})", first >> 7, first & 0x0f, opcode(first))
}

/// The name of an opcode.
pub fn opcode(first: u8) -> &'static str {
    match first & 0x0f {
        0 => "continuation",
        1 => "text",
        2 => "binary",
        8 => "close",
        9 => "ping",
        10 => "pong",
        _ => "reserved",
    }
}

/// Decodes a frame from its second byte on. Returns what follows the frame.
fn rest_of_frame<'a>(opcode: u8, second: u8, bytes: &'a [u8], rows: &mut Vec<Row>) -> &'a [u8] {
    let form = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let (mask, seven) = (second >> 7, second & 0x7f);
    let Some(extended) = bytes.get(1..=form) else {
        rows.push(Row::new(
            bytes,
            format!("MASK {mask}, length {seven}: the frame is cut in the {form} bytes of its length"),
        ));
        return &[];
    };
    let number = extended.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    let length = if form == 0 { u64::from(seven) } else { number };
    rows.push(Row::new(
        &bytes[..=form],
        match form {
            0 => format!("MASK {mask}, length {length}"),
            _ => format!("MASK {mask}, length {seven}: the next {form} bytes, which are {length}"),
        },
    ));
    let mut bytes = &bytes[form + 1..];
    let mut key = [0; 4];
    if mask == 1 {
        let Some((found, rest)) = bytes.split_first_chunk() else {
            rows.push(Row::new(bytes, "the frame is cut in its masking key"));
            return &[];
        };
        rows.push(Row::new(found, "masking key"));
        (key, bytes) = (*found, rest);
    }
    let here = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
    let (payload, rest) = bytes.split_at(here);
    let clear: Vec<u8> = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    if !payload.is_empty() {
        let is = if mask == 1 { "masked payload, clear: " } else { "payload: " };
        rows.push(Row::new(payload, format!("{is}{}", payload_in_words(opcode, &clear))));
    }
    if (here as u64) < length {
        rows.push(Row::remark(format!("the frame is cut here: {here} of {length} bytes of payload")));
    }
    rest
}

fn payload_in_words(opcode: u8, payload: &[u8]) -> String {
    match (opcode, payload.split_first_chunk()) {
        (8, Some((code, []))) => format!("code {}", u16::from_be_bytes(*code)),
        (8, Some((code, reason))) => format!("code {}, reason {}", u16::from_be_bytes(*code), quote(reason)),
        _ => quote(payload),
    }
}
