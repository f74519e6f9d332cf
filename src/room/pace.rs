//! The pace: how much all speakers together may say while a member is far behind.
//!
//! While everyone keeps up, nobody is limited. When a member is far behind, the room is *paced*: a speaker that has more to say
//! waits, and waiting means that its socket is not read, so TCP holds the client back (RFC 9293 3.8.6). Nothing is dropped.
//! The speaker that has said least lately goes first, and a quiet one hardly waits.
//!
//! When nobody is far behind any more, the limit doubles every [`PACE_STEP`], until it limits nothing. A sudden end would let
//! the speakers fill every member's socket at once, ahead of what quiet ones say.

use super::place::Place;
use super::{List, Room, lock};
use crate::limits::{FASTEST_PACE, HALF_LIFE, Limits, PACE_CREDIT, PACE_STEP, PACE_TICK, QUIET, QUIET_ADVANCE};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::sleep;

/// The pace of a room.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes per second while a member is far behind. 0: no limit.
    lowest: u64,
    /// How many bytes behind is far behind.
    far: u64,
    /// See [`Limits::stuck_after`].
    stuck_after: Duration,
    born: Instant,
    paced: AtomicBool,
    /// The room has become paced.
    begun: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// See [`Pace::lowest`].
    lowest: u64,
    /// Bytes per second now.
    rate: u64,
    /// When the rate was last set.
    since: Instant,
    /// The time by which the rate allows all that was said. Loud speakers wait for it.
    paid: Instant,
    /// The same for what quiet speakers said. Only quiet speakers wait for it: they don't wait for the loud ones.
    paid_quiet: Instant,
    /// The speakers that wait, by the numbers of their connections.
    waiting: BTreeMap<u64, Speaker>,
    /// How long speakers have waited that no longer wait, all together.
    waited: Duration,
}

#[derive(Debug)]
struct Speaker {
    said: Said,
    since: Instant,
    waker: Waker,
    /// When it was woken to speak. If it does not come, it must not keep the others waiting.
    woken: Option<Instant>,
}

/// Whom a paced room waits for. The greatest of several counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Waiting {
    /// Nobody is left to wait for.
    ForNobody,
    /// The last one turned out to be stuck.
    InVain,
    /// For members that are far behind.
    ForMembers,
}

/// The bytes that were read from a speaker lately: a sum that is halved in each [`HALF_LIFE`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    bytes: u32,
    /// Half-lives up to the last change.
    age: u32,
}

impl Said {
    fn add(&mut self, bytes: usize, age: u32) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        *self = Self { bytes: self.at(age).saturating_add(bytes), age };
    }

    /// What is left of the sum at this age.
    fn at(self, age: u32) -> u32 {
        self.bytes.checked_shr(age.saturating_sub(self.age)).unwrap_or(0)
    }
}

impl State {
    /// Sets the rate. What was said beyond the rate so far stays the same in bytes.
    fn set_rate(&mut self, rate: u64, now: Instant) {
        for paid in [&mut self.paid, &mut self.paid_quiet] {
            let debt = paid.saturating_duration_since(now);
            let nanoseconds = debt.as_nanos() * u128::from(self.rate) / u128::from(rate);
            let time = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
            // Credit stays, too. A time beyond what the clock can tell is not noted.
            *paid = (*paid - debt).checked_add(time).unwrap_or(*paid);
        }
        (self.rate, self.since) = (rate, now);
    }

    /// The speaker that goes first, and when it may.
    fn first(&self, age: u32, now: Instant) -> Option<(u64, Instant)> {
        let said = |speaker: &Speaker| speaker.said.at(age);
        let is_late = |speaker: &Speaker| speaker.woken.is_some_and(|at| now - at > PACE_CREDIT);
        let waiting = self.waiting.iter().filter(|(_, speaker)| !is_late(speaker));
        let (number, first) = waiting.min_by_key(|(_, speaker)| said(speaker))?;
        if said(first) >= QUIET {
            return Some((*number, self.paid));
        }
        // In bytes, the advance is what the lowest rate allows in that time: it may have to be made up for at that rate.
        let advance = QUIET_ADVANCE * (QUIET - said(first)) / QUIET;
        let advance = Duration::from_nanos(advance.as_nanos() as u64 / (self.rate / self.lowest.max(1)).max(1));
        Some((*number, self.paid_quiet.checked_sub(advance).unwrap_or(self.paid_quiet)))
    }

