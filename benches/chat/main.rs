//! The benchmark: what delivering a message costs, here and in other servers. `cargo bench -- --help` lists the scenarios.
//!
//! Each server runs as a separate process, driven over loopback with raw frames. Every run is checked: each message
//! reaches every client, each sender's messages arrive in order, and all receivers see one order. In reading order, each file
//! uses only those below it:
//!
//! | file | contents |
//! |---|---|
//! | `report.rs` | the tables |
//! | `runner.rs`, `options.rs` | which server runs when, and on which core |
//! | `scenarios.rs` | the scenarios and the question each one answers |
//! | `rounds.rs`, `schedule.rs`, `visits.rs` | what the clients do in a run |
//! | `figures.rs` | what a run measures |
//! | `room.rs` | the clients as tasks |
//! | `transcript.rs` | the messages, and the checks of what the clients receive; `self_check.rs` tests these |
//! | `connect.rs` | the opening handshake |
//! | `process.rs`, `system.rs` | a server process: start, CPU clock, memory, end |
//! | `floor.rs` | the least a chat server can do; a server's distance from it is the cost of its own work |
//!
//! The columns:
//! - **deliveries/s**: messages received, counted once per receiver, per second.
//! - **CPU/delivery**: the server's CPU time (all threads, user and system) per delivery. It includes the kernel's work on
//!   the server's behalf; over loopback that is the receiving side of TCP as well.
//! - **p50, p99**: latency from just before the write that sends a message to the read that receives it, per receiver.
//!   In `fan-out` and `storm` it starts at the scheduled time; in `visit` it is the time from connecting to the end of the
//!   stream; in `http`, the time from the request to the whole response, with 15 others on their way.
//! - **until all are in**: in `storm`, the time until all newcomers have their 101. One thread lets them connect as fast as it
//!   can while it reads the chat. If the server's listen queue is full, the kernel drops a SYN, and the client's repeats it after
//!   a second: that is part of the figure, for every server.
//! - **CPU/newcomer**: the server's CPU time during the storm per newcomer, including deliveries to the newcomers so far.
//! - **peak memory**: the largest resident set since the process started.
//! - **load CPU**: CPU time of the load process per second. Near 100% the load is the bottleneck, not the server; compare
//!   CPU/delivery then.
//! - **ratio**: the value for the first server under the same load, divided by this one's; the median over the rounds.

mod client;
mod figures;
mod floor;
mod load;
mod options;
mod process;
mod report;
mod room;
mod runner;
mod scenarios;
mod self_check;
#[path = "../shared/spread.rs"]
mod spread;
#[path = "../shared/system.rs"]
mod system;
mod transcript;
mod visits;

use std::env;
use std::process::ExitCode;

use anyhow::{Context, Result};

use options::Options;

/// Above this load average, other programs are disturbing the measurement.
const QUIET_LOAD_AVERAGE: f64 = 0.5;

fn main() -> ExitCode {
    if env::args_os().nth(1).is_some_and(|first| first == runner::FLOOR) {
        let served = serve_floor();
        return served.map_or_else(|error| fail(&error.to_string(), 1), |()| ExitCode::SUCCESS);
    }
    match options::parse() {
        Ok(None) => options::print_help(),
        Ok(Some(options)) if run(&options) => return fail("at least one server FAILED a scenario, see above", 1),
        Ok(Some(_)) => {}
        Err(error) => return fail(&format!("{error}; see --help"), 2),
    }
    ExitCode::SUCCESS
}

fn fail(error: &str, status: u8) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(status)
}

/// Runs all scenarios. Returns whether a server failed one of them.
fn run(options: &Options) -> bool {
    self_check::run();
    system::raise_open_files();
    let cores = system::cores();
    print_conditions(options, &cores);
    let mut has_failed = false;
    for scenario in &options.scenarios {
        let rows = runner::run(scenario, options, &cores);
        report::print(scenario, &rows);
        has_failed |= rows.iter().flatten().any(|entry| entry.fault.is_some());
    }
    has_failed
}

fn print_conditions(options: &Options, cores: &[usize]) {
    let pinned = match cores {
        [server, load, ..] => format!(
            "{} cores; the server is pinned to core {server} and the load to core {load}, as with `taskset`",
            cores.len()
        ),
        [_] => "1 core, shared by server and load, so they disturb each other".to_owned(),
        [] => "server and load are not pinned: not supported on this system".to_owned(),
    };
    println!("{}; {pinned}.", system::machine());
    let load = system::load_average();
    if load > QUIET_LOAD_AVERAGE {
        println!("The load average at the start is {load}: other programs are disturbing the measurement.");
    }
    println!(
        "Rounds: {}, of {:?} each. A cell is the median (min–max). Ratio: the first server's value divided by this one's.",
        options.rounds, options.time
    );
}

/// Runs this executable as the floor, on the port in `PORT`.
fn serve_floor() -> Result<()> {
    let port = env::var("PORT").ok().and_then(|port| port.parse().ok());
    floor::serve(port.context("the floor needs PORT in the environment")?)
}
