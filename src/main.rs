//! The program: reads the command line, binds, prints the URL, and serves until Ctrl-C.

mod cli;

use cli::{Arguments, Command};
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use switchboard::escape::hex;
use switchboard::handshake::{Computation, GUID, KEY_RULE, decode_key};
use switchboard::limits::{Limits, MOST_CONNECTIONS, OTHER_OPEN_FILES};
use switchboard::server::serve;
use tokio::net::TcpListener;

fn main() -> ExitCode {
    let done = match cli::command(lexopt::Parser::from_env(), raise_open_files()) {
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

/// Raises the limit on open files as far as possible, and returns the number of connections that it leaves.
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

/// Binds all addresses, to one port. Of the default two, IPv6 may be missing.
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

/// Ctrl-C, and SIGTERM where it exists.
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
            // The signal can't be received, so the server runs until it is killed.
            std::future::pending::<()>().await;
        }
    }
}
