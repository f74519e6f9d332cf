//! The command line: options, then bind, print the URL, and serve until Ctrl-C.

use lexopt::prelude::{Long, Short, ValueExt};
use std::fmt::Display;
use std::future::Future;
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use switchboard::limits::{LARGEST_MESSAGE, Limits};
use switchboard::server::{Options, serve};
use tokio::net::TcpListener;

const HELP: &str = "\
A real-time chat over WebSockets: the page at /, the chat at /ws/{client_id}, an echo at /echo.

Usage: switchboard [OPTIONS]

Options:
      --host ADDR               address to listen on; may be repeated [default: 127.0.0.1 and ::1]
      --port N                  0 picks a free one, the printed URL tells which [default: 8000]
      --threads N               threads that serve connections [default: 1]
      --max-message-size BYTES  larger messages close with 1009 [default: 65536]
      --max-backlog BYTES       how far a slow client may fall behind before 1013 [default: 16777216]
  -h, --help                    print this
  -V, --version                 print the version

RUST_LOG sets what is logged: off, warn, info (the default), debug.
";

/// What the command line asks for.
enum Command {
    Serve(Arguments),
    Print(String),
}

#[derive(Debug)]
struct Arguments {
    hosts: Vec<IpAddr>,
    port: u16,
    options: Options,
}

fn main() -> ExitCode {
    match parse(lexopt::Parser::from_env()) {
        Ok(Command::Serve(arguments)) => {
            run(arguments).map_or_else(|error| complain(&error, 1), |()| ExitCode::SUCCESS)
        }
        Ok(Command::Print(text)) => {
            print(&text).map_or_else(|error| complain(&error, 1), |()| ExitCode::SUCCESS)
        }
        Err(error) => complain(&error, 2),
    }
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

fn parse(mut parser: lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut arguments = Arguments {
        hosts: Vec::new(),
        port: 8000,
        options: Options::default(),
    };
    let Options {
        threads,
        limits: Limits {
            max_message_size,
            max_backlog,
        },
    } = &mut arguments.options;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("host") => arguments.hosts.push(parser.value()?.parse()?),
            Long("port") => arguments.port = parser.value()?.parse()?,
            Long("threads") => *threads = number(&mut parser, "threads", 1, 1024)?,
            Long("max-message-size") => {
                *max_message_size = number(&mut parser, "max-message-size", 1, LARGEST_MESSAGE)?
            }
            Long("max-backlog") => {
                *max_backlog = number(&mut parser, "max-backlog", 1, usize::MAX)?
            }
            Long("help") | Short('h') => return Ok(Command::Print(HELP.into())),
            Long("version") | Short('V') => {
                return Ok(Command::Print(format!(
                    "switchboard {}\n",
                    env!("CARGO_PKG_VERSION")
                )));
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Serve(arguments))
}

fn number(
    parser: &mut lexopt::Parser,
    name: &str,
    least: usize,
    most: usize,
) -> Result<usize, lexopt::Error> {
    let number = parser.value()?.parse()?;
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        Err(format!("--{name} {number}: must be from {least} to {most}").into())
    }
}

fn run(arguments: Arguments) -> io::Result<()> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format(|line, record| writeln!(line, "{:<5} {}", record.level(), record.args()))
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listeners = listen(&arguments.hosts, arguments.port).await?;
        let urls = listeners.iter().map(|listener| {
            listener
                .local_addr()
                .map(|address| format!("http://{address}"))
        });
        let urls = urls.collect::<io::Result<Vec<_>>>()?.join(" and ");
        print(&format!(
            "switchboard listens on {urls} (Ctrl-C stops it)\n"
        ))?;
        serve(listeners, arguments.options, interrupted()?).await
    })
}

/// Binds all addresses, with one port. Of the default two, IPv6 may be missing.
async fn listen(hosts: &[IpAddr], port: u16) -> io::Result<Vec<TcpListener>> {
    if !hosts.is_empty() {
        return bind_all(hosts, port).await;
    }
    let [v4, v6] = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    match bind_all(&[v4, v6], port).await {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::AddrNotAvailable | ErrorKind::Unsupported
            ) =>
        {
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
        let listener = TcpListener::bind(address).await.map_err(|error| {
            io::Error::new(error.kind(), format!("can't listen on {address}: {error}"))
        })?;
        port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Done at Ctrl-C or a polite kill.
fn interrupted() -> io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without a way to be told, it serves until it is killed.
            std::future::pending::<()>().await;
        }
    })
}
