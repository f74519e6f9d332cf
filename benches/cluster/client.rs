//! One client: the handshakes, and then a socket that never blocks.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use test_client::frame;
use test_client::request::{ACCEPT, opening};

use crate::tally::Tally;
use crate::wire::{Incoming, Protocol, Wire};

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// One read empties a socket, or nearly.
const READ_BYTES: usize = 256 * 1024;

pub struct Client {
    pub stream: TcpStream,
    /// What has been read and not decoded, in its first `filled` bytes.
    buffer: Vec<u8>,
    filled: usize,
    /// What did not fit into the socket.
    unsent: Vec<u8>,
    /// When it was connected, while it is.
    pub open_since: Option<Instant>,
    /// The close code, or `None`, of each time the server disconnected this client.
    pub closed: Vec<Option<u16>>,
    pub tally: Tally,
}

impl Client {
    /// Connects, and does the handshakes.
    pub fn connect(port: u16, protocol: Protocol, number: usize, senders: usize, within: Duration) -> io::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(within))?;

        stream.write_all(opening(address, &protocol.path(number)).as_bytes())?;
        let mut read = Vec::new();
        read_until(&mut stream, &mut read, |read| {
            let end = read.windows(END_OF_HEAD.len()).position(|bytes| bytes == END_OF_HEAD)?;
            let head = String::from_utf8_lossy(&read[..end]);
            Some((end + END_OF_HEAD.len(), head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT)))
        })?;
        if protocol == Protocol::SocketIo {
            let packet = |start| {
                move |read: &[u8]| frame::unmasked(read).map(|(length, payload)| (length, payload.starts_with(start)))
            };
            // Engine.IO's open packet; the request to join the main namespace; its confirmation.
            read_until(&mut stream, &mut read, packet(b"0{"))?;
            stream.write_all(&frame::text("40"))?;
            read_until(&mut stream, &mut read, packet(b"40{"))?;
        }
        stream.set_nonblocking(true)?;
        let filled = read.len();
        read.resize(READ_BYTES, 0);
        Ok(Self {
            stream: TcpStream::from_std(stream),
            buffer: read,
            filled,
            unsent: Vec::new(),
            open_since: Some(Instant::now()),
            closed: Vec::new(),
            tally: Tally::new(senders),
        })
    }

    /// Sends the frames that `encode` appends, as soon as they fit into the socket.
    pub fn send(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let must_wait = !self.unsent.is_empty();
        encode(&mut self.unsent);
        if !must_wait {
            self.write_unsent();
        }
    }

    /// Writes as much as fits. A connection that has ended is noticed when reading.
    pub fn write_unsent(&mut self) {
        let mut sent = 0;
        while sent < self.unsent.len() {
            match self.stream.write(&self.unsent[sent..]) {
                Ok(count) => sent += count,
                Err(_) => break,
            }
        }
        self.unsent.drain(..sent);
    }

    /// Reads once. Returns false if the socket is empty, or the connection closed.
    pub fn read(&mut self) -> bool {
        if self.open_since.is_none() {
            return false;
        }
        match self.stream.read(&mut self.buffer[self.filled..]) {
            Ok(count @ 1..) => {
                self.filled += count;
                return true;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => self.close(None),
        }
        false
    }

    /// Passes on every message that has been read. Answers pings.
    pub fn take_messages(&mut self, wire: &Wire, mut take: impl FnMut(usize, u64) -> io::Result<()>) -> io::Result<()> {
        let mut taken = 0;
        while let Some((incoming, length)) = wire.first_of(&self.buffer[taken..self.filled]) {
            match incoming {
                Incoming::Message { sender, sequence } => {
                    take(sender, sequence)?;
                    self.tally.receive(sender, sequence);
                }
                Incoming::Ping(pong) => self.send(|unsent| unsent.extend(pong)),
                Incoming::Close(code) => {
                    self.close(code);
                    break;
                }
                Incoming::Unexpected => {
                    let seen = self.buffer[taken..taken + length.min(150)].escape_ascii();
                    return Err(io::Error::other(format!("expected a message, got \"{seen}\"")));
                }
            }
            taken += length;
        }
        self.buffer.copy_within(taken..self.filled, 0);
        self.filled -= taken;
        Ok(())
    }

    fn close(&mut self, code: Option<u16>) {
        self.open_since = None;
        self.closed.push(code);
        // Fails only if the server has ended the connection already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Reads until `find` finds something, and removes it. It returns the length, and whether that is what was expected.
fn read_until(
    stream: &mut std::net::TcpStream,
    read: &mut Vec<u8>,
    find: impl Fn(&[u8]) -> Option<(usize, bool)>,
) -> io::Result<()> {
    let mut chunk = [0; 4096];
    loop {
        match find(read) {
            Some((length, true)) => {
                read.drain(..length);
                return Ok(());
            }
            Some((_, false)) => break,
            None => {}
        }
        match stream.read(&mut chunk)? {
            0 => break,
            count => read.extend_from_slice(&chunk[..count]),
        }
    }
    Err(io::Error::other(format!("the handshake failed: \"{}\"", read.escape_ascii())))
}
