//! What the program computes by hand: `switchboard accept` and `switchboard frame`.

use std::io::{self, Read};
use switchboard::escape::hex;
use switchboard::handshake::{Computation, GUID, KEY_RULE, decode_key};
use switchboard::view::decode::decode;

/// The computation of `Sec-WebSocket-Accept` (RFC 6455 4.2.2, item 5.4), or what is wrong with the key.
pub fn explain_key(key: &str) -> Result<String, String> {
    let nonce = decode_key(key.as_bytes()).map_err(|fault| {
        let (section, rule) = KEY_RULE;
        format!("{fault} ({section}: {rule})")
    })?;
    let Computation { key, joined, digest, value } = Computation::of(key);
    Ok(format!(
        "key          {key}\n\
         decoded      {}  ({} bytes)\n\
         GUID         {GUID}\n\
         joined       {joined}\n\
         SHA-1        {}\n\
         base64       {value}\n\n\
         Sec-WebSocket-Accept: {value}\n",
        hex(&nonce),
        nonce.len(),
        hex(&digest),
    ))
}

/// The frames of a text in hex, or of standard input if it is empty, and whether the server would accept them; or what is wrong with
/// the text.
pub fn explain_frames(mut text: String) -> Result<(String, bool), String> {
    if text.is_empty() {
        io::stdin().read_to_string(&mut text).map_err(|error| format!("standard input: {error}"))?;
    }
    let bytes = bytes_in(&text)?;
    if bytes.is_empty() {
        return Err("frame: the bytes are missing, in hex, such as 81 82 37 fa 21 3d 5f 93".into());
    }
    Ok(decode(&bytes))
}

/// Reads bytes in hex: two digits each, with or without spaces, commas or `0x` between them.
fn bytes_in(text: &str) -> Result<Vec<u8>, String> {
    let words =
        text.split(|c: char| c.is_whitespace() || c == ',' || c == ':').map(|word| word.trim_start_matches("0x"));
    let mut bytes = Vec::new();
    for word in words {
        let digits: Option<Vec<_>> = word.chars().map(|digit| digit.to_digit(16)).collect();
        let digits = digits.filter(|digits| digits.len() % 2 == 0);
        let digits =
            digits.ok_or_else(|| format!("frame: {word:?} is not hex: each byte has two digits, 0 to 9 and a to f"))?;
        bytes.extend(digits.chunks(2).map(|byte| (byte[0] << 4 | byte[1]) as u8));
    }
    Ok(bytes)
}
