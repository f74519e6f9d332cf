//! Measures what floods do to the others: is a slow reader kept, and how long does a quiet client's message take?
//!
//! For each number of flooders and each length of their messages, a new server serves for a while: the flooders, which say
//! and read as much as they can; a slow reader, which takes 1.2 times the default `--pace`; a client that says one short
//! message per second; and one that reads everything, and measures how long each of these messages takes.

use lexopt::prelude::{Long, Short, Value, ValueExt};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;
use test_client::client::Client;
use test_client::flood::{Flooder, read_slowly};
use test_client::frame::{FIN, PING, PONG, from_client, says_prefix, text, unmasked};
use test_client::program::{Executable, Program};
use test_client::server::limits::Limits;
use tokio::time::{Instant, interval_at, timeout_at};

const HELP: &str = "\
Floods a switchboard, and shows whether a slow reader is kept and how long a quiet client's messages take.

Usage: pace [--seconds N] [--threads N] PATH/TO/switchboard

Options:
      --seconds N   duration of each row [default: 60]
      --threads N   option of the server [default: 1]
";

const FLOODERS: [usize; 3] = [1, 10, 100];

/// Lengths of their messages, in bytes.
const LENGTHS: [usize; 3] = [1, 100, 60_000];

/// The pause between two messages of the quiet client.
const PAUSE: Duration = Duration::from_secs(1);

struct Arguments {
    seconds: u64,
    threads: String,
    program: PathBuf,
}

/// Delays of the quiet client's messages, and bytes that the reader has read.
struct Heard {
    delays: Vec<Duration>,
    bytes: u64,
}

// The load has two worker threads, so that it measures the server and not itself.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = match parse(lexopt::Parser::from_env()) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("pace: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match table(&arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("pace: {error}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut parser: lexopt::Parser) -> Result<Arguments, lexopt::Error> {
    let (mut seconds, mut threads, mut program) = (60, "1".to_owned(), None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("seconds") => seconds = parser.value()?.parse()?,
            Long("threads") => threads = parser.value()?.string()?,
            Value(path) if program.is_none() => program = Some(path.into()),
            Long("help") | Short('h') => return Err("".into()),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(Arguments { seconds, threads, program: program.ok_or("the path to switchboard is missing")? })
}

/// Prints the table. Returns whether every slow reader was kept.
async fn table(arguments: &Arguments) -> io::Result<bool> {
    println!("| flooders | bytes | slow reader | room, MiB/s | quiet: p50, p99, max, ms |");
    println!("|--:|--:|---|--:|--:|");
    let mut all_kept = true;
    for (flooders, length) in [0].into_iter().chain(FLOODERS).flat_map(|count| LENGTHS.map(|length| (count, length))) {
        // Without flooders, their messages have no length.
        if flooders > 0 || length == LENGTHS[0] {
            all_kept &= row(arguments, flooders, length).await?;
        }
    }
    Ok(all_kept)
}

async fn row(arguments: &Arguments, flooders: usize, length: usize) -> io::Result<bool> {
    let server = serve(&arguments.program, &arguments.threads)?;
    let target = server.target();
    let time = Duration::from_secs(arguments.seconds);
    let mut slow = target.join(target.id()).await?;
    let (quiet_id, reader) = (target.id(), target.join(target.id()).await?);
    let quiet = target.join(quiet_id).await?;
    let mut flood = Vec::new();
    for _ in 0..flooders {
        flood.push(Flooder::start(&target, length).await?);
    }
    let start = Instant::now();
    let end = start + time;
    let listening = tokio::spawn(listen(reader, quiet_id, start, end));
    let speaking = tokio::spawn(speak(quiet, start, end));
    let slowest = Limits::default().pace * 12 / 10;
    let cut_off = read_slowly(&mut slow, slowest, time).await;
    let (mut heard, sent) = (listening.await.expect("it does not panic")?, speaking.await.expect("it does not panic"));
    heard.delays.sort_unstable();
    let lost = sent.saturating_sub(heard.delays.len());
    let last = heard.delays.len().saturating_sub(1);
    let percentile = |percent: usize| heard.delays.get(last * percent / 100);
    let ms = |percent| percentile(percent).map_or(f64::NAN, |delay| delay.as_secs_f64() * 1e3);
    println!(
        "| {flooders} | {length} | {} | {:.2} | {:.1}, {:.1}, {:.1}{} |",
        cut_off.as_deref().unwrap_or("kept"),
        heard.bytes as f64 / time.as_secs_f64() / f64::from(1 << 20),
        ms(50),
        ms(99),
        ms(100),
        if lost > 1 { format!(", {lost} not heard") } else { String::new() },
    );
    Ok(cut_off.is_none())
}

fn serve(program: &Path, threads: &str) -> io::Result<Program> {
    let options = ["--host", "127.0.0.1", "--port", "0", "--threads", threads];
    Program::spawn(Executable(program).command(&options).stderr(Stdio::null()))
}

/// Says the time since `start` once per second. Returns the number of messages.
async fn speak(mut client: Client, start: Instant, end: Instant) -> usize {
    let mut ticks = interval_at(start + PAUSE, PAUSE);
    let mut said = 0;
    while Instant::now() < end {
        tokio::select! {
            _ = ticks.tick() => {
                client.send(&text(&start.elapsed().as_nanos().to_string()));
                said += 1;
            }
            read = client.read_more() => if read.is_err() { break },
        }
        client.skip(usize::MAX);
    }
    said
}

/// Reads everything until `end`. It parses no more than it must, to keep up with a flood.
async fn listen(mut client: Client, quiet: i64, start: Instant, end: Instant) -> io::Result<Heard> {
    let prefix = says_prefix(quiet);
    let mut heard = Heard { delays: Vec::new(), bytes: 0 };
    while let Ok(read) = timeout_at(end, client.read_more()).await {
        read.map_err(|ended| io::Error::other(format!("the reader was cut off: {ended}")))?;
        let (mut length, mut pongs) = (0, Vec::new());
        while let Some((frame, payload)) = unmasked(&client.unread()[length..]) {
            if client.unread()[length] == FIN | PING {
                pongs.extend(from_client(FIN | PONG, payload));
            }
            length += frame;
            if let Some(time) = payload.strip_prefix(prefix.as_bytes()) {
                let sent = String::from_utf8_lossy(time).parse().map_err(io::Error::other)?;
                heard.delays.push(start.elapsed().saturating_sub(Duration::from_nanos(sent)));
            }
        }
        client.skip(length);
        client.send(&pongs);
        heard.bytes += length as u64;
    }
    Ok(heard)
}
