//! A viewer of `GET /lifecycle`: reads the event stream and discards it, which costs the load little.

use std::io::{ErrorKind, Read};

use mio::net::TcpStream;

use super::fault::Fault;

pub struct Viewer {
    pub stream: TcpStream,
    pub received: usize,
}

impl Viewer {
    /// Empties the socket.
    pub fn read(&mut self, number: usize, chunk: &mut [u8]) -> Result<(), Fault> {
        let seen = loop {
            match self.stream.read(chunk) {
                Ok(0) => break "the end of the stream".to_owned(),
                Ok(count) => self.received += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => break error.to_string(),
            }
        };
        Err(Fault::Viewer { viewer: number, seen })
    }
}
