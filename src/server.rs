//! 1. The server: accepts TCP connections, serves HTTP/1.1 on each (phase 1), and hands it on when it is upgraded.
//!
//! A connection carries one request: the page, a refusal, or an upgrade. hyper reads the request and writes the response;
//! then the socket comes back out of hyper, with what it had read too far, and goes to
//! [`connection::live`] in a task of its own.

use crate::connection::{self, Purpose};
use crate::limits::{
    ACCEPT_PAUSE, CLOSE_DEADLINE, EXCHANGE_DEADLINE, Limits, MAX_HEAD_SIZE, MAX_HEADERS,
    REQUEST_DEADLINE, STOP_DEADLINE,
};
use crate::room::Room;
use crate::service::Visit;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use log::{debug, info, warn};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder as ThreadBuilder, JoinHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder as RuntimeBuilder, Handle};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

/// What can be set about a server.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many threads serve connections.
    pub threads: usize,
    /// The limits of each connection.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: 1,
            limits: Limits::default(),
        }
    }
}

/// What all connections share.
#[derive(Debug)]
struct Server {
    room: Arc<Room>,
    limits: Limits,
    /// How many connections there have been; each has its own number.
    connections: AtomicU64,
    stopping: watch::Sender<bool>,
    /// Every connection holds a clone, so that the other end tells when the last one is gone.
    alive: mpsc::Sender<()>,
}

/// Serves connections from the listeners until `shutdown`, then closes all of them in order.
///
/// # Errors
/// A thread or its runtime can't be started.
pub async fn serve(
    listeners: Vec<TcpListener>,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let threads = options.threads.max(1);
    let (alive, mut gone) = mpsc::channel(1);
    let server = Arc::new(Server {
        room: Room::new(threads, options.limits.max_backlog),
        limits: options.limits,
        connections: AtomicU64::new(0),
        stopping: watch::Sender::new(false),
        alive,
    });
    let crew = Crew::start(&server.room, threads)?;
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| tokio::spawn(accept(Arc::clone(&server), listener, crew.runtimes.clone())))
        .collect();

    shutdown.await;
    for task in accepting {
        task.abort();
        // Its end, and with it the end of the listener.
        let _ = task.await;
    }
    server.stopping.send_replace(true);
    drop(server);
    if timeout(STOP_DEADLINE, gone.recv()).await.is_err() {
        warn!(
            "some connections did not close within {} s",
            STOP_DEADLINE.as_secs()
        );
    }
    crew.dismiss();
    Ok(())
}

/// The threads that serve connections, this one and others. Each has a runtime and a part of the room.
struct Crew {
    runtimes: Arc<[Handle]>,
    turns: tokio::task::JoinHandle<()>,
    others: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Crew {
    fn start(room: &Arc<Room>, threads: usize) -> io::Result<Self> {
        let mut runtimes = vec![Handle::current()];
        let mut others = Vec::new();
        for part in 1..threads {
            let runtime = RuntimeBuilder::new_current_thread().enable_all().build()?;
            runtimes.push(runtime.handle().clone());
            let (dismiss, dismissed) = oneshot::channel::<()>();
            let room = Arc::clone(room);
            let thread = ThreadBuilder::new()
                .name(format!("switchboard-{part}"))
                .spawn(move || {
                    runtime.spawn(async move { room.take_turns(part).await });
                    // An error is as good as a word: the crew is gone.
                    let _ = runtime.block_on(dismissed);
                })?;
            others.push((dismiss, thread));
        }
        let room = Arc::clone(room);
        let turns = tokio::spawn(async move { room.take_turns(0).await });
        Ok(Self {
            runtimes: runtimes.into(),
            turns,
            others,
        })
    }

    fn dismiss(self) {
        self.turns.abort();
        for (dismiss, thread) in self.others {
            // The other end is gone only if the thread is.
            let _ = dismiss.send(());
            if thread.join().is_err() {
                warn!("a thread had panicked");
            }
        }
    }
}

/// Accepts connections, and gives each to the next thread in turn.
async fn accept(server: Arc<Server>, listener: TcpListener, runtimes: Arc<[Handle]>) {
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!("accept: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let number = server.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let part = usize::try_from(number).unwrap_or(0) % runtimes.len();
        let server = Arc::clone(&server);
        if part == 0 {
            tokio::spawn(server.visit(socket, peer, number, part));
        } else if let Ok(socket) = socket.into_std() {
            // Its events are to wake its own thread.
            runtimes[part].spawn(async move {
                match TcpStream::from_std(socket) {
                    Ok(socket) => server.visit(socket, peer, number, part).await,
                    Err(error) => warn!("connection {number}, {peer}: {error}"),
                }
            });
        }
    }
}

impl Server {
    /// The part of a connection that is HTTP: one request, one response.
    async fn visit(self: Arc<Self>, socket: TcpStream, peer: SocketAddr, number: u64, part: usize) {
        let alive = self.alive.clone();
        // A small write goes out at once: a turn is one write already.
        if let Err(error) = socket.set_nodelay(true) {
            debug!("connection {number}, {peer}: {error}");
        }
        let visit = Visit {
            number,
            peer,
            room: Arc::clone(&self.room),
            part,
            upgrade: RefCell::new(None),
        };
        let mut http = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_DEADLINE)
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEAD_SIZE)
            .serve_connection(TokioIo::new(socket), visit);
        let exchange = {
            let exchange = pin!(timeout(
                EXCHANGE_DEADLINE,
                poll_fn(|context| http.poll_without_shutdown(context))
            ));
            exchange.await
        };
        let parts = http.into_parts();
        let socket = parts.io.into_inner();
        let purpose = parts.service.upgrade.take();
        match (exchange, purpose) {
            (Ok(Ok(())), Some(purpose)) => {
                let early = parts.read_buf.to_vec();
                tokio::spawn(self.upgraded(socket, early, purpose, number, alive));
            }
            (Ok(Ok(())), None) => linger(socket).await,
            (Ok(Err(error)), _) => {
                // Browsers connect ahead and then say nothing.
                let level = if parts.read_buf.is_empty() {
                    log::Level::Debug
                } else {
                    log::Level::Warn
                };
                log::log!(level, "connection {number}, {peer}: {error}");
                linger(socket).await;
            }
            (Err(_), _) => warn!("connection {number}, {peer}: the response was not taken in time"),
        }
    }

    /// The part of a connection that is a WebSocket.
    async fn upgraded(
        self: Arc<Self>,
        socket: TcpStream,
        early: Vec<u8>,
        purpose: Purpose,
        number: u64,
        _alive: mpsc::Sender<()>,
    ) {
        let mut stopping = self.stopping.subscribe();
        let stopping = async move {
            // An error means that the server is gone, which is the same.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        };
        let ending = connection::live(
            socket,
            early,
            purpose,
            self.limits.max_message_size,
            stopping,
        )
        .await;
        if ending.is_expected() {
            info!("connection {number}: {ending}");
        } else {
            warn!("connection {number}: {ending}");
        }
    }
}

/// Closes TCP so that the client sees the response: unread input would turn the close into a reset.
async fn linger(mut socket: TcpStream) {
    let _ = timeout(CLOSE_DEADLINE, async {
        socket.shutdown().await?;
        let mut discarded = [0; 1024];
        while socket.read(&mut discarded).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
}
