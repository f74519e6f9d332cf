//! The benchmark: what delivering a message costs, here and in other servers. `cargo bench -- --help` lists the options.
//!
//! Each server runs as a separate process, driven over loopback with raw frames. Every run is checked: each message
//! reaches every client, each sender's messages arrive in order, and all receivers see one order. In reading order:
//!
//! | file | contents |
//! |---|---|
//! | `scenario.rs` | the scenarios and the question each one answers |
//! | `runner.rs` | which server runs when, and on which core |
//! | `process.rs`, `system/` | a server process: start, CPU clock, memory, end |
//! | `load/` | what the clients do; `transcript.rs` checks what they receive, `self_check.rs` tests those checks |
//! | `floor.rs` | the least a chat server can do; a server's distance from it is the cost of its own work |
//! | `report.rs` | the tables |
//!
//! The columns:
//! - **deliveries/s**: messages received, counted once per receiver, per second.
//! - **CPU/delivery**: the server's CPU time (all threads, user and system) per delivery. It includes the kernel's work on
//!   the server's behalf; over loopback that is the receiving side of TCP as well.
//! - **p50, p99**: latency from just before the write that sends a message to the read that receives it, per receiver.
//!   In `fan-out` it starts at the scheduled time; in `visit` it is the time from connecting to the end of the stream.
//! - **peak memory**: the largest resident set since the process started.
//! - **load CPU**: CPU time of the load process per second. Near 100% the load is the bottleneck, not the server; compare
//!   CPU/delivery then.
//! - **ratio**: the value for the first server under the same load, divided by this one's; the median over the rounds.

mod floor;
mod load;
mod options;
mod process;
mod report;
mod runner;
mod scenario;
mod system;

use std::env;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;

use options::{Options, Request};
use runner::Cores;

/// Above this load average, other programs are disturbing the measurement.
const QUIET_LOAD_AVERAGE: f64 = 0.5;

fn main() -> ExitCode {
    if env::args_os().nth(1).is_some_and(|first| first == process::FLOOR) {
        return serve_floor();
    }
    match options::parse() {
        Ok(Request::Help) => {
            print!("{}", options::HELP);
            ExitCode::SUCCESS
        }
        Ok(Request::Run(options)) => run(&options),
        Err(error) => {
            eprintln!("error: {error}; see --help");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> ExitCode {
    load::self_check::run();
    system::watch_for_signals();
    system::raise_open_files();
    let cores = Cores::of_this_machine();
    print_conditions(options, &cores);
    let mut failed = false;
    for scenario in &options.scenarios {
        let rows = runner::run(scenario, options, &cores);
        report::print(scenario, &rows);
        failed |= rows.iter().flat_map(|row| &row.entries).any(|entry| entry.fault.is_some());
    }
    if failed {
        eprintln!("at least one server FAILED a scenario, see above");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn print_conditions(options: &Options, cores: &Cores) {
    println!("{}; {}.", system::machine(), cores.describe());
    if let Some(load) = system::load_average().filter(|&load| load > QUIET_LOAD_AVERAGE) {
        println!("The load average at the start is {load}: other programs are disturbing the measurement.");
    }
    println!(
        "Rounds: {}, of {:?} each. A cell is the median (min–max). Ratio: the first server's value divided by this one's.",
        options.rounds, options.time
    );
}

/// Runs this executable as the floor, on the port in `PORT`.
fn serve_floor() -> ExitCode {
    let Some(port) = env::var("PORT").ok().and_then(|port| port.parse().ok()) else {
        eprintln!("the floor needs PORT in the environment");
        return ExitCode::from(2);
    };
    let served = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(floor::serve);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
