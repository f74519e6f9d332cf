//! The clients of a run: one thread and one event loop for all of them. Any fault ends the run.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::client::{Client, DEADLINE, END_OF_HEAD, Request, address};
use crate::transcript::{FIRST_ID, Transcript};

/// Some servers write the 101 before they add the connection to their list, so the senders wait this long.
pub const SETTLE: Duration = Duration::from_millis(200);

/// One read empties a socket, or nearly.
const READ_BYTES: usize = 256 * 1024;

/// If no client receives anything for this long, the missing messages are lost.
const STALL: Duration = Duration::from_secs(5);

/// How long to wait for surplus messages after the last expected one.
const QUIET: Duration = Duration::from_millis(20);

/// How long to wait for what onlookers must receive. A server may show a bounded number of steps per second, so a
/// viewer of a short run gets its first ones with the next second.
const PATIENCE: Duration = Duration::from_secs(2);

/// Timers are exact to a millisecond, so the last ones before a message is due are spent without sleeping.
const TIMER_SLACK: Duration = Duration::from_millis(2);

/// Newcomers that begin to connect before the others' messages are read again.
const CONNECTS_PER_TURN: usize = 50;

pub struct Room {
    port: u16,
    poll: Poll,
    events: Events,
    chunk: Box<[u8]>,
    /// The clients that chat. The first of them are the senders.
    members: Vec<TcpStream>,
    onlookers: Vec<Onlooker>,
    /// The requests of onlookers that have not begun to connect.
    waiting: VecDeque<Request>,
    pub transcript: Transcript,
}

/// A connection that only receives. A viewer of `/lifecycle` must receive something. A newcomer joins while others
/// chat, and must receive the messages up to the last one. The first may be any that was sent after the 101, since some
/// servers write that before they add the connection to their list.
struct Onlooker {
    stream: TcpStream,
    request: Request,
    has_asked: bool,
    /// When it had the head of the response.
    opened: Option<Instant>,
    received: Vec<u8>,
}

impl Room {
    /// Lets clients that have their 101 chat.
    pub fn new(port: u16, clients: Vec<Client>, transcript: Transcript) -> Result<Room> {
        let mut room = Room {
            port,
            poll: Poll::new()?,
            events: Events::with_capacity(4096),
            chunk: vec![0; READ_BYTES].into(),
            members: Vec::with_capacity(clients.len()),
            onlookers: Vec::new(),
            waiting: VecDeque::new(),
            transcript,
        };
        for client in clients {
            let rest = client.buffer();
            ensure!(rest.is_empty(), "expected nothing after the 101, got \"{}\"", rest.escape_ascii());
            let stream = client.into_inner();
            stream.set_nonblocking(true)?;
            let member = room.register(TcpStream::from_std(stream))?;
            room.members.push(member);
        }
        Ok(room)
    }

    /// Lets onlookers connect from now on, as fast as possible while the others' messages are read.
    pub fn admit(&mut self, onlookers: impl IntoIterator<Item = Request>) {
        self.waiting.extend(onlookers);
    }

    /// Tokens number the members first, then the onlookers.
    fn register(&self, mut stream: TcpStream) -> Result<TcpStream> {
        let token = Token(self.members.len() + self.onlookers.len());
        self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(stream)
    }

    /// When the last of the onlookers got its response, if all have.
    pub fn all_opened(&self) -> Option<Instant> {
        let opened: Option<Vec<Instant>> = self.onlookers.iter().map(|onlooker| onlooker.opened).collect();
        opened.filter(|_| self.waiting.is_empty())?.into_iter().max()
    }

