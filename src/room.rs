//! 7. The room: the mutex-guarded connection list, and the broadcast.
//!
//! The RFC covers two peers only (RFC 6455 6.1); the room is specific to this server.
//!
//! All broadcast frames form one stream of bytes. Server frames are not masked, so they are the same for everyone. A
//! member has a *place* in the stream: the next byte that it receives.
//!
//! - `speak` appends frames to the pending bytes, under a mutex. This fixes their order for everyone.
//! - A **turn** writes the pending bytes to each member's socket, once (`Room::turn`). It runs after the ready connections
//!   have read their input, so one write carries many messages; it runs early when [`MAX_PENDING`] bytes are pending, or when
//!   a member leaves.
//! - A member whose socket is full keeps its place. Its own task continues from there ([`Member::poll_send`]). The **log**
//!   keeps the batches that some member has not fully received, once for all of them.
//! - When a member is far behind, the room is **paced**: speakers are read in turn (`pace`).
//! - In a room on several servers, frames go to the [`outbox`] first, and come back in the order of all servers.
//! - Each thread has a **part** of the list, with its own turns and its own log, so that threads rarely wait for each other.
//!
//! Invariants: no await under a lock; a list is locked before the pending bytes, never after; a member's own frames are
//! written between two frames of the room, never inside one.

mod census;
mod list;
mod log;
pub mod member;
pub mod outbox;
mod pace;
mod place;

use crate::client::Client;
use crate::frame::Failure;
use crate::limits::{Limits, MAX_PENDING};
use crate::view::hooks::View;
use log::Log;
use member::Member;
use outbox::Outbox;
use pace::Pace;
use place::Place;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;
use tokio::task::yield_now;

/// The members, and the frames broadcast among them.
#[derive(Debug)]
pub struct Room {
    pending: Mutex<Pending>,
    parts: Box<[Part]>,
    max_backlog: u64,
    pace: Pace,
    /// None in a room on one server.
    outbox: Option<Outbox>,
    view: View,
}

/// The frames broadcast since the last turn.
#[derive(Debug)]
struct Pending {
    /// The place just after the last pending byte.
    end: u64,
    /// The bytes before `end`, one copy per part. None from a turn that finds nobody in that part until someone joins: its thread
    /// need not wake up.
    bytes: Box<[Option<Vec<u8>>]>,
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
    members: BTreeMap<u64, Box<Place>>,
    /// Members that have left, until their [`Member`] is dropped.
    leaving: BTreeMap<u64, Box<Place>>,
    log: Log,
    /// The members that are far behind, and that the room waits for.
    slow: BTreeSet<u64>,
    /// The buffer of the last turn, for the next one.
    spare: Vec<u8>,
}

/// Locks a mutex, even if a thread panicked while it held it: one panic does not stop the room.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Room {
    /// An empty room, with one part per thread. One on several servers has an outbox.
    pub fn new(parts: usize, limits: &Limits, outbox: Option<Outbox>, view: View) -> Arc<Self> {
        Arc::new(Self {
            pending: Mutex::new(Pending { end: 0, bytes: vec![None; parts].into() }),
            parts: (0..parts).map(|_| Part::default()).collect(),
            max_backlog: limits.max_backlog as u64,
            pace: Pace::new(limits, Instant::now()),
            outbox,
            view,
        })
    }

    /// Adds a connection. It receives all frames broadcast from now on, including those broadcast before
    /// [`open`](Member::open). Returns None if the room is not open.
    pub fn join(self: &Arc<Self>, client: &Arc<Client>) -> Option<Member> {
        let mut list = lock(&self.parts[client.part].list);
        // Asked under the lock: whoever gets a place before `dismiss` is dismissed.
        if !self.is_open() {
            return None;
        }
        let mut pending = lock(&self.pending);
        let end = pending.end;
        let not_in_log = pending.bytes[client.part].get_or_insert_default().len();
        drop(pending);
        // Nothing was kept for a part without members: its log, which is empty, goes on here. Otherwise this changes nothing.
        list.log.end = end - not_in_log as u64;
        list.members.insert(client.number, Box::new(Place::new(Arc::clone(client), end)));
        Some(Member::new(Arc::clone(self), Arc::clone(client), end))
    }

    /// Closes the connections of up to `most` members. Each still receives what was broadcast before. Returns their number.
    pub fn dismiss(&self, most: usize, failure: &Failure) -> usize {
        let mut dismissed = 0;
        for part in &self.parts {
            let members = &mut lock(&part.list).members;
            let places = members.values_mut().filter(|place| !place.is_ending()).take(most - dismissed);
            dismissed += places.map(|place| place.dismiss(failure)).count();
        }
        dismissed
    }

    /// Appends whole frames to the pending bytes of each part. If that is enough for a turn, runs one in every part.
    fn speak(&self, frames: &[u8]) {
        let mut pending = lock(&self.pending);
        pending.end += frames.len() as u64;
        let mut full = false;
        for (bytes, part) in pending.bytes.iter_mut().zip(&self.parts) {
            let Some(bytes) = bytes else { continue };
            if bytes.is_empty() {
                part.said.notify_one();
            }
            bytes.extend_from_slice(frames);
            full |= bytes.len() >= MAX_PENDING;
        }
        drop(pending);
        if full {
            // The sender runs the turns itself, so it can't be faster than they are.
            (0..self.parts.len()).for_each(|part| self.turn(part));
        }
    }

    /// Runs a turn of one part whenever frames are pending. Never returns.
    pub async fn take_turns(&self, part: usize) {
        loop {
            self.parts[part].said.notified().await;
            // Let the other ready connections read first, so that one write carries all their messages.
            yield_now().await;
            self.turn(part);
        }
    }

    /// One turn of a part: writes what is pending to each of its members, once.
    fn turn(&self, part: usize) {
        let mut list = lock(&self.parts[part].list);
        let next = (!list.is_empty()).then(|| std::mem::take(&mut list.spare));
        let batch = std::mem::replace(&mut lock(&self.pending).bytes[part], next);
        let Some(mut batch) = batch else { return };
        if !batch.is_empty() {
            list.deliver(&batch, self);
            batch.clear();
            batch.shrink_to(MAX_PENDING);
        }
        list.spare = batch;
    }
}

impl List {
    /// Writes a turn's batch to each member, once, and keeps it in the log for those that did not take all of it.
    fn deliver(&mut self, batch: &[u8], room: &Room) {
        let Room { max_backlog, view, .. } = room;
        let mut shown = view.batch(batch);
        let start = self.log.end;
        let end = start + batch.len() as u64;
        let mut needed = end;
        for member in self.members.values_mut() {
            if let Some(written) = member.offer(batch, start) {
                shown.wrote(&member.client, written);
            }
            needed = needed.min(member.needs(end));
        }
        let needed = self.leaving.values().map(|place| place.needs(end)).fold(needed, u64::min);
        self.log.append(batch, needed);
        if end - needed > *max_backlog {
            let places = self.members.values_mut().chain(self.leaving.values_mut());
            places.for_each(|place| place.judge(&self.log, *max_backlog, view));
            self.trim();
        }
        self.note_slow(end - needed, &room.pace);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
