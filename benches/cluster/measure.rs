//! The measurements: latency and throughput here, a restart of Redis in `restart.rs`.

use std::io;
use std::time::{Duration, Instant};

use crate::fleet::{Arrival, Fleet};
use crate::options::Options;
use crate::restart;
use crate::room::Room;
use crate::spread::{BYTES, COUNT, EXACT, SECONDS, SHARE, Scale};

/// Messages per second in total when latency is measured.
const BASE_RATE: usize = 1_000;
const CLIENTS: usize = 32;
const SENDERS: usize = 10;

/// When throughput is measured, there are only a few clients, so they are not the bottleneck.
const CLIENTS_PER_NODE: usize = 3;
const SENDERS_PER_NODE: usize = 2;

/// The factor between two rates that are tried, and the part of a run's time that each takes.
const RATE_STEP: f64 = 1.4;
const RATE_TIME: f64 = 0.25;
const MAX_RATE: usize = 1_000_000;

/// How often messages are sent at high rates. To send more often would cost the clients too much CPU time.
const TICK: Duration = Duration::from_millis(1);

pub struct Measure {
    pub name: &'static str,
    pub description: fn() -> String,
    pub columns: &'static [(&'static str, Scale)],
    pub run: fn(&mut Room, &Options) -> io::Result<Figures>,
}

/// The result of one run.
pub struct Figures {
    /// One per column.
    pub values: Vec<f64>,
    /// Whether all clients received the same messages in the same order.
    pub one_order: bool,
    /// Messages that were lost, repeated or reordered without telling. Unless Redis restarts, any such message is an error.
    pub wrong: u64,
}

pub const MEASURES: [Measure; 3] = [
    Measure {
        name: "latency",
        description: || format!("{SENDERS} of {CLIENTS} clients send {BASE_RATE} messages/s in total"),
        columns: &[("p50", SECONDS), ("p99", SECONDS), ("messages/s", COUNT)],
        run: latency,
    },
    Measure {
        name: "throughput",
        description: || format!("{SENDERS_PER_NODE} of {CLIENTS_PER_NODE} clients on each node send"),
        columns: &[
            ("messages/s until p50 doubles", COUNT),
            ("at most", COUNT),
            ("deliveries/s then", COUNT),
            ("CPU nodes", SHARE),
            ("CPU Redis", SHARE),
            ("CPU clients", SHARE),
            ("memory of a node", BYTES),
            ("memory of Redis", BYTES),
            ("of which the stream", BYTES),
        ],
        run: throughput,
    },
    Measure {
        name: "restart",
        description: restart::description,
        columns: &[
            ("sent", EXACT),
            ("lost silently", EXACT),
            ("repeated", EXACT),
            ("out of order", EXACT),
            ("disconnected clients", EXACT),
            ("close code", EXACT),
            ("messages again after", SECONDS),
        ],
        run: restart::run,
    },
];

/// Messages at fixed times, whether or not the server keeps up. The senders take turns.
pub struct Schedule {
    start: Instant,
    period: Duration,
    /// Messages in each period.
    messages: usize,
    periods: u32,
    next_sender: usize,
}

impl Schedule {
    pub fn start(fleet: &mut Fleet, rate: usize) -> io::Result<Self> {
        let messages = (rate as f64 * TICK.as_secs_f64()).round().max(1.0) as usize;
        let period = Duration::from_secs_f64(messages as f64 / rate as f64);
        fleet.tick_every(period)?;
        Ok(Self { start: Instant::now(), period, messages, periods: 0, next_sender: 0 })
    }

    /// Sends what is due, and receives what arrives until the next message is due.
    pub fn turn(&mut self, fleet: &mut Fleet, arrived: &mut impl FnMut(Arrival)) -> io::Result<()> {
        let senders = fleet.senders();
        loop {
            let due = self.start + self.period * self.periods;
            if due > Instant::now() {
                return fleet.turn(self.period, arrived);
            }
            for turn in 0..senders.min(self.messages) {
                let count = (self.messages - turn).div_ceil(senders);
                fleet.send((self.next_sender + turn) % senders, count, due);
            }
            self.next_sender = (self.next_sender + self.messages) % senders;
            self.periods += 1;
        }
    }

    pub fn run(&mut self, fleet: &mut Fleet, time: Duration, arrived: &mut impl FnMut(Arrival)) -> io::Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(fleet, arrived)?;
        }
        Ok(())
    }
}

/// From the time when a message was due until a client has read it, once per client.
#[derive(Default)]
struct Latencies(Vec<Duration>);

impl Latencies {
    fn record(&mut self, arrival: &Arrival) {
        self.0.push(arrival.now.saturating_duration_since(arrival.due));
    }

