//! The command line.

use std::env;
use std::num::NonZeroUsize;
use std::process::exit;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lexopt::prelude::*;

use crate::scenarios::{self, Scenario};

/// The name of the floor, and the first argument that makes the benchmark's own executable serve as it.
pub const FLOOR: &str = "floor";

const HELP: &str = "\
Measures what delivering a message costs. Prints Markdown tables.

Usage: cargo bench -- [OPTIONS] [SCENARIO]...

Options:
  --before PROGRAM          also run PROGRAM, another build of switchboard, with the
                            same options in every scenario
  --against NAME=COMMAND    also run another server; may be repeated. Bash runs COMMAND
                            as one process with PORT in the environment; it must serve
                            /ws/{id} on 127.0.0.1, and the page for `http`. Not in
                            `threads…` and `watched…`: these need switchboard
  --rounds N                runs of each server in each scenario, interleaved; the
                            tables show the median [default: 5]
  --seconds S               measured time of a run [default: 1]
  --help                    print this

Exits with status 1 if a server failed a check: if it lost or reordered a message, for example.

Scenarios [default: all]:";

pub struct Options {
    pub scenarios: Vec<Scenario>,
    /// The name and the command of each build of switchboard, and of each other server.
    pub builds: Vec<(String, String)>,
    pub others: Vec<(String, String)>,
    pub rounds: usize,
    pub time: Duration,
}

/// Reads the command line. Prints the help, and exits, if that is wanted.
pub fn parse() -> Result<Options> {
    let switchboard = |program: &str| format!("'{program}' --host 127.0.0.1 --port $PORT");
    let this = env::current_exe()?;
    let mut options = Options {
        scenarios: Vec::new(),
        builds: vec![("switchboard".into(), switchboard(env!("CARGO_BIN_EXE_switchboard")))],
        others: vec![(FLOOR.into(), format!("'{}' {FLOOR}", this.display()))],
        rounds: 5,
        time: Duration::from_secs(1),
    };
    let mut is_bench = false;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("before") => options.builds.push(("before".into(), switchboard(&parser.value()?.string()?))),
            Long("against") => {
                let server = parser.value()?.string()?;
                let (name, command) = server.split_once('=').context("--against needs NAME=COMMAND")?;
                options.others.push((name.into(), command.into()));
            }
            Long("rounds") => options.rounds = parser.value()?.parse::<NonZeroUsize>()?.get(),
            Long("seconds") => {
                let seconds = parser.value()?.parse()?;
                ensure!((0.01..=60.0).contains(&seconds), "--seconds must be between 0.01 and 60");
                options.time = Duration::from_secs_f64(seconds);
            }
            // `cargo bench` passes this to every bench target; `cargo test --benches`, which doesn't, runs no scenario.
            Long("bench") => is_bench = true,
            Long("help") | Short('h') => {
                println!("{HELP}");
                scenarios::all()
                    .iter()
                    .for_each(|scenario| println!("  {:<14} {}", scenario.name, scenario.description));
                exit(0);
            }
            Value(name) => {
                let name = name.string()?;
                let scenario = scenarios::all().into_iter().find(|scenario| scenario.name == name);
                options.scenarios.push(scenario.with_context(|| format!("no scenario is called {name:?}"))?);
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    if options.scenarios.is_empty() && is_bench {
        options.scenarios = scenarios::all();
    }
    Ok(options)
}
