//! 7. The room: the mutex-guarded connection list, and the broadcast.
//!
//! The room is a stream of bytes, the frames that were broadcast, one after the other; server frames are not masked, so
//! they are the same for everyone. A member has a *place* in it: the next byte it gets.
//!
//! - **Speaking** appends to the pending bytes, under a mutex. That decides the order, for everyone.
//! - A **turn** takes the pending bytes and writes them to each member's socket, once ([`Room::turn`]). It comes when
//!   everything that could be read has been read, so one write carries what many said.
//! - A member whose socket is full keeps its place. Its own task goes on from there
//!   ([`Member::poll_send`]); the bytes between the slowest place and the end are kept in the **log**, once for all.
//! - Each thread has a **part** of the list, with a log of its own, so that no turn waits for another thread's.
//!
//! The rules: nothing is awaited under a lock; the list is locked before the pending bytes, never the other way round; a
//! member's own frames go out between two frames of the room, never inside one.

use crate::frame::length_on_wire;
use crate::limits::MAX_PENDING;
use crate::protocol::Output;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::task::yield_now;

/// All members, and what is said among them.
#[derive(Debug)]
pub struct Room {
    pending: Mutex<Pending>,
    parts: Box<[Part]>,
    max_backlog: u64,
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

/// The end of the room's stream, as far back as some member has yet to get it. Turns have taken all before `end`.
#[derive(Debug, Default)]
struct Log {
    end: u64,
    bytes: VecDeque<u8>,
}

/// One member in the list.
#[derive(Debug)]
struct Entry {
    /// The next byte that this member gets.
    place: u64,
    /// The end of the frame that `place` is in; `place` itself between two frames.
    boundary: u64,
    writer: Writer,
    socket: Option<OwnedWriteHalf>,
    /// Wakes the member's task.
    waker: Option<Waker>,
}

/// Who writes to a member's socket.
#[derive(Debug)]
enum Writer {
    /// Nobody yet: its 101 is on the way.
    Opening,
    /// The turn: the member is up to date.
    Turn,
    /// The member's own task: it is behind, or has frames of its own.
    Task,
    /// Nobody any more: it is too far behind, by so many bytes.
    TooSlow(u64),
    /// Nobody any more: writing failed.
    Lost(io::ErrorKind),
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
    pub fn new(parts: usize, max_backlog: usize) -> Arc<Self> {
        Arc::new(Self {
            pending: Mutex::new(Pending {
                end: 0,
                bytes: vec![Vec::new(); parts].into(),
            }),
            parts: (0..parts).map(|_| Part::default()).collect(),
            max_backlog: max_backlog as u64,
        })
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.parts
            .iter()
            .map(|part| lock(&part.list).members.len())
            .sum()
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
        let entry = Entry {
            place,
            boundary: place,
            writer: Writer::Opening,
            socket: None,
            waker: None,
        };
        list.members.insert(number, entry);
        Member {
            room: Arc::clone(self),
            part,
            number,
        }
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
            batch.clear();
            batch.shrink_to(MAX_PENDING);
        }
        list.spare = batch;
    }
}

impl List {
    fn deliver(&mut self, batch: &[u8], max_backlog: u64) {
        let start = self.log.end;
        let end = start + batch.len() as u64;
        let mut needed = end;
        for member in self.members.values_mut() {
            member.offer(batch, start);
            member.judge(end, max_backlog);
            needed = needed.min(member.needs(end));
        }
        self.log.append(batch, needed);
    }

    /// Drops from the log what everyone has, after a member caught up or left.
    fn trim(&mut self) {
        if !self.log.bytes.is_empty() {
            let needed = self
                .members
                .values()
                .map(|member| member.needs(self.log.end))
                .min();
            self.log.append(&[], needed.unwrap_or(self.log.end));
        }
    }
}

impl Log {
    /// Adds a turn's bytes, and drops those before `needed`.
    fn append(&mut self, batch: &[u8], needed: u64) {
        self.end += batch.len() as u64;
        if needed == self.end {
            self.bytes = VecDeque::new();
        } else {
            self.bytes.extend(batch);
            let dropped = self.index(needed);
            self.bytes.drain(..dropped);
        }
    }

    fn index(&self, place: u64) -> usize {
        let back = usize::try_from(self.end - place).expect("the log is in memory");
        self.bytes.len() - back
    }

    /// The bytes from a place on, as many as stand together; none at the end.
    fn from(&self, place: u64) -> &[u8] {
        if place >= self.end {
            return &[];
        }
        let (front, back) = self.bytes.as_slices();
        let index = self.index(place);
        if index < front.len() {
            &front[index..]
        } else {
            &back[index - front.len()..]
        }
    }

    /// The bytes from a place to a boundary behind it, as many as stand together. A place that is the boundary may be out
    /// of the log: whoever was cut between two frames holds nothing of it.
    fn within(&self, place: u64, boundary: u64) -> &[u8] {
        if place == boundary {
            return &[];
        }
        let bytes = self.from(place);
        let length = usize::try_from(boundary - place).expect("a frame of the log is in memory");
        &bytes[..length.min(bytes.len())]
    }