    /// Ends a speaker's wait. Returns how long it has waited.
    fn end_wait(&mut self, number: u64, now: Instant) -> Duration {
        let speaker = self.waiting.remove(&number);
        let waited = speaker.map_or(Duration::ZERO, |speaker| now.saturating_duration_since(speaker.since));
        self.waited += waited;
        waited
    }

    /// Wakes the speaker that goes first, if it may speak now.
    fn wake_first(&mut self, age: u32, now: Instant) {
        let first = self.first(age, now).filter(|(_, from)| *from <= now);
        if let Some(speaker) = first.and_then(|(number, _)| self.waiting.get_mut(&number)) {
            speaker.woken.get_or_insert(now);
            speaker.waker.wake_by_ref();
        }
    }
}

impl Pace {
    /// The pace of a room with these limits. It limits nothing yet.
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            lowest: limits.pace,
            far: limits.far_behind(),
            stuck_after: limits.stuck_after(),
            born: now,
            paced: AtomicBool::new(false),
            begun: Notify::new(),
            state: Mutex::new(State {
                lowest: limits.pace,
                rate: limits.pace,
                since: now,
                paid: now,
                paid_quiet: now,
                waiting: BTreeMap::new(),
                waited: Duration::ZERO,
            }),
        }
    }

    /// Whether speakers may have to wait.
    pub(super) fn is_paced(&self) -> bool {
        self.paced.load(Relaxed)
    }

    /// Limits the speakers, because a member is far behind.
    fn begin(&self, now: Instant) {
        if !self.is_paced() {
            lock(&self.state).set_rate(self.lowest, now);
            self.paced.store(true, Relaxed);
            self.begun.notify_one();
        }
    }

    /// Half-lives since the room was created.
    fn age(&self, now: Instant) -> u32 {
        let ages = now.saturating_duration_since(self.born).as_secs() / HALF_LIFE.as_secs();
        u32::try_from(ages).unwrap_or(u32::MAX)
    }

    /// What a speaker has said that joins now: nothing. But if the room is paced, it does not go before the quiet ones.
    pub(super) fn newcomer(&self, now: Instant) -> Said {
        Said { bytes: if self.is_paced() { QUIET } else { 0 }, age: self.age(now) }
    }

    /// Counts what was read from a speaker, for the order of the speakers. If the room is paced and nothing was broadcast, the
    /// next one may speak at once.
    pub(super) fn count_read(&self, said: &mut Said, bytes: usize, now: Instant) {
        let age = self.age(now);
        said.add(bytes, age);
        if self.is_paced() {
            lock(&self.state).wake_first(age, now);
        }
    }

    /// Counts what a speaker broadcasts, for the limit.
    pub(super) fn count_broadcast(&self, said: Said, bytes: usize, now: Instant) {
        let is_quiet = said.at(self.age(now)) < QUIET;
        let mut state = lock(&self.state);
        let earliest = now.checked_sub(PACE_CREDIT).unwrap_or(now);
        let time = Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / state.rate.max(1));
        let pay = |paid: Instant| paid.max(earliest).checked_add(time).unwrap_or(paid);
        state.paid = pay(state.paid);
        if is_quiet {
            state.paid_quiet = pay(state.paid_quiet);
        }
    }

    /// Ready when a speaker may be read once. Returns how long it has waited.
    pub(super) fn poll_speak(
        &self,
        number: u64,
        said: Said,
        now: Instant,
        context: &mut Context<'_>,
    ) -> Poll<Duration> {
        let mut state = lock(&self.state);
        if !self.is_paced() {
            return Poll::Ready(Duration::ZERO);
        }
        let waker = context.waker().clone();
        let since = state.waiting.get(&number).map_or(now, |speaker| speaker.since);
        state.waiting.insert(number, Speaker { said, since, waker, woken: None });
        match state.first(self.age(now), now) {
            Some((first, from)) if first == number && from <= now => Poll::Ready(state.end_wait(number, now)),
            _ => {
                state.wake_first(self.age(now), now);
                Poll::Pending
            }
        }
    }

    /// Forgets a speaker that is gone.
    pub(super) fn forget(&self, number: u64, now: Instant) {
        if self.is_paced() {
            lock(&self.state).end_wait(number, now);
        }
    }

    /// Returns the speakers that wait, and how long speakers have waited so far, all together.
    pub(super) fn waiting(&self, now: Instant) -> (usize, Duration) {
        let state = lock(&self.state);
        let waits = state.waiting.values().map(|speaker| now.saturating_duration_since(speaker.since));
        (state.waiting.len(), state.waited + waits.sum::<Duration>())
    }

    /// Adjusts the limit to whom the room waits for, and wakes the speaker that may speak. Returns whether there is a
    /// limit still.
    fn adjust(&self, waiting: Waiting, now: Instant) -> bool {
        let mut state = lock(&self.state);
        match waiting {
            Waiting::ForMembers => state.set_rate(self.lowest, now),
            Waiting::ForNobody if now - state.since < PACE_STEP => {}
            Waiting::ForNobody => {
                let rate = state.rate * 2;
                state.set_rate(rate, now);
            }
            Waiting::InVain => {}
        }
        if waiting == Waiting::InVain || state.rate > FASTEST_PACE {
            self.paced.store(false, Relaxed);
            while let Some((number, speaker)) = state.waiting.first_key_value() {
                speaker.waker.wake_by_ref();
                let number = *number;
                state.end_wait(number, now);
            }
            return false;
        }
        state.wake_first(self.age(now), now);
        true
    }
}

