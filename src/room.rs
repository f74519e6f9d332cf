//! 7. The room: the mutex-guarded connection list, and the broadcast.
//!
//! The RFC knows two peers, and how one sends to the other (RFC 6455 6.1). What makes a chat of them is here.
//!
//! The room is a stream of bytes, the frames that were broadcast, one after the other; server frames are not masked, so
//! they are the same for everyone. A member has a *place* in it: the next byte it gets.
//!
//! - **Speaking** appends to the pending bytes, under a mutex. That decides the order, for everyone.
//! - A **turn** takes the pending bytes and writes them to each member's socket, once (`Room::turn`). It comes when
//!   everything that could be read has been read, so one write carries what many said.
//! - A member whose socket is full keeps its place. Its own task goes on from there
//!   ([`Member::poll_send`]); the bytes between the slowest place and the end are kept in the **log**, once for all.
//! - Each thread has a **part** of the list, with a log of its own, so that no turn waits for another thread's.
//!
//! The rules: nothing is awaited under a lock; the list is locked before the pending bytes, never the other way round; a
//! member's own frames go out between two frames of the room, never inside one.

mod log;
mod place;

use crate::limits::MAX_PENDING;
use crate::protocol::Output;
use crate::view::lifecycle::{Event, Lifecycle};
use crate::view::trace::frames_in;
use log::Log;
use place::{Entry, Writer};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::task::yield_now;

/// All members, and what is said among them.
#[derive(Debug)]
pub struct Room {
    pending: Mutex<Pending>,
    parts: Box<[Part]>,
    max_backlog: u64,
    lifecycle: Arc<Lifecycle>,
}

/// What has been said and not yet been taken by a turn.
#[derive(Debug)]
struct Pending {
    /// The place behind the last byte.
    end: u64,
    /// The bytes before `end`, once per part.
    bytes: Box<[Vec<u8>]>,
}

/// The members whose connections one thread serves.
#[derive(Debug, Default)]
struct Part {
    list: Mutex<List>,
    said: Notify,
}

#[derive(Debug, Default)]
struct List {
    /// The members, by the number of their connection.
    members: BTreeMap<u64, Entry>,
    log: Log,
    /// The buffer of the last turn, for the next one.
    spare: Vec<u8>,
}

/// A place in the room. Dropping it gives the place back, whatever ended the connection.
#[derive(Debug)]
pub struct Member {
    room: Arc<Room>,
    part: usize,
    number: u64,
}

/// Why a member gets no more.
#[derive(Debug)]
pub enum Cut {
    /// It is this many bytes behind.
    TooSlow(u64),
    /// Writing to its socket failed.
    Lost(io::ErrorKind),
}

/// Locks. Nothing panics while it holds one of these locks, and if something did, the others would go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Room {
    /// An empty room of as many parts as threads serve it. `max_backlog` is in bytes.
    pub fn new(parts: usize, max_backlog: usize, lifecycle: Arc<Lifecycle>) -> Arc<Self> {
        Arc::new(Self {
            pending: Mutex::new(Pending { end: 0, bytes: vec![Vec::new(); parts].into() }),
            parts: (0..parts).map(|_| Part::default()).collect(),
            max_backlog: max_backlog as u64,
            lifecycle,
        })
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| lock(&part.list).members.len()).sum()
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a place in the room for the connection with this number, served by this part. All that is said from now on is
    /// the member's, also before it has its socket.
    pub fn join(self: &Arc<Self>, part: usize, number: u64) -> Member {
        let mut list = lock(&self.parts[part].list);
        let place = lock(&self.pending).end;
        let entry = Entry { place, joined: place, writer: Writer::Opening, socket: None, waker: None };
        list.members.insert(number, entry);
        Member { room: Arc::clone(self), part, number }
    }

    /// Says something to all members: `frames` are whole frames.
    fn speak(&self, frames: &[u8]) {
        let mut pending = lock(&self.pending);
        pending.end += frames.len() as u64;
        let mut full = false;
        for (bytes, part) in pending.bytes.iter_mut().zip(&self.parts) {
            if bytes.is_empty() {
                part.said.notify_one();
            }
            bytes.extend_from_slice(frames);
            full |= bytes.len() >= MAX_PENDING;
        }
        drop(pending);
        if full {
            // Too much for one turn: this one ends now, whoever's it is. A speaker that is faster than the others' turns
            // waits for them here.
            (0..self.parts.len()).for_each(|part| self.turn(part));
        }
    }

    /// Serves one part: a turn whenever something was said. Runs as long as its thread does.
    pub async fn take_turns(&self, part: usize) {
        loop {
            self.parts[part].said.notified().await;
            // Everyone who has something to read goes first; then one write carries all of it.
            yield_now().await;
            self.turn(part);
        }
    }

    /// One turn of a part: writes what is pending to each of its members, once.
    fn turn(&self, part: usize) {
        let mut list = lock(&self.parts[part].list);
        let mut batch = std::mem::take(&mut list.spare);
        std::mem::swap(&mut batch, &mut lock(&self.pending).bytes[part]);
        if !batch.is_empty() {
            list.deliver(&batch, self.max_backlog);
            self.show(&list, &batch);
            batch.clear();
            batch.shrink_to(MAX_PENDING);
        }
        list.spare = batch;
    }

    /// For those who watch: the frames that a turn wrote to each member.
    fn show(&self, list: &List, batch: &[u8]) {
        if !self.lifecycle.is_watched() {
            return;
        }
        let frames = frames_in(batch);
        for (number, _) in list.members.iter().filter(|(_, entry)| matches!(entry.writer, Writer::Turn)) {
            for frame in &frames {
                self.lifecycle.frame_step(*number, || Event::FrameOut(frame.clone()));
            }
        }
    }

    /// For those who watch: what one connection said to all.
    fn show_broadcast(&self, number: u64, bytes: usize) {
        if self.lifecycle.is_watched() {
            let behind = |part: &Part| lock(&part.list).members.values().filter(|entry| entry.is_behind()).count();
            let behind = self.parts.iter().map(behind).sum();
            let members = self.len();
            self.lifecycle.frame_step(number, || Event::Broadcast { members, bytes, behind });
        }
    }
}

