//! A soak: for a quarter of an hour, neighbours chat while others come, go, die, stall, flood and break rules at random.
//! Nothing may be lost between the neighbours, the server's memory stays flat, and no file descriptor is left.
//!
//! `.ci/soak` builds and runs it. What is done at random comes from a fixed seed.

#[allow(dead_code, reason = "chaos uses the rest")]
#[path = "../chaos/faults/mod.rs"]
mod faults;
mod server;
mod unruly;

use faults::neighbours::{Losses, Neighbours};
use faults::stage::Stage;
use lexopt::prelude::{Long, Short, Value, ValueExt};
use server::{Sample, Server};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, interval, sleep};
use unruly::{Deeds, Unruly};

const HELP: &str = "\
Soaks a switchboard in bad company, and checks what its healthy clients lose, its memory and its file descriptors.

Usage: soak [--seconds N] [--seed N] [--crowd N] PATH/TO/switchboard
";

/// The ping interval of the server, short, so that many a client falls silent in a soak.
pub const PING_INTERVAL: Duration = Duration::from_secs(3);

/// How far its clients may fall behind, in bytes; small, so that many do.
pub const MAX_BACKLOG: usize = 1 << 20;

/// How many pairs of neighbours chat.
const PAIRS: usize = 2;

/// The pause between two looks at the server.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);

/// How long clients that nobody closes may stay: two ping intervals, or a request's 10 s, and the end of TCP.
const LEAVE_DEADLINE: Duration = Duration::from_secs(20);

/// By how much the median of the last third of the memory samples may be above that of the second, in bytes.
const SLACK: u64 = 1 << 20;

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

/// Soaks. True if nothing was lost, nothing grew, and nothing is left.
async fn soak(arguments: &Arguments) -> io::Result<bool> {
    let mut server = Server::start(&arguments.program).await?;
    let before = server.sample()?;
    let stage = stage(&server);
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        pairs.push(Neighbours::start(&stage).await?);
    }
    let with_neighbours = server.sample()?;

    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    let deeds = Arc::new(Deeds::default());
    let crowd: Vec<_> = (0..arguments.crowd)
        .map(|number| tokio::spawn(Unruly::new(&stage, &deeds, arguments.seed, number).run(end)))
        .collect();
    let pauses = tokio::spawn(longest_pause(end));
    let samples = watch(&server, &deeds, end).await?;
    for unruly in crowd {
        unruly.await.expect("an unruly client does not panic");
    }

    let mut losses = Vec::new();
    let left = server.settle(with_neighbours.open_files, LEAVE_DEADLINE).await?;
    for pair in pairs {
        losses.push(pair.finish().await);
    }
    let after = server.settle(before.open_files, LEAVE_DEADLINE).await?;
    let status = server.stop().await?;
    let pause = pauses.await.expect("it only waits");
    let growth = growth(&samples);
    report(&deeds, &samples, &losses, growth);
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
        && growth <= SLACK as i64
        && after.open_files == before.open_files
        && status.success())
}

fn stage(server: &Server) -> Stage {
    Stage {
        address: server.address,
        host: server.address.to_string(),
        path: "/ws/{id}".into(),
        patience: Duration::from_secs(10),
        ping_interval: PING_INTERVAL,
        max_backlog: MAX_BACKLOG,
        crowd: 10,
        ids: Arc::default(),
    }
}

/// Looks at the server from time to time.
async fn watch(server: &Server, deeds: &Deeds, end: Instant) -> io::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut looks = interval(SAMPLE_INTERVAL);
    looks.tick().await;
    while Instant::now() < end {
        tokio::select! {
            _ = looks.tick() => {
                let sample = server.sample()?;
                let left = end.saturating_duration_since(Instant::now()).as_secs();
                eprintln!("{left:4} s to go: {sample}, {} deeds", deeds.total());
                samples.push(sample);
            }
            () = sleep(end.saturating_duration_since(Instant::now())) => {}
        }
    }
    io::stderr().flush()?;
    Ok(samples)
}

/// How late this program itself ever was: on a busy machine the neighbours' delays are its own.
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

/// By how much the memory grew from the second third to the last, medians compared.
fn growth(samples: &[Sample]) -> i64 {
    let median = |samples: &[Sample]| {
        let mut resident: Vec<_> = samples.iter().map(|sample| sample.resident).collect();
        resident.sort_unstable();
        resident.get(resident.len() / 2).copied().unwrap_or(0) as i64
    };
    let third = samples.len() / 3;
    median(&samples[2 * third..]) - median(&samples[third..2 * third])
}

fn report(deeds: &Deeds, samples: &[Sample], losses: &[Losses], growth: i64) {
    println!("{deeds}");
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
