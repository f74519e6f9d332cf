//! Bytes on their way to one client.

use crate::limits::MAX_OWN_OUTPUT;
use std::collections::VecDeque;
use std::io::{self, Write};

/// Whole frames, of which the socket may have taken the beginning.
#[derive(Debug, Default)]
pub struct Output {
    bytes: VecDeque<u8>,
    begun: bool,
    written: u64,
}

impl Output {
    /// An empty output.
    pub fn new() -> Self {
        Self::default()
    }

    /// The rest of a frame whose beginning is on the wire.
    pub fn rest(bytes: Vec<u8>) -> Self {
        Self { begun: !bytes.is_empty(), bytes: bytes.into(), ..Self::default() }
    }

    /// Whether nothing is left to write.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes left to write.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that the socket took so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The next bytes to write, as many as are contiguous.
    pub fn next(&self) -> &[u8] {
        self.bytes.as_slices().0
    }

    /// Whether the next byte may be inside a frame. If not, it is the first of one.
    pub fn is_begun(&self) -> bool {
        self.begun
    }

    /// Removes the bytes that the socket took.
    pub fn advance(&mut self, written: usize) {
        self.bytes.drain(..written);
        self.written += written as u64;
        self.begun = !self.bytes.is_empty();
        if !self.begun {
            // A huge echo must not hold its memory for good.
            self.bytes.shrink_to(MAX_OWN_OUTPUT);
        }
    }

    /// Removes and returns the last frames, `length` bytes in all.
    pub fn split_off_end(&mut self, length: usize) -> Self {
        let at = self.bytes.len().saturating_sub(length);
        Self { bytes: self.bytes.split_off(at), ..Self::default() }
    }

    /// Moves all of `other` to the end.
    pub fn append(&mut self, mut other: Self) {
        self.begun |= self.bytes.is_empty() && other.begun;
        self.bytes.append(&mut other.bytes);
        self.written += other.written;
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
impl Output {
    /// All bytes left to write.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.iter().copied().collect()
    }

    /// Removes all bytes and returns them.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self).bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An output whose first byte was written.
    fn begun(bytes: &[u8]) -> Output {
        let mut output = Output::new();
        output.write_all(bytes).expect("memory takes all");
        output.advance(1);
        output
    }

    #[test]
    fn begun_until_all_is_written() {
        let mut output = begun(b"abc");
        assert_eq!((output.is_begun(), output.written(), output.len()), (true, 1, 2));
        output.advance(2);
        assert_eq!((output.is_begun(), output.written()), (false, 3));
        assert!(!Output::rest(Vec::new()).is_begun() && Output::rest(b"a".into()).is_begun());
    }

    #[test]
    fn append_adds_the_bytes_and_the_count() {
        let mut output = begun(b"ab");
        output.append(begun(b"cd"));
        assert_eq!((output.bytes(), output.written()), (b"bd".to_vec(), 2));
        assert_eq!(output.split_off_end(1).bytes(), b"d");
        assert_eq!((output.bytes(), output.is_begun()), (b"b".to_vec(), true));
    }

    #[test]
    fn append_to_an_empty_output_keeps_begun() {
        let mut output = Output::new();
        output.append(begun(b"ab"));
        assert!(output.is_begun());
    }
}
