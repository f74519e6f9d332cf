//! The clients of a run: one thread and one event loop for all of them, one write per batch, large reads.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream as StdTcpStream;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::SETTLE;
use super::fault::Fault;
use super::transcript::{Place, Transcript};
use super::viewer::Viewer;

/// One read empties a socket, or nearly.
const READ_BYTES: usize = 256 * 1024;

/// If no client receives anything for this long, the missing messages are lost.
const STALL: Duration = Duration::from_secs(5);

/// How long to wait for surplus messages after the last expected one.
const QUIET: Duration = Duration::from_millis(20);

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every client has received everything.
    Complete,
    /// The server is slow: no fault so far, but the run's time is over.
    OutOfTime,
}

pub struct Clients {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    /// Their tokens follow those of the clients.
    viewers: Vec<Viewer>,
    chunk: Box<[u8]>,
    pub transcript: Transcript,
    /// Bytes each client must receive in this round.
    expected: usize,
    /// Clients that have not received them yet.
    waiting: usize,
}

struct Client {
    stream: TcpStream,
    place: Place,
    /// What did not fit into the socket.
    unsent: Vec<u8>,
}

impl Clients {
    /// Takes the clients' streams in the order of their ids, from 0. The first of them are the transcript's senders.
    pub fn new(
        streams: Vec<StdTcpStream>,
        viewers: Vec<StdTcpStream>,
        transcript: Transcript,
    ) -> Result<Clients, Fault> {
        let fault = |error| Fault::Io("setting up the event loop", error);
        let poll = Poll::new().map_err(fault)?;
        let mut tokens = (0..).map(Token);
        let mut register = |stream: StdTcpStream| {
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            let token = tokens.next().expect("there are more tokens than streams");
            poll.registry().register(&mut stream, token, Interest::READABLE).map(|()| stream)
        };
        let mut client = |stream| Ok(Client { stream: register(stream)?, place: Place::default(), unsent: Vec::new() });
        let clients = streams.into_iter().map(&mut client).collect::<io::Result<_>>().map_err(fault)?;
        let viewer = |stream| Ok(Viewer { stream: register(stream)?, received: 0 });
        let viewers = viewers.into_iter().map(viewer).collect::<io::Result<_>>().map_err(fault)?;
        Ok(Clients {
            poll,
            events: Events::with_capacity(4096),
            clients,
            viewers,
            chunk: vec![0; READ_BYTES].into_boxed_slice(),
            transcript,
            expected: 0,
            waiting: 0,
        })
    }

    /// Waits until the server has added every client to its list. What viewers receive until then does not count.
    pub fn settle(&mut self) -> Result<(), Fault> {
        self.listen_until(Instant::now() + SETTLE)?;
        self.viewers.iter_mut().for_each(|viewer| viewer.received = 0);
        Ok(())
    }

    /// Empties the transcript and moves every client to its start. Every message sent must have been received.
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
            let complete = self.clients.iter().filter(|client| client.place.bytes() == before);
            self.waiting += complete.count();
        }
        self.expected += bytes;
    }

    /// Runs the event loop until every client has received everything, or until `deadline`.
    pub fn wait_for_all(&mut self, deadline: Instant) -> Result<Outcome, Fault> {
        let mut last_received = Instant::now();
        while self.waiting > 0 {
            let received = self.turn(Some(Duration::from_millis(100)))?;
            let now = Instant::now();
            if received {
                last_received = now;
            } else if now - last_received > STALL {
                return Err(self.stalled());
            }
            if now > deadline {
                return Ok(Outcome::OutOfTime);
            }
        }
        Ok(Outcome::Complete)
    }

    /// Runs the event loop until `due`. Its timeouts have a resolution of a millisecond, so it polls without waiting
    /// during the last one or two.
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

    /// Ends a run: checks that no client receives more than expected, and that every viewer received something.
    pub fn finish(&mut self, outcome: Outcome) -> Result<(), Fault> {
        if outcome == Outcome::Complete {
            self.listen_until(Instant::now() + QUIET)?;
        }
        // A server may show a bounded number of steps per second: a short run gets its first ones with the next second.
        let patience = Instant::now() + Duration::from_secs(2);
        while self.unserved_viewer().is_some() && Instant::now() < patience {
            self.turn(Some(Duration::from_millis(50)))?;
        }
        match self.unserved_viewer() {
            Some(viewer) => Err(Fault::Viewer { viewer, seen: "nothing".to_owned() }),
            None => Ok(()),
        }
    }

    /// A viewer that has received nothing.
    fn unserved_viewer(&self) -> Option<usize> {
        self.viewers.iter().position(|viewer| viewer.received == 0)
    }

    /// Runs one turn of the event loop. Returns whether any client received something.
    fn turn(&mut self, timeout: Option<Duration>) -> Result<bool, Fault> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                return Err(Fault::Io("waiting for events", error));
            }
            _ => {}
        }
        let mut received = false;
        for event in &self.events {
            let Token(id) = event.token();
            if let Some(number) = id.checked_sub(self.clients.len()) {
                self.viewers[number].read(number, &mut self.chunk)?;
                continue;
            }
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
            received |= place > before;
            if place == self.expected && place > before {
                self.waiting -= 1;
            }
        }
        Ok(received)
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
    /// Empties the socket. A read that does not fill `chunk` is the last.
    fn read(&mut self, id: usize, event: &Event, chunk: &mut [u8], transcript: &mut Transcript) -> Result<(), Fault> {
        loop {
            let count = match self.stream.read(chunk) {
                Ok(0) => return Err(Fault::Closed { client: id }),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(Fault::Io("reading messages", error)),
            };
            transcript.receive(id, &mut self.place, &chunk[..count], Instant::now())?;
            if count < chunk.len() && !event.is_read_closed() {
                return Ok(());
            }
        }
    }

    /// Writes as much as fits into the socket.
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