    /// The latency that a share of the messages doesn't exceed, in seconds.
    fn percentile(&mut self, share: f64) -> f64 {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0.sort_unstable();
        self.0.get(rank.saturating_sub(1)).map_or(f64::NAN, Duration::as_secs_f64)
    }
}

fn latency(room: &mut Room, options: &Options) -> io::Result<Figures> {
    let mut fleet = Fleet::connect(room, CLIENTS, SENDERS)?;
    // Warm up, for example a just-in-time compiler.
    Schedule::start(&mut fleet, BASE_RATE)?.run(&mut fleet, options.time, &mut |_| {})?;
    fleet.finish(&mut |_| {})?;
    let start = Instant::now();
    let (mut latencies, mut last) = (Latencies::default(), start);
    let mut record = |arrival: Arrival| {
        latencies.record(&arrival);
        last = arrival.now;
    };
    Schedule::start(&mut fleet, BASE_RATE)?.run(&mut fleet, options.time, &mut record)?;
    fleet.finish(&mut record)?;
    // About BASE_RATE, or less if the server doesn't keep up.
    let rate = latencies.0.len() as f64 / CLIENTS as f64 / (last - start).as_secs_f64();
    let values = vec![latencies.percentile(0.50), latencies.percentile(0.99), rate];
    Ok(Figures { values, one_order: fleet.is_one_order(), wrong: 0 })
}

fn throughput(room: &mut Room, options: &Options) -> io::Result<Figures> {
    let nodes = room.nodes.len();
    let mut fleet = Fleet::connect(room, CLIENTS_PER_NODE * nodes, SENDERS_PER_NODE * nodes)?;
    // This comes first because it also warms up.
    let (most, cpu) = most_messages(room, &mut fleet, options)?;
    let until_p50_doubles = rate_until_latency_doubles(&mut fleet, options.time.mul_f64(RATE_TIME))?;
    let deliveries = most * fleet.clients.len() as f64;
    let rates = vec![until_p50_doubles, most, deliveries];
    let values = [rates, cpu, room.memory().to_vec()].concat();
    Ok(Figures { values, one_order: fleet.is_one_order(), wrong: 0 })
}

/// The highest rate on a schedule at which the median latency is at most twice that at [`BASE_RATE`]. A single disturbance does
/// not end the search, but two rates in a row that exceed the limit do.
fn rate_until_latency_doubles(fleet: &mut Fleet, time: Duration) -> io::Result<f64> {
    let mut p50_at = |rate| {
        let mut latencies = Latencies::default();
        let mut record = |arrival: Arrival| latencies.record(&arrival);
        Schedule::start(fleet, rate)?.run(fleet, time, &mut record)?;
        fleet.finish(&mut record)?;
        io::Result::Ok(latencies.percentile(0.50))
    };
    let limit = 2.0 * p50_at(BASE_RATE)?;
    let (mut rate, mut highest, mut exceeded) = (BASE_RATE, BASE_RATE, 0);
    while rate < MAX_RATE && exceeded < 2 {
        rate = (rate as f64 * RATE_STEP / 1e3).ceil() as usize * 1_000;
        if p50_at(rate)? <= limit {
            (highest, exceeded) = (rate, 0);
        } else {
            exceeded += 1;
        }
    }
    Ok(highest as f64)
}

/// The most messages per second that every client receives, while each sender has up to `window` messages on their way; and
/// the CPU time per second.
fn most_messages(room: &Room, fleet: &mut Fleet, options: &Options) -> io::Result<(f64, Vec<f64>)> {
    let window = options.window.unwrap_or(room.kind.window());
    keep_sending(fleet, window, options.time / 2)?;
    let read = |fleet: &Fleet| (Instant::now(), room.cpu(), fleet.delivered().iter().sum::<u64>());
    let (start, cpu_before, before) = read(fleet);
    keep_sending(fleet, window, options.time)?;
    let (end, cpu_after, after) = read(fleet);
    fleet.finish(&mut |_| {})?;
    let seconds = (end - start).as_secs_f64();
    let cpu = cpu_after.iter().zip(cpu_before).map(|(after, before)| (after - before) / seconds);
    Ok(((after - before) as f64 / seconds, cpu.collect()))
}

fn keep_sending(fleet: &mut Fleet, window: usize, time: Duration) -> io::Result<()> {
    let start = Instant::now();
    while start.elapsed() < time {
        for (sender, (sent, delivered)) in fleet.sent().into_iter().zip(fleet.delivered()).enumerate() {
            let on_their_way = (sent - delivered) as usize;
            // Few large writes rather than many small ones.
            if on_their_way <= window / 2 {
                fleet.send(sender, window - on_their_way, Instant::now());
            }
        }
        fleet.turn(TICK, &mut |_| {})?;
        fleet.check_open()?;
    }
    Ok(())
}
