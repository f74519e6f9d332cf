//! The figures of a run.

use std::time::Instant;

use hdrhistogram::Histogram;

use crate::process::Process;
use crate::spread::{BYTES, COUNT, SECONDS, SHARE, Scale};
use crate::system;

/// All runs of a scenario have the same figures.
pub struct Run {
    pub figures: Vec<Figure>,
    /// Time ran out before everything was delivered.
    pub is_cut_short: bool,
}

/// A value of one run, and the column that shows it.
pub struct Figure {
    pub head: &'static str,
    pub scale: Scale,
    /// NaN if it can't be measured.
    pub value: f64,
}

/// Reads the clocks at the start and the end of the measured time.
pub struct Meter<'a> {
    server: &'a Process,
    pub started: Instant,
    cpu: f64,
    load_cpu: f64,
}

impl Meter<'_> {
    pub fn start(server: &Process) -> Meter<'_> {
        let (cpu, load_cpu) = (system::cpu_time(server.id()), system::cpu_time(std::process::id()));
        Meter { server, cpu, load_cpu, started: Instant::now() }
    }

    /// Ends the measured time, in which `count` things happened. `heads`: of their rate, and of the CPU time for each.
    pub fn stop(self, heads: [&'static str; 2], count: u64, latencies: &Histogram<u64>, is_complete: bool) -> Run {
        let took = self.started.elapsed().as_secs_f64();
        let end = Meter::start(self.server);
        let percentile = |share| latencies.value_at_quantile(share) as f64 * 1e-9;
        let figures = [
            (heads[0], COUNT, count as f64 / took),
            (heads[1], SECONDS, (end.cpu - self.cpu) / count as f64),
            ("p50", SECONDS, percentile(0.50)),
            ("p99", SECONDS, percentile(0.99)),
            ("peak memory", BYTES, system::peak_memory(self.server.id())),
            ("load CPU", SHARE, (end.load_cpu - self.load_cpu) / took),
        ];
        let figures = figures.map(|(head, scale, value)| Figure { head, scale, value }).into();
        Run { figures, is_cut_short: !is_complete }
    }
}
