//! Runs every server under every load of a scenario, interleaved in rounds.

use std::env;
use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::{Error, Result};
use test_client::started::free_port;

use crate::figures::Run;
use crate::options::Options;
use crate::process::Process;
use crate::scenarios::{Row, Scenario};
use crate::system;

/// The name of the floor, and the first argument that makes the benchmark's own executable serve as it.
pub const FLOOR: &str = "floor";

/// One server's results under one load.
pub struct Entry<'a> {
    pub row: &'a Row,
    pub server: String,
    /// The shell command that starts it.
    command: String,
    pub runs: Vec<Run>,
    /// The fault that ended the last run. The server is not run again under this load.
    pub fault: Option<Error>,
}

/// Runs a scenario. A round runs each server once under each load. Returns the entries of each row, one row after the
/// other; the same servers, in the same order, in every row.
pub fn run<'a>(scenario: &'a Scenario, options: &Options, cores: &[usize]) -> Vec<Entry<'a>> {
    let mut entries: Vec<_> = scenario.rows.iter().flat_map(|row| entries(scenario, row, options)).collect();
    for round in 0..options.rounds {
        for turn in 0..entries.len() {
            // Each one is first in turn: whichever is first may find the machine in a different state.
            let index = (round + turn) % entries.len();
            let entry = &mut entries[index];
            if entry.fault.is_none() {
                show_progress(&format!("round {}: {}, {}", round + 1, scenario.name, entry.title()));
                match entry.run(scenario.is_pinned, options, cores) {
                    Ok(run) => entry.runs.push(run),
                    Err(fault) => entry.fault = Some(fault),
                }
            }
        }
    }
    show_progress("");
    entries
}

fn entries<'a>(scenario: &Scenario, row: &'a Row, options: &Options) -> Vec<Entry<'a>> {
    let entry =
        |server: &str, command| Entry { row, server: server.to_owned(), command, runs: Vec::new(), fault: None };
    let switchboard = |name, program: &Path| {
        entry(name, format!("'{}' --host 127.0.0.1 --port $PORT {}", program.display(), row.options))
    };
    let mut entries = vec![switchboard("switchboard", Path::new(env!("CARGO_BIN_EXE_switchboard")))];
    entries.extend(options.before.iter().map(|program| switchboard("before", program)));
    if !scenario.is_for_switchboard {
        let this = env::current_exe().expect("the system knows the path of this program");
        entries.push(entry(FLOOR, format!("'{}' {FLOOR}", this.display())));
        entries.extend(options.against.iter().map(|(name, command)| entry(name, command.clone())));
    }
    entries
}

impl Entry<'_> {
    pub fn title(&self) -> String {
        if self.row.label.is_empty() { self.server.clone() } else { format!("{}, {}", self.row.label, self.server) }
    }

    fn run(&self, is_pinned: bool, options: &Options, cores: &[usize]) -> Result<Run> {
        let pin = |number: usize| {
            if cores.len() > 1 {
                system::pin(if is_pinned { &cores[number..=number] } else { cores });
            }
        };
        pin(0);
        let server = Process::start(&self.command, free_port()?);
        pin(1);
        let mut server = server?;
        server.wait_until_it_listens()?;
        self.row.load.run(&server, options.time)
    }
}

fn show_progress(text: &str) {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K{text}");
    }
}
