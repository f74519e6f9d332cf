//! Frames by hand (RFC 6455 5.2): a client's, whole or spoiled, and a server's, as they are read.

/// The masking key of every frame that is sent from here. A real client takes a new random one for each (RFC 6455 5.3).
const MASKING_KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub const FIN: u8 = 0x80;
pub const RSV1: u8 = 0x40;
pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;

/// A masked frame. `first` is its first byte: FIN, RSV and opcode, whatever they are.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = claim(first, payload.len() as u64);
    let masked = payload.iter().zip(MASKING_KEY.iter().cycle());
    frame.extend(masked.map(|(byte, key)| byte ^ key));
    frame
}

/// The header of a masked frame with so much payload, and none of it.
pub fn claim(first: u8, payload_length: u64) -> Vec<u8> {
    let mut header = header(first, 0x80, payload_length);
    header.extend(MASKING_KEY);
    header
}

/// A frame without a mask, as only a server may send it.
pub fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, 0, payload.len() as u64);
    frame.extend(payload);
    frame
}

fn header(first: u8, mask: u8, payload_length: u64) -> Vec<u8> {
    let mut header = vec![first];
    match (u8::try_from(payload_length), u16::try_from(payload_length)) {
        (Ok(short @ ..126), _) => header.push(mask | short),
        (_, Ok(long)) => {
            header.push(mask | 126);
            header.extend(long.to_be_bytes());
        }
        _ => {
            header.push(mask | 127);
            header.extend(payload_length.to_be_bytes());
        }
    }
    header
}

/// A whole text message.
pub fn text(text: &str) -> Vec<u8> {
    frame(FIN | TEXT, text.as_bytes())
}

/// A Ping.
pub fn ping(payload: &str) -> Vec<u8> {
    frame(FIN | PING, payload.as_bytes())
}

/// A Close frame with a code and a reason (RFC 6455 5.5.1).
pub fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// A frame as a server sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// FIN, RSV and opcode.
    pub first: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The frame that `bytes` begin with, and its length on the wire; nothing if it is not whole.
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let number = |bytes: &[u8]| bytes.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
        let (header, length): (usize, usize) = match bytes.get(1)? & 0x7f {
            126 => (4, number(bytes.get(2..4)?)),
            127 => (10, number(bytes.get(2..10)?)),
            short => (2, usize::from(short)),
        };
        let end = header.checked_add(length)?;
        let payload = bytes.get(header..end)?.to_vec();
        Some((Self { first: bytes[0], payload }, end))
    }

    pub fn is(&self, opcode: u8) -> bool {
        self.first == FIN | opcode
    }

    /// The code of a Close frame, if it has one.
    pub fn close_code(&self) -> Option<u16> {
        Some(u16::from_be_bytes([*self.payload.first()?, *self.payload.get(1)?]))
    }
}
