//! A node: this server's part in a room on several servers.
//!
//! A *stay* is the time in which a node follows the log without a gap. It begins at the end of the log, when the outbox opens. Two
//! loops run in it, each on a connection of its own, because a blocking read would delay the appends: one appends what
//! is in the outbox, the other broadcasts what it reads. Each tries again until `--redis-patience` is over. When one of them gives
//! up, the stay ends: the outbox is closed, the members are told, and the next stay begins as soon as the engine answers.

use super::address::Address;
use super::chain::{Chain, Entry, Followed, Gap};
use super::engine::{Connection, Engine, Trouble};
use super::outage::{Outage, Work};
use crate::escape::count;
use crate::frame::Failure;
use crate::limits::cluster::CHECK;
use crate::room::Room;
use crate::room::outbox::{Batch, Outbox};
use log::{info, warn};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tungstenite::protocol::frame::coding::CloseCode;

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
        let outage = Outage::new(outbox, self.patience);
        loop {
            let failure = self.stay(outbox, &outage).await;
            outbox.close();
            let lasted = outage.end_stay();
            let why = match failure.code {
                CloseCode::Again => format!("{}: Redis has failed for {:.1} s", failure.reason, lasted.as_secs_f64()),
                _ => format!("a gap in Redis: {}", failure.reason),
            };
            let closing = count(room.dismiss(usize::MAX, &failure) as u64, "connection");
            warn!("{why}; closing {closing} with {}", u16::from(failure.code));
            self.chain = self.find_end(&outage).await;
            outage.begin_stay();
        }
    }

    /// Follows the log from its end, until it can't. Returns what the members are told.
    async fn stay(&self, outbox: &Outbox, outage: &Outage<'_>) -> Failure {
        let chain = self.chain.clone();
        let mut appender = Appender { node: self, outbox, outage, connection: None };
        let mut reader = Reader { node: self, outbox, outage, chain, connection: None };
        outbox.open();
        tokio::select! {
            failure = appender.run() => failure,
            failure = reader.run() => failure,
        }
    }

    /// Waits until the engine answers where the log ends, and accepts entries.
    async fn find_end(&self, outage: &Outage<'_>) -> Chain {
        let due = Instant::now();
        loop {
            let found = async { begin(&self.engine, &mut self.engine.connect().await?).await };
            match found.await {
                Ok(chain) => return chain,
                // There is no end of this patience.
                Err(trouble) => _ = outage.note(Work::FindingEnd, due, &trouble).await,
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

/// The patience is over. Returns what the members are told.
fn out_of_reach(outage: &Outage<'_>, work: Work, due: Instant) -> Failure {
    outage.begin(work, due);
    Failure::new(CloseCode::Again, "the room is out of reach")
}

/// Appends what members say.
struct Appender<'a> {
    node: &'a Node,
    outbox: &'a Outbox,
    outage: &'a Outage<'a>,
    connection: Option<Connection>,
}

impl Appender<'_> {
    async fn run(&mut self) -> Failure {
        loop {
            let batch = self.outbox.take().await;
            if let Err(failure) = self.append(&batch).await {
                return failure;
            }
            self.outbox.appended();
        }
    }

    /// Appends a batch, in as many attempts as it takes. Whether a failed one was applied is unknown, so each has the same number.
    async fn append(&mut self, batch: &Batch) -> Result<(), Failure> {
        let (outage, due) = (self.outage, Instant::now());
        for attempt in 1.. {
            match timeout_at(outage.deadline(Work::Appending, due), self.try_append(batch, attempt)).await {
                Ok(Ok(())) => break,
                Ok(Err(trouble)) => {
                    self.connection = None;
                    if !outage.note(Work::Appending, due, &trouble).await {
                        return Err(out_of_reach(outage, Work::Appending, due));
                    }
                }
                Err(_) => return Err(out_of_reach(outage, Work::Appending, due)),
            }
        }
        outage.works(Work::Appending);
        Ok(())
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
    outage: &'a Outage<'a>,
    chain: Chain,
    connection: Option<Connection>,
}

impl Reader<'_> {
    async fn run(&mut self) -> Failure {
        loop {
            let entries = match self.read().await {
                Ok(entries) => entries,
                Err(failure) => return failure,
            };
            for entry in &entries {
                match self.chain.follow(entry, self.outbox.next_return()) {
                    Ok(Followed { messages, own }) => self.node.room.receive(&entry.frames, messages, own),
                    Err(gap) => return self.end_stay(gap),
                }
            }
        }
    }

    /// Counts a gap. Returns what the members are told.
    fn end_stay(&self, gap: Gap) -> Failure {
        self.outbox.counters().gaps.add(gap.kind());
        Failure::new(CloseCode::Restart, gap.to_string())
    }

    /// Reads once, in as many attempts as it takes. There may be nothing to read.
    async fn read(&mut self) -> Result<Vec<Entry>, Failure> {
        // A healthy engine takes this long to say that there is nothing to read.
        let (outage, due) = (self.outage, Instant::now() + CHECK);
        loop {
            match timeout_at(outage.deadline(Work::Reading, due), self.try_read()).await {
                Ok(Ok(entries)) => {
                    outage.works(Work::Reading);
                    return Ok(entries);
                }
                Ok(Err(Fault::Gap(gap))) => return Err(self.end_stay(gap)),
                Ok(Err(Fault::Trouble(trouble))) => {
                    self.connection = None;
                    if !outage.note(Work::Reading, due, &trouble).await {
                        return Err(out_of_reach(outage, Work::Reading, due));
                    }
                }
                Err(_) => return Err(out_of_reach(outage, Work::Reading, due)),
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::chain::Head;
    use super::*;
    use crate::http::admission::Admission;
    use crate::limits::Limits;
    use crate::view::hooks::View;
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::task::Poll;

    /// A node whose engine can't be reached: there is no port 0.
    fn node() -> Node {
        let view = View::new(|_, _, _| (), Admission::default());
        let room = Room::new(1, &Limits::default(), Some(Outbox::new(view.clone())), view);
        let engine = Engine::new(&"redis://127.0.0.1:0/room".parse().unwrap()).unwrap();
        let chain = Chain { head: Head::default(), writer: String::new() };
        Node { engine, room, patience: Duration::from_secs(1), chain }
    }

    fn reader<'a>(node: &'a Node, outage: &'a Outage<'a>) -> Reader<'a> {
        Reader { node, outbox: node.room.outbox().unwrap(), outage, chain: node.chain.clone(), connection: None }
    }

    /// Tries until it has failed once.
    async fn fail_once(outbox: &Outbox, attempts: impl Future) {
        let mut attempts = pin!(attempts);
        let before = outbox.counters().outages.get();
        let failed = poll_fn(|context| {
            assert!(attempts.as_mut().poll(context).is_pending());
            if outbox.counters().outages.get() == before { Poll::Pending } else { Poll::Ready(()) }
        });
        tokio::time::timeout(Duration::from_secs(5), failed).await.unwrap();
    }

    #[test]
    fn outages_are_counted_by_what_fails() {
        let node = node();
        let outbox = node.room.outbox().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let batch = Batch { number: 1, frames: Vec::new() };
            let outage = Outage::new(outbox, node.patience);
            let mut appender = Appender { node: &node, outbox, outage: &outage, connection: None };
            fail_once(outbox, appender.append(&batch)).await;
            fail_once(outbox, reader(&node, &outage).read()).await;
            fail_once(outbox, node.find_end(&outage)).await;
        });
        assert_eq!(outbox.counters().outages.get(), [("appending", 1), ("finding_end", 1), ("reading", 1)]);
    }

    #[test]
    fn gaps_are_counted_by_their_kind() {
        let node = node();
        let outbox = node.room.outbox().unwrap();
        let outage = Outage::new(outbox, node.patience);
        let reader = reader(&node, &outage);
        for gap in [Gap::Missing, Gap::Lost, Gap::OwnLost, Gap::Foreign, Gap::Lost] {
            let failure = reader.end_stay(gap);
            assert_eq!((failure.code, &*failure.reason), (CloseCode::Restart, &*gap.to_string()));
        }
        let counts = [("foreign", 1), ("lost", 2), ("missing", 1), ("own_lost", 1)];
        assert_eq!(outbox.counters().gaps.get(), counts);
    }
}
