//! A node: this server's part in a room on several servers.
//!
//! A *stay* is the time in which a node follows the log without a gap. It begins at the end of the log, when the outbox opens. Two
//! loops run in it, each on a connection of its own, because a blocking read would delay the appends: one appends what
//! is in the outbox, the other broadcasts what it reads. Each tries again until `--redis-patience` is over. When one of them gives
//! up, the stay ends: the outbox is closed, the members are told, and the next stay begins as soon as the engine answers.

use super::address::Address;
use super::chain::{Chain, Entry, Gap};
use super::engine::{Connection, Engine, Trouble};
use crate::escape::count;
use crate::frame::Failure;
use crate::limits::cluster::PAUSE;
use crate::room::Room;
use crate::room::outbox::{Batch, Outbox};
use log::{info, warn};
use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};
use tungstenite::protocol::frame::coding::CloseCode;

/// Kinds of trouble that are logged in an outage.
const MOST_TROUBLES: usize = 8;

/// A node, at the beginning of its first stay.
#[derive(Debug)]
pub(super) struct Node {
    engine: Engine,
    room: Arc<Room>,
    patience: Duration,
    /// The end of the log, and this node as a writer.
    chain: Chain,
}

/// Why reading failed.
enum Fault {
    /// Try again.
    Trouble(Trouble),
    /// The stay is over.
    Gap(Gap),
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<Gap> for Fault {
    fn from(gap: Gap) -> Self {
        Self::Gap(gap)
    }
}

impl Node {
    /// Finds the end of the log.
    ///
    /// # Errors
    /// The engine is out of reach, or not fit for a room.
    pub(super) async fn join(room: Arc<Room>, address: Address, patience: Duration) -> io::Result<Self> {
        let failed = |trouble: Trouble| io::Error::other(format!("--redis {address}: {trouble}"));
        let engine = Engine::new(&address).map_err(failed)?;
        let mut connection = engine.connect().await.map_err(failed)?;
        engine.check_server(&mut connection).await.map_err(failed)?;
        let chain = begin(&engine, &mut connection).await.map_err(failed)?;
        info!("the room is at {address}, shared with all servers there");
        Ok(Self { engine, room, patience, chain })
    }

    /// Follows the log. Returns only if the room has no outbox.
    pub(super) async fn follow(mut self) {
        let room = Arc::clone(&self.room);
        let Some(outbox) = room.outbox() else { return };
        loop {
            let failure = self.stay(outbox).await;
            outbox.close();
            let closing = count(room.dismiss(usize::MAX, &failure) as u64, "connection");
            warn!("{}: closing {closing} with {}", failure.reason, u16::from(failure.code));
            self.chain = self.find_end().await;
            info!("the room is open again, at the end of its log");
        }
    }

    /// Follows the log from its end, until it can't. Returns what the members are told.
    async fn stay(&self, outbox: &Outbox) -> Failure {
        let chain = self.chain.clone();
        let mut appender = Appender { node: self, outbox, connection: None };
        let mut reader = Reader { node: self, outbox, chain, connection: None };
        outbox.open();
        tokio::select! {
            failure = appender.run() => failure,
            failure = reader.run() => failure,
        }
    }

    /// Waits until the engine answers where the log ends, and accepts entries.
    async fn find_end(&self) -> Chain {
        let mut outage = Outage::new("finding the end of the room's log");
        loop {
            let found = async { begin(&self.engine, &mut self.engine.connect().await?).await };
            match found.await {
                Ok(chain) => {
                    outage.end();
                    return chain;
                }
                Err(trouble) => outage.note(&trouble).await,
            }
        }
    }
}

/// Registers this node as a writer, under an id that no other has.
async fn begin(engine: &Engine, connection: &mut Connection) -> Result<Chain, Trouble> {
    let writer = format!("{:016x}", RandomState::new().build_hasher().finish());
    let head = engine.begin(connection, &writer).await?;
    Ok(Chain { head, writer })
}

/// The members are told that the engine is away.
fn out_of_reach() -> Failure {
    Failure::new(CloseCode::Again, "the room is out of reach")
}

/// Appends what members say.
struct Appender<'a> {
    node: &'a Node,
    outbox: &'a Outbox,
    connection: Option<Connection>,
}

