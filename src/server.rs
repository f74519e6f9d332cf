//! 1. The server: accepts TCP connections, serves HTTP/1.1 on each (phase 1), and hands it on when it is upgraded.
//!
//! On the wire: TCP's own handshake (RFC 9293 3.5), then the head of a request, which is lines of text up to an empty one
//! (RFC 9112 2.1). A WebSocket begins as this (RFC 6455 1.2), so that both can live on one port.
//!
//! A connection carries one request: the page, a refusal, or an upgrade. hyper reads the request and writes the response;
//! then the socket comes back out of hyper, with what it had read too far, and goes to
//! [`connection::live`] in a task of its own.

pub mod throttle;
pub mod wire;

use crate::connection::{self, Upgraded};
use crate::http::admission::Admission;
use crate::limits::{
    ACCEPT_PAUSE, CLOSE_DEADLINE, EXCHANGE_DEADLINE, FULL_ANSWERS, Limits, MAX_HEAD_SIZE, MAX_HEADERS,
    MOST_CONNECTIONS, REQUEST_DEADLINE, STOP_DEADLINE, TICK,
};
use crate::room::Room;
use crate::server::throttle::Throttle;
use crate::server::wire::{Record, Wire};
use crate::service::Visit;
use crate::view::explain;
use crate::view::lifecycle::{Event, Lifecycle, Side, visible_head};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use log::{debug, info, warn};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder as ThreadBuilder, JoinHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder as RuntimeBuilder, Handle};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{interval, sleep, timeout};

/// What can be set about a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many threads serve connections.
    pub threads: usize,
    /// The limits of the command line.
    pub limits: Limits,
    /// Who may come in.
    pub admission: Admission,
    /// Whether `GET /lifecycle` shows the steps of all connections.
    pub lifecycle: bool,
    /// Whether the terminal does.
    pub explain: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: 1,
            limits: Limits::default(),
            admission: Admission::default(),
            lifecycle: false,
            explain: false,
        }
    }
}

/// The word that the server is going away.
#[derive(Debug, Default)]
pub struct Stop {
    told: AtomicBool,
    word: Notify,
}

impl Stop {
    /// Tells everyone.
    fn tell(&self) {
        self.told.store(true, Ordering::SeqCst);
        self.word.notify_waiters();
    }

    /// Whether it has been told.
    pub fn is_told(&self) -> bool {
        self.told.load(Ordering::SeqCst)
    }

    /// The next time that it is told. Who asks later has to look at [`is_told`](Self::is_told) first.
    pub fn told(&self) -> Notified<'_> {
        self.word.notified()
    }
}

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    /// The chat's room.
    pub room: Arc<Room>,
    /// The limits of the command line.
    pub limits: Limits,
    /// Who may come in.
    pub admission: Admission,
    /// What happens, for those who watch.
    pub lifecycle: Arc<Lifecycle>,
    /// Whether `GET /lifecycle` shows it.
    pub lifecycle_on: bool,
    /// The log of what clients do wrong.
    pub faults: Throttle,
    /// How many connections there have been; each has its own number.
    connections: AtomicU64,
    stop: Stop,
    /// A permit for each connection that may still come. All are back when the last connection has ended.
    places: Arc<Semaphore>,
    /// The same for those that are told that there is no place.
    full_answers: Arc<Semaphore>,
}

impl Shared {
    /// Whether the server has been told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_told()
    }

    /// Waits until every connection has ended: those who watch see the others out, and then end too.
    async fn all_gone(&self, max_connections: usize) {
        let but = |some: usize| u32::try_from(max_connections.saturating_sub(some)).expect("clamped to what fits");
        let others = self.places.acquire_many(but(self.lifecycle.viewers())).await;
        self.lifecycle.end();
        drop(others);
        // An error would mean that the semaphore was closed, and it never is.
        let _ = self.places.acquire_many(but(0)).await;
    }
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
    let max_connections = options.limits.max_connections.clamp(1, MOST_CONNECTIONS);
    let threads = options.threads.max(1);
    let lifecycle = Arc::new(Lifecycle::default());
    let server = Arc::new(Shared {
        room: Room::new(threads, options.limits.max_backlog, Arc::clone(&lifecycle)),
        limits: options.limits,
        admission: options.admission,
        lifecycle,
        lifecycle_on: options.lifecycle,
        faults: Throttle::default(),
        connections: AtomicU64::new(0),
        stop: Stop::default(),
        places: Arc::new(Semaphore::new(max_connections)),
        full_answers: Arc::new(Semaphore::new(FULL_ANSWERS)),
    });
    let terminal = options.explain.then(|| explain::start(&server.lifecycle)).transpose()?;
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
    server.stop.tell();
    if timeout(STOP_DEADLINE, server.all_gone(max_connections)).await.is_err() {
        warn!("some connections did not close within {} s", STOP_DEADLINE.as_secs());
    }
    server.lifecycle.end();
    crew.dismiss();
    if terminal.is_some_and(|terminal| terminal.join().is_err()) {
        warn!("the terminal's thread had panicked");
    }
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
            let thread = ThreadBuilder::new().name(format!("switchboard-{part}")).spawn(move || {
                runtime.spawn(async move {
                    tokio::join!(room.take_turns(part), tick());
                });
                // An error is as good as a word: the crew is gone.
                let _ = runtime.block_on(dismissed);
            })?;
            others.push((dismiss, thread));
        }
        let room = Arc::clone(room);
        let turns = tokio::spawn(async move {
            tokio::join!(room.take_turns(0), tick());
        });
        Ok(Self { runtimes: runtimes.into(), turns, others })
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

