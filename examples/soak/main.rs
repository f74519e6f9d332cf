//! A soak test: for a quarter of an hour, neighbours chat while other clients connect, leave, die, stall, flood and break
//! rules at random. The neighbours lose nothing, the server's memory stays flat, and no file descriptor is left over.
//!
//! `.ci/soak` builds and runs it. The random choices come from a fixed seed.

mod unruly;

use lexopt::prelude::{Long, Short, Value, ValueExt};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use test_client::FLOOD_DEADLINE;
use test_client::neighbours::{Losses, Neighbours};
use test_client::program::{Executable, Program, Usage};
use test_client::server;
use test_client::target::Target;
use tokio::time::{Instant, interval, sleep};
use unruly::{Counts, Unruly};

const HELP: &str = "\
Runs a switchboard with misbehaving clients, and checks what healthy clients lose, its memory and its file descriptors.

Usage: soak [--seconds N] [--seed N] [--crowd N] PATH/TO/switchboard
";

/// The ping interval of the server: short, so that many clients exceed it.
const PING_INTERVAL: Duration = Duration::from_secs(3);

/// The backlog limit of the server, in bytes: small, so that many clients exceed it.
const MAX_BACKLOG: usize = 4 << 20;

/// Pairs of neighbours.
const PAIRS: usize = 2;

/// The pause between two memory samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);

/// Time limit for the last clients to leave: two ping intervals, or the 10 s of a request, and the end of TCP.
const LEAVE_DEADLINE: Duration = Duration::from_secs(20);

/// The largest allowed growth of memory in bytes: the median of the last third of the samples minus that of the second.
const SLACK: i64 = 1 << 20;

struct Arguments {
    seconds: u64,
    seed: u64,
    crowd: u64,
    program: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let soaked = match parse(lexopt::Parser::from_env()) {
        Ok(arguments) => soak(&arguments).await,
        Err(error) => {
            eprintln!("soak: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match soaked {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut parser: lexopt::Parser) -> Result<Arguments, lexopt::Error> {
    let (mut seconds, mut seed, mut crowd, mut program) = (900, 1, 12, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("seconds") => seconds = parser.value()?.parse()?,
            Long("seed") => seed = parser.value()?.parse()?,
            Long("crowd") => crowd = parser.value()?.parse()?,
            Value(path) if program.is_none() => program = Some(path.into()),
            Long("help") | Short('h') => return Err("".into()),
            other => return Err(other.unexpected()),
        }
    }
    let program = program.ok_or("the path of the server is missing")?;
    Ok(Arguments { seconds, seed, crowd, program })
}

/// Runs the soak. Returns true if nothing was lost, nothing grew, and nothing is left over.
async fn soak(arguments: &Arguments) -> io::Result<bool> {
    let mut server = start(arguments)?;
    let before = server.usage()?;
    let target = target(&server);
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        pairs.push(Neighbours::start(&target).await?);
    }
    let with_neighbours = server.usage()?;

    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    let counts = Arc::new(Counts::default());
    let crowd: Vec<_> = (0..arguments.crowd)
        .map(|number| tokio::spawn(Unruly::new(&target, &counts, arguments.seed, number).run(end)))
        .collect();
    let pauses = tokio::spawn(longest_pause(end));
    let samples = watch(&server, &counts, end).await?;
    for unruly in crowd {
        unruly.await.expect("a client doesn't panic");
    }

    let mut losses = Vec::new();
    let left = server.settle(with_neighbours.open_files, LEAVE_DEADLINE).await?;
    for pair in pairs {
        losses.push(pair.finish().await);
    }
    let after = server.settle(before.open_files, LEAVE_DEADLINE).await?;
    let status = stop(&mut server);
    let pause = pauses.await.expect("it only waits");
    let growth = growth(&samples);
    report(&counts, &samples, &losses, growth);
    println!(
        "open files before, during, after: {}, {} to {}, {}",
        before.open_files,
        left.open_files,
        samples.iter().map(|sample| sample.open_files).max().unwrap_or(0),
        after.open_files
    );
    println!("longest pause of the soak itself: {:.0} ms", pause.as_secs_f64() * 1e3);
    println!("status of the ordered stop: {status}");
    Ok(losses.iter().all(Losses::unharmed)
        && growth <= SLACK
        && after.open_files == before.open_files
        && status.success())
}

fn start(arguments: &Arguments) -> io::Result<Program> {
    let options = [
        ["--host", "127.0.0.1"],
        ["--port", "0"],
        ["--ping-interval", &PING_INTERVAL.as_secs().to_string()],
        ["--max-backlog", &MAX_BACKLOG.to_string()],
    ];
    Program::spawn(Executable(&arguments.program).command(&options.concat()).stderr(Stdio::null()))
}

fn target(server: &Program) -> Target {
    Target { crowd: 10, ..server::target(server.address, &server::limits_with(PING_INTERVAL, MAX_BACKLOG)) }
}

/// Stops the server in order, where signals exist.
fn stop(server: &mut Program) -> ExitStatus {
    #[cfg(unix)]
    server.terminate();
    #[cfg(not(unix))]
    server.kill();
    server.wait(FLOOD_DEADLINE).0
}

/// Samples what the server uses, until `end`.
async fn watch(server: &Program, counts: &Counts, end: Instant) -> io::Result<Vec<Usage>> {
    let mut samples = Vec::new();
    let mut ticks = interval(SAMPLE_INTERVAL);
    ticks.tick().await;
    while Instant::now() < end {
        tokio::select! {
            _ = ticks.tick() => {
                let sample = server.usage()?;
                let left = end.saturating_duration_since(Instant::now()).as_secs();
                eprintln!("{left:4} s to go: {sample}, {} misbehaving clients so far", counts.total());
                samples.push(sample);
            }
            () = sleep(end.saturating_duration_since(Instant::now())) => {}
        }
    }
    io::stderr().flush()?;
    Ok(samples)
}

/// The longest time that this program itself was late. On a busy machine, the neighbours' delays are its own.
async fn longest_pause(end: Instant) -> Duration {
    const STEP: Duration = Duration::from_millis(10);
    let mut longest = Duration::ZERO;
    while Instant::now() < end {
        let due = Instant::now() + STEP;
        sleep(STEP).await;
        longest = longest.max(due.elapsed());
    }
    longest
}

/// Growth of the median memory from the second third of the samples to the last, in bytes.
fn growth(samples: &[Usage]) -> i64 {
    let median = |samples: &[Usage]| {
        let mut resident: Vec<_> = samples.iter().map(|sample| sample.resident).collect();
        resident.sort_unstable();
        resident.get(resident.len() / 2).copied().unwrap_or(0) as i64
    };
    let third = samples.len() / 3;
    median(&samples[2 * third..]) - median(&samples[third..2 * third])
}

fn report(counts: &Counts, samples: &[Usage], losses: &[Losses], growth: i64) {
    println!("{counts}");
    for (pair, losses) in losses.iter().enumerate() {
        println!("neighbours {}: lost, delay p50 / max: {losses}", pair + 1);
    }
    let resident = || samples.iter().map(|sample| sample.resident / 1024);
    println!(
        "resident memory: {} to {} KiB; last third against the second: {:+} KiB",
        resident().min().unwrap_or(0),
        resident().max().unwrap_or(0),
        growth / 1024
    );
    if let (Some(first), Some(last)) = (samples.first(), samples.last()) {
        println!("the server's processor time: {:.1} s", (last.processor - first.processor).as_secs_f64());
    }
}
