//! Runs every server under every load of a scenario, interleaved in rounds.

use std::env;
use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::{Error, Result};

use crate::figures::Run;
use crate::options::Options;
use crate::process::{Process, Stdout};
use crate::scenarios::{Row, Scenario};
use crate::system;

/// The name of the floor, and the first argument that makes the benchmark's own executable serve as it.
pub const FLOOR: &str = "floor";

/// One server's results under one load.
pub struct Entry {
    pub server: String,
    /// The shell command that starts it, and where its output goes.
    start: (String, Stdout),
    pub runs: Vec<Run>,
    /// The fault that ended the last run. The server is not run again under this load.
    pub fault: Option<Error>,
}

/// Runs a scenario. A round runs each server once under each load. Returns the entries of each row; the same servers, in the same
/// order, in every row.
pub fn run(scenario: &Scenario, options: &Options, cores: &[usize]) -> Vec<Vec<Entry>> {
    let mut rows: Vec<_> = scenario.rows.iter().map(|row| entries(scenario, row, options)).collect();
    for round in 0..options.rounds {
        // Each load, and each server, is first in turn: whichever is first may find the machine in a different state.
        for index in rotated(rows.len(), round) {
            for server in rotated(rows[index].len(), round) {
                let (row, entry) = (&scenario.rows[index], &mut rows[index][server]);
                if entry.fault.is_some() {
                    continue;
                }
                show_progress(&format!("round {}: {} {} {}", round + 1, scenario.name, row.label, entry.server));
                match run_once(entry, scenario, row, options, cores) {
                    Ok(run) => entry.runs.push(run),
                    Err(fault) => entry.fault = Some(fault),
                }
            }
        }
    }
    show_progress("");
    rows
}

/// `0..count`, starting at another number in each round.
fn rotated(count: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |turn| (round + turn) % count)
}

fn entries(scenario: &Scenario, row: &Row, options: &Options) -> Vec<Entry> {
    let switchboard = |program: &Path| {
        let command = format!("'{}' --host 127.0.0.1 --port $PORT {}", program.display(), row.options);
        (command, row.stdout)
    };
    let other = |command: &str| (command.to_owned(), Stdout::File);
    let mut servers = vec![("switchboard", switchboard(Path::new(env!("CARGO_BIN_EXE_switchboard"))))];
    servers.extend(options.before.iter().map(|program| ("before", switchboard(program))));
    if !scenario.is_for_switchboard {
        let this = env::current_exe().expect("the system knows the path of this program");
        servers.push((FLOOR, other(&format!("'{}' {FLOOR}", this.display()))));
        servers.extend(options.against.iter().map(|(name, command)| (name.as_str(), other(command))));
    }
    let entry = |(server, start): (&str, _)| Entry { server: server.to_owned(), start, runs: Vec::new(), fault: None };
    servers.into_iter().map(entry).collect()
}

fn run_once(entry: &Entry, scenario: &Scenario, row: &Row, options: &Options, cores: &[usize]) -> Result<Run> {
    let pin = |number: usize| {
        if cores.len() > 1 {
            system::pin(if scenario.is_pinned { &cores[number..=number] } else { cores });
        }
    };
    pin(0);
    let (command, stdout) = &entry.start;
    let server = Process::start(command, *stdout);
    pin(1);
    row.load.run(&server?, options.time)
}

fn show_progress(text: &str) {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K{text}");
    }
}
