//! The clients of a measurement: one thread and one event loop for all of them. Client `i` is on node `i % nodes`, and the first
//! clients are the senders, so both are spread evenly.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::client::Client;
use crate::room::Room;
use crate::wire::{FIRST_ID, Protocol, Wire};

const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// Some servers send the 101 before the client is in the room. It is there after this time.
pub const SETTLE: Duration = Duration::from_millis(300);

/// If nothing arrives for this long, the missing messages are lost.
const QUIET: Duration = Duration::from_secs(2);

/// How long a server may take to deliver what was sent in a measurement.
const CATCH_UP: Duration = Duration::from_secs(8);

const TIMER: Token = Token(usize::MAX - 1);

pub struct Fleet {
    poll: Poll,
    events: Events,
    timer: TimerFd,
    protocol: Protocol,
    /// The port of each node.
    ports: Vec<u16>,
    pub clients: Vec<Client>,
    wire: Wire,
    /// By sender: when each of its messages was due.
    pub due: Vec<Vec<Instant>>,
}

/// A client has received a message.
pub struct Arrival {
    pub client: usize,
    pub sender: usize,
    pub due: Instant,
    pub now: Instant,
}

impl Fleet {
    /// Connects the clients, and waits until they are in the room.
    pub fn connect(room: &Room, clients: usize, senders: usize) -> io::Result<Self> {
        assert!(FIRST_ID + clients <= 100, "client IDs have two digits");
        let poll = Poll::new()?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        poll.registry().register(&mut SourceFd(&timer.as_fd().as_raw_fd()), TIMER, Interest::READABLE)?;
        let mut fleet = Self {
            poll,
            events: Events::with_capacity(256),
            timer,
            protocol: room.protocol(),
            ports: room.nodes.iter().map(|node| node.port).collect(),
            clients: Vec::new(),
            wire: Wire::new(room.protocol(), senders),
            due: vec![Vec::new(); senders],
        };
        for number in 0..clients {
            let client = fleet.open(number, HANDSHAKE_DEADLINE)?;
            fleet.clients.push(client);
        }
        fleet.listen(SETTLE, &mut |_| {})?;
        Ok(fleet)
    }

    fn open(&self, number: usize, within: Duration) -> io::Result<Client> {
        let port = self.ports[self.node_of(number)];
        let mut client = Client::connect(port, self.protocol, number, self.senders(), within)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut client.stream, Token(number), both)?;
        Ok(client)
    }

    /// Tries to connect each client that the server has disconnected.
    pub fn reopen(&mut self, within: Duration) {
        for number in 0..self.clients.len() {
            if self.clients[number].open_since.is_none()
                && let Ok(client) = self.open(number, within)
            {
                let before = std::mem::replace(&mut self.clients[number], client);
                self.clients[number].closed = before.closed;
                self.clients[number].tally = before.tally;
            }
        }
    }

    pub fn node_of(&self, client: usize) -> usize {
        client % self.ports.len()
    }

    pub fn senders(&self) -> usize {
        self.due.len()
    }

    /// By sender: the number of messages it has sent.
    pub fn sent(&self) -> Vec<u64> {
        self.due.iter().map(|due| due.len() as u64).collect()
    }

    /// By sender: the number of messages that every client has received, apart from lost ones.
    pub fn delivered(&self) -> Vec<u64> {
        let of = |sender: usize| self.clients.iter().map(move |client| client.tally.next[sender]).min();
        (0..self.senders()).map(|sender| of(sender).unwrap_or_default()).collect()
    }

    /// Sends the next `count` messages of a sender in one write, unless it is disconnected.
    pub fn send(&mut self, sender: usize, count: usize, due: Instant) {
        let (client, wire, all_due) = (&mut self.clients[sender], &self.wire, &mut self.due[sender]);
        if client.open_since.is_some() {
            client.send(|unsent| {
                for _ in 0..count {
                    wire.append(unsent, sender, all_due.len() as u64);
                    all_due.push(due);
                }
            });
        }
    }

    /// Ends a turn of the event loop at least once in each period from now on. Other timeouts are in whole milliseconds.
    pub fn tick_every(&mut self, period: Duration) -> io::Result<()> {
        let interval = Expiration::Interval(TimeSpec::from_duration(period));
        Ok(self.timer.set(interval, TimerSetTimeFlags::empty())?)
    }

    pub fn listen(&mut self, time: Duration, arrived: &mut impl FnMut(Arrival)) -> io::Result<()> {
        let start = Instant::now();
        while start.elapsed() < time {
            self.turn(time.saturating_sub(start.elapsed()), arrived)?;
        }
        Ok(())
    }

    /// Waits until every client has received everything. Fails if not every message arrives once, in order.
    pub fn finish(&mut self, arrived: &mut impl FnMut(Arrival)) -> io::Result<()> {
        let start = Instant::now();
        let mut last = start;
        while self.delivered() != self.sent() && last.elapsed() < QUIET {
            self.turn(QUIET / 10, &mut |arrival: Arrival| {
                last = arrival.now;
                arrived(arrival);
            })?;
            self.check_open()?;
            if start.elapsed() > CATCH_UP {
                return Err(io::Error::other(format!("messages are still on their way after {CATCH_UP:?}")));
            }
        }
        let sent = self.sent();
        self.clients
            .iter()
            .try_for_each(|client| client.tally.fault(&sent).map_or(Ok(()), |fault| Err(io::Error::other(fault))))
    }

    /// Fails if a client is disconnected.
    pub fn check_open(&self) -> io::Result<()> {
        match self.clients.iter().find(|client| client.open_since.is_none()) {
            Some(client) => Err(io::Error::other(format!("the server closed a connection: {:?}", client.closed))),
            None => Ok(()),
        }
    }

    /// Whether all clients that were never disconnected have received the same messages in the same order.
    pub fn is_one_order(&self) -> bool {
        let mut orders = self.clients.iter().filter(|client| client.closed.is_empty()).map(|client| client.tally.order);
        orders.next().is_none_or(|first| orders.all(|order| order == first))
    }

    /// One turn of the event loop: writes what was left, and reads everything that has arrived.
    pub fn turn(&mut self, timeout: Duration, arrived: &mut impl FnMut(Arrival)) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &self.events {
            if event.token() == TIMER {
                // Fails only if this expiration was read with an earlier event.
                let _ = self.timer.wait();
                continue;
            }
            let Token(number) = event.token();
            let client = &mut self.clients[number];
            if event.is_writable() {
                client.write_unsent();
            }
            while client.read() {
                let now = Instant::now();
                client.take_messages(&self.wire, |sender, sequence| {
                    let due = self.due[sender].get(sequence as usize).copied();
                    let due = due.ok_or_else(|| io::Error::other("a message arrived that nobody sent"))?;
                    arrived(Arrival { client: number, sender, due, now });
                    Ok(())
                })?;
            }
        }
        Ok(())
    }
}
