//! What the clients do in a run.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::clients::{Clients, DEADLINE, Role, SETTLE};
use crate::figures::{Figure, Run, measure};
use crate::process::Process;
use crate::spread::{BYTES, SECONDS};
use crate::system;
use crate::transcript::Transcript;

/// The warm-up takes this part of the measured time and rounds.
const WARM_UP: u32 = 5;

/// With a slow server, the warm-up and the measured rounds each end after this time, or after [`MAX_TIMES`] times their
/// planned time if that is longer, even if not everything has been delivered.
const MAX_TIME: Duration = Duration::from_secs(10);

const MAX_TIMES: u32 = 5;

/// The first connections allocate more than later ones, so the memory of these is not measured.
const FIRST_CLIENTS: usize = 100;

/// Stops a server that queues messages for each stuck client before the machine runs out of memory.
const MAX_SERVER_BYTES: f64 = 4.0 * 1024.0 * 1024.0 * 1024.0;

/// At a low message rate, a run needs more time for a meaningful result.
const TIMES_LONGER: u32 = 2;

/// Newcomers that begin to connect before the members' messages are read again.
const CONNECTS_PER_TURN: usize = 50;

/// Beyond this, a run would reuse ports.
const MAX_VISITS: usize = 20_000;

/// Connections that request the page.
const READERS: usize = 16;

const DELIVERY: [&str; 2] = ["deliveries/s", "CPU/delivery"];

#[derive(Clone, Copy)]
pub enum Load {
    Chat(Chat),
    /// A client joins, and leaves at once; then the next one. With the closing handshake, the server closes TCP first, as
    /// RFC 6455 7.1.1 requires, so sockets in TIME_WAIT are on its side and the load does not run out of ports.
    Visits {
        end_with_reset: bool,
    },
    /// Connections request the page, again and again.
    Pages,
}

/// Clients in a room.
#[derive(Clone, Copy, Default)]
pub struct Chat {
    pub members: usize,
    /// The first members are the senders.
    pub senders: usize,
    /// What a sender sends in one write.
    pub messages: usize,
    pub text_bytes: usize,
    /// Writes per second, whether or not the server keeps up; the senders take turns. If it is 0, there are rounds:
    /// each sender makes a write, and the next round begins when all members have received everything.
    pub rate: u32,
    /// Clients that connect at once when the schedule begins. It ends when all of them have their 101.
    pub newcomers: usize,
    /// Further clients, which never read.
    pub stuck: usize,
    /// Viewers of `/lifecycle`, which read everything.
    pub viewers: usize,
    /// Rounds that a run has at least, however long they take.
    pub least_rounds: usize,
    /// Whether the memory of a connection is shown.
    pub shows_memory: bool,
}

impl From<Chat> for Load {
    fn from(chat: Chat) -> Load {
        Load::Chat(chat)
    }
}

impl Load {
    /// Runs for about `time` on a server that listens.
    pub fn run(self, server: &Process, time: Duration) -> Result<Run> {
        match self {
            Load::Chat(chat) => chat.run(server, time),
            Load::Visits { end_with_reset } => visit(end_with_reset, server, time),
            Load::Pages => request_pages(server, time),
        }
    }
}

impl Chat {
    fn run(&self, server: &Process, time: Duration) -> Result<Run> {
        let longest = if self.newcomers > 0 { DEADLINE } else { time * TIMES_LONGER };
        let scheduled = (longest.as_secs_f64() * f64::from(self.rate)).ceil() as usize;
        // One more write for the last message of a storm.
        let writes = scheduled.div_ceil(self.senders) + 1;
        let transcript = Transcript::new(self.members, self.senders, writes, self.messages, self.text_bytes);
        let mut clients = Clients::new(server.port, transcript)?;
        let first = self.members.min(FIRST_CLIENTS);
        clients.join(Role::Member, first)?;
        clients.settle()?;
        let memory_before = system::memory(server.id());
        clients.join(Role::Member, self.members - first)?;
        clients.join(Role::Stuck, self.stuck)?;
        clients.join(Role::Viewer, self.viewers)?;
        clients.settle()?;
        let memory = (system::memory(server.id()) - memory_before) / (self.members - first) as f64;
        let mut run = match self.rate {
            0 => repeat(server, &mut clients, DELIVERY, time, self.least_rounds..usize::MAX, |clients, deadline| {
                self.run_round(clients, server, deadline)
            }),
            _ => self.run_schedule(&mut clients, server, scheduled),
        }?;
        if self.shows_memory {
            run.figures.push(Figure { head: "memory/connection", scale: BYTES, value: memory });
        }
        clients.finish()?;
        Ok(run)
    }

