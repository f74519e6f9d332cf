//! The benchmark: what delivering a message costs, here and elsewhere. `cargo bench -- --help` lists the scenarios.
//!
//! Each server runs as a separate process, driven over loopback with raw frames. Every run is checked: each message
//! reaches every client, each sender's messages arrive in order, and all receivers see one order. In reading order,
//! each file uses only those below it:
//!
//! | file | contents |
//! |---|---|
//! | `runner.rs` | which server runs when, and on which core; the tables |
//! | `options.rs`, `scenarios.rs` | the command line; the scenarios and the question each one answers |
//! | `load.rs` | what the clients do in a run |
//! | `figures.rs` | what a run measures |
//! | `clients.rs` | the clients in one event loop, and the checks of the responses they get |
//! | `transcript.rs` | the messages, and the checks of what the clients receive; `self_check.rs` tests these |
//! | `process.rs`, `system.rs`, `spread.rs` | a server process: start, CPU clock, memory, end; medians |
//! | `floor.rs` | the least a chat server can do; a server's distance from it is the cost of its own work |
//!
//! The columns:
//! - **deliveries/s**: messages received, counted once per receiver, per second.
//! - **CPU/delivery**: the server's CPU time (all threads, user and system) per delivery. It includes the kernel's work
//!   on the server's behalf; over loopback that is the receiving side of TCP as well.
//! - **p50, p99**: latency from just before the write that sends a message to the read that receives it, per receiver.
//!   In `fan-out` and `storm` it starts at the scheduled time; in `visit` it is the time from connecting to the end of
//!   the stream; in `http`, the time from the request to the whole response, with up to 15 others on their way.
//! - **until all are in**: in `storm`, the time until all newcomers have their 101. One thread lets them connect as
//!   fast as it can while it reads the chat. If the server's listen queue is full, the kernel drops a SYN, and the
//!   client's kernel repeats it a second later: that is part of the figure, for every server.
//! - **CPU/newcomer**: the server's CPU time during the storm per newcomer, including deliveries to earlier newcomers.
//! - **peak memory**: the largest resident set since the process started.
//! - **load CPU**: CPU time of the load process per second. Near 100% the load is the bottleneck, not the server;
//!   compare CPU/delivery then.
//! - **ratio**: the value for the first server under the same load, divided by this one's; the median over the rounds.

mod clients;
mod figures;
mod floor;
mod load;
mod options;
#[path = "../shared/process.rs"]
mod process;
mod runner;
mod scenarios;
mod self_check;
#[path = "../shared/spread.rs"]
mod spread;
#[path = "../shared/system.rs"]
mod system;
mod transcript;

use std::env;
use std::process::ExitCode;

use anyhow::{Context, Result};

use options::Options;

fn main() -> Result<ExitCode> {
    if env::args_os().nth(1).is_some_and(|first| first == options::FLOOR) {
        floor::serve(env::var("PORT").context("the floor needs PORT in the environment")?.parse()?)?;
    }
    let options = match options::parse() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("error: {error}; see --help");
            return Ok(ExitCode::from(2));
        }
    };
    self_check::run();
    system::raise_open_files();
    let cores = system::cores();
    print_conditions(&options, &cores);
    let failures = options.scenarios.iter().filter(|scenario| !runner::run(scenario, &options, &cores)).count();
    if failures > 0 {
        eprintln!("error: at least one server FAILED a scenario, see above");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_conditions(options: &Options, cores: &[usize]) {
    let count = cores.len();
    let pinned = match cores {
        [server, load, ..] => format!("{count} cores; the server is pinned to core {server}, the load to core {load}"),
        [_] => "1 core, shared by server and load, so they disturb each other".to_owned(),
        [] => "server and load are not pinned: not supported on this system".to_owned(),
    };
    println!("{}; {pinned}.", system::machine());
    let Options { rounds, time, .. } = options;
    println!("Load average at the start: {}; above 0.5, other programs disturb the runs.", system::load_average());
    println!("Rounds: {rounds}, of {time:?} each. A cell is the median (min–max).");
    println!("Ratio: the first server's value divided by this one's.");
}
