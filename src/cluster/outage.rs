//! An outage: a time in which Redis fails, as the log and `GET /metrics` tell it.
//!
//! It begins when something fails, and ends when all of that works again. If a stay ends in between, the outage goes on until the
//! next stay begins. The log has a line for each kind of trouble, and one for the end.

use super::engine::Trouble;
use crate::limits::cluster::PAUSE;
use crate::room::outbox::Outbox;
use log::{info, warn};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::mem::take;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Kinds of trouble that are logged in an outage.
const MOST_TROUBLES: usize = 8;

/// What a node asks Redis for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    Appending,
    Reading,
    FindingEnd,
}

impl Work {
    /// Its kind in `GET /metrics`.
    fn kind(self) -> &'static str {
        match self {
            Self::Appending => "appending",
            Self::Reading => "reading",
            Self::FindingEnd => "finding_end",
        }
    }
}

impl Display for Work {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Appending => "appending to the room's log in Redis",
            Self::Reading => "reading the room's log in Redis",
            Self::FindingEnd => "finding the end of the room's log in Redis",
        })
    }
}

/// Whether there is an outage, and what is known of it. The loops of a node share it.
#[derive(Debug)]
pub(super) struct Outage<'a> {
    outbox: &'a Outbox,
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When it began.
    since: Option<Instant>,
    /// What fails now, and since when.
    failing: BTreeMap<Work, Instant>,
    /// What was logged.
    told: BTreeSet<String>,
}

impl State {
    fn lasted(&self) -> Option<Duration> {
        self.since.map(|since| since.elapsed())
    }
}

impl<'a> Outage<'a> {
    /// No outage yet.
    pub(super) fn new(outbox: &'a Outbox, patience: Duration) -> Self {
        Self { outbox, patience, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the patience with this work is over. It counts from its first failure, or from when its answer is due.
    pub(super) fn deadline(&self, work: Work, due: Instant) -> Instant {
        *self.state().failing.get(&work).unwrap_or(&due) + self.patience
    }

    /// Notes that something fails whose answer was due at a time, and counts it once.
    pub(super) fn begin(&self, work: Work, due: Instant) {
        let mut state = self.state();
        if state.failing.contains_key(&work) {
            return;
        }
        let since = due.min(Instant::now());
        state.failing.insert(work, since);
        state.since.get_or_insert(since);
        self.outbox.counters().outages.add(work.kind());
    }

    /// Notes a failed attempt, and pauses before the next. Returns false if the patience is over.
    pub(super) async fn note(&self, work: Work, due: Instant, trouble: &Trouble) -> bool {
        self.begin(work, due);
        self.tell(work, trouble.to_string());
        sleep(PAUSE).await;
        Instant::now() < self.deadline(work, due)
    }

    fn tell(&self, work: Work, trouble: String) {
        let mut state = self.state();
        if state.told.len() < MOST_TROUBLES && !state.told.contains(&trouble) {
            warn!("{work} fails: {trouble}");
            state.told.insert(trouble);
        }
    }

    /// Something works. This may be the end of the outage.
    pub(super) fn works(&self, work: Work) {
        let mut state = self.state();
        if state.failing.remove(&work).is_none() || !state.failing.is_empty() {
            return;
        }
        if let Some(lasted) = take(&mut *state).lasted() {
            info!("Redis works again, after {:.1} s", lasted.as_secs_f64());
        }
    }

    /// The stay is over, and nothing is asked for now. Returns how long the outage has lasted so far.
    pub(super) fn end_stay(&self) -> Duration {
        let mut state = self.state();
        state.failing.clear();
        state.lasted().unwrap_or_default()
    }

    /// The next stay begins.
    pub(super) fn begin_stay(&self) {
        match take(&mut *self.state()).lasted() {
            Some(lasted) => info!("Redis works again, after {:.1} s: the room is open again", lasted.as_secs_f64()),
            None => info!("the room is open again, at the end of its log in Redis"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::http::admission::Admission;
    use crate::view::hooks::View;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn outage_lasts_until_all_works_again() {
        let outbox = Outbox::new(View::new(|_, _, _| (), Admission::default()));
        let outage = Outage::new(&outbox, PATIENCE);
        let is_over = || outage.state().since.is_none();
        let begun = Instant::now();
        let begin = |work| outage.begin(work, begun);
        begin(Work::Reading);
        begin(Work::Reading);
        begin(Work::Appending);
        outage.works(Work::Reading);
        assert!(!is_over());
        outage.works(Work::FindingEnd);
        assert!(!is_over());
        outage.works(Work::Appending);
        assert!(is_over());
        begin(Work::Reading);
        assert!(outage.end_stay() <= begun.elapsed());
        begin(Work::FindingEnd);
        outage.begin_stay();
        assert!(is_over());
        assert_eq!(outage.end_stay(), Duration::ZERO);
        assert_eq!(outbox.counters().outages.get(), [("appending", 1), ("finding_end", 1), ("reading", 2)]);
    }

    #[test]
    fn attempts_that_fail_at_once_use_up_the_patience() {
        let outbox = Outbox::new(View::new(|_, _, _| (), Admission::default()));
        let has_patience = async |patience| {
            Outage::new(&outbox, patience).note(Work::Reading, Instant::now(), &Trouble::NoAnswer).await
        };
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
            assert!(has_patience(PATIENCE).await);
            assert!(!has_patience(Duration::ZERO).await);
        });
    }

    #[test]
    fn patience_counts_from_the_first_failure() {
        let outbox = Outbox::new(View::new(|_, _, _| (), Admission::default()));
        let outage = Outage::new(&outbox, PATIENCE);
        let due = Instant::now() + Duration::from_secs(1);
        let deadline = |work| outage.deadline(work, due);
        assert_eq!(deadline(Work::Reading), due + PATIENCE);
        // The connection fails before the answer is due.
        outage.begin(Work::Reading, due);
        let reading = deadline(Work::Reading);
        assert!(reading < due + PATIENCE);
        outage.begin(Work::Reading, due);
        assert_eq!(deadline(Work::Reading), reading);
        assert_eq!(deadline(Work::Appending), due + PATIENCE);
        outage.works(Work::Reading);
        assert_eq!(deadline(Work::Reading), due + PATIENCE);
    }
}
