//! The command line.

use std::time::Duration;

use lexopt::prelude::*;

use crate::scenario::{self, Scenario};

pub const HELP: &str = "\
What a delivered message costs, and against whom. Prints Markdown tables.

Usage: cargo bench -- [OPTIONS] [SCENARIO]...

Scenarios: chat burst flood room fan-out crowd visit sizes threads stuck
           (none: all of them)

Options:
  --against '[NAME=]COMMAND'  run the same load on this server too; may be repeated.
                              The shell runs COMMAND as one process, with PORT in the
                              environment; it must serve /ws/{id} on 127.0.0.1
  --rounds N                  runs of each server in each scenario, in turn;
                              the median counts [5]
  --seconds S                 measured time of a run [1]
  --help                      this text

Ends with status 1 when a server lost a message or changed the order.
";

pub struct Options {
    pub scenarios: Vec<Scenario>,
    pub against: Vec<Other>,
    pub rounds: usize,
    pub time: Duration,
}

/// A server to compare with.
pub struct Other {
    pub name: String,
    pub command: String,
}

pub enum Request {
    Run(Options),
    Help,
}

pub fn parse() -> Result<Request, lexopt::Error> {
    let mut options = Options { scenarios: Vec::new(), against: Vec::new(), rounds: 5, time: Duration::from_secs(1) };
    let mut asked_for: Vec<String> = Vec::new();
    let mut is_bench = false;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("against") => options.against.push(Other::parse(&parser.value()?.string()?)?),
            Long("rounds") => options.rounds = at_least_one(parser.value()?.parse()?)?,
            Long("seconds") => options.time = seconds(parser.value()?.parse()?)?,
            // `cargo bench` says this to every bench; `cargo test --benches` does not.
            Long("bench") => is_bench = true,
            Long("help") | Short('h') => return Ok(Request::Help),
            Value(name) => asked_for.push(name.string()?),
            _ => return Err(argument.unexpected()),
        }
    }
    options.scenarios = choose(&asked_for)?;
    if !is_bench && asked_for.is_empty() {
        options.only_try();
    }
    Ok(Request::Run(options))
}

impl Options {
    /// As a test: does it work at all? A glance at each scenario but the large ones.
    fn only_try(&mut self) {
        const QUICK: [&str; 5] = ["chat", "burst", "room", "visit", "fan-out"];
        self.scenarios.retain(|scenario| QUICK.contains(&scenario.name));
        self.rounds = 1;
        self.time = Duration::from_millis(50);
    }
}

fn choose(asked_for: &[String]) -> Result<Vec<Scenario>, lexopt::Error> {
    let mut scenarios = scenario::all();
    for name in asked_for {
        if !scenarios.iter().any(|scenario| scenario.name == name) {
            return Err(format!("no scenario is called {name:?}").into());
        }
    }
    scenarios.retain(|scenario| asked_for.is_empty() || asked_for.iter().any(|name| name == scenario.name));
    Ok(scenarios)
}

impl Other {
    /// `NAME=COMMAND`, or a command alone: then it is called after its first word.
    fn parse(text: &str) -> Result<Other, lexopt::Error> {
        if let Some((name, command)) = text.split_once('=')
            && name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
        {
            return Ok(Other { name: name.to_owned(), command: command.to_owned() });
        }
        let program = text.split_whitespace().next().ok_or("--against needs a command")?;
        let name = program.rsplit('/').next().unwrap_or(program);
        Ok(Other { name: name.to_owned(), command: text.to_owned() })
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
