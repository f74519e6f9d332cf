//! The hooks that the main path calls to report events to the view.
//!
//! The rules: without a viewer, a hook costs one atomic load, and what it adds to the [`Counters`]; a hook never waits for a
//! viewer; events above the budget of a second are dropped and counted.

use super::counters::Counters;
use super::record::{Life, Record, Start, What};
use super::step::Step;
use crate::client::Client;
use crate::http::admission::Admission;
use crate::limits::{FRAME_STEPS_PER_SECOND, MOST_VIEWERS, RECORD_UNIT, STEPS_PER_SECOND, VIEWER_QUEUE};
use bytes::Bytes;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc as queue;

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
    /// What `GET /metrics` counts.
    counters: Counters,
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
            counters: Counters::default(),
            thread,
            unstarted: Mutex::new(Some(Unstarted { start, told, admission })),
        }))
    }

    /// Returns whether anybody watches.
    pub fn is_watched(&self) -> bool {
        self.0.watching.load(Relaxed) > 0
    }

    /// What `GET /metrics` counts.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
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
        self.0.counters.read(client.part, bytes.len());
        let reserved = if bytes.is_empty() { 0 } else { RESERVED };
        self.tell(client, reserved, bytes.len(), || What::Read(Bytes::copy_from_slice(bytes), start));
    }

    /// Bytes of frames were written.
    pub fn wrote(&self, client: &Arc<Client>, bytes: &[u8], start: impl FnOnce() -> Start) {
        self.0.counters.wrote(client.part, bytes.len());
        self.tell(client, RESERVED, bytes.len(), || What::Written(Bytes::copy_from_slice(bytes), start()));
    }

    /// The client sent this number of whole messages, and the server accepted them.
    pub fn received(&self, client: &Client, messages: u64) {
        self.0.counters.received(client.part, messages);
    }

    /// A turn writes a batch.
    pub fn batch(&self, batch: &[u8]) -> BatchView<'_> {
        let mut shown = None;
        if self.is_watched() && self.has_budget(RESERVED) {
            self.charge(batch.len());
            shown = Some(Bytes::copy_from_slice(batch));
        }
        BatchView { view: self, shown, part: 0, written: 0 }
    }

    /// The server ends its side of TCP, or closes TCP.
    pub fn shutdown(&self, client: &Arc<Client>) {
        self.tell(client, 0, 0, || What::Shutdown);
    }

    /// The connection of a member is open.
    pub fn joined(&self, client: &Arc<Client>, members: impl FnOnce() -> usize) {
        self.0.changes.fetch_add(1, Relaxed);
        self.0.counters.joined();
        self.tell(client, 0, 0, || What::Joined { members: members() });
    }

    /// The texts of one read, this number of messages, are broadcast, as `bytes` for each member. `counts` returns the number of
    /// members, and how many of them are behind.
    pub fn broadcast(
        &self,
        client: &Arc<Client>,
        bytes: usize,
        messages: u64,
        counts: impl FnOnce() -> (usize, usize),
    ) {
        self.0.counters.broadcast(client.part, messages);
        self.tell_broadcast(client, bytes, None, counts);
    }

    /// The same in a room on several servers, `after` this time since they were said. [`Counters::broadcast`] is for all entries,
    /// those of other servers included.
    pub fn returned(
        &self,
        client: &Arc<Client>,
        bytes: usize,
        after: Duration,
        counts: impl FnOnce() -> (usize, usize),
    ) {
        self.tell_broadcast(client, bytes, Some(after), counts);
    }

    fn tell_broadcast(
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
        self.0.counters.left();
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

/// What the view is told of a turn. Dropping it counts the bytes that the turn wrote.
#[derive(Debug)]
pub struct BatchView<'a> {
    view: &'a View,
    /// A copy of the batch, shared by all members, if it is to be shown.
    pub(super) shown: Option<Bytes>,
    /// The part of the room whose turn it is, as far as its members are known.
    part: usize,
    /// Bytes written, for all members.
    written: usize,
}

impl BatchView<'_> {
    /// This part of the batch was written to a member. It begins at a frame boundary.
    pub fn wrote(&mut self, client: &Arc<Client>, written: Range<usize>) {
        self.part = client.part;
        self.written += written.len();
        if let Some(shown) = &self.shown {
            self.view.tell(client, RESERVED, 0, || What::Written(shown.slice(written), Start::Aligned));
        }
    }
}

impl Drop for BatchView<'_> {
    fn drop(&mut self) {
        self.view.counters().wrote(self.part, self.written);
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
