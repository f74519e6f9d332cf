//! A server in this process, on a port of its own, and a stage before it.

use crate::DEADLINE;
use crate::faults::stage::Stage;
use crate::program::Program;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;
use switchboard::http::admission::Admission;
use switchboard::limits::Limits;
use switchboard::server::{Options, serve};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// A running server, in a thread of its own.
pub struct Server {
    pub address: SocketAddr,
    limits: Limits,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Server {
    pub fn start(limits: Limits) -> Self {
        let (listens, listening) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                listens.send(listener.local_addr()?).unwrap();
                let admission = Admission { loopback_only: true, allowed: Vec::new() };
                let options = Options { limits, admission, ..Options::default() };
                serve(vec![listener], options, async { drop(stopped.await) }).await
            })
        });
        Self { address: listening.recv().unwrap(), limits, stop, thread }
    }

    pub fn stage(&self) -> Stage {
        stage(self.address, &self.limits)
    }

    /// Stops the server. It must have nobody left to wait for.
    pub fn stop(self) {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap().unwrap();
    }
}

/// What is known of a server with these limits.
pub fn stage(address: SocketAddr, limits: &Limits) -> Stage {
    Stage {
        address,
        host: address.to_string(),
        path: "/ws/{id}".into(),
        patience: DEADLINE,
        ping_interval: limits.ping_interval.unwrap_or(Duration::MAX),
        max_backlog: limits.max_backlog,
        crowd: 20,
        ids: std::sync::Arc::default(),
    }
}

/// A stage before the program as it is run.
pub fn program_stage(program: &Program) -> Stage {
    stage(program.address, &Limits::default())
}

/// Waits until the program has only so many files open.
#[cfg(target_os = "linux")]
pub async fn files_closed(program: &Program, left: usize) {
    let closed = async {
        while program.open_files() > left {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = timeout(DEADLINE, closed).await;
    assert!(waited.is_ok(), "{} files are open, not {left}", program.open_files());
}