    /// The length of the frame that begins at a place.
    fn frame_length(&self, place: u64) -> u64 {
        length_on_wire(self.bytes.range(self.index(place)..).copied())
    }
}

impl Entry {
    /// The turn's one write to this member, if the turn is who writes.
    fn offer(&mut self, batch: &[u8], start: u64) {
        let (Writer::Turn, Some(socket)) = (&self.writer, &self.socket) else {
            return;
        };
        // A member that joined while this batch was pending begins inside it.
        let from = |place: u64| {
            &batch[usize::try_from(place.saturating_sub(start))
                .map_or(batch.len(), |i| i.min(batch.len()))..]
        };
        let due = from(self.place);
        match socket.try_write(due) {
            Ok(written) => {
                let behind = written < due.len();
                self.place += written as u64;
                let frame_length = |place| length_on_wire(from(place).iter().copied());
                self.boundary = next_boundary(self.boundary, self.place, frame_length);
                if behind {
                    self.hand_over(Writer::Task);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.hand_over(Writer::Task),
            Err(error) => self.hand_over(Writer::Lost(error.kind())),
        }
    }

    /// From now on another one writes; the member's task sees to it.
    fn hand_over(&mut self, writer: Writer) {
        self.writer = writer;
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Cuts off a member that is more than a backlog behind.
    fn judge(&mut self, end: u64, max_backlog: u64) {
        let behind = end.saturating_sub(self.place);
        if behind > max_backlog && matches!(self.writer, Writer::Opening | Writer::Task) {
            self.hand_over(Writer::TooSlow(behind));
        }
    }

    /// The first place of the log that this member still needs.
    fn needs(&self, end: u64) -> u64 {
        match self.writer {
            Writer::Opening | Writer::Task => self.place.min(end),
            // The frame that was begun must be finished before the Close.
            Writer::TooSlow(_) if self.place < self.boundary => self.place,
            Writer::TooSlow(_) | Writer::Turn | Writer::Lost(_) => end,
        }
    }

    /// Writes what the member's task has to write: its own frames before the room's, but never inside one.
    fn poll_catch_up(
        &mut self,
        context: &mut Context<'_>,
        own: &mut Output,
        log: &Log,
    ) -> Poll<io::Result<()>> {
        let Some(socket) = &self.socket else {
            return Poll::Ready(Ok(()));
        };
        loop {
            let own_first = !own.is_empty() && self.place == self.boundary;
            let bytes = match own.as_slices().0 {
                [] => log.from(self.place),
                own if own_first => own,
                _ => log.within(self.place, self.boundary),
            };
            if bytes.is_empty() {
                self.writer = Writer::Turn;
                return Poll::Ready(Ok(()));
            }
            match socket.try_write(bytes) {
                Ok(written) if own_first => drop(own.drain(..written)),
                Ok(written) => {
                    self.place += written as u64;
                    self.boundary =
                        next_boundary(self.boundary, self.place, |place| log.frame_length(place));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(socket.as_ref().poll_write_ready(context))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// The end of the frame that `place` is in, counted on from an earlier boundary, frame by frame.
fn next_boundary(mut boundary: u64, place: u64, frame_length: impl Fn(u64) -> u64) -> u64 {
    while boundary < place {
        boundary += frame_length(boundary);
    }
    boundary
}

impl Member {
    fn list(&self) -> MutexGuard<'_, List> {
        lock(&self.room.parts[self.part].list)
    }

    /// Says something to all members: `frames` are whole frames, one after the other.
    pub fn broadcast(&self, frames: &[u8]) {
        if !frames.is_empty() {
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
        if !entry
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            entry.waker = Some(context.waker().clone());
        }
        match entry.writer {
            Writer::Turn if own.is_empty() => return Poll::Ready(Ok(())),
            Writer::TooSlow(behind) => return Poll::Ready(Err(Cut::TooSlow(behind))),
            Writer::Lost(kind) => return Poll::Ready(Err(Cut::Lost(kind))),
            Writer::Opening | Writer::Turn | Writer::Task => entry.writer = Writer::Task,
        }
        ready!(entry.poll_catch_up(context, own, log)).map_err(|error| Cut::Lost(error.kind()))?;
        guard.trim();
        Poll::Ready(Ok(()))
    }

    /// Leaves the room, after all that was said so far has been offered to it. Returns its socket, and the rest of the frame that
    /// was begun on it.
    pub fn leave(self) -> Option<(OwnedWriteHalf, Vec<u8>)> {
        self.room.turn(self.part);
        let mut list = self.list();
        let entry = list.members.remove(&self.number)?;
        let rest = list
            .log
            .within(entry.place, entry.boundary.max(entry.place))
            .to_vec();
        list.trim();
        Some((entry.socket?, rest))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut list = self.list();
        if list.members.remove(&self.number).is_some() {
            list.trim();
        }
    }
}
