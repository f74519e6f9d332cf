//! The load: what the clients of one run do, and what it costs the server.

mod clients;
mod connect;
mod fault;
mod frame;
mod latency;
mod rounds;
mod schedule;
pub mod self_check;
mod transcript;
mod visit;

use std::thread;
use std::time::{Duration, Instant};

pub use fault::Fault;
use latency::Latencies;
pub use rounds::{Pace, Rounds};
pub use schedule::Schedule;

use crate::process::Process;
use crate::system;

/// The shortest message text: it holds the sender and a sequence number.
pub const SHORTEST_TEXT: usize = 16;

/// A slow server's run ends here even when not all have all.
const MAX_RUN: Duration = Duration::from_secs(10);

/// Some servers write the 101 before the connection is in their list, so nobody speaks at once.
const SETTLE: Duration = Duration::from_millis(200);

/// What the clients of a run do.
pub enum Load {
    Rounds(Rounds),
    Schedule(Schedule),
    Visit,
}

/// What one run measured.
#[derive(Clone)]
pub struct Figures {
    /// Deliveries, or handshakes.
    pub count: u64,
    pub took: Duration,
    /// The server's, if this system can tell.
    pub cpu: Option<Duration>,
    /// The load's own. When it is nearly all of the time, it was the load that set the pace.
    pub load_cpu: Option<Duration>,
    pub p50: Duration,
    pub p99: Duration,
    /// The server's memory for each connection before anybody spoke.
    pub idle_bytes: Option<f64>,
    pub peak_bytes: Option<u64>,
    /// The run's time was up before all had all.
    pub cut_short: bool,
}

/// Runs a load on a server that listens, for about `time`.
pub fn run(load: &Load, server: &Process, time: Duration) -> Result<Figures, Fault> {
    match load {
        Load::Rounds(rounds) => rounds::run(rounds, server, time),
        Load::Schedule(schedule) => schedule::run(schedule, server, time),
        Load::Visit => visit::run(server, time),
    }
}

/// Reads the clocks at both ends of what is measured.
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

    /// What was counted is the latencies: there is one for each delivery.
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
