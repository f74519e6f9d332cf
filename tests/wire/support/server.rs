//! The real server inside the test: `serve` on a thread of its own, on a free port.

use super::DEADLINE;
use super::client::Client;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use switchboard::limits::{CLOSE_DEADLINE, Limits};
use switchboard::server::{Options, serve};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Options with so many threads.
pub fn threads(threads: usize) -> Options {
    Options { threads, ..Options::default() }
}

/// Options with so large messages.
pub fn max_message_size(max_message_size: usize) -> Options {
    Options { limits: Limits { max_message_size, ..Limits::default() }, ..Options::default() }
}

/// A running server. Dropping it stops it, and checks that it ends.
pub struct Server {
    pub address: SocketAddr,
    shutdown: Option<oneshot::Sender<()>>,
    ended: mpsc::Receiver<io::Result<()>>,
}

impl Server {
    pub fn start(options: Options) -> Self {
        let (shutdown, stopped) = oneshot::channel::<()>();
        let (bound, address) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            end.send(runtime.block_on(async {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                bound.send(listener.local_addr()?).unwrap();
                let shutdown = async { drop(stopped.await) };
                serve(vec![listener], options, shutdown).await
            }))
        });
        Self { address: address.recv_timeout(DEADLINE).expect("the server listens"), shutdown: Some(shutdown), ended }
    }

    /// A client of the chat, past its opening handshake.
    pub fn join(&self, client_id: i64) -> Client {
        Client::open(self.address, &format!("/ws/{client_id}"))
    }

    /// Tells the server to stop, and does not wait for it.
    pub fn tell_to_stop(&mut self) {
        drop(self.shutdown.take());
    }

    /// Waits until `serve` has returned, and says how long that took.
    pub fn wait_for_end(&mut self) -> Duration {
        let start = Instant::now();
        let ended = self.ended.recv_timeout(DEADLINE);
        ended.expect("the server ends in time").expect("in order");
        start.elapsed()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.shutdown.is_some() && !thread::panicking() {
            self.tell_to_stop();
            // The test's clients are gone by now. A connection that is not would hold the server up.
            assert!(self.wait_for_end() < CLOSE_DEADLINE, "a connection is left");
        }
    }
}
