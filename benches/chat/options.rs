//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use crate::scenarios::{self, Scenario};

const HELP: &str = "\
Measures what delivering a message costs. Prints Markdown tables.

Usage: cargo bench -- [OPTIONS] [SCENARIO]...

Options:
  --before PROGRAM            also run PROGRAM, another build of switchboard, with the
                              same options in every scenario
  --against '[NAME=]COMMAND'  also run another server; may be repeated. Bash runs
                              COMMAND as one process with PORT in the environment; it
                              must serve /ws/{id} on 127.0.0.1, and the page for `http`.
                              Not in `threads…` and `watched…`: these need switchboard
  --rounds N                  runs of each server in each scenario, interleaved; the
                              tables show the median [default: 5]
  --seconds S                 measured time of a run [default: 1]
  --help                      print this

Exits with status 1 if a server lost or reordered a message, or dropped a viewer.

Scenarios [default: all]:";

pub struct Options {
    pub scenarios: Vec<Scenario>,
    /// Another build of switchboard.
    pub before: Option<PathBuf>,
    /// Name and command of each other server.
    pub against: Vec<(String, String)>,
    pub rounds: usize,
    pub time: Duration,
}

pub fn print_help() {
    println!("{HELP}");
    for Scenario { name, description, .. } in scenarios::all() {
        println!("  {name:<14} {description}");
    }
}

/// Returns `None` if help is wanted.
pub fn parse() -> Result<Option<Options>, lexopt::Error> {
    let time = Duration::from_secs(1);
    let mut options = Options { scenarios: Vec::new(), before: None, against: Vec::new(), rounds: 5, time };
    let mut is_bench = false;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("before") => options.before = Some(parser.value()?.into()),
            Long("against") => options.against.push(name_and_command(&parser.value()?.string()?)),
            Long("rounds") => options.rounds = parser.value()?.parse::<NonZeroUsize>()?.get(),
            Long("seconds") => options.time = seconds(parser.value()?.parse()?)?,
            // `cargo bench` passes this to every bench target; `cargo test --benches` does not.
            Long("bench") => is_bench = true,
            Long("help") | Short('h') => return Ok(None),
            Value(name) => options.scenarios.push(named(&name.string()?)?),
            _ => return Err(argument.unexpected()),
        }
    }
    if options.scenarios.is_empty() && is_bench {
        options.scenarios = scenarios::all();
    } else if options.scenarios.is_empty() {
        options.scenarios = scenarios::smoke_test();
        (options.rounds, options.time) = (1, Duration::from_millis(50));
    }
    Ok(Some(options))
}

fn named(name: &str) -> Result<Scenario, lexopt::Error> {
    let scenario = scenarios::all().into_iter().find(|scenario| scenario.name == name);
    scenario.ok_or_else(|| format!("no scenario is called {name:?}").into())
}

/// Parses `NAME=COMMAND`, or a command alone, which is named after its program.
fn name_and_command(text: &str) -> (String, String) {
    let is_name = |name: &str| name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
    let program = || text.split(' ').next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    let named = text.split_once('=').filter(|(name, _)| is_name(name));
    let (name, command) = named.unwrap_or_else(|| (program(), text));
    (name.to_owned(), command.to_owned())
}

fn seconds(seconds: f64) -> Result<Duration, lexopt::Error> {
    if (0.01..=60.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("--seconds must be between 0.01 and 60".into())
    }
}
