//! The clients of a run: one thread and one event loop for all of them. Any fault ends the run.

use std::io::{ErrorKind, Read, Write};
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::client::{Client, END_OF_HEAD, Request, address};
use crate::transcript::{FIRST_ID, Transcript};

/// Some servers write the 101 before they add the connection to their list, so the senders wait this long.
pub const SETTLE: Duration = Duration::from_millis(200);

/// One read empties a socket, or nearly.
const READ_BYTES: usize = 256 * 1024;

/// If no client receives anything for this long, the missing messages are lost.
const STALL: Duration = Duration::from_secs(5);

/// How long to wait for surplus messages after the last expected one.
const QUIET: Duration = Duration::from_millis(20);

/// How long to wait for what onlookers must receive. A server may show a bounded number of steps per second, so a viewer of a
/// short run gets its first ones with the next second.
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
    /// The IDs of those that will join while the others chat.
    newcomers: Range<usize>,
    pub transcript: Transcript,
}

/// A connection that only receives. A viewer of `/lifecycle` must receive something. A newcomer joins while others chat, and must
/// receive the messages up to the last one. The first may be any that was sent after the 101, since some servers write that before
/// they add the connection to their list.
struct Onlooker {
    stream: TcpStream,
    request: Request,
    has_asked: bool,
    /// When it had the head of the response.
    opened: Option<Instant>,
    received: Vec<u8>,
}

impl Room {
    /// Lets clients that have their 101 chat, in the order of their IDs.
    pub fn new(port: u16, members: Vec<TcpStream>, transcript: Transcript) -> Result<Room> {
        let mut room = Room {
            port,
            poll: Poll::new()?,
            events: Events::with_capacity(4096),
            chunk: vec![0; READ_BYTES].into(),
            members: Vec::with_capacity(members.len()),
            onlookers: Vec::new(),
            newcomers: 0..0,
            transcript,
        };
        for member in members {
            let member = room.register(member)?;
            room.members.push(member);
        }
        Ok(room)
    }

    /// Connects viewers of `/lifecycle`.
    pub fn add_viewers(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let stream = Client::connect(self.port)?.open(Request::Steps)?.reader.into_inner();
            stream.set_nonblocking(true)?;
            self.add_onlooker(TcpStream::from_std(stream), Request::Steps, Some(Instant::now()))?;
        }
        Ok(())
    }

    /// Lets newcomers connect from now on, as fast as possible while the others' messages are read.
    pub fn admit(&mut self, count: usize) {
        let first = FIRST_ID + self.members.len();
        self.newcomers = first..first + count;
    }

    fn add_onlooker(&mut self, stream: TcpStream, request: Request, opened: Option<Instant>) -> Result<()> {
        let stream = self.register(stream)?;
        let has_asked = opened.is_some();
        self.onlookers.push(Onlooker { stream, request, has_asked, opened, received: Vec::new() });
        Ok(())
    }

    /// Tokens number the members first, then the onlookers.
    fn register(&self, mut stream: TcpStream) -> Result<TcpStream> {
        let token = Token(self.members.len() + self.onlookers.len());
        self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(stream)
    }

    /// When the last of the newcomers got its 101, if all have.
    pub fn all_opened(&self) -> Option<Instant> {
        let opened: Option<Vec<Instant>> = self.onlookers.iter().map(|onlooker| onlooker.opened).collect();
        opened.filter(|_| self.newcomers.is_empty())?.into_iter().max()
    }

    /// Waits until the server has added everyone to its lists. What viewers receive until then does not count.
    pub fn settle(&mut self) -> Result<()> {
        self.wait_until(Instant::now() + SETTLE)?;
        self.onlookers.iter_mut().for_each(|onlooker| onlooker.received.clear());
        Ok(())
    }

    /// Makes a sender's next write.
    pub fn send(&mut self, sender: usize, when: Instant) -> Result<()> {
        let write = self.transcript.begin_write(sender, when);
        let mut rest = &write[..];
        while !rest.is_empty() {
            match self.members[sender].write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.turn(Instant::now() + STALL)?,
                Err(error) => return Err(error).with_context(|| format!("client {sender}: writing messages")),
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

    /// Waits until every client has received everything. Returns false if the time is over before: the server is slow, which is
    /// no fault.
    pub fn wait_for_all(&mut self, deadline: Instant) -> Result<bool> {
        let start = Instant::now();
        while self.transcript.missing > 0 {
            let stall = self.transcript.last_received.max(start) + STALL;
            let now = Instant::now();
            if now > deadline {
                return Ok(false);
            }
            ensure!(now < stall, "{}; none received anything for {STALL:?}", self.transcript.loss());
            self.turn(deadline.min(stall))?;
        }
        Ok(true)
    }

    /// Ends a run: checks that no client receives more than it must, and that every onlooker received what it must.
    pub fn finish(&mut self) -> Result<()> {
        self.wait_until(Instant::now() + QUIET)?;
        let patience = Instant::now() + PATIENCE;
        while self.check_onlookers().is_err() && Instant::now() < patience {
            self.turn(patience)?;
        }
        self.check_onlookers()
    }

    fn check_onlookers(&self) -> Result<()> {
        for Onlooker { request, received, .. } in &self.onlookers {
            let is_served = match request {
                Request::Chat(_) => self.transcript.ends_with(received),
                _ => !received.is_empty(),
            };
            ensure!(is_served, "{request:?}: expected everything up to the end, got \"{}\"", received.escape_ascii());
        }
        Ok(())
    }

    /// Waits for input until then, and reads all of it. If there are newcomers, some begin to connect, and it does not wait.
    fn turn(&mut self, until: Instant) -> Result<()> {
        let mut timeout = until.saturating_duration_since(Instant::now()).saturating_sub(TIMER_SLACK);
        for id in self.newcomers.by_ref().take(CONNECTS_PER_TURN).collect::<Vec<_>>() {
            self.add_onlooker(TcpStream::connect(address(self.port))?, Request::Chat(id), None)?;
            timeout = Duration::ZERO;
        }
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in &self.events {
            let Token(number) = event.token();
            let Room { members, onlookers, transcript, chunk, port, .. } = self;
            match members.get_mut(number) {
                Some(member) => read(member, chunk, event, |bytes| transcript.receive(number, bytes, Instant::now()))
                    .with_context(|| format!("client {number}"))?,
                None => {
                    let onlooker = &mut onlookers[number - members.len()];
                    onlooker.ready(event, chunk, *port).with_context(|| format!("{:?}", onlooker.request))?;
                }
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
        read(&mut self.stream, chunk, event, |bytes| {
            self.received.extend_from_slice(bytes);
            Ok(())
        })?;
        let is_end = |four: &[u8]| four == END_OF_HEAD;
        if self.opened.is_none()
            && let Some(end) = self.received.windows(END_OF_HEAD.len()).position(is_end)
        {
            let head = self.received.drain(..end + END_OF_HEAD.len());
            self.request.check(head.as_slice())?;
            drop(head);
            self.opened = Some(Instant::now());
        }
        Ok(())
    }
}

/// Reads until the socket is empty. A read that does not fill the chunk has emptied it, except at the end of the stream, which
/// causes no event of its own.
fn read(
    stream: &mut TcpStream,
    chunk: &mut [u8],
    event: &Event,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut is_empty = !event.is_readable();
    while !is_empty {
        match stream.read(chunk) {
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
