//! The shorter way for the most common frame: a whole text message.

use super::{Header, length};

/// The text frame at the start of `bytes`, if it is complete, a whole message, and has at most `most` bytes of payload.
/// Returns its length on the wire, its masking key, and its masked payload.
pub fn whole_text_frame(bytes: &[u8], most: usize) -> Option<(usize, [u8; 4], &[u8])> {
    const FIN_TEXT: u8 = 0x81;
    let (&[FIN_TEXT, second], _) = bytes.split_first_chunk()? else { return None };
    if second & 0x80 == 0 {
        return None;
    }
    let header = bytes.get(..Header::length(second))?;
    let payload_length = Header::parse(header).payload_length;
    length::check(second, payload_length).ok()?;
    let length = usize::try_from(payload_length).ok().filter(|length| *length <= most)?;
    let (payload, key) = (bytes[header.len()..].get(..length)?, *header.last_chunk()?);
    Some((header.len() + length, key, payload))
}

/// Appends the unmasked payload to `clear` (RFC 6455 5.3).
pub fn unmask(payload: &[u8], masking_key: [u8; 4], clear: &mut Vec<u8>) {
    let start = clear.len();
    clear.extend_from_slice(payload);
    let key = u32::from_ne_bytes(masking_key);
    let (words, rest) = clear[start..].as_chunks_mut();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ key).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(masking_key) {
        *byte ^= key;
    }
}
