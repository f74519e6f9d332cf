//! The load: what the clients of one run do, and what that costs the server.

mod clients;
mod connect;
mod fault;
mod frame;
mod latency;
mod rounds;
mod schedule;
pub mod self_check;
mod transcript;
mod viewer;
mod visit;

use std::thread;
use std::time::{Duration, Instant};

pub use fault::Fault;
use latency::Latencies;
pub use rounds::{Rounds, Until};
pub use schedule::Schedule;

use crate::process::Process;
use crate::system;

/// The shortest message text: it holds the sender and a sequence number.
pub const SHORTEST_TEXT: usize = 16;

/// A slow server's run ends after this time, even if not everything has been delivered.
const MAX_RUN: Duration = Duration::from_secs(10);

/// Some servers write the 101 before they add the connection to their list, so the senders wait this long.
const SETTLE: Duration = Duration::from_millis(200);

/// What the clients of a run do.
pub enum Load {
    Rounds(Rounds),
    Schedule(Schedule),
    Visit,
}

/// The measurements of one run.
#[derive(Clone)]
pub struct Figures {
    /// Deliveries, or handshakes.
    pub count: u64,
    pub took: Duration,
    /// CPU time of the server, if this system can measure it.
    pub cpu: Option<Duration>,
    /// CPU time of the load. If it is close to `took`, the load was the bottleneck.
    pub load_cpu: Option<Duration>,
    pub p50: Duration,
    pub p99: Duration,
    /// The server's memory per connection before any message was sent.
    pub idle_bytes: Option<f64>,
    pub peak_bytes: Option<u64>,
    /// Time ran out before everything was delivered.
    pub cut_short: bool,
}

/// Runs a load for about `time` on a server that listens.
pub fn run(load: &Load, server: &Process, time: Duration) -> Result<Figures, Fault> {
    match load {
        Load::Rounds(rounds) => rounds::run(rounds, server, time),
        Load::Schedule(schedule) => schedule::run(schedule, server, time),
        Load::Visit => visit::run(server, time),
    }
}

/// Reads the clocks at the start and the end of the measured time.
struct Meter<'a> {
    server: &'a Process,
    started: Instant,
    cpu: Option<Duration>,
    load_cpu: Option<Duration>,
}

impl Meter<'_> {
    fn start(server: &Process) -> Meter<'_> {
        Meter { server, cpu: server.cpu_time(), load_cpu: own_cpu_time(), started: Instant::now() }
    }

    /// Ends the measured time. There is one latency per delivery, so they give the count.
    fn stop(self, latencies: &Latencies, cut_short: bool) -> Figures {
        let took = self.started.elapsed();
        let since = |(after, before): (Duration, Duration)| after - before;
        let cpu = self.server.cpu_time().zip(self.cpu).map(since);
        let load_cpu = own_cpu_time().zip(self.load_cpu).map(since);
        Figures {
            count: latencies.count(),
            took,
            cpu,
            load_cpu,
            p50: latencies.percentile(0.50),
            p99: latencies.percentile(0.99),
            idle_bytes: None,
            peak_bytes: self.server.peak_memory(),
            cut_short,
        }
    }
}

fn own_cpu_time() -> Option<Duration> {
    system::cpu_time(std::process::id())
}

fn settle() {
    thread::sleep(SETTLE);
}
