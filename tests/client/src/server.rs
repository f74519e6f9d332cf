//! The server inside the test process: `serve` on its own thread and a free port.
//!
//! This is the only module that uses the `switchboard` crate. Tests and examples get from here what they need of it.

use crate::blocking::Client;
use crate::neighbours::Neighbours;
use crate::program::Program;
use crate::target::Target;
use crate::{DEADLINE, FLOOD_DEADLINE};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use switchboard::http::admission::Admission;
use switchboard::http::page::PAGE_POLICY;
use switchboard::server::listener::listen_on;
use switchboard::server::serve;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

pub use switchboard::http::page::{INSPECTOR_SCRIPT, INSPECTOR_STYLE, PAGE};
pub use switchboard::limits;
pub use switchboard::limits::Limits;
pub use switchboard::server::shared::Options;
pub use switchboard::view::exposition;

/// The pause between two messages of a neighbour. Short, because most tests end within milliseconds.
const PACE: Duration = Duration::from_millis(1);

/// Number of clients in a crowd that doesn't read.
const CROWD: usize = 20;

/// The head of the response that carries the page, without its `date`. `more` is further header lines.
pub fn page_head(version: &str, more: &str) -> String {
    format!(
        "{version} 200 OK\r\ncontent-type: text/html; charset=utf-8\r\n\
         cache-control: no-cache\r\nx-content-type-options: nosniff\r\n\
         content-security-policy: {PAGE_POLICY}\r\n{more}content-length: {}\r\n\r\n",
        PAGE.len()
    )
}

/// Options with this number of threads, which serve connections from the first one on.
pub fn threads(threads: usize) -> Options {
    Options { threads, spread_after: 0, ..Options::default() }
}

/// Options with this limit on messages, in bytes.
pub fn max_message_size(max_message_size: usize) -> Options {
    Options { limits: Limits { max_message_size, ..Limits::default() }, ..Options::default() }
}

/// Options that turn `GET /lifecycle` on.
pub fn lifecycle() -> Options {
    Options { lifecycle: true, ..Options::default() }
}

/// Options that turn `GET /metrics` on.
pub fn metrics() -> Options {
    Options { metrics: true, ..Options::default() }
}

/// Limits with this ping interval and this backlog, in bytes.
pub fn limits_with(ping_interval: Duration, max_backlog: usize) -> Limits {
    Limits { ping_interval: Some(ping_interval), max_backlog, ..Limits::default() }
}

/// Options that turn `GET /lifecycle` on, with this ping interval.
pub fn lifecycle_with_pings(ping_interval: Duration) -> Options {
    Options { limits: limits_with(ping_interval, Limits::default().max_backlog), ..lifecycle() }
}

/// Options with these limits for a server that checks `Host`, as it does when all its addresses are loopback.
pub fn loopback_only(limits: Limits) -> Options {
    Options { limits, admission: Admission { loopback_only: true, ..Admission::default() }, ..Options::default() }
}

/// What is known about a server with these limits.
pub fn target(address: SocketAddr, limits: &Limits) -> Target {
    Target {
        address,
        host: address.to_string(),
        path: "/ws/{id}".into(),
        patience: FLOOD_DEADLINE,
        ping_interval: limits.ping_interval.unwrap_or(Duration::MAX),
        max_backlog: limits.max_backlog,
        crowd: CROWD,
        ids: Arc::default(),
    }
}

/// What is known about the server at a URL, which may not be this one: assume the default limits.
///
/// # Errors
/// The URL is not like `ws://127.0.0.1:8000/ws/{id}`, or its host has no address.
pub fn target_at(url: &str) -> io::Result<Target> {
    let wrong = || io::Error::other(format!("{url:?} is not like ws://127.0.0.1:8000/ws/{{id}}"));
    let (host, path) = url
        .strip_prefix("ws://")
        .and_then(|rest| rest.split_once('/'))
        .filter(|(_, path)| path.contains("{id}"))
        .ok_or_else(wrong)?;
    let named =
        if host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']')) { host } else { &format!("{host}:80") };
    let addresses =
        named.to_socket_addrs().map_err(|error| io::Error::new(error.kind(), format!("{host:?}: {error}")))?;
    // Most small servers listen on IPv4 alone.
    let address = addresses.min_by_key(SocketAddr::is_ipv6).ok_or_else(wrong)?;
    Ok(Target { host: host.into(), path: format!("/{path}"), ..target(address, &Limits::default()) })
}

impl Program {
    /// What is known about the program with its default limits.
    pub fn target(&self) -> Target {
        target(self.address, &Limits::default())
    }
}

/// A running server. Dropping it stops it, and checks that no connection is left.
pub struct Server {
    pub address: SocketAddr,
    limits: Limits,
    shutdown: Option<oneshot::Sender<()>>,
    ended: mpsc::Receiver<io::Result<()>>,
}

impl Server {
    pub fn start(options: Options) -> Self {
        let limits = options.limits;
        let (shutdown, stopped) = oneshot::channel::<()>();
        let (bound, address) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            // An error means that the test has ended.
            let _ = end.send(runtime.block_on(async {
                let listener = listen_on((Ipv4Addr::LOCALHOST, 0).into())?;
                bound.send(listener.local_addr()?).expect("the test waits");
                serve(vec![listener], options, async { drop(stopped.await) }).await
            }));
        });
        let address = address.recv_timeout(DEADLINE).expect("the server listens");
        Self { address, limits, shutdown: Some(shutdown), ended }
    }

    pub fn target(&self) -> Target {
        target(self.address, &self.limits)
    }

    /// Connects a client to the chat, past its opening handshake.
    #[track_caller]
    pub fn join(&self, client_id: i64) -> Client {
        Client::open(self.address, &format!("/ws/{client_id}"))
    }

    /// Tells the server to stop, and doesn't wait for it.
    pub fn tell_to_stop(&mut self) {
        drop(self.shutdown.take());
    }

    /// Waits until `serve` has returned, and returns how long that took.
    pub fn wait_for_end(&mut self) -> Duration {
        let start = Instant::now();
        let ended = self.ended.recv_timeout(DEADLINE);
        ended.expect("the server ends in time").expect("the server ends without an error");
        start.elapsed()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.shutdown.is_some() && !thread::panicking() {
            self.tell_to_stop();
            // The test's clients are gone. A connection that isn't would delay the end.
            assert!(self.wait_for_end() < limits::CLOSE_DEADLINE, "a connection is left");
        }
    }
}

/// Starts a server with two neighbours, causes `trouble` on it, and checks that the neighbours felt none of it and that
/// the server ends with no connection left.
#[track_caller]
pub fn beside_neighbours(options: Options, trouble: impl FnOnce(&Server)) {
    let server = Server::start(options);
    let target = Target { patience: DEADLINE, ..server.target() };
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let neighbours = runtime.block_on(Neighbours::start_at_pace(&target, PACE)).expect("two neighbours join");
    trouble(&server);
    let losses = runtime.block_on(neighbours.finish());
    assert!(losses.unharmed(), "the neighbours lost something: {losses}");
    assert!(losses.same_stream, "the neighbours didn't receive the same messages");
    assert!(losses.longest < DEADLINE, "the neighbours were delayed: {losses}");
}
