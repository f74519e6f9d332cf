//! Acts out each fault that a client can cause against a running chat, with two healthy neighbours chatting all the while,
//! and prints what the server answered and what the neighbours lost.
//!
//! `cargo run --release --example chaos -- ws://127.0.0.1:8000/ws/{id}`

#[allow(dead_code, reason = "its test uses the rest")]
mod faults;
mod report;

use faults::neighbours::{Losses, Neighbours};
use faults::stage::Stage;
use faults::{Fault, all};
use lexopt::prelude::{Long, Short, Value, ValueExt};
use report::{Row, Verdict};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use switchboard::limits::Limits;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout_at};

const HELP: &str = "\
Acts out the faults that a client can cause, and tells what the server answers and what its other clients lose.

Usage: chaos [OPTIONS] ws://HOST:PORT/ws/{id}

Options:
      --only NAME           only the faults whose name contains this; may be repeated
      --expect switchboard  the answers must be those of switchboard with its default limits
      --start COMMAND       start the server anew for each fault, with this shell command and PORT in its environment
      --markdown            print the table as markdown
      --list                print the names of the faults
  -h, --help                print this

The exit status is 1 if the neighbours lost anything, or an answer is not the expected one; 2 if there is no such server.
";

/// How long to wait for what should come at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many clients at once do not read. Each may hold some megabytes of the kernel's memory.
const CROWD: usize = 100;

/// How long the neighbours chat alone, for comparison.
const ALONE: Duration = Duration::from_secs(2);

/// How long a server may take to start.
const START_DEADLINE: Duration = Duration::from_secs(10);

struct Arguments {
    url: String,
    only: Vec<String>,
    expect: bool,
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
    // If it can't be raised, the crowd says so.
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
    let mut arguments = Arguments { url: String::new(), only: Vec::new(), expect: false, start: None, markdown: false };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("only") => arguments.only.push(parser.value()?.string()?),
            Long("expect") => match parser.value()?.string()?.as_str() {
                "switchboard" => arguments.expect = true,
                other => return Err(format!("nothing is known of {other:?}").into()),
            },
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

/// What the address says.
async fn stage(url: &str) -> io::Result<Stage> {
    let wrong = || io::Error::other(format!("{url:?} is not like ws://127.0.0.1:8000/ws/{{id}}"));
    let (host, path) = url
        .strip_prefix("ws://")
        .and_then(|rest| rest.split_once('/'))
        .filter(|(_, path)| path.contains("{id}"))
        .ok_or_else(wrong)?;
    let limits = Limits::default();
    Ok(Stage {
        address: tokio::net::lookup_host(host).await?.next().ok_or_else(wrong)?,
        host: host.into(),
        path: format!("/{path}"),
        patience: PATIENCE,
        ping_interval: limits.ping_interval.unwrap_or_default(),
        max_backlog: limits.max_backlog,
        crowd: CROWD,
        ids: Arc::default(),
    })
}

/// Acts out all that is asked for. True if all went well.
async fn run(arguments: &Arguments) -> io::Result<bool> {
    let stage = stage(&arguments.url).await?;
    let faults = all()
        .into_iter()
        .filter(|fault| arguments.only.is_empty() || arguments.only.iter().any(|name| fault.name.contains(name)));
    let faults: Vec<Fault> = faults.collect();
    let alone = alone(arguments, &stage).await?;
    let mut rows = Vec::new();
    for (index, fault) in faults.iter().enumerate() {
        progress(&format!("[{}/{}] {}", index + 1, faults.len(), fault.name));
        rows.push(row(arguments, &stage, fault).await?);
    }
    progress("");
    let table = if arguments.markdown { report::markdown } else { report::plain };
    print!("{}", table(&rows, &alone));
    Ok(rows.iter().all(|row| row.verdict.is_good()))
}

/// The progress line.
fn progress(line: &str) {
    let mut stderr = io::stderr();
    // Nobody has to see it.
    let _ = match stderr.is_terminal() {
        true => write!(stderr, "\r\x1b[K{line}").and_then(|()| stderr.flush()),
        false if line.is_empty() => Ok(()),
        false => writeln!(stderr, "{line}"),
    };
}

async fn alone(arguments: &Arguments, stage: &Stage) -> io::Result<Losses> {
    progress("the neighbours alone");
    let server = start(arguments, stage).await?;
    let neighbours = Neighbours::start(stage).await?;
    sleep(ALONE).await;
    let losses = neighbours.finish().await;
    stop(server).await;
    Ok(losses)
}

/// Acts out one fault.
async fn row(arguments: &Arguments, stage: &Stage, fault: &Fault) -> io::Result<Row> {
    let server = start(arguments, stage).await?;
    let neighbours = Neighbours::start(stage).await?;
    let answer = fault.act(stage).await;
    let losses = neighbours.finish().await;
    stop(server).await;
    let expected = answer.as_ref().is_ok_and(|answer| fault.expects(answer, stage));
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

/// Starts a server if there is a command for it, and waits until it answers.
async fn start(arguments: &Arguments, stage: &Stage) -> io::Result<Option<Child>> {
    let Some(command) = &arguments.start else {
        return Ok(None);
    };
    let child = Command::new("sh")
        .args(["-c", &format!("exec {command}")])
        .env("PORT", stage.address.port().to_string())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let answers = async {
        while let Err(_not_yet) = tokio::net::TcpStream::connect(stage.address).await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout_at(Instant::now() + START_DEADLINE, answers)
        .await
        .map_err(|_| io::Error::other(format!("{command:?} does not listen")))?;
    Ok(Some(child))
}

async fn stop(server: Option<Child>) {
    if let Some(mut child) = server {
        // An error means that it has ended.
        let _ = child.kill().await;
    }
}
