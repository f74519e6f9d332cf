//! Frames as bytes (RFC 6455 5.2): a client's, valid or not, and a server's.
//!
//! The `first` byte of a frame is FIN, the RSV bits and the opcode, in any combination.

pub const FIN: u8 = 0x80;
pub const RSV1: u8 = 0x40;
pub const RSV2: u8 = 0x20;
pub const RSV3: u8 = 0x10;

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;

const MASK: u8 = 0x80;

/// The masking key of every client frame. A real client picks a new random key for each frame (RFC 6455 5.3).
const MASKING_KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Encodes a frame. Its header announces `payload_length`, whatever the length of `payload` is.
pub fn encode(first: u8, masking_key: Option<[u8; 4]>, payload_length: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    append_header(&mut frame, first, masking_key, payload_length);
    frame.extend(mask(payload, masking_key));
    frame
}

/// Appends a frame's header, including its masking key, if it has one.
pub fn append_header(bytes: &mut Vec<u8>, first: u8, masking_key: Option<[u8; 4]>, payload_length: u64) {
    let mask = if masking_key.is_some() { MASK } else { 0 };
    bytes.push(first);
    match (u8::try_from(payload_length), u16::try_from(payload_length)) {
        (Ok(length @ ..126), _) => bytes.push(mask | length),
        (_, Ok(length)) => {
            bytes.push(mask | 126);
            bytes.extend(length.to_be_bytes());
        }
        _ => {
            bytes.push(mask | 127);
            bytes.extend(payload_length.to_be_bytes());
        }
    }
    bytes.extend(masking_key.iter().flatten());
}

/// Masks a payload, or unmasks it (RFC 6455 5.3).
fn mask(payload: &[u8], masking_key: Option<[u8; 4]>) -> impl ExactSizeIterator<Item = u8> {
    let key = masking_key.unwrap_or_default();
    payload.iter().enumerate().map(move |(index, byte)| byte ^ key[index % key.len()])
}

/// The header of a client's frame, including its masking key, without the payload it announces.
pub fn client_header(first: u8, payload_length: u64) -> Vec<u8> {
    let mut header = Vec::new();
    append_header(&mut header, first, Some(MASKING_KEY), payload_length);
    header
}

/// A client's frame: masked (RFC 6455 5.3).
pub fn from_client(first: u8, payload: &[u8]) -> Vec<u8> {
    encode(first, Some(MASKING_KEY), payload.len() as u64, payload)
}

/// A server's frame: not masked.
pub fn from_server(first: u8, payload: &[u8]) -> Vec<u8> {
    encode(first, None, payload.len() as u64, payload)
}

/// A client's text message in one frame.
pub fn text(message: &str) -> Vec<u8> {
    from_client(FIN | TEXT, message.as_bytes())
}

/// A client's Ping.
pub fn ping(payload: &str) -> Vec<u8> {
    from_client(FIN | PING, payload.as_bytes())
}

/// A client's Close frame.
pub fn close(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    from_client(FIN | CLOSE, &close_payload(code, reason))
}

/// The payload of a Close frame (RFC 6455 5.5.1).
pub fn close_payload(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_ref()].concat()
}

/// The frame that every member receives when a client sends a message.
pub fn says(client_id: i64, message: &str) -> Vec<u8> {
    from_server(FIN | TEXT, format!("{}{message}", says_prefix(client_id)).as_bytes())
}

/// The start of every message that the server broadcasts for a client.
pub fn says_prefix(client_id: i64) -> String {
    format!("Client #{client_id} says: ")
}

/// A frame as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub first: u8,
    pub masked: bool,
    pub payload: Vec<u8>,
}

/// The length of the unmasked frame at the start of `bytes`, and its payload, or `None` if it is incomplete.
pub fn unmasked(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (start, length) = lengths(bytes)?;
    let end = start.checked_add(length)?;
    Some((end, bytes.get(start..end)?))
}

/// Splits off the frame at the start of `bytes`: its first byte, its payload, unmasked, and what follows it. `None` if it
/// is incomplete.
pub fn split(bytes: &[u8]) -> Option<(u8, impl ExactSizeIterator<Item = u8>, &[u8])> {
    let (header_length, payload_length) = lengths(bytes)?;
    let rest = bytes.get(header_length..)?;
    let (masking_key, rest) = match bytes[1] & MASK {
        0 => (None, rest),
        _ => rest.split_first_chunk().map(|(key, rest)| (Some(*key), rest))?,
    };
    let (payload, rest) = rest.split_at_checked(payload_length)?;
    Some((bytes[0], mask(payload, masking_key), rest))
}

/// The lengths of a frame's header without the masking key, and of its payload.
fn lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    let number = |bytes: &[u8]| bytes.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
    Some(match bytes.get(1)? & !MASK {
        126 => (4, number(bytes.get(2..4)?)),
        127 => (10, number(bytes.get(2..10)?)),
        length => (2, usize::from(length)),
    })
}

impl Frame {
    /// Parses the frame at the start of `bytes`. Returns it with its length on the wire, or `None` if it is incomplete.
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let (first, payload, rest) = split(bytes)?;
        let frame = Self { first, masked: bytes[1] & MASK != 0, payload: payload.collect() };
        Some((frame, bytes.len() - rest.len()))
    }

    /// True for a whole, unfragmented frame with this opcode.
    pub fn is(&self, opcode: u8) -> bool {
        self.first == FIN | opcode
    }

    /// The code of a Close frame, if it has one.
    pub fn close_code(&self) -> Option<u16> {
        Some(u16::from_be_bytes([*self.payload.first()?, *self.payload.get(1)?]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_inverts_encode() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..length).map(|n| n as u8).collect();
            for (masked, mut bytes) in [(true, from_client(0x81, &payload)), (false, from_server(0x81, &payload))] {
                let size = bytes.len();
                assert_eq!(Frame::parse(&bytes[..size - 1]), None);
                bytes.push(0);
                let frame = Frame { first: 0x81, masked, payload: payload.clone() };
                assert_eq!(Frame::parse(&bytes), Some((frame, size)));
            }
        }
    }
}
