//! The rules for a payload length (RFC 6455 5.2).

use super::Failure;

/// Checks the payload length of a header whose second byte is `second`.
///
/// # Errors
/// It has a longer form than it needs, or its top bit is set.
pub fn check(second: u8, payload_length: u64) -> Result<(), Failure> {
    let shortest = match second & 0x7f {
        126 => payload_length > 125,
        127 => payload_length > 0xffff,
        _ => true,
    };
    if !shortest {
        return Err(Failure::protocol("a payload length must take as few bytes as it can, RFC 6455 5.2"));
    }
    if payload_length > u64::MAX >> 1 {
        return Err(Failure::protocol("the top bit of a payload length of 8 bytes must be 0, RFC 6455 5.2"));
    }
    Ok(())
}
