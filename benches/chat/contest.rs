//! A contest: the same load on several servers, in turn, again and again.

use std::io::{self, IsTerminal};

use crate::load::{self, Fault, Figures};
use crate::options::Options;
use crate::process::{Launch, Process, Server};
use crate::scenario::{Contest, Row, Scenario};
use crate::system;

/// One load, and how each server did.
pub struct Heat {
    pub label: &'static str,
    pub entries: Vec<Entry>,
}

/// A server's part in a heat.
pub struct Entry {
    pub server: Server,
    pub runs: Vec<Figures>,
    /// What was wrong. It does not run again then.
    pub fault: Option<Fault>,
}

/// Which cores the server and the load have.
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
                "{} cores; the server is pinned to core {server}, the load to core {load}, as by `taskset`",
                self.all.len()
            ),
            [_] => "1 core: server and load share it, so they disturb each other".to_owned(),
            [] => "server and load are not pinned: this system can't".to_owned(),
        }
    }

    /// For the server: what it starts on is what this thread is on then.
    fn pin_server(&self, contest: Contest) {
        self.pin(contest, 0);
    }

    fn pin_load(&self, contest: Contest) {
        self.pin(contest, 1);
    }

    fn pin(&self, contest: Contest, number: usize) {
        if self.all.len() < 2 {
            return;
        }
        match contest {
            Contest::All => system::pin(&self.all[number..=number]),
            Contest::Threads => system::pin(&self.all),
        }
    }
}

/// Runs a scenario's heats; a round is a run of each server in each of them.
pub fn hold(scenario: &Scenario, options: &Options, cores: &Cores) -> Vec<Heat> {
    let heat = |row: &Row| Heat { label: row.label, entries: entries(scenario, options) };
    let mut heats: Vec<Heat> = scenario.rows.iter().map(heat).collect();
    for round in 0..options.rounds {
        for (row, heat) in scenario.rows.iter().zip(&mut heats) {
            let servers = heat.entries.len();
            for turn in 0..servers {
                // Each goes first once: the first may find the machine in another state.
                let entry = &mut heat.entries[(round + turn) % servers];
                if entry.fault.is_some() {
                    continue;
                }
                show_progress(scenario, row, round, entry);
                match run(&entry.server, scenario, row, options, cores) {
                    Ok(figures) => entry.runs.push(figures),
                    Err(fault) => entry.fault = Some(fault),
                }
            }
        }
    }
    clear_progress();
    heats
}

fn entries(scenario: &Scenario, options: &Options) -> Vec<Entry> {
    let mut servers = vec![server("switchboard", Launch::Switchboard { options: &[] })];
    match scenario.contest {
        Contest::Threads => {
            let options = &["--threads", "2"];
            servers.push(server("switchboard --threads 2", Launch::Switchboard { options }));
        }
        Contest::All => {
            servers.push(server("floor", Launch::Floor));
            let others = options.against.iter();
            servers.extend(others.map(|other| server(&other.name, Launch::Command(other.command.clone()))));
        }
    }
    servers.into_iter().map(|server| Entry { server, runs: Vec::new(), fault: None }).collect()
}

fn server(name: &str, launch: Launch) -> Server {
    Server { name: name.to_owned(), launch }
}

fn run(server: &Server, scenario: &Scenario, row: &Row, options: &Options, cores: &Cores) -> Result<Figures, Fault> {
    cores.pin_server(scenario.contest);
    let process = Process::start(server);
    cores.pin_load(scenario.contest);
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
