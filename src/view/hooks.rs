//! The hooks that the main path calls to report events to the view.
//!
//! The rules: without a viewer, a hook costs one atomic load; a hook never waits for a viewer; events above the budget of a
//! second are dropped and counted.

use super::step::Step;
use crate::client::Client;
use crate::http::admission::Admission;
use crate::limits::{FRAME_STEPS_PER_SECOND, MOST_VIEWERS, RECORD_UNIT, STEPS_PER_SECOND, VIEWER_QUEUE};
use bytes::Bytes;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc as queue;

/// An event of one connection.
#[derive(Debug)]
pub struct Record {
    /// The connection.
    pub client: Arc<Client>,
    /// Whether the client had a name at that time.
    pub named: bool,
    /// When it happened.
    pub at: Instant,
    /// The number of dropped records and steps so far, of all connections.
    pub missed: u64,
    /// What happened.
    pub what: What,
}

/// The kinds of events.
#[derive(Debug)]
pub enum What {
    /// TCP was accepted.
    Accepted,
    /// Bytes of HTTP were read. Empty: the client half-closed.
    HeadRead(Bytes, Start),
    /// Bytes of HTTP were written.
    HeadWritten(Bytes, Start),
    /// Bytes of frames were read. Empty: the client half-closed.
    Read(Bytes, Start),
    /// Bytes of frames were written.
    Written(Bytes, Start),
    /// The server half-closed.
    Shutdown,
    /// The connection of a member is open.
    Joined {
        /// Members, this one included.
        members: usize,
    },
    /// Messages of the client were broadcast.
    Broadcast {
        /// Bytes for each member.
        bytes: usize,
        /// Members that receive it.
        members: usize,
        /// Members that are behind.
        behind: usize,
        /// In a room on several servers: since they were said.
        after: Option<Duration>,
    },
    /// Messages of the client were appended to the log of a room on several servers.
    Appended {
        /// Bytes for each member.
        bytes: usize,
        /// Since they were said.
        after: Duration,
    },
    /// The client had more to say, and was not read for this long.
    Waited(Duration),
    /// The connection left the room.
    Left {
        /// Members that remain.
        members: usize,
    },
    /// The connection is over.
    Ended(Option<Life>),
}

/// Whether a record is known to begin with a head or a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first byte of a head, or of a frame that is not a continuation.
    Aligned,
    /// Anywhere, perhaps inside a head, a body or a frame.
    Anywhere,
}

impl Start {
    /// `Aligned` if true, `Anywhere` if false.
    pub fn aligned(aligned: bool) -> Self {
        if aligned { Self::Aligned } else { Self::Anywhere }
    }
}

/// The totals of one WebSocket connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Messages that the client sent.
    pub messages: u64,
    /// Bytes read before the closing handshake.
    pub bytes_in: u64,
    /// Bytes written after the handshake.
    pub bytes_out: u64,
    /// From the 101 to the end of TCP.
    pub lasted: Duration,
}

/// A message to the view's thread.
#[derive(Debug)]
pub enum Told {
    /// Something happened.
    Record(Record),
    /// A viewer arrived, and these are the members of the room.
    Viewer(Viewer, Vec<Arc<Client>>),
    /// The server is stopping: disconnect all viewers.
    End,
}

/// An item in a viewer's queue.
#[derive(Clone, Debug)]
pub enum Shown {
    /// A step.
    Step(Arc<Step>),
    /// At least this many steps were left out.
    Missed(u64),
}

/// A viewer, as the view's thread knows it.
#[derive(Debug)]
pub struct Viewer {
    /// The number of its own connection, whose steps it does not receive. None for the terminal.
    pub number: Option<u64>,
    /// Its queue.
    pub queue: queue::Sender<Shown>,
}

/// The hooks. Clones share state.
#[derive(Clone, Debug)]
pub struct View(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The viewers, the terminal included.
    watching: AtomicUsize,
    /// The viewers of `GET /lifecycle`.
    viewers: AtomicUsize,
    /// Members that have joined, plus those that have left.
    changes: AtomicU64,
    /// Steps left in the budget of this second.
    budget: AtomicI64,
    /// Dropped records and steps so far.
    missed: AtomicU64,
    thread: Sender<Told>,
    /// The thread's arguments, until the first viewer starts it. Starting it lazily keeps a process with one thread
    /// single-threaded, in which allocations and system calls cost less.
    unstarted: Mutex<Option<Unstarted>>,
}

