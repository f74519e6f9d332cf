//! Rounds: some clients send a batch each and wait until all have received everything; repeat.

use std::time::{Duration, Instant};

use super::clients::{Clients, Outcome};
use super::connect;
use super::fault::Fault;
use super::frame;
use super::transcript::Transcript;
use super::{Figures, MAX_RUN, Meter};
use crate::process::Process;

/// Bytes sent to each client before the measured time: more than the kernel buffers for a client that does not read.
const FULL_SOCKETS: usize = 2 * 1024 * 1024;

/// Stops a server that queues messages for each stuck client before the machine runs out of memory.
const MAX_SERVER_BYTES: u64 = 4 * 1024 * 1024 * 1024;

pub struct Rounds {
    pub clients: usize,
    /// The first clients are the senders.
    pub senders: usize,
    /// What each sender sends in a round, in one write.
    pub messages: usize,
    pub text_bytes: usize,
    /// Further clients, which never read.
    pub stuck: usize,
    /// Viewers of `/lifecycle`, which read everything.
    pub viewers: usize,
    pub until: Until,
}

/// When the measured rounds end.
#[derive(Clone, Copy)]
pub enum Until {
    /// When the run's time is over. A fifth of that time precedes it as warm-up.
    Time,
    /// After this many rounds, without warm-up.
    Rounds(usize),
    /// When the run's time is over and each client was sent this many bytes. The warm-up fills the sockets of the
    /// clients that don't read.
    Bytes(usize),
}

impl Rounds {
    fn transcript(&self) -> Transcript {
        Transcript::new(self.senders, self.messages as u64, self.text_bytes)
    }

    /// Each sender's frames. They are the same in every round, so they are encoded once.
    fn batches(&self) -> Vec<Vec<u8>> {
        let batch = |sender| {
            let mut frames = Vec::new();
            for sequence in 0..self.messages as u64 {
                frame::append_message(&mut frames, sender, sequence, self.text_bytes);
            }
            frames
        };
        (0..self.senders).map(batch).collect()
    }
}

pub fn run(load: &Rounds, server: &Process, time: Duration) -> Result<Figures, Fault> {
    // The first connection may allocate more than later ones.
    drop(connect::client(server.port(), 0)?);
    super::settle();
    let before = server.memory();
    let streams = connect::clients(server.port(), 0..load.clients)?;
    let _stuck = connect::stuck_clients(server.port(), load.clients..load.clients + load.stuck)?;
    let viewers = connect::viewers(server.port(), load.viewers)?;
    let mut clients = Clients::new(streams, viewers, load.transcript())?;
    clients.settle()?;
    let after = server.memory();

    let deadline = Instant::now() + MAX_RUN.max(time * 5);
    let mut driver = Driver { clients, batches: load.batches(), messages: load.messages, bytes: 0, deadline };
    let mut figures = driver.run(load, server, time)?;
    figures.idle_bytes =
        before.zip(after).map(|(before, after)| after.saturating_sub(before) as f64 / load.clients as f64);
    Ok(figures)
}

struct Driver {
    clients: Clients,
    batches: Vec<Vec<u8>>,
    messages: usize,
    /// Bytes sent to each client since the warm-up or the measured time began.
    bytes: usize,
    deadline: Instant,
}

impl Driver {
    fn run(&mut self, load: &Rounds, server: &Process, time: Duration) -> Result<Figures, Fault> {
        let warm_up = Instant::now() + time / 5;
        let mut meter = Meter::start(server);
        let mut outcome = match load.until {
            Until::Time => self.rounds(|_| Instant::now() >= warm_up)?,
            Until::Rounds(_) => Outcome::Complete,
            Until::Bytes(_) => self.rounds(|bytes| bytes >= FULL_SOCKETS)?,
        };
        // If time ran out during the warm-up, report that instead.
        if outcome == Outcome::Complete {
            self.clients.transcript.latencies.clear();
            self.bytes = 0;
            meter = Meter::start(server);
            outcome = self.measured_rounds(load, server, time)?;
        }
        let figures = meter.stop(&self.clients.transcript.latencies, outcome == Outcome::OutOfTime);
        self.clients.finish(outcome)?;
        Ok(figures)
    }

    fn measured_rounds(&mut self, load: &Rounds, server: &Process, time: Duration) -> Result<Outcome, Fault> {
        let end = Instant::now() + time;
        match load.until {
            Until::Time => self.rounds(|_| Instant::now() >= end),
            Until::Rounds(count) => {
                let mut left = count;
                self.rounds(|_| {
                    left -= 1;
                    left == 0
                })
            }
            Until::Bytes(enough) => {
                let mut too_much = None;
                let outcome = self.rounds(|bytes| {
                    too_much = server.memory().filter(|&bytes| bytes > MAX_SERVER_BYTES);
                    too_much.is_some() || bytes >= enough && Instant::now() >= end
                })?;
                too_much.map_or(Ok(outcome), |bytes| Err(Fault::Memory { bytes }))
            }
        }
    }

    /// Runs rounds until `enough` returns true; it gets the number of bytes sent to each client.
    fn rounds(&mut self, mut enough: impl FnMut(usize) -> bool) -> Result<Outcome, Fault> {
        loop {
            if self.round()? == Outcome::OutOfTime {
                return Ok(Outcome::OutOfTime);
            }
            if enough(self.bytes) {
                return Ok(Outcome::Complete);
            }
        }
    }

    fn round(&mut self) -> Result<Outcome, Fault> {
        self.clients.begin_round();
        for (sender, batch) in self.batches.iter().enumerate() {
            self.clients.send(sender, batch, self.messages, Instant::now())?;
            self.bytes += self.messages * self.clients.transcript.frame_bytes(sender);
        }
        self.clients.wait_for_all(self.deadline)
    }
}
