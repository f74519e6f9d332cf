//! Text from a client, made safe for a terminal. It is escaped where it is shown, and nowhere else. Names are safe already, see
//! [`Client::name`](crate::client::Client::name).

use crate::limits::QUOTE_LENGTH;

/// The whole text, with control characters and double quotes escaped: it fits between double quotes.
pub fn escape(bytes: &[u8]) -> String {
    // Between double quotes an apostrophe needs no escape, and chat text is full of them.
    String::from_utf8_lossy(bytes).escape_debug().to_string().replace("\\'", "'")
}

/// The text as by [`escape`], cut off after [`QUOTE_LENGTH`] characters.
pub fn quote(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.char_indices().nth(QUOTE_LENGTH) {
        None => escape(bytes),
        Some((end, _)) => escape(&text.as_bytes()[..end]) + "…",
    }
}

/// A number of things: `1 byte`, `2 bytes`.
pub fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Bytes in hex: `81 05 48`.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quote_escapes_control_characters() {
        assert_eq!(quote(b"a\x1b[31m\r\n\x07b"), r"a\u{1b}[31m\r\n\u{7}b");
        assert_eq!(quote("é \u{202e}".as_bytes()), r"é \u{202e}");
        assert_eq!(quote(b"\xff"), "\u{fffd}");
        assert_eq!(quote(br#"it's "\'"#), r#"it's \"\\'"#);
    }

    #[test]
    fn quote_cuts_long_text() {
        assert_eq!(quote(&[b'x'; QUOTE_LENGTH]), "x".repeat(QUOTE_LENGTH));
        assert_eq!(quote(&[b'x'; QUOTE_LENGTH + 1]), "x".repeat(QUOTE_LENGTH) + "…");
        assert_eq!(quote("é".repeat(QUOTE_LENGTH + 1).as_bytes()), "é".repeat(QUOTE_LENGTH) + "…");
    }
}
