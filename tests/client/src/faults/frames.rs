//! Faults in frames, after the upgrade.

use super::{Act, Fault};
use crate::frame::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, TEXT, client_header, close, from_client, from_server, ping,
    text,
};

/// The default of `--max-message-size`.
const MAX_MESSAGE_SIZE: usize = 65_536;

const CLOSES: &str = "Close 1000, end of stream";
const NOT_UTF8: &str = "Close 1007 \"*UTF-8*\", end of stream";
const CLOSE_TOO_SHORT: &str = "Close 1002 \"*2-byte code*\", end of stream";
const CODE_FORBIDDEN: &str = "Close 1002 \"*close code …*\", end of stream";
const TOO_LARGE: &str = "Close 1009 \"*… bytes*65536*\", end of stream";
const NOT_FINISHED: &str = "Close 1008 \"*not finished*\", end of stream";

const LENGTH_FORM: &str = "Close 1002 \"*payload length*\", end of stream";

pub fn faults() -> Vec<Fault> {
    [headers(), messages(), control_frames(), closes()].concat()
}

fn fault(name: &'static str, frames: fn() -> Vec<u8>, expected: &'static str) -> Fault {
    Fault::new(name, Act::Frames(frames), expected)
}

fn last(name: &'static str, frames: fn() -> Vec<u8>, expected: &'static str) -> Fault {
    Fault::new(name, Act::LastFrames(frames), expected)
}

fn headers() -> Vec<Fault> {
    vec![
        fault("an unmasked frame", || from_server(FIN | TEXT, b"bare"), "Close 1002 \"*mask*\", end of stream"),
        fault("RSV1", || from_client(FIN | RSV1 | TEXT, b"x"), "Close 1002 \"*RSV1*\", end of stream"),
        fault("opcode 3", || from_client(FIN | 3, b"x"), "Close 1002 \"*opcodes*\", end of stream"),
        fault("opcode 11", || from_client(FIN | 11, b"x"), "Close 1002 \"*opcodes*\", end of stream"),
        fault("a 2-byte length that fits in 1 byte", || with_length(&[254, 0, 1]), LENGTH_FORM),
        fault(
            "an 8-byte length that fits in 2 bytes",
            || with_length(&[255, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
            LENGTH_FORM,
        ),
        fault("a length with its top bit set", || with_length(&[255, 0x80, 0, 0, 0, 0, 0, 0, 1]), LENGTH_FORM),
        fault("a fragmented Ping", || from_client(PING, b"x"), "Close 1002 \"*fragmented*\", end of stream"),
        fault(
            "a Ping of 126 bytes",
            || from_client(FIN | PING, &[b'x'; 126]),
            "Close 1002 \"*125 bytes*\", end of stream",
        ),
        fault(
            "a stray continuation",
            || from_client(FIN | CONTINUATION, b"x"),
            "Close 1002 \"*continue*\", end of stream",
        ),
        fault(
            "a new message inside a message",
            || [from_client(TEXT, b"x"), text("y")].concat(),
            "Close 1002 \"*not finished*\", end of stream",
        ),
    ]
}

/// A text message of one byte, with this MASK bit and payload length.
fn with_length(length: &[u8]) -> Vec<u8> {
    let usual = text("x");
    [&usual[..1], length, &usual[2..]].concat()
}

fn messages() -> Vec<Fault> {
    vec![
        fault("invalid UTF-8", || from_client(FIN | TEXT, b"\xc3\x28"), NOT_UTF8),
        fault(
            "invalid UTF-8 across fragments",
            || [from_client(TEXT, b"\xf0\x9f"), from_client(FIN | CONTINUATION, b"x")].concat(),
            NOT_UTF8,
        ),
        fault(
            "a character split across fragments",
            || [from_client(TEXT, b"\xc3"), from_client(FIN | CONTINUATION, b"\xa9")].concat(),
            "message \"é\", Close 1000, end of stream",
        ),
        fault(
            "a message of the largest size",
            || text(&"x".repeat(MAX_MESSAGE_SIZE)),
            "message of … bytes, Close 1000, end of stream",
        ),
        fault("a message one byte too large", || text(&"x".repeat(MAX_MESSAGE_SIZE + 1)), TOO_LARGE),
        fault("a frame length of 2^62 bytes", || client_header(FIN | BINARY, 1 << 62), TOO_LARGE),
        fault(
            "fragments that are too large in total",
            || {
                let half = vec![b'x'; MAX_MESSAGE_SIZE / 2];
                [from_client(TEXT, &half), from_client(CONTINUATION, &half), from_client(CONTINUATION, b"x")].concat()
            },
            TOO_LARGE,
        ),
        fault(
            "50,000 empty fragments",
            || [from_client(TEXT, b""), from_client(CONTINUATION, b"").repeat(50_000)].concat(),
            NOT_FINISHED,
        ),
        fault("a binary message", || from_client(FIN | BINARY, b"\x00\xff"), "Close 1003 \"*text*\", end of stream"),
        fault("an empty text", || text(""), "message \"\", Close 1000, end of stream"),
        fault(
            "control characters in a text",
            || text("\x1b[31m\r\n\x07"),
            "message \"\\u{1b}[31m\\r\\n\\u{7}\", Close 1000, end of stream",
        ),
    ]
}

fn control_frames() -> Vec<Fault> {
    vec![
        fault("a Ping", || ping("p"), "Pong \"p\", Close 1000, end of stream"),
        fault(
            "a Ping between fragments",
            || [from_client(TEXT, b"x"), ping("p"), from_client(FIN | CONTINUATION, b"y")].concat(),
            "Pong \"p\", message \"xy\", Close 1000, end of stream",
        ),
        fault("10,000 Pings", || ping("p").repeat(10_000), "Pong \"p\" x 10000, Close 1000, end of stream"),
        fault("an unsolicited Pong", || from_client(FIN | PONG, b"x"), CLOSES),
    ]
}

fn closes() -> Vec<Fault> {
    vec![
        last("Close 1000", || close(1000, b"bye"), "Close 1000 \"bye\", end of stream"),
        last("Close 4999", || close(4999, b""), "Close 4999, end of stream"),
        last("Close without a code", || from_client(FIN | CLOSE, b""), "Close, end of stream"),
        last("Close of 1 byte", || from_client(FIN | CLOSE, b"\x03"), CLOSE_TOO_SHORT),
        last("Close 0", || close(0, b""), CODE_FORBIDDEN),
        last("Close 999", || close(999, b""), CODE_FORBIDDEN),
        last("Close 1005", || close(1005, b""), CODE_FORBIDDEN),
        last("Close 1006", || close(1006, b""), CODE_FORBIDDEN),
        last("Close 1015", || close(1015, b""), CODE_FORBIDDEN),
        last("Close 2999", || close(2999, b""), CODE_FORBIDDEN),
        last("Close 5000", || close(5000, b""), CODE_FORBIDDEN),
        last("invalid UTF-8 in a close reason", || close(1000, b"\xff"), NOT_UTF8),
        last("data after Close", || [close(1000, b""), text("too late"), b"\xff\xff".repeat(100)].concat(), CLOSES),
    ]
}
