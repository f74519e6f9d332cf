//! The unfinished messages of all connections, and a bound for all of them together.
//!
//! A limit on each message does not bound thousands of them. Beyond [`Limits::max_unfinished`], the server gives up the
//! message that began first, because most messages are finished long before they are the oldest: its connection is
//! closed. Only messages that a read leaves unfinished are counted, so a message that arrives whole costs nothing here.
//!
//! A message that is given up takes memory until its connection's task runs. Meanwhile, the thread that went beyond the bound
//! reads nothing more. So no more than about one read per thread is beyond the bound.

use crate::frame::Failure;
use crate::limits::Limits;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tungstenite::protocol::frame::coding::CloseCode;

/// The unfinished messages of all connections.
#[derive(Debug)]
pub struct UnfinishedMessages {
    most: u64,
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    messages: BTreeMap<Key, Message>,
    /// Those that were given up and are still in memory, with their bytes.
    given_up: BTreeMap<Key, u64>,
    /// The sum of both.
    bytes: u64,
    /// The share of `given_up`.
    bytes_given_up: u64,
}

/// When a message began, and the number of its connection. The least is the oldest.
type Key = (Instant, u64);

#[derive(Debug)]
struct Message {
    bytes: u64,
    /// Wakes the connection, which may be another thread's.
    waker: Option<Waker>,
}

/// The share that one connection has in the unfinished messages. Dropping it gives the share back.
#[derive(Debug, Default)]
pub struct Share(Option<Box<Held>>);

/// A message that is counted, and may have been given up.
#[derive(Debug)]
struct Held {
    all: Arc<UnfinishedMessages>,
    key: Key,
}

thread_local! {
    /// Whether this thread's last count was beyond the bound.
    static BEYOND: Cell<bool> = const { Cell::new(false) };
}

/// Why a connection is closed whose message is given up.
pub fn given_up() -> Failure {
    let reason = "the server holds too many unfinished messages, this is the oldest, RFC 6455 10.4";
    Failure::new(CloseCode::Policy, reason)
}

impl UnfinishedMessages {
    /// No message yet.
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self { most: limits.max_unfinished(), list: Mutex::default() })
    }

    /// Ready unless this thread is beyond the bound. Otherwise, the task gives way to those that free some.
    pub fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        if BEYOND.get() {
            BEYOND.set(self.list().bytes > self.most);
        }
        if BEYOND.get() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    fn insert(&mut self, key: Key, message: Message) {
        self.bytes += message.bytes;
        self.messages.insert(key, message);
    }

    /// Removes a message. Returns it unless it was given up.
    fn remove(&mut self, key: Key) -> Option<Message> {
        let message = self.messages.remove(&key);
        let given_up = self.given_up.remove(&key).unwrap_or(0);
        self.bytes_given_up -= given_up;
        self.bytes -= given_up + message.as_ref().map_or(0, |message| message.bytes);
        message
    }

    /// Gives up the oldest messages until the others have at most this number of bytes. Returns the wakers of their connections.
    fn give_up(&mut self, most: u64) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while self.bytes - self.bytes_given_up > most {
            let Some((key, Message { bytes, waker })) = self.messages.pop_first() else { break };
            self.given_up.insert(key, bytes);
            self.bytes_given_up += bytes;
            wakers.extend(waker);
        }
        wakers
    }
}

impl Share {
    /// Counts a connection's unfinished message after a read: when it began, and its bytes so far. None if there is none.
    pub fn count(&mut self, all: &Arc<UnfinishedMessages>, connection: u64, message: Option<(Instant, u64)>) {
        let Some((began, bytes)) = message else {
            self.0 = None;
            return;
        };
        let key = (began, connection);
        let mut list = all.list();
        let mut waker = None;
        if let Some(held) = &self.0 {
            if list.given_up.contains_key(&held.key) {
                return;
            }
            waker = list.remove(held.key).and_then(|message| message.waker);
        }
        list.insert(key, Message { bytes, waker });
        let given_up = list.give_up(all.most);
        BEYOND.set(list.bytes > all.most);
        drop(list);
        match &mut self.0 {
            Some(held) => held.key = key,
            None => self.0 = Some(Box::new(Held { all: Arc::clone(all), key })),
        }
        given_up.into_iter().for_each(Waker::wake);
    }

    /// Ready once the message is given up. While it is counted, its connection must ask after each read, in order to be woken.
    pub fn poll_given_up(&self, context: &mut Context<'_>) -> Poll<()> {
        let Some(held) = &self.0 else { return Poll::Pending };
        let mut list = held.all.list();
        let Some(message) = list.messages.get_mut(&held.key) else { return Poll::Ready(()) };
        if !message.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            message.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.list().remove(self.key);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