impl List {
    fn deliver(&mut self, batch: &[u8], max_backlog: u64) {
        let start = self.log.end;
        let end = start + batch.len() as u64;
        let mut needed = end;
        for member in self.members.values_mut() {
            member.offer(batch, start);
            needed = needed.min(member.needs(end));
        }
        self.log.append(batch, needed);
        if end - needed > max_backlog {
            self.members.values_mut().for_each(|member| member.judge(&self.log, max_backlog));
            self.trim();
        }
    }

    /// Drops from the log what everyone has, after a member caught up or left.
    fn trim(&mut self) {
        if !self.log.bytes.is_empty() {
            let needed = self.members.values().map(|member| member.needs(self.log.end)).min();
            self.log.drop_before(needed.unwrap_or(self.log.end));
        }
    }
}

impl Member {
    fn list(&self) -> MutexGuard<'_, List> {
        lock(&self.room.parts[self.part].list)
    }

    /// Says something to all members: `frames` are whole frames, one after the other.
    pub fn broadcast(&self, frames: &[u8]) {
        if !frames.is_empty() {
            self.room.show_broadcast(self.number, frames.len());
            self.room.speak(frames);
        }
    }

    /// Gives the place its socket: the 101 is out.
    pub fn open(&self, socket: OwnedWriteHalf) {
        if let Some(entry) = self.list().members.get_mut(&self.number) {
            entry.socket = Some(socket);
            if matches!(entry.writer, Writer::Opening) {
                entry.writer = Writer::Task;
            }
        }
    }

    /// Writes what the turn did not: what the member is behind, and `own` frames between two frames of the room. Ready when
    /// nothing is left; from then on the turn writes.
    ///
    /// # Errors
    /// The member is too slow, or its socket is lost.
    pub fn poll_send(&self, context: &mut Context<'_>, own: &mut Output) -> Poll<Result<(), Cut>> {
        let mut guard = self.list();
        let List { members, log, .. } = &mut *guard;
        let Some(entry) = members.get_mut(&self.number) else {
            return Poll::Ready(Ok(()));
        };
        if !entry.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            entry.waker = Some(context.waker().clone());
        }
        match entry.writer {
            Writer::Turn if own.is_empty() => return Poll::Ready(Ok(())),
            Writer::TooSlow { behind, .. } => return Poll::Ready(Err(Cut::TooSlow(behind))),
            Writer::Lost(kind) => return Poll::Ready(Err(Cut::Lost(kind))),
            Writer::Opening | Writer::Turn | Writer::Task => entry.writer = Writer::Task,
        }
        ready!(entry.poll_catch_up(context, own, log)).map_err(|error| Cut::Lost(error.kind()))?;
        guard.trim();
        Poll::Ready(Ok(()))
    }

    /// How many members the room has.
    pub fn members(&self) -> usize {
        self.room.len()
    }

    /// Leaves the room, after all that was said so far has been offered to it.
    pub fn leave(self) -> Left {
        self.room.turn(self.part);
        let left = self.take_out();
        Left { members: self.room.len(), ..left }
    }

    fn take_out(&self) -> Left {
        let mut list = self.list();
        let Some(entry) = list.members.remove(&self.number) else { return Left::default() };
        let rest = match entry.writer {
            Writer::Task | Writer::TooSlow { begun: true, .. } => list.log.rest_of_frame(entry.place),
            // Nothing was begun, or nothing can be finished.
            _ => Vec::new(),
        };
        list.trim();
        Left { socket: entry.socket, rest, bytes: entry.place - entry.joined, members: 0 }
    }
}

/// What a member takes along when it leaves.
#[derive(Debug, Default)]
pub struct Left {
    /// Its socket.
    pub socket: Option<OwnedWriteHalf>,
    /// The rest of the frame that was begun on it: to be written before anything else.
    pub rest: Vec<u8>,
    /// How many bytes of the room it was given.
    pub bytes: u64,
    /// How many members remain.
    pub members: usize,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.take_out();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
