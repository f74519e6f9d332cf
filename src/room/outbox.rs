//! The outbox: what the members of this server say, on its way to the engine of a room on several servers.
//!
//! A room on one server has no outbox. With an engine (`cluster`), frames are not broadcast at once: they wait here until the
//! engine appends them to its log, and everyone receives them when they come back from there, the speaker included.
//!
//! - The engine opens and closes the outbox. A closed outbox drops what is said, and the room admits nobody.
//! - A full outbox holds the speakers: their sockets are not read, so TCP holds the clients back, as when the room is paced.
//! - The engine takes the frames in numbered batches, which come back in the same order.

use super::{Room, lock};
use crate::client::Client;
use crate::limits::cluster::OUTBOX;
use crate::view::counters::Counters;
use crate::view::hooks::View;
use std::collections::{BTreeMap, VecDeque};
use std::mem::take;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What waits for the engine, and what it has taken.
#[derive(Debug)]
pub struct Outbox {
    open: AtomicBool,
    /// Whether speakers are held: whether the state has at least [`OUTBOX`] bytes of frames.
    full: AtomicBool,
    /// There are frames to take.
    said: Notify,
    state: Mutex<State>,
    view: View,
}

#[derive(Debug, Default)]
struct State {
    /// Whole frames that the engine has not taken yet.
    frames: Vec<u8>,
    /// When the first of them was said.
    since: Option<Instant>,
    /// The speakers of these frames, recorded only while there is a viewer.
    spoken: Vec<Spoken>,
    /// Bytes that were said so far: a position, just after the last of `frames`.
    end: u64,
    /// The position up to which everything has come back, or was dropped.
    returned: u64,
    /// Batches that the engine has taken since the outbox was opened.
    taken: u64,
    /// Those of them that it has appended to its log.
    appended: u64,
    /// Those that have not come back.
    away: VecDeque<Away>,
    /// The speakers that are held, by the numbers of their connections.
    held: BTreeMap<u64, Held>,
    /// How long speakers were held that no longer are, all together.
    waited: Duration,
    /// The members that leave, and wait for their own words.
    leaving: Vec<Waker>,
}

/// What one read of a client added.
#[derive(Debug)]
struct Spoken {
    client: Arc<Client>,
    bytes: usize,
    at: Instant,
}

/// A batch that the engine has taken.
#[derive(Debug)]
struct Away {
    /// The position of its end.
    end: u64,
    /// When the first of its frames was said.
    since: Option<Instant>,
    spoken: Vec<Spoken>,
}

#[derive(Debug)]
struct Held {
    since: Instant,
    waker: Waker,
}

/// Frames for one entry of the engine's log.
#[derive(Debug)]
pub struct Batch {
    /// Counts from 1 since the outbox was opened.
    pub number: u64,
    /// Whole frames.
    pub frames: Vec<u8>,
}

impl State {
    /// No longer holds a speaker. Returns how long it was held.
    fn release(&mut self, number: u64) -> Duration {
        let waited = self.held.remove(&number).map_or(Duration::ZERO, |held| held.since.elapsed());
        self.waited += waited;
        waited
    }

    /// How long speakers were held so far, all together.
    fn waited(&self) -> Duration {
        self.waited + self.held.values().map(|held| held.since.elapsed()).sum::<Duration>()
    }

    /// Wakes everyone who waits. Those that were held first come first.
    fn wake_all(&mut self) {
        let mut held: Vec<_> = self.held.values().collect();
        held.sort_by_key(|held| held.since);
        held.iter().for_each(|held| held.waker.wake_by_ref());
        take(&mut self.leaving).into_iter().for_each(Waker::wake);
    }
}

impl Outbox {
    /// An outbox that is closed.
    pub fn new(view: View) -> Self {
        Self {
            open: AtomicBool::new(false),
            full: AtomicBool::new(false),
            said: Notify::new(),
            state: Mutex::default(),
            view,
        }
    }

    /// Whether the engine is there, and follows its log.
    pub fn is_open(&self) -> bool {
        self.open.load(Relaxed)
    }

