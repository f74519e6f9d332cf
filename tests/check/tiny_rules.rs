//! The rules of RFC 6455 5 and 7.4 that the tiny server checks.

use test_client::frame::{CLOSE, CONTINUATION, FIN, Frame};

/// True for a client's frame that breaks a rule, inside a message or not.
pub fn is_wrong(frame: &Frame, inside_message: bool) -> bool {
    let opcode = frame.first & 0x0f;
    let control = opcode >= CLOSE;
    !frame.masked
        || frame.first & 0x70 != 0
        || (3..8).contains(&opcode)
        || opcode > 10
        || (control && (frame.first & FIN == 0 || frame.payload.len() > 125))
        || (!control && (opcode == CONTINUATION) != inside_message)
}

/// The code of a Close frame, or the code to refuse it with.
pub fn close_code(frame: &Frame) -> Result<Option<u16>, u16> {
    match (frame.payload.len(), frame.close_code()) {
        (0, _) => Ok(None),
        (_, Some(code @ (1000..=1003 | 1007..=1011 | 3000..=4999))) => Ok(Some(code)),
        _ => Err(1002),
    }
}
