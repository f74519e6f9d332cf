//! Mistakes in frames that are easy to recognize, each with a hint that doesn't give the answer away.

use super::transcript::opcode;
use test_client::frame::{FIN, text};

const TEXT_NOT_FRAME: &str = "These bytes are text. After the 101 there is no more HTTP, and no bare text: what goes around \
                              every message?";
const RESERVED_BITS: &str =
    "Look at the bits of the first byte one by one. Which of them may a server set without an extension?";
const MASKED: &str = "One side must mask its frames, the other must not. Which is the server?";
const ONE_BYTE: &str =
    "The second byte seems to be the length. How many bits has a length there, and what is the eighth?";
const BEGINNING: &str =
    "This is the beginning of the right text. One read returns what has arrived so far, not the whole payload.";
const BYTE_ORDER: &str = "Compare the length in the frame with the bytes that came after it. In which order do the bytes of a \
                          number travel?";
const LONG_FORM: &str = "There are three forms of a length. When may each be used?";
const UNMASKED_LATE: &str = "The payload that came back is still masked. What has to happen with the masking key?";
const NO_PREFIX: &str = "The text is there, but what does the server put in front of it?";
const CUT_TEXT: &str = "The text is cut. Does the length in the frame count characters or bytes?";
const WRONG_BYTES: &str = "The text has the right length, but wrong bytes. Which byte of the masking key belongs to byte i of the \
                           payload, however many reads it took?";
/// More bytes than this are often not read at once.
const ONE_READ: usize = 1000;
pub const CLOSE_PAYLOAD: &str = "A Close is empty, or begins with a code of two bytes.";
const CONTROL: &str = "Two rules hold for every control frame. Which does this one break?";

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
pub fn header_fault(bytes: &[u8]) -> Option<(String, &'static str)> {
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
        // Nobody masks a payload into the text that was expected.
        let hint = if bytes[2..].starts_with(b"Client #") { ONE_BYTE } else { MASKED };
        return Some((format!("a masked {} frame", opcode(first)), hint));
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

/// A hint for a frame that isn't complete, if its length fits its payload once the length's bytes are in the other order.
pub fn hint_for_cut_frame(bytes: &[u8]) -> &'static str {
    let is_swapped = extended_length(bytes).is_some_and(|(_, extended)| {
        let swapped = extended.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        swapped == (bytes.len() - 2 - extended.len()) as u64
    });
    if is_swapped { BYTE_ORDER } else { "" }
}

/// A hint for a text that isn't the wanted one, if the mistake is a known one.
pub fn hint_for_text(wanted: &str, message: &str, came: &[u8]) -> &'static str {
    let masked = text(message);
    let masked = &masked[masked.len() - message.len()..];
    if came == message.as_bytes() {
        NO_PREFIX
    } else if came.ends_with(masked) {
        UNMASKED_LATE
    } else if !message.is_ascii() && wanted.as_bytes().starts_with(came) {
        CUT_TEXT
    } else if message.len() > ONE_READ && wanted.as_bytes().starts_with(came) {
        BEGINNING
    } else if came.len() == wanted.len() {
        WRONG_BYTES
    } else {
        ""
    }
}
