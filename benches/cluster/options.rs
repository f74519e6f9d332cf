//! The command line.

use std::num::NonZeroUsize;
use std::time::Duration;

use lexopt::prelude::*;

use crate::measure::{MEASURES, Measure};
use crate::room::{SETUPS, Setup};

pub const HELP: &str = "\
Measures one room on several nodes that share a Redis. Prints Markdown tables.
Needs Linux, `redis-server`, and `setpriv` of util-linux.

Usage: cargo bench --features redis --bench cluster -- [OPTIONS] [MEASURE|SERVER]...

Measures: latency throughput restart [default: all]
Servers: alone switchboard/1 switchboard/2 switchboard/3 socketio/1 socketio/2
         fastapi/1 fastapi/2, or the part before the slash [default: all that are
         installed; benches/peers/setup.sh installs socketio and fastapi]

Options:
  --rounds N          runs of each server, interleaved; the tables show the median;
                      not for `restart`, which runs once [default: 3]
  --seconds S         measured time of a run [default: 1]
  --window N          messages that a sender has on their way, at most, when the most
                      messages per second are measured [default: 2048 for switchboard,
                      64 for others, which are slower with more]
  --appendfsync WHEN  Redis's setting for latency and throughput: always, everysec or no
                      [default: everysec]; `restart` tries always and everysec
  --help              print this

Exits with status 1 if switchboard lost or reordered a message without telling.
";

pub struct Options {
    pub setups: Vec<Setup>,
    pub measures: Vec<&'static Measure>,
    pub rounds: usize,
    pub time: Duration,
    pub window: Option<usize>,
    pub fsync: String,
}

/// Returns `None` if help is wanted.
pub fn parse() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options {
        setups: Vec::new(),
        measures: Vec::new(),
        rounds: 3,
        time: Duration::from_secs(1),
        window: None,
        fsync: "everysec".to_owned(),
    };
    let mut is_bench = false;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("rounds") => options.rounds = parser.value()?.parse::<NonZeroUsize>()?.get(),
            Long("seconds") => {
                options.time =
                    Duration::try_from_secs_f64(parser.value()?.parse()?).map_err(|error| error.to_string())?
            }
            Long("window") => options.window = Some(parser.value()?.parse::<NonZeroUsize>()?.get()),
            Long("appendfsync") => options.fsync = parser.value()?.string()?,
            // `cargo bench` passes this to every bench target; `cargo test --benches` does not.
            Long("bench") => is_bench = true,
            Long("help") | Short('h') => return Ok(None),
            Value(name) => options.choose(&name.string()?)?,
            _ => return Err(argument.unexpected()),
        }
    }
    if !is_bench && options.setups.is_empty() {
        // For `cargo test`: one short round of two servers.
        options.choose("alone")?;
        options.choose("switchboard/2")?;
        (options.rounds, options.time) = (1, Duration::from_millis(50));
    }
    if options.setups.is_empty() {
        options.setups = SETUPS.into_iter().filter(|setup| setup.kind.is_installed()).collect();
    }
    if options.measures.is_empty() {
        options.measures = MEASURES.iter().collect();
    }
    Ok(Some(options))
}

impl Options {
    fn choose(&mut self, name: &str) -> Result<(), lexopt::Error> {
        let is_called = |setup: &Setup| setup.name == name || setup.name.split('/').next() == Some(name);
        let before = self.setups.len() + self.measures.len();
        self.setups.extend(SETUPS.into_iter().filter(is_called));
        self.measures.extend(MEASURES.iter().filter(|measure| measure.name == name));
        if self.setups.len() + self.measures.len() == before {
            return Err(format!("no measure and no server is called {name:?}").into());
        }
        Ok(())
    }
}