/// A clock that is always due before any deadline of a connection. tokio wakes a thread for each timer that becomes the next
/// one due; with this, no connection's does.
async fn tick() {
    let mut clock = interval(TICK);
    loop {
        clock.tick().await;
    }
}

/// Accepts connections, and gives each to the next thread in turn.
async fn accept(server: Arc<Shared>, listener: TcpListener, runtimes: Arc<[Handle]>) {
    // Many a failed accept is as good as one.
    let faults = Throttle::new(1);
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                faults.log(|| format!("no connection can be accepted: {error}"));
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let number = server.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let (permit, full) = match Arc::clone(&server.places).try_acquire_owned() {
            Ok(permit) => (permit, false),
            Err(_) => match Arc::clone(&server.full_answers).try_acquire_owned() {
                Ok(permit) => (permit, true),
                Err(_) => continue,
            },
        };
        let part = usize::try_from(number).unwrap_or(0) % runtimes.len();
        let upgrade = RefCell::new(None);
        let visit = Visit { server: Arc::clone(&server), number, peer, part, full, record: None, upgrade };
        if part == 0 {
            tokio::spawn(serve_http(socket, visit, permit));
        } else if let Ok(socket) = socket.into_std() {
            // Its events are to wake its own thread.
            runtimes[part].spawn(async move {
                match TcpStream::from_std(socket) {
                    Ok(socket) => serve_http(socket, visit, permit).await,
                    Err(error) => warn!("connection {number}, {peer}: {error}"),
                }
            });
        }
    }
}

/// The part of a connection that is HTTP: one request, one response.
async fn serve_http(socket: TcpStream, mut visit: Visit, permit: OwnedSemaphorePermit) {
    let server = Arc::clone(&visit.server);
    let number = visit.number;
    server.lifecycle.accepted(number);
    visit.record = server.lifecycle.is_watched().then(Record::default);
    // A small write goes out at once: a turn is one write already.
    if let Err(error) = socket.set_nodelay(true) {
        debug!("{visit}: {error}");
    }
    let wire = Wire::new(socket, visit.record.clone());
    let mut http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_DEADLINE)
        // A client may end its side of TCP right after its request, and still read.
        .half_close(true)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD_SIZE)
        .serve_connection(TokioIo::new(wire), visit);
    let mut stopping = pin!(server.stop.told());
    let mut told = server.is_stopping();
    let exchange = loop {
        if told {
            // Who has not begun to ask is not waited for.
            Pin::new(&mut http).graceful_shutdown();
        }
        tokio::select! {
            exchange = timeout(EXCHANGE_DEADLINE, poll_fn(|context| http.poll_without_shutdown(context))) => match exchange {
                // A viewer's response goes on as long as he takes it.
                Err(_) if server.lifecycle.stuck(number).is_some_and(|stuck| stuck < EXCHANGE_DEADLINE) => {}
                exchange => break exchange,
            },
            () = &mut stopping, if !told => told = true,
        }
    };
    let parts = http.into_parts();
    let (socket, visit) = (parts.io.into_inner().into_socket(), parts.service);
    let purpose = visit.upgrade.take();
    if let Some(record) = &visit.record {
        let head = visible_head(&record.written());
        let event = if purpose.is_some() { Event::Switching(head) } else { Event::Response(head) };
        server.lifecycle.step(number, || event);
    }
    match (exchange, purpose) {
        (Ok(Ok(())), Some(purpose)) => {
            // A copy, for hyper's whole buffer hangs on it.
            let early = parts.read_buf.to_vec();
            let upgraded = Upgraded { number, socket, early, purpose };
            tokio::spawn(serve_websocket(Arc::clone(&server), upgraded, permit));
            return;
        }
        (Ok(Ok(())), None) => linger(socket).await,
        (Ok(Err(error)), _) => {
            // Browsers connect ahead and then say nothing.
            if parts.read_buf.is_empty() {
                debug!("{visit}: {error}");
            } else {
                server.faults.log(|| format!("{visit}: {error}"));
            }
            linger(socket).await;
        }
        (Err(_), _) => server.faults.log(|| format!("{visit}: the response was not taken in time")),
    }
    server.lifecycle.step(number, || Event::TcpClosed(Side::Server));
    server.lifecycle.forget(number);
}

/// The part of a connection that is a WebSocket.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn would keep its arguments twice, for as long as the connection lives"
)]
fn serve_websocket(
    server: Arc<Shared>,
    upgraded: Upgraded,
    permit: OwnedSemaphorePermit,
) -> impl Future<Output = ()> + Send {
    async move {
        let number = upgraded.number;
        let _permit = permit;
        let lifecycle = Arc::clone(&server.lifecycle);
        let ending = connection::live(upgraded, &server.limits, lifecycle, &server.stop).await;
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
