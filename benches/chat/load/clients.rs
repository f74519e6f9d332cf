//! The clients of a run: one thread and one event loop for all of them, one write per batch, big reads.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream as StdTcpStream;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::fault::Fault;
use super::transcript::{Place, Transcript};

/// One read takes all that a socket holds, or nearly.
const READ_BYTES: usize = 256 * 1024;

/// When nobody got anything for this long, what is missing is lost.
const STALL: Duration = Duration::from_secs(5);

/// After the last message, how long to watch for one too many.
const QUIET: Duration = Duration::from_millis(20);

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    AllHaveAll,
    /// A slow server: all is well so far, but the run's time is up.
    OutOfTime,
}

pub struct Clients {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    chunk: Box<[u8]>,
    pub transcript: Transcript,
    /// How many bytes each client must get in this round.
    expected: usize,
    /// How many clients have not got them yet.
    waiting: usize,
}

struct Client {
    stream: TcpStream,
    place: Place,
    /// What the socket had no room for.
    unsent: Vec<u8>,
}

impl Clients {
    /// The streams are the clients' in the order of their ids, from 0; the first of them are the transcript's senders.
    pub fn new(streams: Vec<StdTcpStream>, transcript: Transcript) -> Result<Clients, Fault> {
        Clients::register(streams, transcript).map_err(|error| Fault::Io("setting up the event loop", error))
    }

    fn register(streams: Vec<StdTcpStream>, transcript: Transcript) -> io::Result<Clients> {
        let poll = Poll::new()?;
        let mut clients = Vec::with_capacity(streams.len());
        for (id, stream) in streams.into_iter().enumerate() {
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(id), Interest::READABLE)?;
            clients.push(Client { stream, place: Place::default(), unsent: Vec::new() });
        }
        Ok(Clients {
            poll,
            events: Events::with_capacity(4096),
            clients,
            chunk: vec![0; READ_BYTES].into_boxed_slice(),
            transcript,
            expected: 0,
            waiting: 0,
        })
    }

    /// Nothing was sent or heard: from here on everyone is at the same place again.
    pub fn begin_round(&mut self) {
        self.transcript.clear();
        self.expected = 0;
        self.waiting = 0;
        for client in &mut self.clients {
            client.place = Place::default();
        }
    }

    /// Writes `batch`, the frames of `messages` messages of this sender, in one write.
    pub fn send(&mut self, sender: usize, batch: &[u8], messages: usize, when: Instant) -> Result<(), Fault> {
        self.transcript.sent(sender, when);
        self.expect(messages * self.transcript.frame_bytes(sender));
        let client = &mut self.clients[sender];
        let sent = client.write(batch);
        let sent = sent.map_err(|error| Fault::Io("writing messages", error))?;
        if sent < batch.len() {
            client.unsent.extend_from_slice(&batch[sent..]);
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .reregister(&mut client.stream, Token(sender), both)
                .map_err(|error| Fault::Io("watching a full socket", error))?;
        }
        Ok(())
    }

    fn expect(&mut self, bytes: usize) {
        if self.waiting < self.clients.len() {
            let before = self.expected;
            let had_all = self.clients.iter().filter(|client| client.place.bytes() == before);
            self.waiting += had_all.count();
        }
        self.expected += bytes;
    }

    /// Runs the event loop until all have all, or until `deadline`.
    pub fn wait_for_all(&mut self, deadline: Instant) -> Result<Outcome, Fault> {
        let mut last_heard = Instant::now();
        while self.waiting > 0 {
            let heard = self.turn(Some(Duration::from_millis(100)))?;
            let now = Instant::now();
            if heard {
                last_heard = now;
            } else if now - last_heard > STALL {
                return Err(self.stalled());
            }
            if now > deadline {
                return Ok(Outcome::OutOfTime);
            }
        }
        Ok(Outcome::AllHaveAll)
    }

    /// Runs the event loop until a time on a schedule. The kernel's timeouts count in milliseconds, so the last one or
    /// two of them are spent asking.
    pub fn listen_until(&mut self, due: Instant) -> Result<(), Fault> {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let whole = Duration::from_millis((left.as_millis() as u64).saturating_sub(1));
            self.turn(Some(whole))?;
        }
    }

    /// Checks that no more comes than was expected.
    pub fn expect_quiet(&mut self) -> Result<(), Fault> {
        let until = Instant::now() + QUIET;
        self.listen_until(until)
    }

    /// One turn of the event loop. Whether anybody got anything.
    fn turn(&mut self, timeout: Option<Duration>) -> Result<bool, Fault> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                return Err(Fault::Io("waiting for events", error));
            }
            _ => {}
        }
        let mut heard = false;
        for event in &self.events {
            let Token(id) = event.token();
            let client = &mut self.clients[id];
            if event.is_writable() {
                client.write_unsent().map_err(|error| Fault::Io("writing messages", error))?;
            }
            if !event.is_readable() {
                continue;
            }
            let before = client.place.bytes();
            client.read(id, event, &mut self.chunk, &mut self.transcript)?;
            let place = client.place.bytes();
            if place > self.expected {
                return Err(Fault::Surplus { client: id, bytes: place - self.expected });
            }
            heard |= place > before;
            if place == self.expected && place > before {
                self.waiting -= 1;
            }
        }
        Ok(heard)
    }

    fn stalled(&self) -> Fault {
        let places = self.clients.iter().map(|client| client.place.bytes());
        Fault::Stalled {
            after: STALL,
            expected: self.expected,
            seen: places.min().unwrap_or_default(),
            waiting: self.waiting,
        }
    }
}

impl Client {
    /// Reads what the socket holds. A read that does not fill `chunk` has emptied it.
    fn read(&mut self, id: usize, event: &Event, chunk: &mut [u8], transcript: &mut Transcript) -> Result<(), Fault> {
        loop {
            let count = match self.stream.read(chunk) {
                Ok(0) => return Err(Fault::Closed { client: id }),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(Fault::Io("reading messages", error)),
            };
            transcript.hear(id, &mut self.place, &chunk[..count], Instant::now())?;
            if count < chunk.len() && !event.is_read_closed() {
                return Ok(());
            }
        }
    }

    /// Writes as much as the socket takes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        while self.unsent.is_empty() && sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    fn write_unsent(&mut self) -> io::Result<()> {
        let unsent = std::mem::take(&mut self.unsent);
        let sent = self.write(&unsent)?;
        self.unsent.extend_from_slice(&unsent[sent..]);
        Ok(())
    }
}
