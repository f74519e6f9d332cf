//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use crate::scenario::{self, Scenario};

pub const HELP: &str = "\
Measures what delivering a message costs. Prints Markdown tables.

Usage: cargo bench -- [OPTIONS] [SCENARIO]...

Scenarios: chat burst flood room fan-out crowd visit sizes threads stuck watched
           watched-burst [default: all]

Options:
  --before PROGRAM            also run PROGRAM, another build of switchboard, with the
                              same options in every scenario
  --against '[NAME=]COMMAND'  also run another server; may be repeated. The shell runs
                              COMMAND as one process with PORT in the environment; it
                              must serve /ws/{id} on 127.0.0.1. Not in `threads`,
                              `watched` and `watched-burst`: these need switchboard
  --rounds N                  runs of each server in each scenario, interleaved; the
                              tables show the median [default: 5]
  --seconds S                 measured time of a run [default: 1]
  --help                      print this

Exits with status 1 if a server lost or reordered a message, or dropped a viewer.
";

pub struct Options {
    pub scenarios: Vec<Scenario>,
    /// Another build of switchboard.
    pub before: Option<PathBuf>,
    pub against: Vec<OtherServer>,
    pub rounds: usize,
    pub time: Duration,
}

pub struct OtherServer {
    pub name: String,
    pub command: String,
}

pub enum Request {
    Run(Options),
    Help,
}

pub fn parse() -> Result<Request, lexopt::Error> {
    let mut options =
        Options { scenarios: Vec::new(), before: None, against: Vec::new(), rounds: 5, time: Duration::from_secs(1) };
    let mut names: Vec<String> = Vec::new();
    let mut is_bench = false;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("before") => options.before = Some(parser.value()?.into()),
            Long("against") => options.against.push(OtherServer::parse(&parser.value()?.string()?)?),
            Long("rounds") => options.rounds = at_least_one(parser.value()?.parse()?)?,
            Long("seconds") => options.time = seconds(parser.value()?.parse()?)?,
            // `cargo bench` passes this to every bench target; `cargo test --benches` does not.
            Long("bench") => is_bench = true,
            Long("help") | Short('h') => return Ok(Request::Help),
            Value(name) => names.push(name.string()?),
            _ => return Err(argument.unexpected()),
        }
    }
    options.scenarios = choose(&names)?;
    if !is_bench && names.is_empty() {
        options.shorten_to_smoke_test();
    }
    Ok(Request::Run(options))
}

impl Options {
    /// For `cargo test`: one short round of every scenario except the large ones.
    fn shorten_to_smoke_test(&mut self) {
        const QUICK: [&str; 6] = ["chat", "burst", "room", "visit", "fan-out", "watched"];
        self.scenarios.retain(|scenario| QUICK.contains(&scenario.name));
        self.rounds = 1;
        self.time = Duration::from_millis(50);
    }
}

fn choose(names: &[String]) -> Result<Vec<Scenario>, lexopt::Error> {
    let mut scenarios = scenario::all();
    for name in names {
        if !scenarios.iter().any(|scenario| scenario.name == name) {
            return Err(format!("no scenario is called {name:?}").into());
        }
    }
    scenarios.retain(|scenario| names.is_empty() || names.iter().any(|name| name == scenario.name));
    Ok(scenarios)
}

impl OtherServer {
    /// Parses `NAME=COMMAND`, or a command alone, which is named after its program.
    fn parse(text: &str) -> Result<OtherServer, lexopt::Error> {
        if let Some((name, command)) = text.split_once('=')
            && name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
        {
            return Ok(OtherServer { name: name.to_owned(), command: command.to_owned() });
        }
        let program = text.split_whitespace().next().ok_or("--against needs a command")?;
        let name = program.rsplit('/').next().unwrap_or(program);
        Ok(OtherServer { name: name.to_owned(), command: text.to_owned() })
    }
}

fn at_least_one(rounds: usize) -> Result<usize, lexopt::Error> {
    if rounds == 0 { Err("--rounds must be at least 1".into()) } else { Ok(rounds) }
}

fn seconds(seconds: f64) -> Result<Duration, lexopt::Error> {
    const RANGE: std::ops::RangeInclusive<f64> = 0.01..=60.0;
    if RANGE.contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("--seconds must be between 0.01 and 60".into())
    }
}
