//! Causes each fault that a client can cause on a running chat server, while two healthy neighbours chat, and prints what
//! the server answered and what the neighbours lost.
//!
//! `cargo run --release --example chaos -- ws://127.0.0.1:8000/ws/{id}`

mod report;

use lexopt::prelude::{Long, Short, Value, ValueExt};
use report::{Row, Verdict};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;
use test_client::faults::{Fault, all};
use test_client::neighbours::{Losses, Neighbours};
use test_client::server::target_at;
use test_client::started::Started;
use test_client::target::Target;
use tokio::net::TcpStream;
use tokio::time::sleep;

const HELP: &str = "\
Causes the faults that a client can cause, and shows what the server answers and what its other clients lose.

Usage: chaos [OPTIONS] ws://HOST:PORT/ws/{id}

Options:
      --only NAME           only faults whose name contains NAME; may be repeated
      --expect switchboard  require the answers of switchboard with its default limits
      --neighbour URL       where the second neighbour chats: another server of the same room
      --start COMMAND       start a new server for each fault, with this shell command and PORT in its environment
      --markdown            print the table as Markdown
      --list                print the names of the faults
  -h, --help                print this

The exit status is 1 if the neighbours lost anything or an answer is not the expected one, and 2 if there is no such
server.
";

/// Time limit for anything that should come at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// Number of clients in a crowd that doesn't read. Each may hold some megabytes of kernel memory.
const CROWD: usize = 100;

/// Time that the neighbours chat alone, for comparison.
const ALONE: Duration = Duration::from_secs(2);

/// The pause between two attempts to connect to a server that starts.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Arguments {
    url: String,
    only: Vec<String>,
    expect: bool,
    neighbour: Option<String>,
    start: Option<String>,
    markdown: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match parse(lexopt::Parser::from_env()) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => return complain(&error),
    };
    #[cfg(unix)]
    // If the limit can't be raised, the crowd fails with an error.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    match run(&arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => complain(&error),
    }
}

fn complain(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("chaos: {error}");
    ExitCode::from(2)
}

fn parse(mut parser: lexopt::Parser) -> Result<Option<Arguments>, lexopt::Error> {
    let mut url = None;
    let mut arguments = Arguments::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("only") => arguments.only.push(parser.value()?.string()?),
            Long("expect") => match parser.value()?.string()?.as_str() {
                "switchboard" => arguments.expect = true,
                other => return Err(format!("the answers of {other:?} are not known").into()),
            },
            Long("neighbour") => arguments.neighbour = Some(parser.value()?.string()?),
            Long("start") => arguments.start = Some(parser.value()?.string()?),
            Long("markdown") => arguments.markdown = true,
            Long("list") => {
                all().iter().for_each(|fault| println!("{}", fault.name));
                return Ok(None);
            }
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(None);
            }
            Value(value) if url.is_none() => url = Some(value.string()?),
            other => return Err(other.unexpected()),
        }
    }
    arguments.url = url.ok_or("an address is missing, such as ws://127.0.0.1:8000/ws/{id}")?;
    Ok(Some(arguments))
}

/// Causes the selected faults, and prints the table. Returns true if all went well.
async fn run(arguments: &Arguments) -> io::Result<bool> {
    let target = Target { patience: PATIENCE, crowd: CROWD, ..target_at(&arguments.url)? };
    if arguments.start.is_none() {
        let no_server = |error: &io::Error| format!("no server: {error}; start one first, or let --start do it");
        TcpStream::connect(target.address).await.map_err(|error| io::Error::new(error.kind(), no_server(&error)))?;
    }
    let faults = all()
        .into_iter()
        .filter(|fault| arguments.only.is_empty() || arguments.only.iter().any(|name| fault.name.contains(name)));
    let faults: Vec<Fault> = faults.collect();
    let alone = alone(arguments, &target).await?;
    let mut rows = Vec::new();
    for (index, fault) in faults.iter().enumerate() {
        progress(&format!("[{}/{}] {}", index + 1, faults.len(), fault.name));
        rows.push(row(arguments, &target, fault).await?);
    }
    progress("");
    let table = if arguments.markdown { report::markdown } else { report::plain };
    print!("{}", table(&rows, &alone));
    Ok(rows.iter().all(|row| row.verdict.is_good()))
}

/// Prints a line of progress.
fn progress(line: &str) {
    let mut stderr = io::stderr();
    // Losing a line does no harm.
    let _ = match stderr.is_terminal() {
        true => write!(stderr, "\r\x1b[K{line}").and_then(|()| stderr.flush()),
        false if line.is_empty() => Ok(()),
        false => writeln!(stderr, "{line}"),
    };
}

async fn alone(arguments: &Arguments, target: &Target) -> io::Result<Losses> {
    progress("the neighbours alone");
    let server = start(arguments, target).await?;
    let neighbours = neighbours(arguments, target).await?;
    sleep(ALONE).await;
    let losses = neighbours.finish().await;
    drop(server);
    Ok(losses)
}

/// Starts the neighbours, both at the target or one of them at another server.
async fn neighbours(arguments: &Arguments, target: &Target) -> io::Result<Neighbours> {
    match &arguments.neighbour {
        Some(url) => Neighbours::start_at([target, &target_at(url)?]).await,
        None => Neighbours::start(target).await,
    }
}

/// Causes one fault.
async fn row(arguments: &Arguments, target: &Target, fault: &Fault) -> io::Result<Row> {
    let server = start(arguments, target).await?;
    let neighbours = neighbours(arguments, target).await?;
    let answer = fault.act(target).await;
    let losses = neighbours.finish().await;
    drop(server);
    let expected = answer.as_ref().is_ok_and(|answer| fault.expects(answer, target));
    let verdict = match losses.unharmed() {
        false => Verdict::Harmed,
        true if !losses.none() => Verdict::Delayed,
        true if !arguments.expect => Verdict::Unharmed,
        true if expected => Verdict::Good,
        true => Verdict::Differs(fault.expected),
    };
    let (answer, took) = match answer {
        Ok(answer) => (answer.to_string(), answer.took),
        Err(error) => (error.to_string(), Duration::ZERO),
    };
    Ok(Row { name: fault.name, answer, took, losses, verdict })
}

/// Starts a server if there is a command for it, and waits until it listens.
async fn start(arguments: &Arguments, target: &Target) -> io::Result<Option<Started>> {
    let Some(command) = &arguments.start else {
        return Ok(None);
    };
    let mut server = Started::run(command, target.address)?;
    while TcpStream::connect(target.address).await.is_err() {
        if !server.may_still_start() {
            return Err(io::Error::other(format!("{command:?} does not listen: {}", server.last_output())));
        }
        sleep(PAUSE).await;
    }
    Ok(Some(server))
}