    /// Returns false if time ran out before everything was delivered.
    fn run_round(&self, clients: &mut Clients, server: &Process, deadline: Instant) -> Result<bool> {
        clients.transcript.clear();
        (0..self.senders).try_for_each(|sender| clients.send(sender, Instant::now()))?;
        let is_complete = clients.wait_for_all(deadline)?;
        let is_too_large = self.stuck > 0 && system::memory(server.id()) > MAX_SERVER_BYTES;
        ensure!(!is_too_large, "run stopped: the server uses more than {MAX_SERVER_BYTES} bytes of memory");
        Ok(is_complete)
    }

    fn run_schedule(&self, clients: &mut Clients, server: &Process, writes: usize) -> Result<Run> {
        let (all, started) = (self.newcomers, Instant::now());
        let mut newcomers = 0..all;
        let heads = if all == 0 { DELIVERY } else { ["until all are in", "CPU/newcomer"] };
        let mut run = measure(server, clients, heads, |clients| {
            for number in 0..writes {
                let due = started + Duration::from_secs(1) / self.rate * number as u32;
                while Instant::now() < due {
                    (newcomers.by_ref().take(CONNECTS_PER_TURN)).try_for_each(|_| clients.connect(Role::Newcomer))?;
                    clients.turn(if newcomers.is_empty() { due } else { Instant::now() })?;
                }
                if all > 0 && newcomers.is_empty() && clients.all_answered().is_some() {
                    break;
                }
                clients.send(number % self.senders, due)?;
            }
            let is_complete = clients.wait_for_all(Instant::now() + DEADLINE)?;
            Ok((if all == 0 { clients.transcript.latencies.len() } else { all as u64 }, is_complete))
        })?;
        if all > 0 {
            let last =
                clients.all_answered().with_context(|| format!("not all {all} have their 101 in {DEADLINE:?}"))?;
            (run.figures[0].scale, run.figures[0].value) = (SECONDS, (last - started).as_secs_f64());
            // All must receive one more message, after those that they have received before.
            clients.wait_until(Instant::now() + SETTLE)?;
            clients.send(0, Instant::now())?;
            let is_complete = clients.wait_for_all(Instant::now() + DEADLINE)?;
            ensure!(is_complete, "the last message did not arrive in {DEADLINE:?}");
        }
        Ok(run)
    }
}

fn visit(end_with_reset: bool, server: &Process, time: Duration) -> Result<Run> {
    let mut clients = Clients::new(server.port, Transcript::of_nobody())?;
    repeat(server, &mut clients, ["visits/s", "CPU/visit"], time, 0..MAX_VISITS, |clients, _| {
        let began = Instant::now();
        clients.join(Role::Visitor, 1)?;
        clients.end_visit(end_with_reset)?;
        clients.transcript.record(began.elapsed());
        Ok(true)
    })
}

/// Takes the connections in turn, and waits for the oldest response, while up to 15 other requests are on their way.
fn request_pages(server: &Process, time: Duration) -> Result<Run> {
    let mut clients = Clients::new(server.port, Transcript::of_nobody())?;
    clients.join(Role::Reader, READERS)?;
    let mut asked = [Instant::now(); READERS];
    let mut numbers = (0..READERS).cycle();
    repeat(server, &mut clients, ["requests/s", "CPU/request"], time, 0..usize::MAX, |clients, _| {
        let number = numbers.next().expect("a cycle has no end");
        let answered = clients.wait_for_response(number)?;
        clients.transcript.record(answered - asked[number]);
        asked[number] = Instant::now();
        clients.request_again(number)?;
        Ok(true)
    })
}

/// Makes rounds until the time is over, but a number of them within `rounds`: first as a warm-up, then measured. A round
/// returns false if the deadline ended it. There is one latency for each thing that is counted.
fn repeat(
    server: &Process,
    clients: &mut Clients,
    heads: [&'static str; 2],
    time: Duration,
    rounds: Range<usize>,
    mut run_round: impl FnMut(&mut Clients, Instant) -> Result<bool>,
) -> Result<Run> {
    let mut phase = |time: Duration, rounds: Range<usize>| {
        measure(server, clients, heads, |clients| {
            let (started, mut round, mut is_complete) = (Instant::now(), 0, true);
            while is_complete && (round < rounds.start || (round < rounds.end && started.elapsed() < time)) {
                is_complete = run_round(clients, started + MAX_TIME.max(time * MAX_TIMES))?;
                round += 1;
            }
            Ok((clients.transcript.latencies.len(), is_complete))
        })
    };
    let warm_up = phase(time / WARM_UP, rounds.start / WARM_UP as usize..rounds.end / WARM_UP as usize)?;
    // If time runs out during the warm-up, that is what was measured.
    if warm_up.is_cut_short { Ok(warm_up) } else { phase(time, rounds) }
}
