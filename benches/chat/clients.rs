//! The clients of a run: one thread and one event loop for all of them. Any fault ends the run.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, SockRef, Socket, Type};
use test_client::excerpt;
use test_client::frame::{self, CLOSE, Frame};
use test_client::request::{ACCEPT, Response, opening};
use test_client::server::PAGE;

use crate::transcript::{FIRST_ID, Transcript};

/// The longest wait for an answer. Some servers send a Ping 20 s after the 101, which the clients here do not expect.
pub const DEADLINE: Duration = Duration::from_secs(18);

/// Some servers write the 101 before they add the connection to their list, so the senders wait this long.
pub const SETTLE: Duration = Duration::from_millis(200);

/// If no member receives anything for this long, the missing messages are lost.
const STALL: Duration = Duration::from_secs(5);

/// How long to wait for surplus messages after the last expected one.
const QUIET: Duration = Duration::from_millis(20);

/// Timers are exact to a millisecond, so the loop does not sleep for the last two before a message is due.
const TIMER_SLACK: Duration = Duration::from_millis(2);

/// One read empties a socket, or nearly.
const READ_BYTES: usize = 256 * 1024;

/// Over loopback, with segments of 64 KiB, the kernel buffers 2.6 MB for a peer that does not read. These two limits
/// reduce that to about 100 KB, so unread messages queue in the server soon and don't fill the kernel's memory.
#[cfg(unix)]
const STUCK_SEGMENT_BYTES: u32 = 1460;
const STUCK_RECEIVE_BYTES: usize = 16 * 1024;

/// What a client requests, and what it must receive after the response.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role {
    /// Joins the chat before it begins, and receives what the transcript says. The first members are the senders.
    Member,
    /// Joins while the members chat, and must receive the messages up to the last one. The first may be any that was
    /// sent after the 101, since some servers write that before they add the connection to their list.
    Newcomer,
    /// Joins, and never reads what follows the 101.
    Stuck,
    /// Joins, and leaves. If it sends a Close frame, it must receive one, and the end of the stream.
    Visitor,
    /// Requests `/lifecycle`, and must receive some of the steps.
    Viewer,
    /// Requests the page, again and again.
    Reader,
}

pub struct Clients {
    address: SocketAddr,
    poll: Poll,
    events: Events,
    chunk: Box<[u8]>,
    /// Their tokens are indices. The members come first, and the first of these are the senders.
    list: Vec<Client>,
    pub transcript: Transcript,
}

struct Client {
    stream: TcpStream,
    role: Role,
    request: String,
    is_connected: bool,
    /// When it had the response to its last request.
    answered: Option<Instant>,
    /// An incomplete response, or what followed it. What members receive goes to the transcript instead.
    received: Vec<u8>,
    /// The server has closed the connection, or said that it will.
    has_ended: bool,
}

impl Clients {
    /// No clients yet, of the server on this port of 127.0.0.1.
    pub fn new(port: u16, transcript: Transcript) -> Result<Clients> {
        let (poll, events) = (Poll::new()?, Events::with_capacity(4096));
        let (address, chunk) = ((Ipv4Addr::LOCALHOST, port).into(), vec![0; READ_BYTES].into());
        Ok(Clients { address, poll, events, chunk, list: Vec::new(), transcript })
    }

    /// Lets clients connect one after the other, each when the one before has its response.
    pub fn join(&mut self, role: Role, count: usize) -> Result<()> {
        for number in self.list.len()..self.list.len() + count {
            self.connect(role)?;
            self.wait_for_response(number)?;
        }
        Ok(())
    }

    /// Lets a client connect. It sends its request as soon as it has connected.
    pub fn connect(&mut self, role: Role) -> Result<()> {
        self.list.push(self.open(self.list.len(), role)?);
        Ok(())
    }

