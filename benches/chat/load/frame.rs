//! Encodes the load's frames and decodes the server's (RFC 6455 section 5.2).

/// The RFC requires an unpredictable masking key to protect proxies; there are none here.
const MASKING_KEY: [u8; 4] = [0x9A, 0x3C, 0x71, 0xE5];

const FIN_AND_TEXT: u8 = 0x81;
pub const FIN_AND_CLOSE: u8 = 0x88;
const MASKED: u8 = 0x80;

/// A text is at least the sender's digits, a colon, and the digits of a sequence number: 16 bytes.
const SENDER_DIGITS: usize = 5;
const SEQUENCE_DIGITS: usize = 10;

/// Appends message number `sequence` of client `sender`, as a masked text frame with `text_bytes` of payload.
pub fn append_message(out: &mut Vec<u8>, sender: usize, sequence: u64, text_bytes: usize) {
    let text = format!("{sender:0SENDER_DIGITS$}:{sequence:0SEQUENCE_DIGITS$}");
    let text = format!("{text:.<text_bytes$}");
    append_masked(out, FIN_AND_TEXT, text.as_bytes());
}

/// Returns a Close frame with code 1000.
pub fn close() -> Vec<u8> {
    let mut out = Vec::new();
    append_masked(&mut out, FIN_AND_CLOSE, &1000u16.to_be_bytes());
    out
}

fn append_masked(out: &mut Vec<u8>, first_byte: u8, payload: &[u8]) {
    out.push(first_byte);
    match payload.len() {
        short @ 0..=125 => out.push(MASKED | short as u8),
        long => {
            let long = u16::try_from(long).expect("the load's messages are shorter than 64 KiB");
            out.push(MASKED | 126);
            out.extend(long.to_be_bytes());
        }
    }
    out.extend(MASKING_KEY);
    out.extend(payload.iter().zip(MASKING_KEY.iter().cycle()).map(|(b, k)| b ^ k));
}

/// The frame each client receives for a message of one sender. Only the sequence number varies.
pub struct Expected {
    /// The header, and the payload up to the sequence number.
    start: Vec<u8>,
    frame_bytes: usize,
}

impl Expected {
    pub fn from(sender: usize, text_bytes: usize) -> Expected {
        let before = format!("Client #{sender} says: ");
        let payload_bytes = before.len() + text_bytes;
        let mut start = vec![FIN_AND_TEXT];
        match payload_bytes {
            short @ 0..=125 => start.push(short as u8),
            long => {
                let long = u16::try_from(long).expect("the load's messages are shorter than 64 KiB");
                start.push(126);
                start.extend(long.to_be_bytes());
            }
        }
        let frame_bytes = start.len() + payload_bytes;
        start.extend(format!("{before}{sender:0SENDER_DIGITS$}:").bytes());
        Expected { start, frame_bytes }
    }

    pub fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// The sequence number in `frame`, if it is one of this sender's messages.
    pub fn sequence_in(&self, frame: &[u8]) -> Option<u64> {
        let rest = frame.strip_prefix(self.start.as_slice())?;
        let (digits, padding) = rest.split_at_checked(SEQUENCE_DIGITS)?;
        if !padding.iter().all(|&byte| byte == b'.') {
            return None;
        }
        digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))
    }
}

/// A server's frame. It is not masked, and no message here needs the 64-bit length, so its header has 2 or 4 bytes.
pub struct ServerFrame {
    pub header_bytes: usize,
    pub frame_bytes: usize,
}

impl ServerFrame {
    /// Parses the header at the start of `bytes`; `None` if it is incomplete.
    pub fn first_of(bytes: &[u8]) -> Option<ServerFrame> {
        let (header_bytes, payload_bytes) = match bytes.get(1)? {
            126 => (4, u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]).into()),
            short => (2, usize::from(*short)),
        };
        Some(ServerFrame { header_bytes, frame_bytes: header_bytes + payload_bytes })
    }
}

/// The sender named in a frame's payload, `Client #SENDER says: …`.
pub fn sender_in(payload: &[u8]) -> Option<usize> {
    let rest = payload.strip_prefix(b"Client #")?;
    let digits = rest.iter().take(SENDER_DIGITS).take_while(|byte| byte.is_ascii_digit());
    let mut sender = None;
    for digit in digits {
        sender = Some(sender.unwrap_or(0) * 10 + usize::from(digit - b'0'));
    }
    sender
}
