//! tungstenite's stream, without a socket.

use super::output::Output;
use std::io::{self, ErrorKind, Read, Write};

/// The stream that tungstenite reads from and writes to: memory.
pub(super) struct Memory<'a> {
    pub input: &'a [u8],
    pub output: &'a mut Output,
}

impl Read for Memory<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // `Ok(0)` would be the end of the stream; this one continues with the next input.
        if self.input.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { self.input.read(buffer) }
    }
}

impl Write for Memory<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
