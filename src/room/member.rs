//! What a connection does with its place in the room.

use super::pace::Said;
use super::place::Writer;
use super::{List, Room, lock};
use crate::client::Client;
use crate::frame::Failure;
use crate::limits::{PACED_READ, READ_SIZE, SHOWN_WAIT};
use crate::protocol::output::Output;
use std::io;
use std::mem::take;
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

/// A connection's membership in the room. Dropping it removes the connection from the room.
#[derive(Debug)]
pub struct Member {
    room: Arc<Room>,
    pub(super) client: Arc<Client>,
    /// The position in the stream at which it joined.
    joined: u64,
    said: Said,
    /// The position in the outbox after its last words.
    last_words: u64,
    /// Whether the client is not read, because it must wait to speak.
    is_waiting: bool,
    /// How long it has waited since the view was told, in seconds.
    waited: f32,
}

/// The reason that the room no longer sends to a member.
#[derive(Debug)]
pub enum Cut {
    /// It is too far behind, by this many bytes.
    TooSlow(u64),
    /// The room closes its connection.
    Dismissed(Failure),
    /// Writing to its socket failed.
    Lost(io::ErrorKind),
}

impl From<io::Error> for Cut {
    fn from(error: io::Error) -> Self {
        Self::Lost(error.kind())
    }
}

impl Member {
    /// The membership of a connection that has a place.
    pub(super) fn new(room: Arc<Room>, client: Arc<Client>, joined: u64) -> Self {
        let said = room.pace.newcomer(Instant::now());
        Self { room, client, joined, said, last_words: 0, is_waiting: false, waited: 0.0 }
    }

