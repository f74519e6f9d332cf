//! The program: reads the command line, binds, prints the URL, and serves until Ctrl-C.

mod cli;
mod logger;

use cli::{Arguments, Command};
use log::warn;
use logger::{Logger, complain};
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use switchboard::escape::{count, hex};
use switchboard::handshake::{Computation, GUID, KEY_RULE, decode_key};
use switchboard::limits::{
    FEW_CONNECTIONS, Limits, MOST_CONNECTIONS, OPEN_FILES_PER_THREAD, OTHER_OPEN_FILES, STOP_DEADLINE,
};
use switchboard::server::listener::listen_on;
use switchboard::server::serve;
use tokio::net::TcpListener;
use tokio::time::Instant;

fn main() -> ExitCode {
    let done = match cli::command(lexopt::Parser::from_env(), MOST_CONNECTIONS) {
        Ok(Command::Serve(arguments)) => run(arguments).map_err(|error| error.to_string()),
        Ok(Command::Print(text)) => print(&text).map_err(|error| error.to_string()),
        Ok(Command::Accept(key)) => explain_key(&key).and_then(|text| print(&text).map_err(|error| error.to_string())),
        Err(error) => return complain(&error, 2),
    };
    done.map_or_else(|error| complain(&error, 1), |()| ExitCode::SUCCESS)
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// The computation of `Sec-WebSocket-Accept` (RFC 6455 4.2.2, item 5.4), or what is wrong with the key.
fn explain_key(key: &str) -> Result<String, String> {
    let nonce = decode_key(key.as_bytes()).map_err(|fault| {
        let (section, rule) = KEY_RULE;
        format!("{fault} ({section}: {rule})")
    })?;
    let Computation { key, joined, digest, value } = Computation::of(key);
    Ok(format!(
        "key          {key}\n\
         decoded      {}  ({} bytes)\n\
         GUID         {GUID}\n\
         joined       {joined}\n\
         SHA-1        {}\n\
         base64       {value}\n\n\
         Sec-WebSocket-Accept: {value}\n",
        hex(&nonce),
        nonce.len(),
        hex(&digest),
    ))
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

fn run(arguments: Arguments) -> io::Result<()> {
    let logger = Logger::start()?;
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

/// Serves until the signal, and notes when it came. Prints the URL only when everything has started.
async fn listen_and_serve(arguments: Arguments, mut stop: Signals, stopped: &mut Instant) -> io::Result<()> {
    let Arguments { hosts, port, mut options, .. } = arguments;
    let limits = &mut options.limits;
    limits.max_connections = most_connections(limits.max_connections, options.threads)?;
    let (listeners, urls) = listen(&hosts, port).await?;
    let mut printed = Ok(());
    let served = serve(listeners, options, async {
        printed = print(&format!("switchboard listens on {urls} (Ctrl-C stops it)\n"));
        if printed.is_ok() {
            stop.next().await;
        }
        *stopped = Instant::now();
    });
    served.await.and(printed)
}

/// Binds all addresses, to one port, and returns their URLs too. Of the default two, IPv6 may be missing.
async fn listen(hosts: &[IpAddr], port: u16) -> io::Result<(Vec<TcpListener>, String)> {
    if !hosts.is_empty() {
        return bind_all(hosts, port).await;
    }
    let [v4, v6] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    match bind_all(&[v4, v6], port).await {
        Err(error) if matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::Unsupported) => {
            bind_all(&[v4], port).await
        }
        listening => listening,
    }
}

/// Binds all addresses, `::` first: if its socket takes IPv4 connections too, no IPv4 address needs a socket, or can have one.
async fn bind_all(hosts: &[IpAddr], mut port: u16) -> io::Result<(Vec<TcpListener>, String)> {
    let all = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let (first, rest): (Vec<_>, Vec<_>) = hosts.iter().partition(|host| **host == all);
    let mut listeners: Vec<TcpListener> = Vec::new();
    for host in first.iter().chain(&rest) {
        let address = SocketAddr::new(*host, port);
        let covered = host.is_ipv4() && !first.is_empty();
        match listen_on(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) if error.kind() == ErrorKind::AddrInUse && covered && all_is_dual().await? => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("can't listen on {address}: {error}"))),
        }
        port = listeners[0].local_addr()?.port();
    }
    let urls: Vec<_> = hosts.iter().map(|host| format!("http://{}", SocketAddr::new(*host, port))).collect();
    Ok((listeners, urls.join(" and ")))
}

/// Whether a socket of `::` takes IPv4 connections too, which is a setting of the system. If so, no IPv4 address can be bound to
/// its port.
async fn all_is_dual() -> io::Result<bool> {
    let all = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).await?;
    let v4 = TcpListener::bind((Ipv4Addr::UNSPECIFIED, all.local_addr()?.port())).await;
    Ok(v4.is_err_and(|error| error.kind() == ErrorKind::AddrInUse))
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