impl Room {
    /// Adjusts the pace from when a member is far behind until it limits nothing, again and again. Never returns.
    pub async fn keep_pace(&self) {
        loop {
            self.pace.begun.notified().await;
            while self.adjust_pace(Instant::now()) {
                sleep(PACE_TICK).await;
            }
        }
    }

    pub(super) fn adjust_pace(&self, now: Instant) -> bool {
        let found = self.parts.iter().map(|part| lock(&part.list).review(&self.pace, now)).max();
        self.pace.adjust(found.unwrap_or(Waiting::ForNobody), now)
    }
}

impl List {
    /// Notes the members that are far behind after a turn, and begins the pace if the room should wait for one. `most` is the
    /// most bytes that any member is behind.
    pub(super) fn note_slow(&mut self, most: u64, pace: &Pace) {
        if pace.lowest == 0 || most <= pace.far {
            return;
        }
        let now = Instant::now();
        let places = self.members.iter().chain(&self.leaving);
        let is_slow = |place: &Place| place.lag(self.log.end) > pace.far && !place.is_stuck(pace.stuck_after, now);
        self.slow.extend(places.filter(|(_, place)| is_slow(place)).map(|(number, _)| number));
        if !self.slow.is_empty() {
            pace.begin(now);
        }
    }

    /// Looks at the members that the room waits for. It stops waiting for those that are half as far behind now, that are gone,
    /// or that are stuck.
    pub(super) fn review(&mut self, pace: &Pace, now: Instant) -> Waiting {
        let Self { members, leaving, log, slow, .. } = self;
        let mut found = Waiting::ForNobody;
        slow.retain(|number| {
            let place = members.get(number).or_else(|| leaving.get(number));
            let Some(place) = place.filter(|place| place.lag(log.end) > pace.far / 2) else { return false };
            let is_stuck = place.is_stuck(pace.stuck_after, now);
            found = found.max(if is_stuck { Waiting::InVain } else { Waiting::ForMembers });
            !is_stuck
        });
        found
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
