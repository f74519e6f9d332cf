//! The floor: the least a chat server can do. Nearly all its cost is that of the kernel's sockets, so another server's
//! distance from it is the cost of that server's own work.
//!
//! Rules:
//! - One thread, one event loop. A *turn* reads each ready socket once, reframes the messages, and then writes once to
//!   each socket.
//! - It does not validate frames: a client that violates the protocol may get garbage.
//! - It serves the page too: the bytes that switchboard serves, except for the date.
//! - It still loses nothing: a client whose socket is full keeps its place in the log. A client more than
//!   [`MAX_BACKLOG`] behind is dropped, so the scenario with stuck clients has a floor too.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use sha1::{Digest, Sha1};
use slab::Slab;
use socket2::{Domain, Socket, Type};
use test_client::server::{PAGE, PAGE_POLICY};

const LISTENER: Token = Token(usize::MAX);
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Connections that wait to be accepted: as many as Linux allows by default.
const LISTEN_QUEUE: i32 = 4096;

/// One read empties a socket, or nearly.
const READ_BYTES: usize = 256 * 1024;
const MAX_BACKLOG: usize = 16 * 1024 * 1024;

/// The response to `GET /`.
static PAGE_RESPONSE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncache-control: no-cache\r\n\
         x-content-type-options: nosniff\r\ncontent-security-policy: {PAGE_POLICY}\r\n\
         content-length: {}\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n{PAGE}",
        PAGE.len()
    )
});

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

/// Serves until it is killed.
pub fn serve(port: u16) -> Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(LISTEN_QUEUE)?;
    socket.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(socket.into());
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(4096);
    let mut floor = Floor {
        registry: poll.registry().try_clone()?,
        peers: Slab::new(),
        log: Log::default(),
        chunk: vec![0; READ_BYTES].into_boxed_slice(),
    };
    loop {
        if let Err(error) = poll.poll(&mut events, None) {
            if error.kind() == ErrorKind::Interrupted {
                continue;
            }
            return Err(error.into());
        }
        floor.turn(&listener, &events)?;
    }
}

struct Floor {
    registry: Registry,
    peers: Slab<Peer>,
    log: Log,
    chunk: Box<[u8]>,
}

/// One connection.
struct Peer {
    stream: TcpStream,
    /// `Client #42 says: `, once the opening handshake is done.
    prefix: Option<Box<str>>,
    /// The start of an incomplete frame or request.
    unfinished: Vec<u8>,
    /// This peer's offset in the log, counted from the first byte ever appended.
    place: usize,
    /// Its socket was full at the last write, and has not become writable since.
    full: bool,
}

/// The frames to deliver, from the byte that the slowest peer needs next.
#[derive(Default)]
struct Log {
    bytes: Vec<u8>,
    /// The number of bytes removed from the front so far.
    removed: usize,
}

impl Log {
    fn end(&self) -> usize {
        self.removed + self.bytes.len()
    }

    fn since(&self, place: usize) -> &[u8] {
        &self.bytes[place - self.removed..]
    }

    /// Appends a text frame: the prefix and the unmasked payload.
    fn append_text(&mut self, prefix: &str, masked: &[u8], key: [u8; 4]) {
        let length = prefix.len() + masked.len();
        self.bytes.push(TEXT);
        match length {
            0..=125 => self.bytes.push(length as u8),
            126..=0xFFFF => {
                self.bytes.push(126);
                self.bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                self.bytes.push(127);
                self.bytes.extend((length as u64).to_be_bytes());
            }
        }
        self.bytes.extend(prefix.as_bytes());
        self.bytes.extend(masked.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k));
    }

    /// Removes what precedes `place`, unless moving the rest would cost more than that frees.
    fn trim(&mut self, place: usize) {
        let count = place - self.removed;
        if count * 2 >= self.bytes.len() {
            self.bytes.drain(..count);
            self.removed += count;
        }
    }
}

impl Floor {
    fn turn(&mut self, listener: &TcpListener, events: &Events) -> Result<()> {
        for event in events {
            match event.token() {
                LISTENER => self.accept(listener)?,
                Token(slot) => self.ready(slot, event),
            }
        }
        self.deliver();
        Ok(())
    }

    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nodelay(true)?;
            let entry = self.peers.vacant_entry();
            self.registry.register(&mut stream, Token(entry.key()), Interest::READABLE)?;
            entry.insert(Peer { stream, prefix: None, unfinished: Vec::new(), place: 0, full: false });
        }
    }

    fn ready(&mut self, slot: usize, event: &Event) {
        let Some(peer) = self.peers.get_mut(slot) else {
            return; // It was removed earlier in this turn.
        };
        if event.is_writable() {
            peer.full = false;
        }
        if event.is_readable() && !peer.read(&mut self.log, &mut self.chunk, event.is_read_closed()) {
            self.peers.remove(slot);
        }
    }

    /// Ends a turn: one write to each writable socket with pending messages.
    fn deliver(&mut self) {
        let end = self.log.end();
        if end == self.log.removed {
            return;
        }
        let mut slowest = end;
        self.peers.retain(|slot, peer| {
            if peer.prefix.is_none() {
                return true;
            }
            let keeps = peer.write_pending(slot, &self.log, &self.registry) && end - peer.place <= MAX_BACKLOG;
            if keeps {
                slowest = slowest.min(peer.place);
            }
            keeps
        });
        self.log.trim(slowest);
    }
}

