//! A schedule: messages leave at fixed times, whether the server keeps up or not.

use std::time::{Duration, Instant};

use super::clients::{Clients, Outcome};
use super::connect;
use super::fault::Fault;
use super::frame;
use super::transcript::Transcript;
use super::{Figures, MAX_RUN, Meter, SHORTEST_TEXT, settle};
use crate::process::Process;

/// At a few messages a second, a run takes longer to say something.
const TIMES_LONGER: u32 = 2;

pub struct Schedule {
    pub clients: usize,
    /// The first clients, who send in turn.
    pub senders: usize,
    /// Messages a second of all senders together.
    pub rate: u32,
}

pub fn run(load: &Schedule, server: &Process, time: Duration) -> Result<Figures, Fault> {
    let streams = connect::clients(server.port(), 0..load.clients)?;
    let transcript = Transcript::new(load.senders, 1, SHORTEST_TEXT);
    let mut clients = Clients::new(streams, transcript)?;
    settle();

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
    let cut_short = outcome == Outcome::OutOfTime;
    let figures = meter.stop(&clients.transcript.latencies, cut_short);
    if !cut_short {
        clients.expect_quiet()?;
    }
    Ok(figures)
}
