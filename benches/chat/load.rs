//! What the clients do in a run.

use std::ops::Range;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::client::{self, DEADLINE, Request};
use crate::figures::{Figure, Meter, Run};
use crate::process::Process;
use crate::room::{Room, SETTLE};
use crate::spread::{BYTES, SECONDS};
use crate::system;
use crate::transcript::{FIRST_ID, Transcript};
use crate::visits::{self, End};

/// The first connections allocate more than later ones, so this many join and leave before memory is measured.
const WARM_UP_CLIENTS: usize = 100;

/// With a slow server, the warm-up and the measured rounds end after this time, or after five times that which they
/// should take, whichever is longer, even if not everything has been delivered.
const MAX_TIME: Duration = Duration::from_secs(10);

/// Bytes sent to each client before the measured time if some don't read: more than the kernel buffers for one.
const FULL_SOCKETS: usize = 2 * 1024 * 1024;

/// Stops a server that queues messages for each stuck client before the machine runs out of memory.
const MAX_SERVER_BYTES: f64 = 4.0 * 1024.0 * 1024.0 * 1024.0;

/// At a low message rate, a run needs more time for a meaningful result.
const TIMES_LONGER: u32 = 2;

const DELIVERY: [&str; 2] = ["deliveries/s", "CPU/delivery"];

#[derive(Clone, Copy)]
pub enum Load {
    Chat(Chat),
    Visits(End),
    Pages,
}

/// Clients in a room.
#[derive(Clone, Copy)]
pub struct Chat {
    pub clients: usize,
    /// The first clients are the senders.
    pub senders: usize,
    /// What a sender sends in one write.
    pub messages: usize,
    pub text_bytes: usize,
    /// Writes per second, whether or not the server keeps up; the senders take turns. If it is 0, there are rounds:
    /// each sender makes a write, and the next round begins when all clients have received everything.
    pub rate: u32,
    /// Clients that connect at once when the schedule begins. It ends when all of them have their 101.
    pub newcomers: usize,
    /// Further clients, which never read.
    pub stuck: usize,
    /// Viewers of `/lifecycle`, which read everything.
    pub viewers: usize,
    /// Rounds go on until each client was sent this many bytes. If it is not 0, the warm-up fills the sockets of
    /// clients that don't read; otherwise, it takes a fifth of the measured time.
    pub least_bytes: usize,
    /// Whether the memory of a connection is shown.
    pub shows_memory: bool,
}

impl Load {
    /// Runs for about `time` on a server that listens.
    pub fn run(&self, server: &Process, time: Duration) -> Result<Run> {
        match self {
            Load::Chat(chat) => chat.run(server, time),
            Load::Visits(end) => visits::visit(*end, server, time),
            Load::Pages => visits::request_page(server, time),
        }
    }
}

impl Chat {
    fn run(&self, server: &Process, time: Duration) -> Result<Run> {
        let longest = if self.newcomers > 0 { DEADLINE } else { time * TIMES_LONGER };
        let scheduled = (longest.as_secs_f64() * f64::from(self.rate)).ceil() as usize;
        // One more write for the last message of a storm.
        let writes = scheduled.div_ceil(self.senders) + 1;
        let transcript = Transcript::new(self.clients, self.senders, writes, self.messages, self.text_bytes);
        let join = |numbers: Range<usize>, is_stuck| -> Result<Vec<_>> {
            numbers.map(|number| client::join(server.port, FIRST_ID + number, is_stuck)).collect()
        };
        drop(join(0..self.clients.min(WARM_UP_CLIENTS), false)?);
        sleep(SETTLE);
        let memory_before = system::memory(server.id());
        let mut room = Room::new(server.port, join(0..self.clients, false)?, transcript)?;
        let stuck = join(self.clients..self.clients + self.stuck, true)?;
        room.admit((0..self.viewers).map(|_| Request::Steps));
        room.settle()?;
        let memory = (system::memory(server.id()) - memory_before) / self.clients as f64;
        let mut run = match self.rate {
            0 => self.run_rounds(&mut room, server, time)?,
            _ => self.run_schedule(&mut room, server, scheduled)?,
        };
        if self.shows_memory {
            run.figures.push(Figure { head: "memory/connection", scale: BYTES, value: memory });
        }
        room.finish()?;
        drop(stuck);
        Ok(run)
    }

    fn run_rounds(&self, room: &mut Room, server: &Process, time: Duration) -> Result<Run> {
        let (warm_up, warm_up_bytes) =
            if self.least_bytes == 0 { (time / 5, 0) } else { (Duration::ZERO, FULL_SOCKETS) };
        let mut meter = Meter::start(server);
        let mut is_complete = self.repeat(room, server, warm_up, warm_up_bytes)?;
        // If time runs out during the warm-up, that is what was measured.
        if is_complete {
            room.transcript.latencies.reset();
            meter = Meter::start(server);
            is_complete = self.repeat(room, server, time, self.least_bytes)?;
        }
        // There is one latency per delivery.
        let latencies = &room.transcript.latencies;
        Ok(Run { is_cut_short: !is_complete, ..meter.stop(DELIVERY, latencies.len(), latencies) })
    }

    /// Repeats rounds for this time, and until each client was sent this many bytes. Returns false if time runs out.
    fn repeat(&self, room: &mut Room, server: &Process, time: Duration, bytes: usize) -> Result<bool> {
        let (end, deadline) = (Instant::now() + time, Instant::now() + MAX_TIME.max(time * 5));
        let mut sent = 0;
        while Instant::now() < end || sent < bytes {
            room.transcript.clear();
            for sender in 0..self.senders {
                room.send(sender, Instant::now())?;
            }
            sent += room.transcript.expected;
            if !room.wait_for_all(deadline)? {
                return Ok(false);
            }
            if self.least_bytes > 0 && system::memory(server.id()) > MAX_SERVER_BYTES {
                bail!("run stopped: the server uses more than {MAX_SERVER_BYTES} bytes of memory");
            }
        }
        Ok(true)
    }

    fn run_schedule(&self, room: &mut Room, server: &Process, writes: usize) -> Result<Run> {
        let meter = Meter::start(server);
        room.admit((0..self.newcomers).map(|number| Request::Chat(FIRST_ID + self.clients + number)));
        for number in 0..writes {
            let due = meter.started + Duration::from_secs(1) / self.rate * number as u32;
            room.wait_until(due)?;
            if room.all_opened().is_some() {
                break;
            }
            room.send(number % self.senders, due)?;
        }
        let is_cut_short = !room.wait_for_all(Instant::now() + DEADLINE)?;
        let latencies = &room.transcript.latencies;
        if self.newcomers == 0 {
            return Ok(Run { is_cut_short, ..meter.stop(DELIVERY, latencies.len(), latencies) });
        }
        let all = self.newcomers;
        let opened = room.all_opened().with_context(|| format!("not all {all} have their 101 in {DEADLINE:?}"))?;
        let value = (opened - meter.started).as_secs_f64();
        let mut run = meter.stop(["", "CPU/newcomer"], all as u64, latencies);
        run.figures[0] = Figure { head: "until all are in", scale: SECONDS, value };
        // All must receive one more message, after those that they have received before.
        room.wait_until(Instant::now() + SETTLE)?;
        room.send(0, Instant::now())?;
        ensure!(room.wait_for_all(Instant::now() + DEADLINE)?, "the last message did not arrive in {DEADLINE:?}");
        Ok(Run { is_cut_short, ..run })
    }
}
