//! The threads that serve connections: the one that starts the server, and others.

use super::shared::Shared;
use crate::limits::TICK;
use log::warn;
use std::io;
use std::sync::Arc;
use std::thread::{Builder as ThreadBuilder, JoinHandle};
use tokio::runtime::{Builder as RuntimeBuilder, Handle};
use tokio::sync::oneshot;
use tokio::time::interval;

/// The threads. Each has a runtime, and serves one part of the room.
#[derive(Debug)]
pub struct Threads {
    /// The runtime of each thread, by its part of the room.
    pub runtimes: Arc<[Handle]>,
    turns: tokio::task::JoinHandle<()>,
    others: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Threads {
    /// Starts all threads but this one, and the turns of all.
    ///
    /// # Errors
    /// A thread or its runtime can't be started.
    pub fn start(server: &Arc<Shared>, threads: usize) -> io::Result<Self> {
        let mut runtimes = vec![Handle::current()];
        let mut others = Vec::new();
        for part in 1..threads {
            let runtime = RuntimeBuilder::new_current_thread().enable_all().build()?;
            runtimes.push(runtime.handle().clone());
            let (end, ended) = oneshot::channel::<()>();
            let server = Arc::clone(server);
            let thread = ThreadBuilder::new().name(format!("switchboard-{part}")).spawn(move || {
                runtime.spawn(serve_part(server, part));
                // An error means that the other end is gone: the thread ends, too.
                let _ = runtime.block_on(ended);
            })?;
            others.push((end, thread));
        }
        let turns = tokio::spawn(serve_part(Arc::clone(server), 0));
        Ok(Self { runtimes: runtimes.into(), turns, others })
    }

    /// Ends all threads but this one.
    pub fn end(self) {
        self.turns.abort();
        for (end, thread) in self.others {
            // An error means that the thread has ended by itself.
            let _ = end.send(());
            if thread.join().is_err() {
                warn!("a thread panicked");
            }
        }
    }
}

async fn serve_part(server: Arc<Shared>, part: usize) {
    let pace = async {
        if part == 0 {
            server.room.keep_pace().await;
        }
    };
    tokio::join!(server.room.take_turns(part), tick(&server, part), pace);
}

/// A clock that fires once a second. tokio wakes a thread for each timer that becomes the next
/// one due; with this clock, a connection's timer rarely does. The first thread's also makes the log report what was left out.
async fn tick(server: &Shared, part: usize) {
    let mut clock = interval(TICK);
    loop {
        clock.tick().await;
        if part == 0 {
            server.log.report();
        }
    }
}