/// A thread to start, and what it is given.
#[derive(Debug)]
struct Unstarted {
    start: fn(View, Receiver<Told>, Admission),
    told: Receiver<Told>,
    admission: Admission,
}

/// Steps per second that are reserved for events other than frames, so that a flood of frames can't hide them.
const RESERVED: i64 = (STEPS_PER_SECOND - FRAME_STEPS_PER_SECOND) as i64;

impl View {
    /// A view without viewers. `start` starts its thread, which judges requests by `admission` as the server does.
    pub fn new(start: fn(Self, Receiver<Told>, Admission), admission: Admission) -> Self {
        let (thread, told) = mpsc::channel();
        Self(Arc::new(Inner {
            watching: AtomicUsize::new(0),
            viewers: AtomicUsize::new(0),
            changes: AtomicU64::new(0),
            budget: AtomicI64::new(STEPS_PER_SECOND.into()),
            missed: AtomicU64::new(0),
            thread,
            unstarted: Mutex::new(Some(Unstarted { start, told, admission })),
        }))
    }

    /// Returns whether anybody watches.
    pub fn is_watched(&self) -> bool {
        self.0.watching.load(Relaxed) > 0
    }

    /// Returns the number of viewers of `GET /lifecycle`.
    pub fn viewers(&self) -> usize {
        self.0.viewers.load(Relaxed)
    }

    /// Returns how often the list of members has changed so far.
    pub fn changes(&self) -> u64 {
        self.0.changes.load(Relaxed)
    }

    /// Begins to watch. `number` is the viewer's own connection, None for the terminal; `present` are the members of the
    /// room. Returns None if there are [`MOST_VIEWERS`] already.
    pub fn watch(&self, number: Option<u64>, present: Vec<Arc<Client>>) -> Option<Watch> {
        let (queue, shown) = queue::channel(VIEWER_QUEUE);
        let viewers = usize::from(number.is_some());
        if self.0.viewers.fetch_add(viewers, Relaxed) >= MOST_VIEWERS && number.is_some() {
            self.0.viewers.fetch_sub(viewers, Relaxed);
            return None;
        }
        if let Some(Unstarted { start, told, admission }) = self.take_unstarted() {
            start(self.clone(), told, admission);
        }
        self.0.watching.fetch_add(1, Relaxed);
        // An error means that the thread has ended; then the queue ends too.
        let _ = self.0.thread.send(Told::Viewer(Viewer { number, queue }, present));
        Some(Watch { view: self.clone(), viewers, shown })
    }

