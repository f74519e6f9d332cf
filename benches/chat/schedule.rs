//! A schedule: clients send at fixed times, whether or not the server keeps up; and perhaps a storm, in which many others join
//! meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use crate::connect::{self, DEADLINE};
use crate::figures::{DELIVERY, Figure, Meter, NEWCOMER, Run};
use crate::process::Process;
use crate::room::{Onlooking, Room, SETTLE};
use crate::spread::SECONDS;
use crate::transcript::{SHORTEST_TEXT, Transcript};

/// At a low message rate, a run needs more time for a meaningful result.
const TIMES_LONGER: u32 = 2;

pub struct Schedule {
    pub clients: usize,
    /// The first clients are the senders; they take turns.
    pub senders: usize,
    /// Messages per second of all senders together.
    pub rate: u32,
    /// Clients that connect at once when the schedule begins. It ends when all of them have their 101.
    pub newcomers: usize,
}

impl Schedule {
    pub async fn run(&self, server: &Process, time: Duration) -> Result<Run> {
        let longest = if self.newcomers > 0 { DEADLINE } else { time * TIMES_LONGER };
        let period = Duration::from_secs(1) / self.rate;
        let messages = longest.div_duration_f64(period).ceil() as usize;
        let clients = connect::join_all(server.port, 0..self.clients).await?;
        // One more write for the last message of a storm.
        let writes = messages.div_ceil(self.senders) + 1;
        let transcript = Transcript::new(self.clients, self.senders, writes, 1, SHORTEST_TEXT);
        let run = async |room: &Room| {
            room.settle().await;
            let meter = Meter::start(server);
            room.admit((self.clients..self.clients + self.newcomers).map(Onlooking::Newcomer));
            for number in 0..messages {
                let due = meter.started + period * number as u32;
                room.wait_until(due).await;
                if room.all_opened().is_some() {
                    break;
                }
                room.send(number % self.senders, due).await?;
            }
            let is_cut_short = !room.wait_for_all(Instant::now() + DEADLINE).await?;
            let run = if self.newcomers > 0 {
                self.end_storm(room, meter).await?
            } else {
                let latencies = &room.state().transcript.latencies;
                meter.stop(DELIVERY, latencies.len(), latencies)
            };
            room.finish().await?;
            Ok(Run { is_cut_short, ..run })
        };
        Room::with(server.port, clients, transcript, run).await
    }

    async fn end_storm(&self, room: &Room, meter: Meter<'_>) -> Result<Run> {
        let all = self.newcomers;
        let opened = room.all_opened().with_context(|| format!("not all {all} have their 101 in {DEADLINE:?}"))?;
        let value = (opened - meter.started).as_secs_f64();
        let mut run = meter.stop(NEWCOMER, all as u64, &room.state().transcript.latencies);
        run.figures[0] = Figure { head: "until all are in", scale: SECONDS, value, is_compared: true };
        // All must receive one more message, after those that they have received before.
        sleep(SETTLE).await;
        room.send(0, Instant::now()).await?;
        ensure!(room.wait_for_all(Instant::now() + DEADLINE).await?, "the last message did not arrive in {DEADLINE:?}");
        Ok(run)
    }
}
