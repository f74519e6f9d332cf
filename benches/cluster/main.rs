//! The benchmark of one room on several nodes: `cargo bench --features redis --bench cluster -- --help`.
//!
//! It starts a Redis and the nodes as processes, and drives them over loopback. Redis, nodes and clients share the cores of
//! one machine, so a figure is that of the whole, and more nodes don't add processors. In reading order:
//!
//! | file | contents |
//! |---|---|
//! | `measure.rs` | latency and throughput |
//! | `restart.rs` | what a restart of Redis loses |
//! | `room.rs` | the processes: a Redis, and the nodes of one kind of server |
//! | `fleet.rs`, `client.rs` | the clients |
//! | `wire.rs` | the messages as bytes; all that a client receives is compared with what was expected |
//! | `tally.rs` | what a client has received, missed, or received twice or out of order |
//! | `report.rs` | the tables |
//!
//! The columns:
//! - **p50, p99**: latency on a schedule, from the time when a message was due until a client has read it; once per client.
//!   The time that a message waits for room in its sender's socket counts.
//! - **until p50 doubles**: the highest rate on a schedule at which p50 is at most twice that at 1,000 messages per second.
//!   The rates that are tried differ by a factor of 1.4.
//! - **at most**: messages per second that every client has received, while each sender has up to `--window` messages on
//!   their way, and sends more when every client has received half of them.
//! - **CPU**: CPU time per second of all nodes, of Redis, and of the clients, during that.
//! - **memory**: resident memory of the largest node and of Redis at the end, and the memory of the stream in Redis.
//! - **lost silently**: see `lost_silently` in `restart.rs`.
//! - **messages again after**: from Redis' first answer until every client has received, from each node, a message that was
//!   due after it.
//! - **one order**: whether all clients of all nodes received the same messages in the same order.

mod client;
mod fleet;
mod measure;
mod options;
#[path = "../shared/process.rs"]
mod process;
mod report;
mod restart;
mod room;
#[path = "../shared/spread.rs"]
mod spread;
#[path = "../shared/system.rs"]
#[allow(dead_code)]
mod system;
mod tally;
mod wire;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use measure::{Figures, Measure};
use options::Options;
use room::{Room, Setup};

/// One server's results.
pub struct Row {
    setup: Setup,
    /// Redis's `appendfsync`.
    fsync: String,
    runs: Vec<Figures>,
    faults: Vec<io::Error>,
}

fn main() -> ExitCode {
    match options::parse() {
        Ok(None) => {
            print!("{}", options::HELP);
            ExitCode::SUCCESS
        }
        Ok(Some(options)) => run(&options),
        Err(error) => {
            eprintln!("error: {error}; see --help");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> ExitCode {
    wire::self_check();
    tally::self_check();
    println!("{}; {} cores, shared by Redis, nodes and clients.", system::machine(), system::cores().len());
    let Options { rounds, time, .. } = options;
    let load = system::load_average();
    println!("Load average at the start: {load}. Rounds: {rounds}, of {time:?} each. A cell is the median (min–max).");
    let mut has_failed = false;
    for measure in &options.measures {
        let rows = if measure.name == "restart" { restarts(measure, options) } else { rounds_of(measure, options) };
        report::print(measure, &rows);
        has_failed |= rows.iter().any(Row::has_failed);
    }
    if has_failed {
        eprintln!("switchboard FAILED, see above");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Measures every server in each round. Each is first in turn: whichever is first may find the machine in a different state.
fn rounds_of(measure: &Measure, options: &Options) -> Vec<Row> {
    let mut rows: Vec<Row> = options.setups.iter().map(|&setup| Row::new(setup, &options.fsync)).collect();
    for round in 0..options.rounds {
        for turn in 0..options.setups.len() {
            rows[(round + turn) % options.setups.len()].run(measure, options);
        }
    }
    rows
}

/// Measures every server with two nodes, once for each way in which Redis may keep its data.
fn restarts(measure: &Measure, options: &Options) -> Vec<Row> {
    let setups = options.setups.iter().filter(|setup| setup.nodes == 2);
    let mut rows: Vec<Row> =
        setups.flat_map(|&setup| ["always", "everysec"].map(|fsync| Row::new(setup, fsync))).collect();
    rows.iter_mut().for_each(|row| row.run(measure, options));
    rows
}

impl Row {
    fn new(setup: Setup, fsync: &str) -> Self {
        Self { setup, fsync: fsync.to_owned(), runs: Vec::new(), faults: Vec::new() }
    }

    fn run(&mut self, measure: &Measure, options: &Options) {
        if io::stderr().is_terminal() {
            eprint!("\r\x1b[K{}: {}, appendfsync {}\r", measure.name, self.setup.name, self.fsync);
        }
        match Room::start(self.setup, &self.fsync).and_then(|mut room| (measure.run)(&mut room, options)) {
            Ok(figures) => self.runs.push(figures),
            Err(fault) => self.faults.push(fault),
        }
    }

    /// Whether this project's server lost or reordered a message without telling, or had no figures.
    fn has_failed(&self) -> bool {
        let is_correct = |run: &Figures| run.one_order && run.wrong == 0;
        self.setup.kind.is_ours() && !(self.faults.is_empty() && self.runs.iter().all(is_correct))
    }
}