    fn take_unstarted(&self) -> Option<Unstarted> {
        self.0.unstarted.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Disconnects all viewers, and ends the thread.
    pub fn end(&self) {
        let _ = self.0.thread.send(Told::End);
    }

    /// TCP was accepted.
    pub fn accepted(&self, client: &Arc<Client>) {
        self.tell(client, 0, 0, || What::Accepted);
    }

    /// Bytes of HTTP were read.
    pub fn head_read(&self, client: &Arc<Client>, bytes: &[u8], start: Start) {
        self.tell(client, 0, bytes.len(), || What::HeadRead(Bytes::copy_from_slice(bytes), start));
    }

    /// Bytes of HTTP were written.
    pub fn head_written(&self, client: &Arc<Client>, bytes: &[u8], start: Start) {
        self.tell(client, 0, bytes.len(), || What::HeadWritten(Bytes::copy_from_slice(bytes), start));
    }

    /// Bytes of frames were read. Empty: the client half-closed.
    pub fn read(&self, client: &Arc<Client>, bytes: &[u8], start: Start) {
        let reserved = if bytes.is_empty() { 0 } else { RESERVED };
        self.tell(client, reserved, bytes.len(), || What::Read(Bytes::copy_from_slice(bytes), start));
    }

    /// Bytes of frames were written.
    pub fn wrote(&self, client: &Arc<Client>, bytes: &[u8], start: impl FnOnce() -> Start) {
        self.tell(client, RESERVED, bytes.len(), || What::Written(Bytes::copy_from_slice(bytes), start()));
    }

    /// Returns a copy of a turn's batch, shared by all members, if it is to be shown.
    pub fn batch(&self, batch: &[u8]) -> Option<Bytes> {
        if !self.is_watched() || !self.has_budget(RESERVED) {
            return None;
        }
        self.charge(batch.len());
        Some(Bytes::copy_from_slice(batch))
    }

    /// A part of a turn's batch was written. It begins at a frame boundary.
    pub fn wrote_batch(&self, client: &Arc<Client>, part: Bytes) {
        self.tell(client, RESERVED, 0, || What::Written(part, Start::Aligned));
    }

    /// The server half-closed.
    pub fn shutdown(&self, client: &Arc<Client>) {
        self.tell(client, 0, 0, || What::Shutdown);
    }

    /// The connection of a member is open.
    pub fn joined(&self, client: &Arc<Client>, members: impl FnOnce() -> usize) {
        self.0.changes.fetch_add(1, Relaxed);
        self.tell(client, 0, 0, || What::Joined { members: members() });
    }

    /// The texts of one read are broadcast, as `bytes` for each member. `counts` returns the number of members, and how many
    /// of them are behind. `after` is the time since they were said, in a room on several servers.
    pub fn broadcast(
        &self,
        client: &Arc<Client>,
        bytes: usize,
        after: Option<Duration>,
        counts: impl FnOnce() -> (usize, usize),
    ) {
        self.tell(client, RESERVED, 0, || {
            let (members, behind) = counts();
            What::Broadcast { bytes, members, behind, after }
        });
    }

    /// The texts of one read were appended to the log of a room on several servers, as `bytes` for each member.
    pub fn appended(&self, client: &Arc<Client>, bytes: usize, after: Duration) {
        self.tell(client, RESERVED, 0, || What::Appended { bytes, after });
    }

    /// The client had more to say, and was not read for this long.
    pub fn waited(&self, client: &Arc<Client>, time: Duration) {
        self.tell(client, 0, 0, || What::Waited(time));
    }

    /// The connection left the room.
    pub fn left(&self, client: &Arc<Client>, members: impl FnOnce() -> usize) {
        self.0.changes.fetch_add(1, Relaxed);
        self.tell(client, 0, 0, || What::Left { members: members() });
    }

    /// The connection is over. `life` is its totals as a WebSocket.
    pub fn ended(&self, client: &Arc<Client>, life: Option<Life>) {
        self.tell(client, 0, 0, || What::Ended(life));
    }

    fn tell(&self, client: &Arc<Client>, reserved: i64, bytes: usize, what: impl FnOnce() -> What) {
        if self.is_watched() {
            self.tell_thread(client, reserved, bytes, what);
        }
    }

    #[cold]
    fn tell_thread(&self, client: &Arc<Client>, reserved: i64, bytes: usize, what: impl FnOnce() -> What) {
        if !self.has_budget(reserved) {
            return;
        }
        self.charge(bytes);
        let (client, named) = (Arc::clone(client), client.name().is_some());
        let record = Record { client, named, at: Instant::now(), missed: self.missed(), what: what() };
        // An error means that the thread has ended: nobody watches any more.
        let _ = self.0.thread.send(Told::Record(record));
    }

    /// Charges one step, plus one per [`RECORD_UNIT`] bytes. This limits the memory of queued records.
    fn charge(&self, bytes: usize) {
        let steps = 1 + i64::try_from(bytes / RECORD_UNIT).unwrap_or(i64::MAX - 1);
        self.0.budget.fetch_sub(steps, Relaxed);
    }

    /// Returns whether more than `reserved` steps are left this second. If not, counts one missed step.
    fn has_budget(&self, reserved: i64) -> bool {
        let left = self.0.budget.load(Relaxed) > reserved;
        if !left {
            self.miss(1);
        }
        left
    }

    /// Charges one step. A step of a frame can't use the reserved share. Returns false, and counts a missed step, if none is
    /// left.
    pub fn take_budget(&self, is_frame: bool) -> bool {
        let left = self.has_budget(if is_frame { RESERVED } else { 0 });
        if left {
            self.0.budget.fetch_sub(1, Relaxed);
        }
        left
    }

    /// Counts dropped steps.
    pub fn miss(&self, steps: u64) {
        self.0.missed.fetch_add(steps, Relaxed);
    }

    /// Returns the number of dropped records and steps so far.
    pub fn missed(&self) -> u64 {
        self.0.missed.load(Relaxed)
    }

    /// Begins the budget of the next second.
    pub fn renew_budget(&self) {
        self.0.budget.store(STEPS_PER_SECOND.into(), Relaxed);
    }
}

/// A viewer's side of a watch. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    view: View,
    /// 1, or 0 for the terminal.
    viewers: usize,
    /// The viewer's queue.
    pub shown: queue::Receiver<Shown>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.view.0.watching.fetch_sub(1, Relaxed);
        self.view.0.viewers.fetch_sub(self.viewers, Relaxed);
    }
}
