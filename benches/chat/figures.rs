//! The figures of a run.

use std::time::Instant;

use anyhow::Result;

use crate::clients::Clients;
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

/// Measures what the clients do. `act` returns how many things happened, and whether it completed before its deadline.
/// `heads`: of the rate of these things, and of the CPU time for each.
pub fn measure(
    server: &Process,
    clients: &mut Clients,
    heads: [&'static str; 2],
    act: impl FnOnce(&mut Clients) -> Result<(u64, bool)>,
) -> Result<Run> {
    let cpu_times = || [server.id(), std::process::id()].map(system::cpu_time);
    clients.transcript.latencies.reset();
    let ([cpu, load_cpu], started) = (cpu_times(), Instant::now());
    let (count, is_complete) = act(clients)?;
    let ([cpu_end, load_cpu_end], took) = (cpu_times(), started.elapsed().as_secs_f64());
    let percentile = |share| clients.transcript.latencies.value_at_quantile(share) as f64 * 1e-9;
    let figures = [
        (heads[0], COUNT, count as f64 / took),
        (heads[1], SECONDS, (cpu_end - cpu) / count as f64),
        ("p50", SECONDS, percentile(0.50)),
        ("p99", SECONDS, percentile(0.99)),
        ("peak memory", BYTES, system::peak_memory(server.id())),
        ("load CPU", SHARE, (load_cpu_end - load_cpu) / took),
    ];
    let figures = figures.map(|(head, scale, value)| Figure { head, scale, value }).into();
    Ok(Run { figures, is_cut_short: !is_complete })
}
