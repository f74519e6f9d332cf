//! Reading a frame header that may arrive in pieces.

use super::{Header, MAX_HEADER};

/// Collects one header, however it is split.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeaderReader {
    bytes: [u8; MAX_HEADER],
    length: u8,
}

impl HeaderReader {
    /// Takes the bytes that belong to the header, and returns their number.
    pub fn read(&mut self, input: &[u8]) -> usize {
        // Nearly all headers arrive in one piece. Taking them at once halves the cost of the walk.
        if let (0, Some(bytes)) = (self.length, input.first_chunk()) {
            self.bytes = *bytes;
            self.length = Header::length(bytes[1]) as u8;
            return self.length.into();
        }
        let before = self.length;
        for byte in input {
            if self.is_whole() {
                break;
            }
            self.bytes[usize::from(self.length)] = *byte;
            self.length += 1;
        }
        (self.length - before).into()
    }

    /// Whether the header is complete.
    pub fn is_whole(&self) -> bool {
        self.length >= 2 && usize::from(self.length) == Header::length(self.bytes[1])
    }

    /// The bytes of the header so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length.into()]
    }

    /// Prepares for the next header.
    pub fn clear(&mut self) {
        self.length = 0;
    }
}
