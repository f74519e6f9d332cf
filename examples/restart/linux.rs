//! Measures a restart: how long until all clients are back, how many were refused, and how long the handshakes took.
//!
//! Many clients join. The server gets SIGTERM, and is started again as soon as it has ended. A client whose connection ends
//! returns after a random pause, as the page does. If it is refused, it tries again. With `--socket`, the server inherits
//! a listening socket as its standard input, and so does the next one: meanwhile, connections wait in the socket's queue.

use lexopt::prelude::{Long, Short, Value, ValueExt};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use test_client::client::Client;
use test_client::frame::{CLOSE, FIN, from_client};
use test_client::started::free_port;
use test_client::target::Target;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

const HELP: &str = "\
Restarts a chat server with many clients, and shows how they return.

Usage: restart [OPTIONS] COMMAND

COMMAND must serve ws://127.0.0.1:$PORT/ws/{id}; the shell runs it.

Options:
      --clients N     [default: 10000]
      --spread MS     the longest pause of a client before it returns [default: 2000]
      --socket        pass a listening socket as standard input, as systemd does
";

/// Handshakes at a time while the clients join for the first time.
const JOINING: usize = 100;

/// The pause before a refused client tries again.
const AGAIN: Duration = Duration::from_millis(200);

/// Time limit for everything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connections that wait in the queue of the socket. The system may allow fewer.
const QUEUE: i32 = 65_535;

struct Arguments {
    clients: usize,
    spread: Duration,
    socket: bool,
    command: String,
}

#[tokio::main(flavor = "current_thread")]
pub async fn main() -> ExitCode {
    // If the limit can't be raised, connecting fails.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let measured = match parse(lexopt::Parser::from_env()) {
        Ok(arguments) => timeout(PATIENCE, measure(&arguments)).await,
        Err(error) => {
            eprintln!("restart: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match measured.unwrap_or_else(|late| Err(late.into())) {
        Ok(text) => println!("{text}"),
        Err(error) => {
            eprintln!("restart: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn parse(mut parser: lexopt::Parser) -> Result<Arguments, lexopt::Error> {
    let (mut clients, mut spread, mut socket, mut command) = (10_000, 2000, false, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("clients") => clients = parser.value()?.parse()?,
            Long("spread") => spread = parser.value()?.parse()?,
            Long("socket") => socket = true,
            Value(text) if command.is_none() => command = Some(text.string()?),
            Long("help") | Short('h') => return Err("".into()),
            _ => return Err(argument.unexpected()),
        }
    }
    let command = command.ok_or("the command is missing")?;
    Ok(Arguments { clients, spread: Duration::from_millis(spread), socket, command })
}

/// The server, and the socket that it inherits.
struct Server {
    command: String,
    address: SocketAddr,
    socket: Option<OwnedFd>,
    child: Child,
}

impl Server {
    fn start(command: &str, has_socket: bool) -> io::Result<Self> {
        let (address, socket) = if has_socket {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
            socket.listen(QUEUE)?;
            let address = socket.local_addr()?.as_socket().expect("an IP socket");
            (address, Some(OwnedFd::from(socket)))
        } else {
            (SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)), None)
        };
        let child = spawn(command, address, socket.as_ref())?;
        Ok(Self { command: command.to_owned(), address, socket, child })
    }

    /// Ends the server with SIGTERM, waits for its end, and starts it again.
    async fn restart(mut self) -> io::Result<Self> {
        let process = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM)?;
        spawn_blocking(move || {
            self.child.wait()?;
            self.child = spawn(&self.command, self.address, self.socket.as_ref())?;
            Ok(self)
        })
        .await?
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(command: &str, address: SocketAddr, socket: Option<&OwnedFd>) -> io::Result<Child> {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec {command}")]).env("PORT", address.port().to_string());
    shell.stdin(match socket {
        Some(socket) => Stdio::from(socket.try_clone()?),
        None => Stdio::null(),
    });
    shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// What the clients share.
struct Crowd {
    target: Target,
    spread: Duration,
    joining: Semaphore,
    refused: AtomicUsize,
}

impl Crowd {
    /// Joins, trying again until it works. Returns the client and how long the last attempt took.
    async fn join(&self, id: i64) -> (Client, Duration) {
        loop {
            let start = Instant::now();
            match self.target.join(id).await {
                Ok(client) => return (client, start.elapsed()),
                Err(_) => {
                    self.refused.fetch_add(1, Relaxed);
                    sleep(AGAIN).await;
                }
            }
        }
    }

    /// One client: joins, waits for the end, and returns. Tells when it has joined, and again, with the time of that handshake.
    async fn client(self: Arc<Self>, id: i64, back: mpsc::UnboundedSender<Duration>) -> Client {
        let permit = self.joining.acquire().await;
        let (mut client, took) = self.join(id).await;
        drop(permit);
        // An error means that the measurement is over.
        let _ = back.send(took);
        answer_close(&mut client).await;
        drop(client);
        sleep(self.spread.mul_f64(random(id))).await;
        let (client, took) = self.join(id).await;
        let _ = back.send(took);
        client
    }
}

/// Waits until the server closes the connection, and answers its Close if it sends one.
async fn answer_close(client: &mut Client) {
    while let Ok(frame) = client.frame().await {
        if frame.first == FIN | CLOSE {
            client.send(&from_client(FIN | CLOSE, &frame.payload));
        }
    }
}

/// A number from 0 to 1 for each client, spread evenly and the same in each run.
fn random(id: i64) -> f64 {
    (id as f64 * 0.618_033_988_749_895).fract()
}

async fn measure(arguments: &Arguments) -> io::Result<String> {
    let server = Server::start(&arguments.command, arguments.socket)?;
    let target = Target {
        address: server.address,
        host: server.address.to_string(),
        path: "/ws/{id}".into(),
        patience: PATIENCE,
        ping_interval: PATIENCE,
        max_backlog: 0,
        crowd: 0,
        ids: Arc::new(AtomicI64::new(0)),
    };
    let joining = Semaphore::new(JOINING);
    let crowd = Arc::new(Crowd { target, spread: arguments.spread, joining, refused: AtomicUsize::new(0) });
    let (told, mut back) = mpsc::unbounded_channel();
    let clients = 1..=i64::try_from(arguments.clients).expect("a number of clients");
    let clients: Vec<_> = clients.map(|id| tokio::spawn(Arc::clone(&crowd).client(id, told.clone()))).collect();
    for _ in &clients {
        back.recv().await;
    }
    crowd.refused.store(0, Relaxed);
    let start = Instant::now();
    let (server, handshakes) = tokio::join!(server.restart(), async {
        let mut handshakes = Vec::new();
        while handshakes.len() < clients.len() {
            handshakes.extend(back.recv().await);
        }
        handshakes
    });
    let all_back = start.elapsed();
    drop(server?);
    Ok(report(&handshakes, all_back, crowd.refused.load(Relaxed)))
}

fn report(handshakes: &[Duration], all_back: Duration, refused: usize) -> String {
    let mut sorted = handshakes.to_vec();
    sorted.sort();
    let at = |part: f64| sorted[((sorted.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    format!(
        "{} clients back after {:.2} s, refused {refused} times, handshakes: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        sorted.len(),
        all_back.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0)
    )
}