    /// Whether speakers are held.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Relaxed)
    }

    /// Adds whole frames. Returns the position after which they have come back.
    pub(super) fn push(&self, client: &Arc<Client>, frames: &[u8]) -> u64 {
        let mut state = lock(&self.state);
        state.end += frames.len() as u64;
        if !self.is_open() {
            state.returned = state.end;
            return state.end;
        }
        if state.frames.is_empty() {
            state.since = Some(Instant::now());
            self.said.notify_one();
        }
        state.frames.extend_from_slice(frames);
        self.full.store(state.frames.len() >= OUTBOX, Relaxed);
        if self.view.is_watched() {
            state.spoken.push(Spoken { client: Arc::clone(client), bytes: frames.len(), at: Instant::now() });
        }
        state.end
    }

    /// Ready when the client with this number may be read. Returns how long it was held.
    pub(super) fn poll_speak(&self, number: u64, context: &mut Context<'_>) -> Poll<Duration> {
        let mut state = lock(&self.state);
        if !self.is_full() {
            return Poll::Ready(state.release(number));
        }
        let waker = context.waker().clone();
        let since = state.held.get(&number).map_or_else(Instant::now, |held| held.since);
        state.held.insert(number, Held { since, waker });
        Poll::Pending
    }

    /// Ready when everything up to a position has come back.
    pub(super) fn poll_returned(&self, position: u64, context: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.returned >= position {
            return Poll::Ready(());
        }
        state.leaving.push(context.waker().clone());
        Poll::Pending
    }

    /// Forgets a client that is gone.
    pub(super) fn forget(&self, number: u64) {
        lock(&self.state).release(number);
    }

    /// Returns the speakers that are held, and how long speakers were held so far, all together.
    pub fn held(&self) -> (usize, Duration) {
        let state = lock(&self.state);
        (state.held.len(), state.waited())
    }

    /// What `GET /metrics` counts.
    pub fn counters(&self) -> &Counters {
        self.view.counters()
    }

    /// Opens the outbox: from now on, what is said counts. The engine follows its log from here.
    pub fn open(&self) {
        self.open.store(true, Relaxed);
    }

    /// Closes the outbox, and drops what has not come back. The speakers have not received it, so they don't rely on it.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        self.open.store(false, Relaxed);
        self.full.store(false, Relaxed);
        state.wake_all();
        let State { end, .. } = *state;
        *state = State { end, returned: end, waited: state.waited(), ..State::default() };
    }

    /// Waits until there are frames, and takes them: at most [`OUTBOX`] bytes, and what one read adds.
    pub async fn take(&self) -> Batch {
        loop {
            if let Some(batch) = self.try_take() {
                return batch;
            }
            self.said.notified().await;
            // Let the other ready connections read first, so that one entry carries all their messages.
            tokio::task::yield_now().await;
        }
    }

    fn try_take(&self) -> Option<Batch> {
        let mut state = lock(&self.state);
        if state.frames.is_empty() {
            return None;
        }
        let (frames, spoken) = (take(&mut state.frames), take(&mut state.spoken));
        let State { end, since, .. } = *state;
        state.away.push_back(Away { end, since, spoken });
        state.taken += 1;
        self.full.store(false, Relaxed);
        state.wake_all();
        Some(Batch { number: state.taken, frames })
    }

    /// The engine has appended the last batch that it took to its log.
    pub fn appended(&self) {
        let mut state = lock(&self.state);
        state.appended = state.taken;
        self.counters().appends.add(1);
        // It may have come back already.
        for Spoken { client, bytes, at } in state.away.back().iter().flat_map(|away| &away.spoken) {
            self.view.appended(client, *bytes, at.elapsed());
        }
    }

    /// The number of the last batch that was appended.
    pub fn last_appended(&self) -> u64 {
        lock(&self.state).appended
    }

    /// The number of the batch that is to come back next.
    pub fn next_return(&self) -> u64 {
        let state = lock(&self.state);
        state.taken - state.away.len() as u64 + 1
    }

    /// The next batch has come back, and has been broadcast. `counts` returns the number of members, and how many of them are
    /// behind.
    pub(super) fn returned(&self, counts: impl Fn() -> (usize, usize)) {
        let mut state = lock(&self.state);
        let Some(Away { end, since, spoken }) = state.away.pop_front() else { return };
        state.returned = end;
        take(&mut state.leaving).into_iter().for_each(Waker::wake);
        drop(state);
        self.counters().returned(since.map_or(Duration::ZERO, |since| since.elapsed()));
        for Spoken { client, bytes, at } in &spoken {
            self.view.returned(client, *bytes, at.elapsed(), &counts);
        }
    }
}

impl Room {
    /// The outbox of a room on several servers.
    pub fn outbox(&self) -> Option<&Outbox> {
        self.outbox.as_ref()
    }

    /// Whether connections may join. Always true in a room on one server.
    pub fn is_open(&self) -> bool {
        self.outbox.as_ref().is_none_or(Outbox::is_open)
    }

    /// Broadcasts the frames of an entry of the engine's log, a message each. It may be the next batch of this server's own.
    pub fn receive(&self, frames: &[u8], messages: u64, own: bool) {
        // The engine runs on the first thread.
        self.view.counters().broadcast(0, messages);
        self.speak(frames);
        if let Some(outbox) = self.outbox.as_ref().filter(|_| own) {
            outbox.returned(|| self.counts());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
