//! Frames as bytes (RFC 6455 5.2), written by hand: the tests trust nothing that the server uses.

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
const MASKING_KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The header of a client's frame, up to and with its masking key. `first` is FIN, the RSV bits and the opcode.
pub fn client_header(first: u8, payload_length: u64) -> Vec<u8> {
    let mut header = server_header(first, payload_length);
    header[1] |= MASK;
    header.extend(MASKING_KEY);
    header
}

/// A client's frame: masked (5.3).
pub fn from_client(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = client_header(first, payload.len() as u64);
    let key = MASKING_KEY.iter().cycle();
    frame.extend(payload.iter().zip(key).map(|(byte, key)| byte ^ key));
    frame
}

/// A whole text message from a client, in one frame.
pub fn text(message: &str) -> Vec<u8> {
    from_client(FIN | TEXT, message.as_bytes())
}

/// A server's frame: not masked, and its length in the fewest bytes.
pub fn from_server(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = server_header(first, payload.len() as u64);
    frame.extend(payload);
    frame
}

/// What everybody gets when a client says something.
pub fn says(client_id: i64, message: &str) -> Vec<u8> {
    let payload = format!("Client #{client_id} says: {message}");
    from_server(FIN | TEXT, payload.as_bytes())
}

/// The payload of a Close frame (5.5.1).
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

fn server_header(first: u8, payload_length: u64) -> Vec<u8> {
    let mut header = vec![first];
    match payload_length {
        0..126 => header.push(payload_length as u8),
        126..0x1_0000 => {
            header.push(126);
            header.extend((payload_length as u16).to_be_bytes());
        }
        _ => {
            header.push(127);
            header.extend(payload_length.to_be_bytes());
        }
    }
    header
}
