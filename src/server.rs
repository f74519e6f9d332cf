//! 1. The server: accepts TCP connections, serves HTTP/1.1 on each (phase 1), and hands over the sockets of those that
//!    are upgraded.
//!
//! On the wire: TCP's own handshake (RFC 9293 3.5), then the head of a request: lines of text up to an empty one
//! (RFC 9112 2.1). A WebSocket begins as an HTTP request (RFC 6455 1.2), so both can use one port.
//!
//! A connection carries requests, one after another (RFC 9112 9.3); an upgrade is the last. hyper reads each request and
//! writes the response. After a 101 the server takes the socket back from hyper, with any bytes that hyper has read beyond
//! the request, and passes it to [`connection::run`]. Both happen in one task.

mod acceptor;
mod drain;
pub mod failed_request;
pub mod listener;
pub mod shared;
pub mod stop;
pub mod threads;
pub mod throttle;
pub mod unfinished;
pub mod wire;

use crate::client::Client;
use crate::cluster;
use crate::connection::{self, Upgraded, going_away};
use crate::escape::count;
use crate::limits::stop::{OUTPUT_DEADLINE, STOP_CONNECTIONS_DEADLINE, STOP_DEADLINE};
use crate::limits::{ACCEPT_PAUSE, CLOSE_DEADLINE, MAX_HEAD_SIZE, MAX_HEADERS, REQUEST_DEADLINE};
use crate::service::HttpService;
use crate::view::hooks::View;
use crate::view::{audience, explain};
use acceptor::{Accepted, Acceptor};
use bytes::Bytes;
use drain::drain;
use failed_request::FailedRequest;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use log::{Level, info, warn};
use shared::{Options, Shared};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use threads::Threads;
use throttle::Kind;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use wire::Wire;

/// Serves connections from the listeners until `shutdown`, then closes all of them gracefully. Polls `shutdown` only after
/// everything has started.
///
/// # Errors
/// A thread or its runtime can't be started.
pub async fn serve(
    listeners: Vec<TcpListener>,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let options = Options { threads: options.threads.max(1), ..options };
    let view = View::new(audience::start, options.admission.clone());
    let server = Arc::new(Shared::new(&options, view.clone()));
    let terminal = options.explain.then(|| explain::start(&view)).transpose()?;
    let threads = Threads::start(&server, options.threads)?;
    let node = cluster::join(&server.room, options.redis, &options.limits).await?;
    let acceptors: io::Result<Vec<_>> = listeners.into_iter().map(Acceptor::new).collect();
    let accepting: Vec<_> = acceptors?
        .into_iter()
        .map(|acceptor| tokio::spawn(accept(Arc::clone(&server), acceptor, Arc::clone(&threads.runtimes))))
        .collect();

    shutdown.await;
    drain(&server, options.limits.drain).await;
    let output_deadline = Instant::now() + (STOP_DEADLINE - OUTPUT_DEADLINE);
    for task in accepting {
        task.abort();
        // The listener is closed when its task has ended.
        let _ = task.await;
    }
    let open = server.open_connections();
    if open > 0 {
        let most = STOP_CONNECTIONS_DEADLINE.as_secs_f64();
        info!("stopping: waiting up to {most} s for {} to close", count(open as u64, "connection"));
    }
    // Told first: a connection that joins after the others are dismissed finds that the server is stopping.
    server.stop.tell();
    server.room.dismiss(usize::MAX, &going_away());
    if timeout(STOP_CONNECTIONS_DEADLINE, server.all_gone()).await.is_err() {
        warn!("some connections did not close in time");
    }
    node.iter().for_each(JoinHandle::abort);
    view.end();
    threads.end();
    if let Some(ended) = terminal {
        match timeout_at(output_deadline, ended).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => warn!("the thread of --explain panicked"),
            Err(_) => warn!("the last steps of --explain were left out: nobody read them"),
        }
    }
    server.log.report();
    Ok(())
}

