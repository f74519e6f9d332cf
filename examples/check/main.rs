//! Checks a WebSocket chat server in any language, stage by stage, and explains the first mistake.
//!
//! `cargo run --release --example check -- ws://127.0.0.1:8000/ws/{id}`
//!
//! | file | contents |
//! |---|---|
//! | `main.rs` | the command line, and the run |
//! | `stages.rs`, `stages/` | the stages: the list, and what each does |
//! | `checker.rs` | what a stage works with |
//! | `connection.rs` | one connection, which records what it sends and receives |
//! | `mistakes.rs` | mistakes in frames, and their hints |
//! | `transcript.rs` | those records, decoded |
//! | `report.rs`, `json.rs` | what is printed |

mod checker;
mod connection;
mod json;
mod mistakes;
mod report;
mod stages;
mod transcript;

use checker::{Cause, Checker, Failure};
use lexopt::prelude::{Long, Short, Value, ValueExt};
use report::{Details, Outcome};
use stages::STAGES;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use test_client::server::target_at;
use test_client::started::{Group, free_port};
use test_client::target::Target;

const HELP: &str = "\
Checks a WebSocket chat server in any language, stage by stage. The server broadcasts each text
message from client ID to all clients as \"Client #ID says: MESSAGE\".

Usage: check [OPTIONS] [ws://HOST:PORT/ws/{id}]

Options:
      --start COMMAND    start the server with this shell command, and stop it afterwards; PORT in
                         its environment is the port of the URL, or a free one if the URL has
                         {port} or PORT as its port [default URL: ws://127.0.0.1:{port}/ws/{id}]
      --stage N          stop after stage N
      --skip N           leave out stage N; may be repeated
      --all              go on after a failed stage
      --timeout SECONDS  how long to wait for anything that should come at once [default: 2]
      --json             print the results as JSON
      --list             print the stages
  -h, --help             print this

The exit status is 0 if all stages passed, 1 if one failed, and 2 if the command line is wrong.
";

/// The URL that `--start` uses by default.
const STARTED_URL: &str = "ws://127.0.0.1:{port}/ws/{id}";

/// The exit status after Ctrl-C or SIGTERM.
const INTERRUPTED: i32 = 130;

struct Arguments {
    url: Option<String>,
    start: Option<String>,
    last: usize,
    skip: Vec<usize>,
    all: bool,
    timeout: Duration,
    json: bool,
}

enum Command {
    Check(Arguments),
    Print(String),
}

/// The process group of the started server, for [`stop_on_interrupt`].
pub type Running = Arc<Mutex<Option<Group>>>;

fn main() -> ExitCode {
    let running = Running::default();
    stop_on_interrupt(Arc::clone(&running));
    let status = check(std::env::args_os().skip(1), &mut io::stdout(), &mut io::stderr(), &running);
    ExitCode::from(status)
}

/// The whole program. Returns the exit status.
pub fn check(
    arguments: impl Iterator<Item = OsString>,
    out: &mut dyn Write,
    err: &mut dyn Write,
    running: &Running,
) -> u8 {
    let result = parse(lexopt::Parser::from_args(arguments)).map_err(|error| error.to_string());
    let result = result.and_then(|command| match command {
        Command::Print(text) => write!(out, "{text}").map(|()| true).map_err(|error| error.to_string()),
        Command::Check(arguments) => run(arguments, out, running).map_err(|error| error.to_string()),
    });
    match result {
        Ok(passed) => u8::from(!passed),
        Err(error) => {
            // There is nowhere else to complain.
            let _ = writeln!(err, "check: {error}");
            2
        }
    }
}

/// Without this, Ctrl-C would leave the started server running: it has a process group of its own.
fn stop_on_interrupt(running: Running) {
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(interrupt());
        if let Some(group) = *running.lock().unwrap_or_else(PoisonError::into_inner) {
            group.kill();
        }
        std::process::exit(INTERRUPTED);
    });
}