    fn open(&self, number: usize, role: Role) -> Result<Client> {
        let address = self.address;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if role == Role::Stuck {
            #[cfg(unix)]
            socket.set_tcp_mss(STUCK_SEGMENT_BYTES)?;
            socket.set_recv_buffer_size(STUCK_RECEIVE_BYTES)?;
        }
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        // It only begins to connect. If it can't, writing the request fails.
        let _ = socket.connect(&address.into());
        let mut stream = TcpStream::from_std(socket.into());
        self.poll.registry().register(&mut stream, Token(number), Interest::READABLE | Interest::WRITABLE)?;
        let request = match role {
            Role::Reader => format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n"),
            Role::Viewer => format!("GET /lifecycle HTTP/1.1\r\nHost: {address}\r\n\r\n"),
            _ => opening(address, &format!("/ws/{}", FIRST_ID + number)),
        };
        let (is_connected, answered, received, has_ended) = (false, None, Vec::new(), false);
        Ok(Client { stream, role, request, is_connected, answered, received, has_ended })
    }

    /// Returns when the client had its response.
    pub fn wait_for_response(&mut self, number: usize) -> Result<Instant> {
        self.wait_for(number, "a response", |client, _| client.answered.is_some())?;
        Ok(self.list[number].answered.expect("it has been waited for"))
    }

    /// Repeats a request, over a new connection if the server closes the old one.
    pub fn request_again(&mut self, number: usize) -> Result<()> {
        if self.list[number].has_ended {
            self.list[number] = self.open(number, self.list[number].role)?;
            return Ok(());
        }
        self.list[number].request()
    }

    /// Ends the visit of the only client, with the closing handshake or with a TCP reset.
    pub fn end_visit(&mut self, with_reset: bool) -> Result<()> {
        let stream = &mut self.list[0].stream;
        if with_reset {
            SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?;
        } else {
            stream.write_all(&frame::close(1000, "")).context("writing a Close frame")?;
            self.wait_for(0, "a Close frame and the end of the stream", |client, _| client.has_ended)?;
        }
        self.list.clear();
        Ok(())
    }

    /// When the last client had its response, if all have.
    pub fn all_answered(&self) -> Option<Instant> {
        let answered: Option<Vec<Instant>> = self.list.iter().map(|client| client.answered).collect();
        answered?.into_iter().max()
    }

    /// Waits until the server has added everyone to its lists. What viewers receive until then does not count.
    pub fn settle(&mut self) -> Result<()> {
        self.wait_until(Instant::now() + SETTLE)?;
        self.list.iter_mut().for_each(|client| client.received.clear());
        Ok(())
    }

    /// Makes a sender's next write.
    pub fn send(&mut self, sender: usize, when: Instant) -> Result<()> {
        let write = self.transcript.begin_write(sender, when);
        let mut rest = &write[..];
        while !rest.is_empty() {
            match self.list[sender].stream.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.turn(Instant::now() + STALL)?,
                Err(error) => return Err(error).with_context(|| format!("{}: writing", self.name(sender))),
            }
        }
        Ok(())
    }

    pub fn wait_until(&mut self, due: Instant) -> Result<()> {
        self.wait(due, |_| false).map(drop)
    }

    /// Waits until every member has received everything. Returns false after the deadline: being slow is no fault.
    pub fn wait_for_all(&mut self, deadline: Instant) -> Result<bool> {
        self.wait(deadline, |clients| clients.transcript.missing == 0)
    }

    /// Ends a run: checks that no member receives more than it must, and that the others received what they must. A server
    /// may limit the steps per second, so a viewer of a short run gets its first ones with the next second.
    pub fn finish(&mut self) -> Result<()> {
        // What is surplus may follow what was expected.
        for pause in [QUIET, Duration::ZERO] {
            let mut numbers = 0..self.list.len();
            numbers.try_for_each(|number| self.wait_for(number, "everything up to the end", Client::is_served))?;
            self.wait_until(Instant::now() + pause)?;
        }
        Ok(())
    }

    /// Waits until something is true of a client. After the deadline, it's a fault.
    fn wait_for(&mut self, number: usize, what: &str, is_true: impl Fn(&Client, &Transcript) -> bool) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        let is_there = self.wait(deadline, |clients| is_true(&clients.list[number], &clients.transcript))?;
        let received = &self.list[number].received;
        ensure!(is_there, "{}: expected {what} in {DEADLINE:?}, got \"{}\"", self.name(number), excerpt(received));
        Ok(())
    }

    /// Waits until something is true, or the time is over. Returns whether it is true.
    fn wait(&mut self, until: Instant, is_true: impl Fn(&Clients) -> bool) -> Result<bool> {
        while !is_true(self) {
            if Instant::now() >= until {
                return Ok(false);
            }
            self.turn(until)?;
        }
        Ok(true)
    }

    /// Waits for input, at most until then, and reads it. It's a fault if messages are missing and none arrives.
    pub fn turn(&mut self, mut until: Instant) -> Result<()> {
        let now = Instant::now();
        if self.transcript.missing > 0 {
            let stall = self.transcript.last_progress + STALL;
            ensure!(now < stall, "{}; none received anything for {STALL:?}", self.transcript.loss());
            until = until.min(stall);
        }
        let timeout = until.saturating_duration_since(now).saturating_sub(TIMER_SLACK);
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in &self.events {
            let Token(number) = event.token();
            let read = self.list[number].read(number, event, &mut self.chunk, &mut self.transcript);
            read.with_context(|| self.name(number))?;
        }
        Ok(())
    }

    /// The name of a client in faults.
    fn name(&self, number: usize) -> String {
        format!("client {} ({:?})", FIRST_ID + number, self.list[number].role)
    }
}

