//! The program: reads the command line, binds, prints the URL, and serves until Ctrl-C.

mod by_hand;
mod cli;
mod health;
mod listen;
mod logger;

use by_hand::{explain_frames, explain_key};
use cli::{Arguments, Command, DEFAULT_PORT};
use health::check_health;
use listen::{are_loopback, listen, listen_on_stdin, urls};
use log::{Level, log, warn};
use logger::{Logger, complain};
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use switchboard::escape::count;
use switchboard::limits::stop::STOP_DEADLINE;
use switchboard::limits::{FEW_CONNECTIONS, Limits, MOST_CONNECTIONS, OPEN_FILES_PER_THREAD, OTHER_OPEN_FILES};
use switchboard::server::serve;
use tokio::time::Instant;

fn main() -> ExitCode {
    let done = match cli::command(lexopt::Parser::from_env(), MOST_CONNECTIONS) {
        Ok(Command::Serve(arguments)) => run(*arguments).map(|()| ExitCode::SUCCESS).map_err(|error| error.to_string()),
        Ok(Command::Print(text)) => answer(Ok((text, true))),
        Ok(Command::Accept(key)) => answer(explain_key(&key).map(|text| (text, true))),
        Ok(Command::Frame(text)) => answer(explain_frames(text)),
        Ok(Command::Health(url)) => check_health(&url).map(|()| ExitCode::SUCCESS),
        Err(error) => return complain(&error, 2),
    };
    done.unwrap_or_else(|error| complain(&error, 1))
}

/// Prints a text. The exit status says whether what it is about is accepted.
fn answer(answer: Result<(String, bool), String>) -> Result<ExitCode, String> {
    let (text, accepted) = answer?;
    print(&text).map_err(|error| error.to_string())?;
    Ok(ExitCode::from(u8::from(!accepted)))
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Raises the limit on open files as far as possible. Returns it, if it is known.
fn raise_open_files() -> Option<usize> {
    #[cfg(unix)]
    if let Ok(open_files) = rlimit::increase_nofile_limit(u64::MAX) {
        return Some(usize::try_from(open_files).unwrap_or(usize::MAX));
    }
    None
}

/// The most connections: those asked for, if the limit on open files leaves room for them. [`MOST_CONNECTIONS`] means:
/// all that it leaves.
fn most_connections(asked: usize, threads: usize) -> io::Result<usize> {
    let Some(open_files) = raise_open_files() else {
        return Ok(if asked == MOST_CONNECTIONS { Limits::default().max_connections } else { asked });
    };
    let others = OTHER_OPEN_FILES + OPEN_FILES_PER_THREAD * (threads - 1);
    let left = open_files.saturating_sub(others);
    let limit = format!("the limit on open files, {open_files}, leaves");
    if left == 0 {
        let advice = format!("{limit} no room for connections: raise it to more than {others} (ulimit -n)");
        return Err(io::Error::other(advice));
    }
    if asked == MOST_CONNECTIONS && left < FEW_CONNECTIONS {
        warn!("{limit} room for {}", count(left as u64, "connection"));
    } else if asked != MOST_CONNECTIONS && left < asked {
        warn!("{limit} room for {}, not {asked}", count(left as u64, "connection"));
    }
    Ok(left.min(asked))
}

fn run(mut arguments: Arguments) -> io::Result<()> {
    let logger = Logger::start()?;
    arguments.options.unread_lines = Arc::clone(&logger.unread);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (stop, mut stop_at_once) = (Signals::new()?, Signals::new()?);
        tokio::select! {
            ended = serve_and_log(arguments, stop, logger) => ended,
            () = async { stop_at_once.next().await; stop_at_once.next().await } => {
                Err(io::Error::new(ErrorKind::Interrupted, "stopped at once by a second signal"))
            }
        }
    })
}

/// Serves until the signal, and then writes the last lines of the log within the stop's deadline.
async fn serve_and_log(arguments: Arguments, stop: Signals, logger: Logger) -> io::Result<()> {
    let mut stopped = Instant::now();
    let ended = listen_and_serve(arguments, stop, &mut stopped).await;
    logger.end(stopped + STOP_DEADLINE).await;
    ended
}

