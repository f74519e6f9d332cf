//! The network between a node and Redis: a TCP proxy that passes, holds, resets, cuts and switches.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use test_client::FLOOD_DEADLINE;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// Size of one read, in bytes.
const READ_SIZE: usize = 64 * 1024;

/// What the proxy does with its connections.
#[derive(Clone, Debug)]
struct Behavior {
    mode: Mode,
    /// Connections go to this address.
    target: SocketAddr,
    /// Counts the resets of all connections.
    resets: u64,
    /// Replies that are still to be cut.
    cuts: usize,
    /// The name of the command whose replies are cut.
    cut: &'static [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    /// Connections are accepted and kept, and nothing is forwarded until the proxy passes again.
    Hold,
    /// New connections are reset.
    Reset,
}

/// A proxy on a loopback address. Dropping it ends its connections.
#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    behavior: watch::Sender<Behavior>,
    _runtime: Runtime,
}

impl Proxy {
    /// Starts a proxy that passes everything to `target`.
    pub fn to(target: SocketAddr) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let behavior = watch::Sender::new(Behavior { mode: Mode::Pass, target, resets: 0, cuts: 0, cut: b"" });
        let accepting = behavior.clone();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, accepting.clone()));
            }
        });
        Self { address, behavior, _runtime: runtime }
    }

    /// The URL of a room.
    pub fn url(&self, room: &str) -> String {
        format!("redis://{}/{room}", self.address)
    }

    /// Forwards everything. What was held is forwarded first.
    pub fn pass(&self) {
        self.behavior.send_modify(|behavior| behavior.mode = Mode::Pass);
    }

    /// Forwards nothing in either direction, until [`pass`](Self::pass). Neither side notices.
    pub fn hold(&self) {
        self.behavior.send_modify(|behavior| behavior.mode = Mode::Hold);
    }

    /// Resets all connections, and each new one, until [`pass`](Self::pass).
    pub fn reset(&self) {
        self.behavior.send_modify(|behavior| {
            behavior.mode = Mode::Reset;
            behavior.resets += 1;
        });
    }

    /// Resets all connections. New ones go to another address.
    pub fn switch(&self, target: SocketAddr) {
        self.behavior.send_modify(|behavior| {
            behavior.target = target;
            behavior.resets += 1;
        });
    }

    /// The replies to the next requests with this command are cut: the request is forwarded, and its connection ends when the reply comes.
    pub fn cut(&self, command: &'static str, times: usize) {
        self.behavior.send_modify(|behavior| {
            behavior.cut = command.as_bytes();
            behavior.cuts = times;
        });
    }

    /// Waits until at most this number of replies are still to be cut.
    #[track_caller]
    pub fn wait_for_cuts(&self, left: usize) {
        let start = Instant::now();
        while self.behavior.borrow().cuts > left {
            assert!(start.elapsed() < FLOOD_DEADLINE, "no replies to cut: {:?}", self.behavior.borrow());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Serves a connection until it ends or the proxy resets it.
async fn serve(mut client: TcpStream, behavior: watch::Sender<Behavior>) {
    let mut changes = behavior.subscribe();
    let Ok(now) = changes.wait_for(|now| now.mode != Mode::Hold).await.map(|now| now.clone()) else { return };
    let connected = if now.mode == Mode::Pass { TcpStream::connect(now.target).await.ok() } else { None };
    let Some(mut server) = connected else {
        return client.set_zero_linger().unwrap();
    };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    tokio::select! {
        // It ends with an error when a side is gone.
        _ = carry(&mut client, &mut server, &behavior) => {}
        _ = changes.wait_for(|later| later.resets != now.resets) => {
            client.set_zero_linger().unwrap();
            server.set_zero_linger().unwrap();
        }
    }
}

/// Forwards both directions, until both have ended or a reply is cut.
async fn carry(client: &mut TcpStream, server: &mut TcpStream, behavior: &watch::Sender<Behavior>) -> io::Result<()> {
    let is_asked = AtomicBool::new(false);
    let note_request = |bytes: &[u8]| {
        let Behavior { cuts, cut, .. } = &*behavior.borrow();
        if *cuts > 0 && bytes.windows(cut.len()).any(|part| part == *cut) {
            is_asked.store(true, Relaxed);
        }
        true
    };
    let is_wanted = |_: &[u8]| !(is_asked.load(Relaxed) && take_cut(behavior));
    let ((client_reads, client_writes), (server_reads, server_writes)) = (client.split(), server.split());
    tokio::try_join!(
        forward(client_reads, server_writes, behavior.subscribe(), note_request),
        forward(server_reads, client_writes, behavior.subscribe(), is_wanted),
    )?;
    Ok(())
}

/// Returns whether a reply is to be cut, and counts it.
fn take_cut(behavior: &watch::Sender<Behavior>) -> bool {
    behavior.send_if_modified(|behavior| {
        let is_left = behavior.cuts > 0;
        behavior.cuts -= usize::from(is_left);
        is_left
    })
}

/// Forwards one direction, to the end of its stream or to bytes that aren't wanted.
async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut behavior: watch::Receiver<Behavior>,
    is_wanted: impl Fn(&[u8]) -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let length = from.read(&mut buffer).await?;
        behavior.wait_for(|now| now.mode != Mode::Hold).await.map_err(io::Error::other)?;
        let bytes = &buffer[..length];
        if bytes.is_empty() {
            return to.shutdown().await;
        }
        if !is_wanted(bytes) {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        to.write_all(bytes).await?;
    }
}

#[cfg(test)]
mod tests;