impl Client {
    /// Sends the request once the client has connected, and reads until the socket is empty.
    ///
    /// A read that does not fill `chunk` has emptied the socket, except at the end of the stream, which causes no event of
    /// its own.
    fn read(&mut self, number: usize, event: &Event, chunk: &mut [u8], transcript: &mut Transcript) -> Result<()> {
        if event.is_writable() && !self.is_connected {
            self.is_connected = true;
            self.request()?;
        }
        let mut is_empty = !event.is_readable() || (self.role == Role::Stuck && self.answered.is_some());
        while !is_empty {
            let count = match self.stream.read(chunk) {
                Ok(0) => return self.end(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                read => read.context("reading")?,
            };
            is_empty = count < chunk.len() && !event.is_read_closed();
            match self.answered {
                Some(_) if self.role == Role::Member => transcript.receive(number, &chunk[..count], Instant::now())?,
                Some(_) => self.received.extend_from_slice(&chunk[..count]),
                None => {
                    self.received.extend_from_slice(&chunk[..count]);
                    self.take_response()?;
                }
            }
        }
        Ok(())
    }

    fn request(&mut self) -> Result<()> {
        self.answered = None;
        self.stream.write_all(self.request.as_bytes()).context("writing a request")
    }

    /// Checks and removes the response, if all of it has been received.
    fn take_response(&mut self) -> Result<()> {
        let page_bytes = PAGE.len().to_string();
        let (status, name, value, body) = match self.role {
            Role::Reader => (200, "content-length", &*page_bytes, PAGE),
            Role::Viewer => (200, "content-type", "text/event-stream", ""),
            _ => (101, "sec-websocket-accept", ACCEPT, ""),
        };
        let Some(end) = self.received.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(()) };
        let (head, rest) = self.received.split_at(end + 4);
        let response = Response::parse(head).with_context(|| format!("not HTTP: \"{}\"", excerpt(head)))?;
        let got = (response.status, response.header(name).and_then(|header| header.split(';').next()));
        ensure!(got == (status, Some(value)), "expected {status} with {name}: {value}, got {got:?}");
        // A stream of steps says so too, but goes on.
        self.has_ended = self.role == Role::Reader && response.has_token("connection", "close");
        let Some((page, rest)) = rest.split_at_checked(body.len()) else { return Ok(()) };
        ensure!(page == body.as_bytes(), "expected the page's bytes, got others");
        let is_early = self.role == Role::Member && !rest.is_empty();
        ensure!(!is_early, "expected nothing after the 101, got \"{}\"", excerpt(rest));
        self.received = rest.to_vec();
        self.answered = Some(Instant::now());
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let is_close = Frame::parse(&self.received)
            .is_some_and(|(frame, length)| frame.is(CLOSE) && length == self.received.len());
        self.has_ended |= self.role == Role::Visitor && is_close;
        ensure!(self.has_ended, "unexpected end of the stream, after \"{}\"", excerpt(&self.received));
        Ok(())
    }

    /// Whether it has received what it must, if nothing more is sent.
    fn is_served(&self, transcript: &Transcript) -> bool {
        match self.role {
            Role::Newcomer => transcript.ends_with(&self.received),
            Role::Viewer => !self.received.is_empty(),
            _ => true,
        }
    }
}
