//! The command line: options, then bind, print the URL, and serve until Ctrl-C.

use lexopt::prelude::{Long, Short, Value, ValueExt};
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;
use switchboard::frame::hex;
use switchboard::handshake::{Computation, GUID, decode_key};
use switchboard::http::refusal::Refusal;
use switchboard::limits::{
    LARGEST_MESSAGE, LONGEST_PING_INTERVAL, Limits, MOST_CONNECTIONS, MOST_THREADS, OTHER_OPEN_FILES,
};
use switchboard::server::{Options, serve};
use tokio::net::TcpListener;

const HELP: &str = "\
A real-time chat over WebSockets: the page at /, the chat at /ws/{client_id}, an echo at /echo.

Usage: switchboard [OPTIONS]
       switchboard accept KEY    compute Sec-WebSocket-Accept for a key, step by step

Options:
      --host ADDR               address to listen on; may be repeated [default: 127.0.0.1 and ::1]
      --port N                  0 picks a free one, the printed URL tells which [default: 8000]
      --threads N               threads that serve connections [default: 1]
      --allow-origin ORIGIN     origin whose pages may connect, beside the page's own; its host is a Host that
                                is answered; may be repeated; * for any
      --max-message-size BYTES  larger messages close with 1009 [default: 65536]
      --max-backlog BYTES       how far a slow client may fall behind before 1013 [default: 16777216]
      --max-connections N       beyond: 503 [default: what the limit on open files leaves]
      --ping-interval SECONDS   silence before a Ping; as long again without a byte: dropped; 0 is never
                                [default: 20]
      --explain                 print every step of every connection
      --lifecycle on|off        GET /lifecycle: the same steps as a text/event-stream
                                [default: on when listening on loopback alone]
  -h, --help                    print this
  -V, --version                 print the version

RUST_LOG sets what is logged: off, warn, info (the default), debug.
";

/// What the command line asks for.
enum Command {
    Serve(Arguments),
    Accept(String),
    Print(String),
}

#[derive(Debug)]
struct Arguments {
    hosts: Vec<IpAddr>,
    port: u16,
    options: Options,
}

fn main() -> ExitCode {
    let done = match parse(lexopt::Parser::from_env(), raise_open_files()) {
        Ok(Command::Serve(arguments)) => run(arguments).map_err(|error| error.to_string()),
        Ok(Command::Print(text)) => print(&text).map_err(|error| error.to_string()),
        Ok(Command::Accept(key)) => explain_key(&key).and_then(|text| print(&text).map_err(|error| error.to_string())),
        Err(error) => return complain(&error, 2),
    };
    done.map_or_else(|error| complain(&error, 1), |()| ExitCode::SUCCESS)
}

fn complain(error: &impl Display, status: u8) -> ExitCode {
    eprintln!("switchboard: {error}");
    ExitCode::from(status)
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn parse(mut parser: lexopt::Parser, most_connections: usize) -> Result<Command, lexopt::Error> {
    let mut hosts: Vec<IpAddr> = Vec::new();
    let mut port = 8000;
    let mut max_connections = most_connections;
    let mut lifecycle = None;
    let mut options = Options::default();
    let limits = &mut options.limits;
    while let Some(argument) = parser.next()? {
        match argument {
            Value(command) if command == "accept" => return accept_key(&mut parser),
            Long("host") => hosts.push(value(&mut parser, "--host")?),
            Long("port") => port = number(&mut parser, "--port", 0..=u16::MAX)?,
            Long("threads") => options.threads = number(&mut parser, "--threads", 1..=MOST_THREADS)?,
            Long("allow-origin") => options.admission.allowed.push(value(&mut parser, "--allow-origin")?),
            Long("max-message-size") => {
                limits.max_message_size = number(&mut parser, "--max-message-size", 1..=LARGEST_MESSAGE)?;
            }
            Long("max-backlog") => limits.max_backlog = number(&mut parser, "--max-backlog", 1..=usize::MAX)?,
            Long("max-connections") => {
                max_connections = number(&mut parser, "--max-connections", 1..=MOST_CONNECTIONS)?;
            }
            Long("ping-interval") => {
                let seconds = number(&mut parser, "--ping-interval", 0..=LONGEST_PING_INTERVAL)?;
                limits.ping_interval = (seconds > 0).then(|| Duration::from_secs(seconds));
            }
            Long("explain") => options.explain = true,
            Long("lifecycle") => lifecycle = Some(on_or_off(&mut parser)?),
            Long("help") | Short('h') => return Ok(Command::Print(HELP.into())),
            Long("version") | Short('V') => {
                return Ok(Command::Print(format!("switchboard {}\n", env!("CARGO_PKG_VERSION"))));
            }
            other => return Err(other.unexpected()),
        }
    }
    limits.max_connections = max_connections;
    options.admission.loopback_only = hosts.iter().all(IpAddr::is_loopback);
    options.lifecycle = lifecycle.unwrap_or(options.admission.loopback_only);
    Ok(Command::Serve(Arguments { hosts, port, options }))
}

fn value<T: FromStr<Err: Display>>(parser: &mut lexopt::Parser, name: &str) -> Result<T, lexopt::Error> {
    let text = parser.value()?.string()?;
    text.parse().map_err(|error| format!("{name} {text}: {error}").into())
}

fn number<T>(parser: &mut lexopt::Parser, name: &str, range: RangeInclusive<T>) -> Result<T, lexopt::Error>
where
    T: FromStr<Err: Display> + PartialOrd + Display,
{
    let text = parser.value()?.string()?;
    let (least, most) = (range.start(), range.end());
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("{name} {text}: must be a number from {least} to {most}").into()),
    }
}

