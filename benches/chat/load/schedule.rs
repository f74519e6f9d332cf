//! A schedule: messages are sent at fixed times, whether or not the server keeps up.

use std::time::{Duration, Instant};

use super::clients::{Clients, Outcome};
use super::connect;
use super::fault::Fault;
use super::frame;
use super::transcript::Transcript;
use super::{Figures, MAX_RUN, Meter, SHORTEST_TEXT};
use crate::process::Process;

/// At a low message rate a run needs more time for a meaningful result.
const TIMES_LONGER: u32 = 2;

pub struct Schedule {
    pub clients: usize,
    /// The first clients are the senders; they take turns.
    pub senders: usize,
    /// Messages per second of all senders together.
    pub rate: u32,
}

pub fn run(load: &Schedule, server: &Process, time: Duration) -> Result<Figures, Fault> {
    let streams = connect::clients(server.port(), 0..load.clients)?;
    let transcript = Transcript::new(load.senders, 1, SHORTEST_TEXT);
    let mut clients = Clients::new(streams, Vec::new(), transcript)?;
    clients.settle()?;

    let period = Duration::from_secs(1) / load.rate;
    let messages = (time * TIMES_LONGER).div_duration_f64(period).ceil() as u32;
    let mut batch = Vec::new();
    let meter = Meter::start(server);
    for number in 0..messages {
        let due = meter.started + period * number;
        let sender = number as usize % load.senders;
        batch.clear();
        frame::append_message(&mut batch, sender, u64::from(number) / load.senders as u64, SHORTEST_TEXT);
        clients.listen_until(due)?;
        clients.send(sender, &batch, 1, due)?;
    }
    let outcome = clients.wait_for_all(Instant::now() + MAX_RUN)?;
    let figures = meter.stop(&clients.transcript.latencies, outcome == Outcome::OutOfTime);
    clients.finish(outcome)?;
    Ok(figures)
}
