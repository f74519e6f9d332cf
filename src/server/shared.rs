//! What all connections share.

use super::stop::StopSignal;
use super::throttle::Throttle;
use super::unfinished::UnfinishedMessages;
use crate::cluster::Address;
use crate::http::admission::Admission;
use crate::limits::{FULL_ANSWERS, Limits, MOST_CONNECTIONS, MOST_MEMBER_LISTS, SPREAD_AFTER};
use crate::room::Room;
use crate::room::outbox::Outbox;
use crate::view::counters::Count;
use crate::view::hooks::View;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The settings of a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads that serve connections.
    pub threads: usize,
    /// Connections that the first of them serves by itself.
    pub spread_after: usize,
    /// The limits of the command line.
    pub limits: Limits,
    /// Which hosts and origins are admitted.
    pub admission: Admission,
    /// Whether `GET /lifecycle` shows the steps of all connections.
    pub lifecycle: bool,
    /// Whether `GET /metrics` is on.
    pub metrics: bool,
    /// Whether the terminal shows the steps.
    pub explain: bool,
    /// The proxies that are believed when they name a client, for the log.
    pub trusted_proxies: Vec<IpAddr>,
    /// Where the room is, if it is on several servers.
    pub redis: Option<Address>,
    /// Log lines that the program has left out because nobody reads its log.
    pub unread_lines: Arc<Count>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: 1,
            spread_after: SPREAD_AFTER,
            limits: Limits::default(),
            admission: Admission::default(),
            lifecycle: false,
            metrics: false,
            explain: false,
            trusted_proxies: Vec::new(),
            redis: None,
            unread_lines: Arc::default(),
        }
    }
}

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    /// The chat's room.
    pub room: Arc<Room>,
    /// The limits of the command line.
    pub limits: Limits,
    /// Which hosts and origins are admitted.
    pub admission: Admission,
    /// The proxies that are believed when they name a client, for the log.
    pub trusted_proxies: Vec<IpAddr>,
    /// The hooks of the view.
    pub view: View,
    /// Whether `GET /lifecycle` is on.
    pub lifecycle: bool,
    /// Whether `GET /metrics` is on.
    pub metrics: bool,
    /// The log of what clients do.
    pub log: Throttle,
    /// See [`Options::unread_lines`].
    pub unread_lines: Arc<Count>,
    /// The unfinished messages of all connections.
    pub unfinished: Arc<UnfinishedMessages>,
    /// A permit for each further viewer of `GET /members`.
    pub member_lists: Arc<Semaphore>,
    /// The signal that the server is stopping.
    pub stop: StopSignal,
    /// Connections accepted so far; each has its own number.
    connections: AtomicU64,
    threads: usize,
    spread_after: usize,
    max_connections: u32,
    /// A permit for each connection that may still come. All are back when the last connection has ended.
    places: Arc<Semaphore>,
    /// The same for connections that are told that the server is full.
    full_answers: Arc<Semaphore>,
}

impl Shared {
    /// What the connections of a server with these options share.
    pub fn new(options: &Options, view: View) -> Self {
        let max_connections = options.limits.max_connections.clamp(1, MOST_CONNECTIONS);
        let outbox = options.redis.as_ref().map(|_| Outbox::new(view.clone()));
        Self {
            room: Room::new(options.threads, &options.limits, outbox, view.clone()),
            limits: options.limits,
            admission: options.admission.clone(),
            trusted_proxies: options.trusted_proxies.clone(),
            view,
            lifecycle: options.lifecycle,
            metrics: options.metrics,
            log: Throttle::default(),
            unread_lines: Arc::clone(&options.unread_lines),
            unfinished: UnfinishedMessages::new(&options.limits),
            member_lists: Arc::new(Semaphore::new(MOST_MEMBER_LISTS)),
            stop: StopSignal::default(),
            connections: AtomicU64::new(0),
            threads: options.threads,
            spread_after: options.spread_after,
            max_connections: u32::try_from(max_connections).expect("clamped"),
            places: Arc::new(Semaphore::new(max_connections)),
            full_answers: Arc::new(Semaphore::new(FULL_ANSWERS)),
        }
    }

    /// The number of the next connection.
    pub fn next_number(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The number of connections so far.
    pub fn accepted(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// The thread that is to serve this connection, and with it the part of the room. Later connections are spread evenly, so the
    /// first thread keeps more.
    pub fn part(&self, number: u64) -> usize {
        let spread = self.open_connections() > self.spread_after;
        if spread { usize::try_from(number).unwrap_or(0) % self.threads } else { 0 }
    }

    /// A permit for one more connection, and whether it is only to be told that the server is full. None if even that
    /// is too much.
    pub fn permit(&self) -> Option<(OwnedSemaphorePermit, bool)> {
        let take = |permits: &Arc<Semaphore>| Arc::clone(permits).try_acquire_owned().ok();
        take(&self.places)
            .map(|permit| (permit, false))
            .or_else(|| take(&self.full_answers).map(|permit| (permit, true)))
    }

    /// Connections that have not ended yet, without those that are told that the server is full.
    pub fn open_connections(&self) -> usize {
        (self.max_connections as usize).saturating_sub(self.places.available_permits())
    }

    /// Connections that have not ended yet.
    pub fn all_connections(&self) -> usize {
        self.open_connections() + FULL_ANSWERS - self.full_answers.available_permits()
    }

    /// Waits until every connection in `places` has ended. Viewers are released once the others have ended.
    pub async fn all_gone(&self) {
        let viewers = u32::try_from(self.view.viewers()).unwrap_or(u32::MAX);
        // An error would mean that the semaphore is closed, and it never is.
        let others = self.places.acquire_many(self.max_connections.saturating_sub(viewers)).await;
        self.view.end();
        drop(others);
        let _ = self.places.acquire_many(self.max_connections).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_one_connection_is_served() {
        let limits = Limits { max_connections: 0, ..Limits::default() };
        let view = View::new(|_, _, _| (), Admission::default());
        let shared = Shared::new(&Options { limits, ..Options::default() }, view);
        let first = shared.permit();
        assert!(matches!(first, Some((_, false))));
        assert!(matches!(shared.permit(), Some((_, true))));
        assert_eq!(shared.open_connections(), 1);
        let second = shared.permit();
        assert_eq!((shared.open_connections(), shared.all_connections()), (1, 2));
        drop(second);
        drop(first);
        assert_eq!(shared.open_connections(), 0);
    }

    #[test]
    fn first_connections_are_on_the_first_thread() {
        let view = View::new(|_, _, _| (), Admission::default());
        let shared = Shared::new(&Options { threads: 2, spread_after: 3, ..Options::default() }, view);
        let mut permits = Vec::new();
        let parts = (1..=7).map(|number| {
            permits.push(shared.permit());
            shared.part(number)
        });
        assert_eq!(parts.collect::<Vec<_>>(), [0, 0, 0, 0, 1, 0, 1]);
    }
}