fn on_or_off(parser: &mut lexopt::Parser) -> Result<bool, lexopt::Error> {
    match parser.value()?.string()?.as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(format!("--lifecycle {other}: must be on or off").into()),
    }
}

/// `switchboard accept KEY`
fn accept_key(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let key = parser.value()?.string()?;
    match parser.next()? {
        None => Ok(Command::Accept(key)),
        Some(other) => Err(other.unexpected()),
    }
}

/// The computation of `Sec-WebSocket-Accept` (RFC 6455 4.2.2, item 5.4), or what is wrong with the key.
fn explain_key(key: &str) -> Result<String, String> {
    let nonce = decode_key(key.as_bytes()).map_err(|rejection| {
        let Refusal { fault, rule, .. } = Refusal::from(&rejection);
        format!("{fault} ({rule})")
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

/// Raises the limit on open files as far as it goes, and returns how many connections it leaves.
fn raise_open_files() -> usize {
    #[cfg(unix)]
    if let Ok(open_files) = rlimit::increase_nofile_limit(u64::MAX) {
        let open_files = usize::try_from(open_files).unwrap_or(usize::MAX);
        return open_files.saturating_sub(OTHER_OPEN_FILES).clamp(1, MOST_CONNECTIONS);
    }
    Limits::default().max_connections
}

fn run(arguments: Arguments) -> io::Result<()> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format(|line, record| writeln!(line, "{:<5} {}", record.level(), record.args()))
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listeners = listen(&arguments.hosts, arguments.port).await?;
        let urls = listeners.iter().map(|listener| listener.local_addr().map(|address| format!("http://{address}")));
        let urls = urls.collect::<io::Result<Vec<_>>>()?.join(" and ");
        let (mut stop, mut stop_at_once) = (Signals::new()?, Signals::new()?);
        print(&format!("switchboard listens on {urls} (Ctrl-C stops it)\n"))?;
        tokio::select! {
            served = serve(listeners, arguments.options, stop.next()) => served,
            () = async { stop_at_once.next().await; stop_at_once.next().await } => {
                Err(io::Error::new(ErrorKind::Interrupted, "stopped at once by a second signal"))
            }
        }
    })
}

/// Binds all addresses, with one port. Of the default two, IPv6 may be missing.
async fn listen(hosts: &[IpAddr], port: u16) -> io::Result<Vec<TcpListener>> {
    if !hosts.is_empty() {
        return bind_all(hosts, port).await;
    }
    let [v4, v6] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    match bind_all(&[v4, v6], port).await {
        Err(error) if matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::Unsupported) => {
            bind_all(&[v4], port).await
        }
        listeners => listeners,
    }
}

async fn bind_all(hosts: &[IpAddr], port: u16) -> io::Result<Vec<TcpListener>> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut port = port;
    for host in hosts {
        let address = SocketAddr::new(*host, port);
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("can't listen on {address}: {error}")))?;
        port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Ctrl-C, and where there is such a thing, the polite kill.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
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
            // Without a way to be told, it serves until it is killed.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lifecycle_is_shown_where_every_address_is_loopback_or_when_told() {
        let lifecycle = |arguments: &[&str]| match parse(lexopt::Parser::from_args(arguments), 1) {
            Ok(Command::Serve(Arguments { options, .. })) => options.lifecycle,
            _ => panic!("{arguments:?}"),
        };
        assert!(lifecycle(&[]));
        assert!(lifecycle(&["--host", "127.0.0.2", "--host", "::1"]));
        assert!(!lifecycle(&["--host", "0.0.0.0"]));
        assert!(!lifecycle(&["--host", "127.0.0.1", "--host", "::"]));
        assert!(lifecycle(&["--host", "0.0.0.0", "--lifecycle", "on"]));
        assert!(!lifecycle(&["--lifecycle", "off"]));
    }
}
