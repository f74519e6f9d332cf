//! Rounds: some clients make one write each and wait until all have received everything; repeat.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::time::sleep;

use crate::connect::{self, AT_ONCE};
use crate::figures::{DELIVERY, Figure, Meter, Run};
use crate::process::Process;
use crate::room::{Onlooking, Room, SETTLE};
use crate::spread::BYTES;
use crate::system;
use crate::transcript::Transcript;

/// With a slow server, the warm-up and the measured rounds end after this time, or after five times that which they should take,
/// even if not everything has been delivered.
const MAX_TIME: Duration = Duration::from_secs(10);

/// Bytes sent to each client before the measured time if some clients don't read: more than the kernel buffers for one of them.
const FULL_SOCKETS: usize = 2 * 1024 * 1024;

/// Stops a server that queues messages for each stuck client before the machine runs out of memory.
const MAX_SERVER_BYTES: f64 = 4.0 * 1024.0 * 1024.0 * 1024.0;

#[derive(Clone, Copy)]
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
    /// A run goes on until each client was sent this many bytes. If it is not 0, the warm-up fills the sockets of clients that
    /// don't read; otherwise, it takes a fifth of the measured time.
    pub least_bytes: usize,
    /// Whether the memory of a connection is shown.
    pub shows_memory: bool,
}

impl Rounds {
    pub async fn run(&self, server: &Process, time: Duration) -> Result<Run> {
        // The first connections allocate more than later ones: what this many handshakes need at the same time is there from then on.
        drop(connect::join_all(server.port, 0..self.clients.min(AT_ONCE)).await?);
        sleep(SETTLE).await;
        let memory_before = system::memory(server.id());
        let clients = connect::join_all(server.port, 0..self.clients).await?;
        let mut stuck = Vec::new();
        for id in self.clients..self.clients + self.stuck {
            stuck.push(connect::join_stuck(server.port, id).await?);
        }
        let transcript = Transcript::new(self.clients, self.senders, 1, self.messages, self.text_bytes);
        let run = async |room: &Room| {
            room.admit((0..self.viewers).map(|_| Onlooking::Viewer));
            room.settle().await;
            let value = (system::memory(server.id()) - memory_before) / self.clients as f64;
            let mut run = self.measure(room, server, time).await?;
            if self.shows_memory {
                run.figures.push(Figure { head: "memory/connection", scale: BYTES, value, is_compared: false });
            }
            room.finish().await?;
            Ok(run)
        };
        Room::with(server.port, clients, transcript, run).await
    }

    async fn measure(&self, room: &Room, server: &Process, time: Duration) -> Result<Run> {
        let (warm_up, warm_up_bytes) =
            if self.least_bytes == 0 { (time / 5, 0) } else { (Duration::ZERO, FULL_SOCKETS) };
        let mut meter = Meter::start(server);
        let mut is_complete = self.repeat(room, server, warm_up, warm_up_bytes).await?;
        // If time runs out during the warm-up, that is what was measured.
        if is_complete {
            room.state().transcript.latencies.reset();
            meter = Meter::start(server);
            is_complete = self.repeat(room, server, time, self.least_bytes).await?;
        }
        // There is one latency per delivery.
        let latencies = &room.state().transcript.latencies;
        Ok(Run { is_cut_short: !is_complete, ..meter.stop(DELIVERY, latencies.len(), latencies) })
    }

    /// Repeats rounds for this time, and until each client was sent this many bytes. Returns false if the server is too slow.
    async fn repeat(&self, room: &Room, server: &Process, time: Duration, bytes: usize) -> Result<bool> {
        let (end, deadline) = (Instant::now() + time, Instant::now() + MAX_TIME.max(time * 5));
        let mut sent = 0;
        while Instant::now() < end || sent < bytes {
            room.state().transcript.clear();
            for sender in 0..self.senders {
                sent += room.send(sender, Instant::now()).await?;
            }
            if !room.wait_for_all(deadline).await? {
                return Ok(false);
            }
            if self.least_bytes > 0 && system::memory(server.id()) > MAX_SERVER_BYTES {
                bail!("run stopped: the server uses more than {MAX_SERVER_BYTES} bytes of memory");
            }
        }
        Ok(true)
    }
}
