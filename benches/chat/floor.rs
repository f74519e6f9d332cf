//! The floor: the least a chat server can do. Nearly all its cost is that of the kernel's sockets, so another server's
//! distance from it is the cost of that server's own work.
//!
//! Rules:
//! - One thread, one event loop. A *turn* reads each ready socket once, reframes the messages, and then writes once to
//!   each socket.
//! - It validates nothing, and knows only what the clients of this benchmark send: two requests, text frames, and the
//!   Close frame.
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
#[cfg(target_os = "linux")]
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sha1::{Digest, Sha1};
use slab::Slab;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use socket2::{Domain, Socket, Type};
use test_client::frame;
use test_client::server::{PAGE, page_head};

const LISTENER: Token = Token(usize::MAX);
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Connections that wait to be accepted: as many as Linux allows by default.
const LISTEN_QUEUE: i32 = 4096;

/// One read empties a socket, or nearly.
const READ_BYTES: usize = 256 * 1024;
const MAX_BACKLOG: usize = 16 * 1024 * 1024;

/// The response to `GET /`.
static PAGE_RESPONSE: LazyLock<String> =
    LazyLock::new(|| page_head("HTTP/1.1", "date: Thu, 01 Jan 1970 00:00:00 GMT\r\n") + PAGE);

const TEXT: u8 = frame::FIN | frame::TEXT;
const CLOSE: u8 = frame::FIN | frame::CLOSE;

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
    let mut peers = Slab::new();
    // The frames to deliver, from the byte that the slowest peer needs next.
    let mut log = Vec::new();
    let mut chunk = vec![0; READ_BYTES];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            let Token(slot) = event.token();
            if event.token() == LISTENER {
                accept(&listener, &mut peers, poll.registry())?;
            } else if peers.get_mut(slot).is_some_and(|peer: &mut Peer| !peer.read(event, &mut log, &mut chunk)) {
                peers.remove(slot);
            }
        }
        if !log.is_empty() {
            peers.retain(|_, peer| peer.write_pending(&log));
            trim(&mut log, &mut peers);
        }
    }
}

/// Removes what no peer needs, unless moving the rest would cost more than that frees.
fn trim(log: &mut Vec<u8>, peers: &mut Slab<Peer>) {
    let members = peers.iter().filter(|(_, peer)| peer.prefix.is_some());
    let slowest = members.map(|(_, peer)| peer.place).min().unwrap_or(log.len());
    if slowest * 2 >= log.len() {
        log.drain(..slowest);
        peers.iter_mut().for_each(|(_, peer)| peer.place = peer.place.saturating_sub(slowest));
    }
}

fn accept(listener: &TcpListener, peers: &mut Slab<Peer>, registry: &Registry) -> Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            accepted => accepted?.0,
        };
        stream.set_nodelay(true)?;
        let entry = peers.vacant_entry();
        registry.register(&mut stream, Token(entry.key()), Interest::READABLE | Interest::WRITABLE)?;
        entry.insert(Peer { stream, prefix: None, unfinished: Vec::new(), place: 0, is_full: false });
        // An `accept` that finds the queue empty takes 3 µs.
        #[cfg(target_os = "linux")]
        if poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&Timespec::default()))? == 0 {
            return Ok(());
        }
    }
}

/// One connection.
struct Peer {
    stream: TcpStream,
    /// `Client #42 says: `, once the opening handshake is done.
    prefix: Option<Box<str>>,
    /// The start of an incomplete frame or request.
    unfinished: Vec<u8>,
    /// The offset in the log of what this peer needs next.
    place: usize,
    /// Its socket was full at the last write, and has not become writable since.
    is_full: bool,
}

impl Peer {
    /// Reads until the socket is empty. Returns whether the connection stays open.
    ///
    /// A read that does not fill `chunk` has emptied the socket and is the last, except at the end of the stream, which
    /// causes no event of its own.
    fn read(&mut self, event: &Event, log: &mut Vec<u8>, chunk: &mut [u8]) -> bool {
        self.is_full &= !event.is_writable();
        let mut is_empty = !event.is_readable();
        while !is_empty {
            let count = match self.stream.read(chunk) {
                Ok(count @ 1..) => count,
                end => return end.is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
            };
            let input = [&self.unfinished, &chunk[..count]].concat();
            let Some(rest) = self.take(&input, log) else { return false };
            self.unfinished = rest.to_vec();
            is_empty = count < chunk.len() && !event.is_read_closed();
        }
        true
    }

    /// Takes the request or frames at the start of `input`. Returns the rest, or `None` to close the connection.
    fn take<'a>(&mut self, mut input: &'a [u8], log: &mut Vec<u8>) -> Option<&'a [u8]> {
        if self.prefix.is_none() {
            let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") else { return Some(input) };
            self.answer(str::from_utf8(&input[..end]).ok()?, log)?;
            input = &input[end + 4..];
        }
        while let Some((first, payload, rest)) = frame::split(input) {
            match first {
                TEXT => append_text(log, self.prefix.as_deref()?, payload),
                CLOSE => {
                    self.echo_close(payload.collect());
                    return None;
                }
                _ => {}
            }
            input = rest;
        }
        Some(input)
    }

    /// Answers with the page, or with the 101 (RFC 6455 4.2.2). Takes the place in the log before it writes the 101.
    fn answer(&mut self, request: &str, log: &[u8]) -> Option<()> {
        if request.starts_with("GET / ") {
            // An empty socket has room for all of it.
            return self.stream.write_all(PAGE_RESPONSE.as_bytes()).ok();
        }
        let id = request.strip_prefix("GET /ws/")?.split(' ').next()?;
        let key = request.split("Sec-WebSocket-Key: ").nth(1)?.lines().next()?;
        let accept = BASE64_STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize());
        self.prefix = Some(format!("Client #{id} says: ").into());
        self.place = log.len();
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        self.stream.write_all(response.as_bytes()).ok()
    }

    /// Echoes the received Close, unless the socket is full: a frame may be half written then.
    fn echo_close(&mut self, payload: Vec<u8>) {
        if !self.is_full {
            // The Close and the end of TCP are one packet.
            #[cfg(target_os = "linux")]
            let _ = SockRef::from(&self.stream).set_tcp_cork(true);
            // If the peer has already gone, it needs no Close.
            let _ = self.stream.write(&frame::from_server(CLOSE, &payload));
        }
    }

    /// Writes, once, what this peer has not been sent. Returns whether the connection stays open.
    fn write_pending(&mut self, log: &[u8]) -> bool {
        if self.prefix.is_none() || self.place == log.len() {
            return true;
        }
        if !self.is_full {
            match self.stream.write(&log[self.place..]) {
                Ok(count) => self.place += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
            self.is_full = self.place < log.len();
        }
        log.len() - self.place <= MAX_BACKLOG
    }
}

fn append_text(log: &mut Vec<u8>, prefix: &str, payload: impl ExactSizeIterator<Item = u8>) {
    frame::append_header(log, TEXT, None, (prefix.len() + payload.len()) as u64);
    log.extend(prefix.as_bytes());
    log.extend(payload);
}