impl Appender<'_> {
    async fn run(&mut self) -> Failure {
        loop {
            let batch = self.outbox.take().await;
            if timeout(self.node.patience, self.append(&batch)).await.is_err() {
                return out_of_reach();
            }
            self.outbox.appended();
        }
    }

    /// Appends a batch, in as many attempts as it takes. Whether a failed one was applied is unknown, so each has the same number.
    async fn append(&mut self, batch: &Batch) {
        let mut outage = Outage::new("appending to the room's log");
        for attempt in 1.. {
            match self.try_append(batch, attempt).await {
                Ok(()) => break,
                Err(trouble) => {
                    self.connection = None;
                    outage.note(&trouble).await;
                }
            }
        }
        outage.end();
    }

    async fn try_append(&mut self, batch: &Batch, attempt: u32) -> Result<(), Trouble> {
        let engine = &self.node.engine;
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(engine.connect().await?),
        };
        engine.append(connection, (&self.node.chain.writer, batch.number, attempt), &batch.frames).await
    }
}

/// Reads the log, and broadcasts what it reads.
struct Reader<'a> {
    node: &'a Node,
    outbox: &'a Outbox,
    chain: Chain,
    connection: Option<Connection>,
}

impl Reader<'_> {
    async fn run(&mut self) -> Failure {
        loop {
            let entries = match timeout(self.node.patience, self.read()).await {
                Ok(Ok(entries)) => entries,
                Ok(Err(gap)) => return told(gap),
                Err(_) => return out_of_reach(),
            };
            for entry in &entries {
                match self.chain.follow(entry, self.outbox.next_return()) {
                    Ok(own) => self.node.room.receive(&entry.frames, own),
                    Err(gap) => return told(gap),
                }
            }
        }
    }

    /// Reads once, in as many attempts as it takes. There may be nothing to read.
    async fn read(&mut self) -> Result<Vec<Entry>, Gap> {
        let mut outage = Outage::new("reading the room's log");
        loop {
            match self.try_read().await {
                Ok(entries) => {
                    outage.end();
                    return Ok(entries);
                }
                Err(Fault::Gap(gap)) => return Err(gap),
                Err(Fault::Trouble(trouble)) => {
                    self.connection = None;
                    outage.note(&trouble).await;
                }
            }
        }
    }

    /// Reads once. On a new connection, and after a silence, checks that the log still ends where the last entry did.
    async fn try_read(&mut self) -> Result<Vec<Entry>, Fault> {
        let (engine, place) = (&self.node.engine, self.chain.head.place);
        if let Some(connection) = &mut self.connection {
            let entries = engine.read(connection, place).await?;
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(engine.connect().await?),
        };
        // Asked before the engine is: what is appended meanwhile need not be there yet.
        let appended = self.outbox.last_appended();
        let (entries, head) = engine.check(connection, place).await?;
        if entries.is_empty() {
            self.chain.check(&head, self.outbox.next_return(), appended)?;
        }
        Ok(entries)
    }
}

fn told(gap: Gap) -> Failure {
    Failure::new(CloseCode::Restart, gap.to_string())
}

/// A time in which something fails, for the log: one line for each kind of trouble, and one when it is over.
struct Outage {
    what: &'static str,
    since: Option<Instant>,
    /// What was logged.
    told: BTreeSet<String>,
}

impl Outage {
    fn new(what: &'static str) -> Self {
        Self { what, since: None, told: BTreeSet::new() }
    }

    /// Notes a failed attempt, and pauses before the next.
    async fn note(&mut self, trouble: &Trouble) {
        self.since.get_or_insert_with(Instant::now);
        let text = trouble.to_string();
        if self.told.len() < MOST_TROUBLES && !self.told.contains(&text) {
            warn!("{} fails: {text}", self.what);
            self.told.insert(text);
        }
        sleep(PAUSE).await;
    }

    fn end(&self) {
        if let Some(since) = self.since {
            info!("{} works again, after {:.1} s", self.what, since.elapsed().as_secs_f64());
        }
    }
}