/// Accepts connections, and gives them to the threads, see [`Shared::part`].
async fn accept(server: Arc<Shared>, acceptor: Acceptor, runtimes: Arc<[Handle]>) {
    loop {
        let Accepted { socket, local, address } = match acceptor.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                let line = || format!("no connection can be accepted: {error}");
                server.log.log(Level::Warn, Kind::FailedAccept, line);
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let number = server.next_number();
        let Some((permit, full)) = server.permit() else { continue };
        let part = server.part(number);
        let client = Arc::new(Client::new(number, part));
        let service = HttpService::new(Arc::clone(&server), client, local, address, full);
        runtimes[part].spawn(serve_connection(async move {
            // Registers the socket with the runtime of its thread, so that its events wake that thread.
            match TcpStream::from_std(socket) {
                Ok(socket) => serve_http(socket, service, permit).await,
                Err(error) => {
                    let line = || format!("{service}: {error}");
                    service.server().log.log(Level::Warn, Kind::FailedAccept, line);
                    None
                }
            }
        }));
    }
}

/// Serves a connection: HTTP first, and then the WebSocket, if it is upgraded. HTTP is boxed, because it needs four times the
/// memory of a WebSocket. With a task for each, memory was more fragmented: 6 % more per idle connection.
fn serve_connection(http: impl Future<Output = Option<Upgraded>>) -> impl Future<Output = ()> {
    let http = Box::pin(http);
    async move {
        let Some(upgraded) = http.await else { return };
        connection::run(upgraded).await;
    }
}

/// Serves the HTTP phase of a connection: up to [`MAX_REQUESTS`](crate::limits::MAX_REQUESTS) requests, one after another.
async fn serve_http(socket: TcpStream, service: HttpService, permit: OwnedSemaphorePermit) -> Option<Upgraded> {
    let (server, client) = (Arc::clone(service.server()), Arc::clone(service.client()));
    server.view.accepted(&client);
    let wire = Wire::new(socket, Arc::clone(&client), server.view.clone());
    let mut http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_DEADLINE)
        // A client may end its side of TCP right after its request, and still read.
        .half_close(true)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD_SIZE)
        .serve_connection(TokioIo::new(wire), service);
    let (exchange, patience) = exchange(&mut http, &server, &client).await;
    let parts = http.into_parts();
    let (wire, service) = (parts.io.into_inner(), parts.service);
    match (exchange, service.upgrade()) {
        (Ok(()), Some(purpose)) => {
            // A copy: even an empty part would keep hyper's buffer in memory.
            let early = Bytes::copy_from_slice(&parts.read_buf);
            return Some(Upgraded { server, client, socket: wire.into_socket(), early, purpose, permit });
        }
        // Boxed, so that its buffer does not enlarge the future.
        (Ok(()), None) => Box::pin(wire.linger(patience)).await,
        (Err(error), purpose) => {
            let failed = FailedRequest::new(error, &parts.read_buf, purpose.is_some());
            // A member leaves the room at once.
            drop(purpose);
            failed.log(&service);
            if !matches!(failed, FailedRequest::NotTaken) {
                Box::pin(wire.linger(patience)).await;
            }
        }
    }
    server.view.ended(&client, None);
    None
}

/// Lets hyper serve requests until the last one is answered. A stop waits for a response that has begun, but neither for an
/// idle client nor for the rest of a request. Returns the result, and how long the client has for its close of TCP.
async fn exchange(
    http: &mut http1::Connection<TokioIo<Wire>, HttpService>,
    server: &Shared,
    client: &Client,
) -> (hyper::Result<()>, Duration) {
    let mut stopping = pin!(server.stop.told());
    let mut told = server.stop.is_told();
    loop {
        if told {
            Pin::new(&mut *http).graceful_shutdown();
            let ended = poll_fn(|context| Poll::Ready(http.poll_without_shutdown(context))).await;
            match ended {
                // hyper ends an idle connection, but waits for a first request.
                Poll::Pending if client.requests() == 0 => return (Ok(()), Duration::ZERO),
                Poll::Pending => {}
                Poll::Ready(ended) => return (ended, Duration::ZERO),
            }
        }
        tokio::select! {
            ended = poll_fn(|context| http.poll_without_shutdown(context)) => return (ended, CLOSE_DEADLINE),
            () = &mut stopping, if !told => told = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[test]
    fn idle_connection_is_small() {
        // tokio adds 104 bytes, and rounds up to a multiple of 128.
        assert!(size_of_val(&serve_connection(pending())) <= 4 * 128 - 104);
    }
}