/// Serves until the signal, and notes when the drain after it ends at the latest. Prints the URL only when everything has started.
async fn listen_and_serve(mut arguments: Arguments, mut stop: Signals, stopped: &mut Instant) -> io::Result<()> {
    let limits = &mut arguments.options.limits;
    limits.max_connections = most_connections(limits.max_connections, arguments.options.threads)?;
    let (listeners, addresses) = if arguments.stdin_socket {
        listen_on_stdin()?
    } else {
        listen(&arguments.hosts, arguments.port.unwrap_or(DEFAULT_PORT))?
    };
    arguments.set_loopback_only(are_loopback(&listeners)?);
    let hidden = (arguments.hides_lifecycle(), arguments.hides_metrics());
    let options = arguments.options;
    let (is_open, drain) = (!options.admission.loopback_only, options.limits.drain);
    let mut printed = Ok(());
    let served = serve(listeners, options, async {
        printed = print(&format!("switchboard listens on {} (Ctrl-C stops it)\n", urls(&addresses)));
        for (level, notice) in notices(&addresses, is_open, hidden) {
            log!(level, "{notice}");
        }
        if printed.is_ok() {
            stop.next().await;
        }
        *stopped = Instant::now() + drain;
    });
    served.await.and(printed)
}

/// What to log if other machines can connect.
fn notices(addresses: &[SocketAddr], is_open: bool, hidden: (bool, bool)) -> Vec<(Level, &'static str)> {
    let (lifecycle, metrics) = hidden;
    let no_lifecycle =
        "GET /lifecycle and /members are off, because other machines can connect; --lifecycle on turns them on";
    let no_metrics = "GET /metrics is off, because other machines can connect; --metrics on turns it on";
    let unknown = "no address for other machines was found; `ip address`, `ifconfig` or `ipconfig` lists all addresses";
    let is_unknown = is_open && addresses.iter().all(|address| address.ip().is_loopback());
    let all = [
        (lifecycle, (Level::Info, no_lifecycle)),
        (metrics, (Level::Info, no_metrics)),
        (is_unknown, (Level::Warn, unknown)),
    ];
    all.into_iter().filter(|(holds, _)| *holds).map(|(_, notice)| notice).collect()
}

/// Ctrl-C, and where they exist SIGTERM and SIGHUP.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    /// None if the signal is known to be ignored.
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
}

/// Whether SIGHUP is ignored, as in a program that `nohup` starts. Receiving the signal would undo that. Only Linux tells this
/// without `unsafe`; other systems always receive it.
#[cfg(unix)]
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    // The lowest bit is signal 1, SIGHUP.
    ignored.is_some_and(|signals| signals & 1 == 1)
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let ignored = hangup_is_ignored();
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if ignored { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            Some(_) = async { self.hangup.as_mut()?.recv().await } => {}
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            // The signal can't be received, so the server runs until it is killed.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_of_a_server_that_other_machines_can_reach() {
        let [loopback, other] = ["127.0.0.1:1", "192.0.2.1:1"].map(|address| address.parse().expect("an address"));
        let notices = |addresses: &[SocketAddr], is_open, hidden| -> Vec<String> {
            let notices = notices(addresses, is_open, hidden).into_iter();
            notices.map(|(level, notice)| format!("{level} {}", notice.split(' ').nth(1).unwrap_or_default())).collect()
        };
        let none: [&str; 0] = [];
        assert_eq!(notices(&[loopback], false, (false, false)), none);
        assert_eq!(notices(&[loopback, other], true, (true, true)), ["INFO /lifecycle", "INFO /metrics"]);
        assert_eq!(notices(&[loopback, other], true, (true, false)), ["INFO /lifecycle"]);
        assert_eq!(notices(&[loopback, other], true, (false, true)), ["INFO /metrics"]);
        assert_eq!(notices(&[loopback, other], true, (false, false)), none);
        assert_eq!(notices(&[loopback], true, (false, false)), ["WARN address"]);
    }
}