    /// Waits until the server has added everyone to its lists. What onlookers receive until then does not count.
    pub fn settle(&mut self) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while !self.waiting.is_empty() || self.onlookers.iter().any(|onlooker| onlooker.opened.is_none()) {
            ensure!(Instant::now() < deadline, "expected a response to each onlooker in {DEADLINE:?}");
            self.turn(deadline)?;
        }
        self.wait_until(Instant::now() + SETTLE)?;
        self.onlookers.iter_mut().for_each(|onlooker| onlooker.received.clear());
        Ok(())
    }

    /// Makes a sender's next write.
    pub fn send(&mut self, sender: usize, when: Instant) -> Result<()> {
        let write = self.transcript.begin_write(sender, when);
        let (mut rest, start) = (&write[..], Instant::now());
        while !rest.is_empty() {
            match self.members[sender].write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.turn(self.stall_after(start)?)?,
                Err(error) => return Err(error).with_context(|| format!("client {}: writing", FIRST_ID + sender)),
            }
        }
        Ok(())
    }

    pub fn wait_until(&mut self, due: Instant) -> Result<()> {
        while Instant::now() < due {
            self.turn(due)?;
        }
        Ok(())
    }

    /// Waits until every client has received everything. Returns false after the deadline: being slow is no fault.
    pub fn wait_for_all(&mut self, deadline: Instant) -> Result<bool> {
        let start = Instant::now();
        while self.transcript.missing > 0 {
            if Instant::now() > deadline {
                return Ok(false);
            }
            self.turn(deadline.min(self.stall_after(start)?))?;
        }
        Ok(true)
    }

    /// The time by which some client must receive something. It's a fault if that has passed.
    fn stall_after(&self, start: Instant) -> Result<Instant> {
        let stall = self.transcript.last_received.max(start) + STALL;
        ensure!(Instant::now() < stall, "{}; none received anything for {STALL:?}", self.transcript.loss());
        Ok(stall)
    }

    /// Ends a run: checks that no client receives more than it must, and that every onlooker received what it must.
    pub fn finish(&mut self) -> Result<()> {
        self.wait_until(Instant::now() + QUIET)?;
        let patience = Instant::now() + PATIENCE;
        while let Some(onlooker) = self.onlookers.iter().find(|onlooker| !onlooker.is_served(&self.transcript)) {
            let Onlooker { request, received, .. } = onlooker;
            let got = received.escape_ascii();
            ensure!(Instant::now() < patience, "{request:?}: expected everything up to the end, got \"{got}\"");
            self.turn(patience)?;
        }
        Ok(())
    }

    /// Waits for input, at most until then, and reads it. Instead of waiting, lets some waiting onlookers connect.
    fn turn(&mut self, until: Instant) -> Result<()> {
        let mut timeout = until.saturating_duration_since(Instant::now()).saturating_sub(TIMER_SLACK);
        for request in self.waiting.drain(..self.waiting.len().min(CONNECTS_PER_TURN)).collect::<Vec<_>>() {
            let stream = self.register(TcpStream::connect(address(self.port))?)?;
            self.onlookers.push(Onlooker { stream, request, has_asked: false, opened: None, received: Vec::new() });
            timeout = Duration::ZERO;
        }
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        let Room { port, events, chunk, members, onlookers, transcript, .. } = self;
        for event in &*events {
            let Token(number) = event.token();
            if let Some(member) = members.get_mut(number) {
                read(member, event, chunk, |bytes| transcript.receive(number, bytes, Instant::now()))
                    .with_context(|| format!("client {}", FIRST_ID + number))?;
            } else {
                let onlooker = &mut onlookers[number - members.len()];
                onlooker.ready(event, chunk, *port).with_context(|| format!("{:?}", onlooker.request))?;
            }
        }
        Ok(())
    }
}

impl Onlooker {
    fn ready(&mut self, event: &Event, chunk: &mut [u8], port: u16) -> Result<()> {
        if event.is_writable() && !self.has_asked {
            self.has_asked = true;
            self.stream.write_all(&self.request.bytes(port)).context("connecting")?;
        }
        read(&mut self.stream, event, chunk, |bytes| {
            self.received.extend_from_slice(bytes);
            Ok(())
        })?;
        let mut four_bytes = self.received.windows(END_OF_HEAD.len());
        if self.opened.is_none()
            && let Some(end) = four_bytes.position(|bytes| bytes == END_OF_HEAD)
        {
            let rest = self.received.split_off(end + END_OF_HEAD.len());
            self.request.check(&std::mem::replace(&mut self.received, rest))?;
            self.opened = Some(Instant::now());
        }
        Ok(())
    }

    fn is_served(&self, transcript: &Transcript) -> bool {
        match self.request {
            Request::Chat(_) => transcript.ends_with(&self.received),
            _ => !self.received.is_empty(),
        }
    }
}

/// Reads until the socket is empty. A read that does not fill the chunk has emptied it, except at the end of the
/// stream, which causes no event of its own.
fn read(
    socket: &mut TcpStream,
    event: &Event,
    chunk: &mut [u8],
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut is_empty = !event.is_readable();
    while !is_empty {
        match socket.read(chunk) {
            Ok(0) => bail!("expected messages, got the end of the stream"),
            Ok(count) => {
                take(&chunk[..count])?;
                is_empty = count < chunk.len() && !event.is_read_closed();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => is_empty = true,
            Err(error) => return Err(error).context("reading"),
        }
    }
    Ok(())
}