impl Peer {
    /// Reads until the socket is empty. Returns whether the connection stays open.
    ///
    /// A read that does not fill `chunk` has emptied the socket and is the last, except at the end of the stream
    /// (`closed`), which causes no event of its own.
    fn read(&mut self, log: &mut Log, chunk: &mut [u8], closed: bool) -> bool {
        loop {
            let count = match self.stream.read(chunk) {
                Ok(0) => return false,
                Ok(count) => count,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            };
            if !self.take(log, &chunk[..count]) {
                return false;
            }
            if count < chunk.len() && !closed {
                return true;
            }
        }
    }

    fn take(&mut self, log: &mut Log, bytes: &[u8]) -> bool {
        let mut all = std::mem::take(&mut self.unfinished);
        let input = if all.is_empty() {
            bytes
        } else {
            all.extend_from_slice(bytes);
            &all
        };
        let used = self.consume(log, input);
        self.unfinished = used.map_or_else(Vec::new, |used| input[used..].to_vec());
        used.is_some()
    }

    /// Handles the request or frames at the start of `bytes`. Returns the number of bytes used, or `None` if the
    /// connection is to be closed.
    fn consume(&mut self, log: &mut Log, bytes: &[u8]) -> Option<usize> {
        let mut used = 0;
        if self.prefix.is_none() {
            let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                return Some(0);
            };
            used = head + 4;
            self.answer(log, std::str::from_utf8(&bytes[..head]).ok()?)?;
        }
        let prefix = self.prefix.as_deref().unwrap_or_default();
        while let Some(frame) = Frame::first_of(&bytes[used..]) {
            match frame.first_byte {
                TEXT => log.append_text(prefix, frame.masked, frame.key),
                CLOSE => {
                    self.echo_close(&frame);
                    return None;
                }
                _ => {}
            }
            used += frame.length;
        }
        Some(used)
    }

    /// Answers with the page, or with the opening handshake (RFC 6455 4.2.2). Takes the place in the log before it writes the 101.
    fn answer(&mut self, log: &Log, request: &str) -> Option<()> {
        if request.starts_with("GET / ") {
            // An empty socket has room for all of it.
            return self.stream.write_all(PAGE_RESPONSE.as_bytes()).ok();
        }
        let id = request.strip_prefix("GET /ws/")?.split(' ').next()?;
        let key = request.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
        })?;
        let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
        let accept = BASE64_STANDARD.encode(hash);
        self.prefix = Some(format!("Client #{id} says: ").into_boxed_str());
        self.place = log.end();
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        self.stream.write_all(response.as_bytes()).ok()
    }

    /// Echoes the received Close, unless the socket is full: a frame may be half written then.
    fn echo_close(&mut self, close: &Frame) {
        if self.full {
            return;
        }
        let mut echo = vec![CLOSE, close.masked.len() as u8];
        echo.extend(close.masked.iter().zip(close.key).map(|(b, k)| b ^ k));
        // If the peer has already gone, it needs no Close.
        let _ = self.stream.write(&echo);
    }

    /// Writes, once, what this peer has not been sent. Returns whether the connection stays open.
    fn write_pending(&mut self, slot: usize, log: &Log, registry: &Registry) -> bool {
        let rest = log.since(self.place);
        if self.full || rest.is_empty() {
            return true;
        }
        match self.stream.write(rest) {
            Ok(count) => self.place += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        if self.place == log.end() {
            return true;
        }
        self.full = true;
        let both = Interest::READABLE | Interest::WRITABLE;
        registry.reregister(&mut self.stream, Token(slot), both).is_ok()
    }
}

/// A complete frame from a client, still masked.
struct Frame<'a> {
    first_byte: u8,
    key: [u8; 4],
    masked: &'a [u8],
    /// Of header and payload.
    length: usize,
}

impl<'a> Frame<'a> {
    fn first_of(bytes: &'a [u8]) -> Option<Frame<'a>> {
        let (payload_length, header) = match bytes.get(1)? & 0x7F {
            126 => (u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into(), 8),
            127 => {
                let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
                (usize::try_from(length).ok()?, 14)
            }
            short => (short.into(), 6),
        };
        Some(Frame {
            first_byte: bytes[0],
            key: bytes.get(header - 4..header)?.try_into().ok()?,
            masked: bytes.get(header..)?.get(..payload_length)?,
            length: header + payload_length,
        })
    }
}
