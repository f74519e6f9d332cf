//! What can be wrong with frames, after the upgrade.

use super::frame::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, TEXT, claim, close, frame, ping, text, unmasked,
};
use super::{Act, Fault};

/// The default of `--max-message-size`.
const MAX_MESSAGE_SIZE: usize = 65_536;

const CLOSES: &str = "Close 1000, end of stream";
const NOT_UTF8: &str = "Close 1007 \"text and close reasons must be UTF-8, RFC 6455 8.1\", end of stream";
const CLOSE_TOO_SHORT: &str =
    "Close 1002 \"a Close frame has no payload or at least a 2-byte code, RFC 6455 5.5.1\", end of stream";
const CODE_FORBIDDEN: &str = "Close 1002 \"close code … must not be sent, RFC 6455 7.4\", end of stream";
const TOO_LARGE: &str = "Close 1009 \"a message of … bytes, the limit is 65536, RFC 6455 10.4\", end of stream";
const NOT_FINISHED: &str = "Close 1008 \"… bytes and the message is not finished, RFC 6455 10.4\", end of stream";

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
        fault(
            "an unmasked frame",
            || unmasked(FIN | TEXT, b"bare"),
            "Close 1002 \"a client must mask every frame, RFC 6455 5.1\", end of stream",
        ),
        fault(
            "RSV1",
            || frame(FIN | RSV1 | TEXT, b"x"),
            "Close 1002 \"RSV1 to RSV3 must be 0 without an extension, RFC 6455 5.2\", end of stream",
        ),
        fault(
            "opcode 3",
            || frame(FIN | 3, b"x"),
            "Close 1002 \"opcodes 3 to 7 and 11 to 15 are reserved, RFC 6455 5.2\", end of stream",
        ),
        fault(
            "opcode 11",
            || frame(FIN | 11, b"x"),
            "Close 1002 \"opcodes 3 to 7 and 11 to 15 are reserved, RFC 6455 5.2\", end of stream",
        ),
        fault(
            "a fragmented Ping",
            || frame(PING, b"x"),
            "Close 1002 \"a control frame must not be fragmented, RFC 6455 5.5\", end of stream",
        ),
        fault(
            "a Ping of 126 bytes",
            || frame(FIN | PING, &[b'x'; 126]),
            "Close 1002 \"a control frame has at most 125 bytes of payload, RFC 6455 5.5\", end of stream",
        ),
        fault(
            "a stray continuation",
            || frame(FIN | CONTINUATION, b"x"),
            "Close 1002 \"there is no message to continue, RFC 6455 5.4\", end of stream",
        ),
        fault(
            "a new message inside a message",
            || [frame(TEXT, b"x"), text("y")].concat(),
            "Close 1002 \"the message before is not finished, RFC 6455 5.4\", end of stream",
        ),
    ]
}

fn messages() -> Vec<Fault> {
    vec![
        fault("invalid UTF-8", || frame(FIN | TEXT, b"\xc3\x28"), NOT_UTF8),
        fault(
            "invalid UTF-8 across fragments",
            || [frame(TEXT, b"\xf0\x9f"), frame(FIN | CONTINUATION, b"x")].concat(),
            NOT_UTF8,
        ),
        fault(
            "a character cut in two by fragments",
            || [frame(TEXT, b"\xc3"), frame(FIN | CONTINUATION, b"\xa9")].concat(),
            "message \"é\", Close 1000, end of stream",
        ),
        fault(
            "a message of the largest size",
            || text(&"x".repeat(MAX_MESSAGE_SIZE)),
            "message of … bytes, Close 1000, end of stream",
        ),
        fault("a message too large by a byte", || text(&"x".repeat(MAX_MESSAGE_SIZE + 1)), TOO_LARGE),
        fault("a claim of 2^62 bytes", || claim(FIN | BINARY, 1 << 62), TOO_LARGE),
        fault(
            "fragments too large together",
            || {
                let half = vec![b'x'; MAX_MESSAGE_SIZE / 2];
                [frame(TEXT, &half), frame(CONTINUATION, &half), frame(CONTINUATION, b"x")].concat()
            },
            TOO_LARGE,
        ),
        fault(
            "empty fragments without end",
            || [frame(TEXT, b""), frame(CONTINUATION, b"").repeat(50_000)].concat(),
            NOT_FINISHED,
        ),
        fault(
            "a binary message",
            || frame(FIN | BINARY, b"\x00\xff"),
            "Close 1003 \"this chat takes text only, RFC 6455 7.4.1\", end of stream",
        ),
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
            || [frame(TEXT, b"x"), ping("p"), frame(FIN | CONTINUATION, b"y")].concat(),
            "Pong \"p\", message \"xy\", Close 1000, end of stream",
        ),
        fault("10,000 Pings", || ping("p").repeat(10_000), "Pong \"p\" x 10000, Close 1000, end of stream"),
        fault("an unsolicited Pong", || frame(FIN | PONG, b"x"), CLOSES),
    ]
}

fn closes() -> Vec<Fault> {
    vec![
        last("Close 1000", || close(1000, b"bye"), "Close 1000 \"bye\", end of stream"),
        last("Close 4999", || close(4999, b""), "Close 4999, end of stream"),
        last("Close without a code", || frame(FIN | CLOSE, b""), "Close, end of stream"),
        last("Close of 1 byte", || frame(FIN | CLOSE, b"\x03"), CLOSE_TOO_SHORT),
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