    pub(super) fn list(&self) -> MutexGuard<'_, List> {
        lock(&self.room.parts[self.client.part].list)
    }

    /// Ready when the client may be read: at once, or when it is its turn to speak, see `pace` and [`outbox`](super::outbox).
    /// Returns how much may be read, in bytes. A client that has nothing to read in its `socket` does not wait for a turn. None
    /// means that there are bytes already.
    ///
    /// # Errors
    /// The socket is lost.
    pub fn poll_speak(&mut self, socket: Option<&TcpStream>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Room { outbox, pace, .. } = &*self.room;
        let is_held = outbox.as_ref().is_some_and(|outbox| outbox.is_full() || self.is_waiting);
        if !pace.is_paced() && !is_held {
            self.is_waiting = false;
            return Poll::Ready(Ok(READ_SIZE));
        }
        if let Some(socket) = socket {
            ready!(socket.poll_read_ready(context))?;
        }
        let held = match outbox {
            Some(outbox) if is_held => outbox.poll_speak(self.client.number, context),
            _ => Poll::Ready(Duration::ZERO),
        };
        let waited = match held {
            Poll::Ready(held) => {
                pace.poll_speak(self.client.number, self.said, Instant::now(), context).map(|paced| held + paced)
            }
            Poll::Pending => Poll::Pending,
        };
        self.is_waiting = waited.is_pending();
        self.waited += ready!(waited).as_secs_f32();
        if self.waited >= SHOWN_WAIT.as_secs_f32() {
            self.room.view.waited(&self.client, Duration::from_secs_f32(take(&mut self.waited)));
        }
        Poll::Ready(Ok(PACED_READ))
    }

    /// Counts what was read from the client, for its turn to speak.
    pub fn count_read(&mut self, bytes: usize, now: Instant) {
        self.room.pace.count_read(&mut self.said, bytes, now);
    }

    /// Whether the client has more to say, and is not read because it must wait to speak.
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Broadcasts messages, as whole frames, to all members, or leaves them to the outbox.
    pub fn broadcast(&mut self, frames: &[u8], messages: u64) {
        if !frames.is_empty() {
            if self.room.pace.is_paced() {
                self.room.pace.count_broadcast(self.said, frames.len(), Instant::now());
            }
            if let Some(outbox) = &self.room.outbox {
                self.last_words = outbox.push(&self.client, frames);
                return;
            }
            self.room.view.broadcast(&self.client, frames.len(), messages, || self.room.counts());
            self.room.speak(frames);
        }
    }

    /// Ready when all that the client said has been broadcast. In a room on one server, it has.
    pub fn poll_broadcast(&self, context: &mut Context<'_>) -> Poll<()> {
        let outbox = self.room.outbox.as_ref();
        outbox.map_or(Poll::Ready(()), |outbox| outbox.poll_returned(self.last_words, context))
    }

    /// Gives the room the member's socket, once the 101 has been written.
    pub fn open(&self, socket: OwnedWriteHalf) {
        if let Some(place) = self.list().place(self.client.number) {
            place.open(socket);
        }
        self.room.view.joined(&self.client, || self.room.members());
    }

    /// Writes the bytes that the member has yet to receive, and its `own` frames at the next frame boundary. Ready when
    /// nothing is left; from then on the turn writes to this member.
    ///
    /// # Errors
    /// The member is too slow, or its socket is lost.
    pub fn poll_send(&self, context: &mut Context<'_>, own: &mut Output) -> Poll<Result<(), Cut>> {
        let mut guard = self.list();
        let List { members, leaving, log, .. } = &mut *guard;
        let number = self.client.number;
        let Some(place) = members.get_mut(&number).or_else(|| leaving.get_mut(&number)) else {
            return Poll::Ready(Ok(()));
        };
        if !place.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            place.waker = Some(context.waker().clone());
        }
        match &place.writer {
            Writer::Turn if own.is_empty() => return Poll::Ready(Ok(())),
            Writer::TooSlow(too_slow) => return Poll::Ready(Err(Cut::TooSlow(too_slow.behind))),
            Writer::Dismissed(failure) => return Poll::Ready(Err(Cut::Dismissed(*failure.clone()))),
            Writer::Lost(kind) => return Poll::Ready(Err(Cut::Lost(*kind))),
            Writer::Opening | Writer::Turn | Writer::Task => place.writer = Writer::Task,
        }
        let caught_up = place.poll_catch_up(context, own, log, &self.room.view);
        ready!(caught_up).map_err(|error| Cut::Lost(error.kind()))?;
        guard.trim();
        Poll::Ready(Ok(()))
    }

    /// Leaves the room after one last turn. From then on, [`poll_send`](Self::poll_send) writes the room's stream up to
    /// the end of that turn, or, for a member that is too slow, nothing more of it. For such a member, returns what
    /// must be written before its own frames: the rest of a frame of the room that is already partly written. Otherwise
    /// returns nothing.
    pub fn leave(&self) -> Output {
        self.room.turn(self.client.part);
        let mut guard = self.list();
        let List { members, leaving, log, .. } = &mut *guard;
        let number = self.client.number;
        let left = members.remove(&number);
        let is_member = left.is_some();
        let Some(mut place) = left.or_else(|| leaving.remove(&number)) else { return Output::new() };
        let rest = place.leave(log);
        leaving.insert(number, place);
        guard.trim();
        drop(guard);
        if is_member {
            self.room.view.left(&self.client, || self.room.members());
        }
        rest
    }

    /// Returns when the client last showed that it reads: when its socket last took bytes after being full.
    pub fn progress(&self) -> Option<Instant> {
        self.list().place(self.client.number)?.progress()
    }

    /// Ends the server's side of TCP.
    ///
    /// # Errors
    /// The socket is lost.
    pub fn poll_shutdown(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.list().place(self.client.number).map_or(Poll::Ready(Ok(())), |place| place.poll_shutdown(context))
    }

    /// Returns the number of the room's bytes that were written to the member.
    pub fn sent(&self) -> u64 {
        self.list().place(self.client.number).map_or(0, |place| place.next - self.joined)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.room.pace.forget(self.client.number, Instant::now());
        self.room.outbox.iter().for_each(|outbox| outbox.forget(self.client.number));
        let mut list = self.list();
        let List { members, leaving, .. } = &mut *list;
        let stayed = members.remove(&self.client.number);
        // Its task panicked. Without a socket, it was never counted.
        let is_member = stayed.as_ref().is_some_and(|place| place.is_open());
        let place = stayed.or_else(|| leaving.remove(&self.client.number));
        list.trim();
        drop(list);
        if is_member {
            self.room.view.left(&self.client, || self.room.members());
        }
        place.into_iter().for_each(|place| place.close());
    }
}
