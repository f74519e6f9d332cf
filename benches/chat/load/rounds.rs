//! Rounds: some clients send a batch each, all wait until all have all, again.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::clients::{Clients, Outcome};
use super::connect;
use super::fault::Fault;
use super::frame;
use super::transcript::Transcript;
use super::{Figures, MAX_RUN, Meter, settle};
use crate::process::Process;

/// Enough for the segments that the kernel keeps for a client that does not read.
const FULL_SOCKETS: usize = 2 * 1024 * 1024;

/// A server that lets each stuck client have a queue of its own must not take the machine down.
const MAX_SERVER_BYTES: u64 = 4 * 1024 * 1024 * 1024;

pub struct Rounds {
    pub clients: usize,
    /// The first clients are those who send.
    pub senders: usize,
    /// What each of them sends in a round, in one write.
    pub messages: usize,
    pub text_bytes: usize,
    /// Further clients, who do not read at all.
    pub stuck: usize,
    pub pace: Pace,
}

/// When there were enough rounds.
#[derive(Clone, Copy)]
pub enum Pace {
    /// When the run's time is over; the first fifth of it, to warm up, does not count.
    Time,
    /// After so many; all count.
    Times(usize),
    /// When the run's time is over and each client was told so many bytes. What fills the sockets of those who do not
    /// read does not count.
    Told(usize),
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
    // What the first connection ever costs is not what a connection costs.
    drop(connect::client(server.port(), 0)?);
    settle();
    let before = server.memory();
    let streams = connect::clients(server.port(), 0..load.clients)?;
    let _stuck = stuck_clients(load, server)?;
    settle();
    let after = server.memory();

    let mut players = Players {
        clients: Clients::new(streams, load.transcript())?,
        batches: load.batches(),
        messages: load.messages,
        told: 0,
        deadline: Instant::now() + MAX_RUN.max(time * 5),
    };
    let mut figures = play(load, server, time, &mut players)?;
    figures.idle_bytes =
        before.zip(after).map(|(before, after)| after.saturating_sub(before) as f64 / load.clients as f64);
    Ok(figures)
}

fn stuck_clients(load: &Rounds, server: &Process) -> Result<Vec<TcpStream>, Fault> {
    connect::stuck_clients(server.port(), load.clients..load.clients + load.stuck)
}

fn play(load: &Rounds, server: &Process, time: Duration, players: &mut Players) -> Result<Figures, Fault> {
    let warm_up = Instant::now() + time / 5;
    let mut meter = Meter::start(server);
    let mut outcome = match load.pace {
        Pace::Time => players.rounds(|_| Instant::now() >= warm_up)?,
        Pace::Times(_) => Outcome::AllHaveAll,
        Pace::Told(_) => players.rounds(|told| told >= FULL_SOCKETS)?,
    };
    // If not even these rounds came to their end, they are what there is to tell.
    if outcome == Outcome::AllHaveAll {
        players.clients.transcript.latencies.clear();
        players.told = 0;
        meter = Meter::start(server);
        outcome = play_measured(load, server, time, players)?;
    }
    let cut_short = outcome == Outcome::OutOfTime;
    let figures = meter.stop(&players.clients.transcript.latencies, cut_short);
    if !cut_short {
        players.clients.expect_quiet()?;
    }
    Ok(figures)
}

fn play_measured(load: &Rounds, server: &Process, time: Duration, players: &mut Players) -> Result<Outcome, Fault> {
    let end = Instant::now() + time;
    match load.pace {
        Pace::Time => players.rounds(|_| Instant::now() >= end),
        Pace::Times(times) => {
            let mut left = times;
            players.rounds(|_| {
                left -= 1;
                left == 0
            })
        }
        Pace::Told(bytes) => {
            let mut too_much = None;
            let outcome = players.rounds(|told| {
                too_much = server.memory().filter(|&bytes| bytes > MAX_SERVER_BYTES);
                too_much.is_some() || told >= bytes && Instant::now() >= end
            })?;
            too_much.map_or(Ok(outcome), |bytes| Err(Fault::Memory { bytes }))
        }
    }
}

struct Players {
    clients: Clients,
    batches: Vec<Vec<u8>>,
    messages: usize,
    /// How many bytes each client was told since the count began.
    told: usize,
    deadline: Instant,
}

impl Players {
    /// Plays rounds until `enough`, which is asked after each, and knows how many bytes each client was told.
    fn rounds(&mut self, mut enough: impl FnMut(usize) -> bool) -> Result<Outcome, Fault> {
        loop {
            if self.round()? == Outcome::OutOfTime {
                return Ok(Outcome::OutOfTime);
            }
            if enough(self.told) {
                return Ok(Outcome::AllHaveAll);
            }
        }
    }

    fn round(&mut self) -> Result<Outcome, Fault> {
        self.clients.begin_round();
        for (sender, batch) in self.batches.iter().enumerate() {
            self.clients.send(sender, batch, self.messages, Instant::now())?;
            self.told += self.messages * self.clients.transcript.frame_bytes(sender);
        }
        self.clients.wait_for_all(self.deadline)
    }
}