async fn interrupt() {
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    // Without signals, nothing interrupts.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn parse(mut parser: lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut arguments = Arguments {
        url: None,
        start: None,
        last: STAGES.len(),
        skip: Vec::new(),
        all: false,
        timeout: Duration::from_secs(2),
        json: false,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("start") => arguments.start = Some(parser.value()?.string()?),
            Long("stage") => arguments.last = stage_number("--stage", &parser.value()?.string()?)?,
            Long("skip") => arguments.skip.push(stage_number("--skip", &parser.value()?.string()?)?),
            Long("all") => arguments.all = true,
            Long("timeout") => arguments.timeout = seconds(&parser.value()?.string()?)?,
            Long("json") => arguments.json = true,
            Long("list") => return Ok(Command::Print(report::list())),
            Long("help") | Short('h') => return Ok(Command::Print(HELP.into())),
            Value(value) if arguments.url.is_none() => arguments.url = Some(value.string()?),
            other => return Err(other.unexpected()),
        }
    }
    if arguments.url.is_none() && arguments.start.is_none() {
        return Err("a URL is missing, such as 'ws://127.0.0.1:8000/ws/{id}', or --start COMMAND".into());
    }
    Ok(Command::Check(arguments))
}

fn stage_number(option: &str, value: &str) -> Result<usize, lexopt::Error> {
    let number = value.parse().ok().filter(|number| (1..=STAGES.len()).contains(number));
    number.ok_or_else(|| format!("{option} {value}: must be a number from 1 to {}", STAGES.len()).into())
}

fn seconds(value: &str) -> Result<Duration, lexopt::Error> {
    let seconds = value.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("--timeout {value}: must be a number from 0.1 to 3600").into())
}

/// The URL, with a free port if it leaves the port open.
fn url(arguments: &Arguments) -> io::Result<String> {
    let url = arguments.url.as_deref().unwrap_or(STARTED_URL);
    for open in [":{port}/", ":PORT/"] {
        if url.contains(open) {
            if arguments.start.is_none() {
                return Err(io::Error::other(format!("{url:?} has no port, and there is no --start")));
            }
            return Ok(url.replace(open, &format!(":{}/", free_port()?)));
        }
    }
    Ok(url.into())
}

/// Runs the stages, and prints how they ended. Returns true if none failed.
fn run(arguments: Arguments, out: &mut dyn Write, running: &Running) -> io::Result<bool> {
    let url = url(&arguments)?;
    let target = Target { patience: arguments.timeout, ..target_at(&url)? };
    let mut checker = Checker::new(target, arguments.start)?;
    if !arguments.json {
        writeln!(out, "Checking {url}\n")?;
    }
    let mut outcomes: Vec<Outcome> = Vec::new();
    for index in 0..STAGES.len() {
        let over = index >= arguments.last || (!arguments.all && outcomes.iter().any(Outcome::is_failed));
        let outcome = match arguments.skip.contains(&(index + 1)) {
            _ if over => Outcome::NotRun,
            true => Outcome::Skipped,
            false => run_stage(index, &mut checker, running),
        };
        if !arguments.json && !over {
            write!(out, "{}", report::stage(index, &outcome))?;
            out.flush()?;
        }
        outcomes.push(outcome);
    }
    match arguments.json {
        true => writeln!(out, "{}", report::json(&url, &outcomes))?,
        false => write!(out, "{}", report::summary(&outcomes))?,
    }
    Ok(!outcomes.iter().any(Outcome::is_failed))
}

fn run_stage(index: usize, checker: &mut Checker, running: &Running) -> Outcome {
    let begun =
        checker.begin().map_err(|error| Failure::new("a server that starts", error.to_string()).cause(Cause::NoServer));
    let result = begun.and_then(|group| {
        if group.is_some() {
            *running.lock().unwrap_or_else(PoisonError::into_inner) = group;
        }
        (STAGES[index].run)(checker)
    });
    match result {
        Ok(()) => Outcome::Passed,
        Err(failure) => {
            let transcript = checker.transcript();
            let (state, output) = checker.aftermath();
            Outcome::Failed(Box::new(Details { failure, transcript, state, output }))
        }
    }
}
