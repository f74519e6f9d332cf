//! The benchmark: what a delivered message costs, and against whom. `cargo bench -- --help` tells how to use it.
//!
//! It starts each server as a process of its own, drives it over loopback with raw frames, and checks what it measures:
//! every message delivered to everyone, each sender's in order, all receivers one order. Read it in this order:
//!
//! | file | what |
//! |---|---|
//! | `scenario.rs` | the loads, and what each is for |
//! | `contest.rs` | who runs when, and on which core |
//! | `process.rs`, `system/` | a server's process: start, clocks, memory, end |
//! | `load/` | what the clients do; `transcript.rs` has the checks, `self_check.rs` checks these |
//! | `floor.rs` | the least that a server can do; the distance to it is the figure that matters |
//! | `report.rs` | the tables |
//!
//! The figures:
//! - **deliveries/s**: messages that arrived, once for each receiver, by the time that passed.
//! - **CPU a delivery**: the server's CPU clock, all threads, user and system, by the same number. It has what the
//!   kernel does in the server's name: over loopback that is the receiver's part of TCP as well.
//! - **p50, p99**: from just before the write that sends a message (fan-out: from its time on the schedule) to the read
//!   that brings it, for each receiver. In visit: from connecting to the end of the stream.
//! - **peak memory**: the most that was resident since the process began.
//! - **load busy**: the load's own CPU time by the time that passed. Near 100% the load set the pace, not the server: then
//!   CPU a delivery is the figure to compare.
//! - **ratio**: the first line's figure by this line's; the median of the rounds' ratios.

mod contest;
mod floor;
mod load;
mod options;
mod process;
mod report;
mod scenario;
mod system;

use std::env;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;

use contest::{Cores, Heat};
use options::{Options, Request};

/// Above this, the machine is not ours alone.
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
    print_circumstances(options, &cores);
    let mut failed = false;
    for scenario in &options.scenarios {
        let heats = contest::hold(scenario, options, &cores);
        report::print(scenario, &heats);
        failed |= heats.iter().flat_map(|heat: &Heat| &heat.entries).any(|entry| entry.fault.is_some());
    }
    if failed {
        eprintln!("at least one server FAILED a scenario, see above");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn print_circumstances(options: &Options, cores: &Cores) {
    println!("{}; {}.", system::machine(), cores.describe());
    if let Some(busy) = system::load_average().filter(|&busy| busy > QUIET_LOAD_AVERAGE) {
        println!("The load average is {busy} before the start: something else runs here, and it disturbs.");
    }
    println!(
        "Rounds: {}, each of {:?}; the median (least–greatest) of them. Ratio: the first line's figure by this line's.",
        options.rounds, options.time
    );
}

/// This executable as the floor, on the `PORT` it is told.
fn serve_floor() -> ExitCode {
    let Some(port) = env::var("PORT").ok().and_then(|port| port.parse().ok()) else {
        eprintln!("the floor needs a PORT in the environment");
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
