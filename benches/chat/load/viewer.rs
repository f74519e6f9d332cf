//! A viewer of `GET /lifecycle`: reads the event stream and discards it, which costs the load little.

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream as StdTcpStream;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::fault::Fault;

pub struct Viewer {
    stream: TcpStream,
    received: usize,
}

impl Viewer {
    pub fn register(stream: StdTcpStream, registry: &Registry, token: Token) -> io::Result<Viewer> {
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        registry.register(&mut stream, token, Interest::READABLE)?;
        Ok(Viewer { stream, received: 0 })
    }

    /// Empties the socket.
    pub fn read(&mut self, number: usize, chunk: &mut [u8]) -> Result<(), Fault> {
        loop {
            match self.stream.read(chunk) {
                Ok(0) => return Err(Fault::Viewer { viewer: number, seen: "the end of the stream".to_owned() }),
                Ok(count) => self.received += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(Fault::Viewer { viewer: number, seen: error.to_string() }),
            }
        }
    }

    pub fn clear(&mut self) {
        self.received = 0;
    }

    /// Checks that the viewer received something since it was cleared.
    pub fn check(&self, number: usize) -> Result<(), Fault> {
        match self.received {
            0 => Err(Fault::Viewer { viewer: number, seen: "nothing".to_owned() }),
            _ => Ok(()),
        }
    }
}
