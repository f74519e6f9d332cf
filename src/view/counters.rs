//! The counts of `GET /metrics`, kept as events happen. A request looks up the rest, such as the backlog.
//!
//! The rules: a count never falls; a read costs up to three additions, and a write or a turn one, however many messages and
//! members there are; a [`Tally`] is for what happens at most a few times per connection.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Threads that have counters of their own. If there are more, some share theirs.
const THREADS: usize = 16;

/// What counts as the code of a Close frame that has none (RFC 6455 7.1.5).
pub const NO_CODE: u16 = 1005;

/// The first of the codes for libraries and applications, up to 4999 (RFC 6455 7.4.2). They count as one: a client could use
/// 2,000 of them.
pub const FIRST_OF_APPLICATIONS: u16 = 3000;

/// The counts of a server since it started.
#[derive(Debug)]
pub struct Counters {
    traffic: [Traffic; THREADS],
    /// Members whose connection is open now: a lookup would take the lock of each part.
    members: AtomicUsize,
    /// Opening handshakes, by the status of the response.
    pub handshakes: Tally<u16>,
    /// Closing handshakes, by the side that began them and the code.
    pub closes: Tally<(&'static str, u16)>,
    /// WebSocket connections that ended before a closing handshake began, by the reason.
    pub ends: Tally<&'static str>,
    /// Clients that were cut off because they were too far behind.
    pub too_slow: Count,
    /// Steps that a viewer's queue had no room for.
    pub unseen_steps: Count,
    /// Entries that were appended to the log of a room on several servers.
    pub appends: Count,
    /// Those of them that came back.
    pub returns: Count,
    /// From the first words of an entry until it came back, in nanoseconds: the sum of all.
    pub round_trips: Count,
    /// Gaps in the log of a room on several servers, by their kind.
    pub gaps: Tally<&'static str>,
    /// Times in which the log of a room on several servers was out of reach, by what failed.
    pub outages: Tally<&'static str>,
}

/// The counts of one thread. They fill cache lines of their own: two threads that write to the same line slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Traffic {
    /// Messages received and accepted.
    pub messages_in: Count,
    /// Bytes of frames read.
    pub bytes_in: Count,
    /// Bytes of frames written.
    pub bytes_out: Count,
    /// Messages broadcast, each times the members of that moment.
    pub deliveries: Count,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            traffic: Default::default(),
            members: AtomicUsize::new(0),
            handshakes: Tally::default(),
            closes: Tally::default(),
            ends: Tally::with(["end_of_stream", "silence", "socket_failed"]),
            too_slow: Count::default(),
            unseen_steps: Count::default(),
            appends: Count::default(),
            returns: Count::default(),
            round_trips: Count::default(),
            gaps: Tally::with(["foreign", "lost", "missing", "own_lost"]),
            outages: Tally::with(["appending", "finding_end", "reading"]),
        }
    }
}

impl Counters {
    /// The sum of a count over all threads.
    pub fn total(&self, count: fn(&Traffic) -> &Count) -> u64 {
        self.traffic.iter().map(|traffic| count(traffic).get()).sum()
    }

    /// Bytes of frames were read on the thread of this part of the room.
    pub fn read(&self, part: usize, bytes: usize) {
        self.of(part).bytes_in.add(bytes as u64);
    }

    /// This number of whole messages was received and accepted.
    pub fn received(&self, part: usize, messages: u64) {
        self.of(part).messages_in.add(messages);
    }

    /// Bytes of frames were written on the thread of this part of the room.
    pub fn wrote(&self, part: usize, bytes: usize) {
        self.of(part).bytes_out.add(bytes as u64);
    }

    /// A member's connection is open.
    pub fn joined(&self) {
        self.members.fetch_add(1, Relaxed);
    }

    /// A member has left.
    pub fn left(&self) {
        self.members.fetch_sub(1, Relaxed);
    }

    /// Messages are broadcast, on the thread of this part of the room.
    pub fn broadcast(&self, part: usize, messages: u64) {
        self.of(part).deliveries.add(messages * self.members.load(Relaxed) as u64);
    }

    /// An entry of a room on several servers came back after this time.
    pub fn returned(&self, after: Duration) {
        self.returns.add(1);
        self.round_trips.add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
    }

    fn of(&self, part: usize) -> &Traffic {
        &self.traffic[part % THREADS]
    }
}

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Counts this many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// Returns the count.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A count for each of a few kinds.
#[derive(Debug, Default)]
pub struct Tally<K>(Mutex<BTreeMap<K, u64>>);

impl<K: Ord + Copy> Tally<K> {
    /// A tally that has these kinds from the start, at 0: Prometheus sees no increase when a new sample appears with a 1.
    fn with<const N: usize>(kinds: [K; N]) -> Self {
        Self(Mutex::new(kinds.map(|kind| (kind, 0)).into()))
    }

    /// Counts one of this kind.
    pub fn add(&self, kind: K) {
        *self.kinds().entry(kind).or_default() += 1;
    }

    /// Returns the kinds and their counts.
    pub fn get(&self) -> Vec<(K, u64)> {
        self.kinds().iter().map(|(kind, count)| (*kind, *count)).collect()
    }

    fn kinds(&self) -> MutexGuard<'_, BTreeMap<K, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_is_the_sum_of_all_threads() {
        let counters = Counters::default();
        for part in [0, 1, THREADS - 1, THREADS] {
            counters.read(part, 10);
            counters.received(part, 2);
            counters.wrote(part, 100);
            counters.joined();
            counters.broadcast(part, 3);
        }
        let counts: [fn(&Traffic) -> &Count; 4] =
            [|of| &of.bytes_in, |of| &of.messages_in, |of| &of.bytes_out, |of| &of.deliveries];
        assert_eq!(counts.map(|count| counters.total(count)), [40, 8, 400, 3 + 6 + 9 + 12]);
        assert_eq!(counters.of(THREADS - 1).bytes_in.get(), 10);
        counters.left();
        counters.broadcast(0, 10);
        assert_eq!(counters.total(|of| &of.deliveries), 60);
    }

    #[test]
    fn tally_has_a_count_for_each_kind() {
        let tally = Tally::with(["a", "b"]);
        ["b", "c", "b"].iter().for_each(|kind| tally.add(kind));
        assert_eq!(tally.get(), [("a", 0), ("b", 2), ("c", 1)]);
    }
}
