//! Runs every server under every load of a scenario, interleaved in rounds.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use crate::load::{self, Fault, Figures};
use crate::options::Options;
use crate::process::{Launch, Process, Server};
use crate::scenario::{Row, Scenario, Servers};
use crate::system;

/// The results under one load of a scenario.
pub struct RowResults {
    pub label: &'static str,
    /// One per server; the same servers, in the same order, in every row.
    pub entries: Vec<Entry>,
}

/// One server's results under one load.
pub struct Entry {
    pub server: Server,
    pub runs: Vec<Figures>,
    /// The fault that ended the last run. The server is not run again under this load.
    pub fault: Option<Fault>,
}

/// The cores this process may use.
pub struct Cores {
    all: Vec<usize>,
}

impl Cores {
    pub fn of_this_machine() -> Cores {
        Cores { all: system::cores() }
    }

    pub fn describe(&self) -> String {
        match self.all.as_slice() {
            [server, load, ..] => format!(
                "{} cores; the server is pinned to core {server} and the load to core {load}, as with `taskset`",
                self.all.len()
            ),
            [_] => "1 core, shared by server and load, so they disturb each other".to_owned(),
            [] => "server and load are not pinned: not supported on this system".to_owned(),
        }
    }

    /// Pins this thread, and the processes it starts from here on, to one core, or lets it use all of them.
    fn pin(&self, scenario: &Scenario, number: usize) {
        if self.all.len() < 2 {
            return;
        }
        system::pin(if scenario.pinned { &self.all[number..=number] } else { &self.all });
    }
}

/// Runs a scenario. A round runs each server once under each load.
pub fn run(scenario: &Scenario, options: &Options, cores: &Cores) -> Vec<RowResults> {
    let results = |row: &Row| RowResults { label: row.label, entries: entries(scenario, row, options) };
    let mut results: Vec<RowResults> = scenario.rows.iter().map(results).collect();
    for round in 0..options.rounds {
        // Each load, and each server, is first in turn: whichever is first may find the machine in a different state.
        for index in rotated(scenario.rows.len(), round) {
            let (row, entries) = (&scenario.rows[index], &mut results[index].entries);
            for server in rotated(entries.len(), round) {
                let entry = &mut entries[server];
                if entry.fault.is_some() {
                    continue;
                }
                show_progress(scenario, row, round, entry);
                match run_once(&entry.server, scenario, row, options, cores) {
                    Ok(figures) => entry.runs.push(figures),
                    Err(fault) => entry.fault = Some(fault),
                }
            }
        }
    }
    clear_progress();
    results
}

/// `0..count`, starting at another number in each round.
fn rotated(count: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |turn| (round + turn) % count)
}

fn entries(scenario: &Scenario, row: &Row, options: &Options) -> Vec<Entry> {
    let switchboard = |program| Launch::Switchboard { program, options: row.options, stdout: row.stdout };
    let server = |name: &str, launch| Server { name: name.to_owned(), launch };
    let mut servers = vec![server("switchboard", switchboard(PathBuf::from(env!("CARGO_BIN_EXE_switchboard"))))];
    servers.extend(options.before.iter().map(|program| server("before", switchboard(program.clone()))));
    if scenario.servers == Servers::All {
        servers.push(server("floor", Launch::Floor));
        let others = options.against.iter();
        servers.extend(others.map(|other| server(&other.name, Launch::Command(other.command.clone()))));
    }
    servers.into_iter().map(|server| Entry { server, runs: Vec::new(), fault: None }).collect()
}

fn run_once(
    server: &Server,
    scenario: &Scenario,
    row: &Row,
    options: &Options,
    cores: &Cores,
) -> Result<Figures, Fault> {
    cores.pin(scenario, 0);
    let process = Process::start(server);
    cores.pin(scenario, 1);
    load::run(&row.load, &process?, options.time)
}

fn show_progress(scenario: &Scenario, row: &Row, round: usize, entry: &Entry) {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[Kround {}: {} {} {}", round + 1, scenario.name, row.label, entry.server.name);
    }
}

fn clear_progress() {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}
