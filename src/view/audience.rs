//! The audience: the view's thread, and what each viewer is shown.
//!
//! A viewer has a bounded queue. What does not fit is left out and counted, so a viewer that is stuck holds nobody up.

use super::dissector::Dissector;
use super::hooks::{Shown, Told, View, Viewer};
use super::record::Record;
use super::step::{Event, Step};
use crate::client::Client;
use crate::http::admission::Admission;
use log::warn;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// Starts the thread. It ends after [`View::end`]. If it can't be started, every watch ends at once.
pub fn start(view: View, told: Receiver<Told>, admission: Admission) {
    let dissector = Dissector::new(view.clone(), admission);
    let audience = Audience { view, dissector, seats: Vec::new(), steps: 0, missed: 0 };
    if let Err(error) = Builder::new().name("view".into()).spawn(move || audience.run(&told)) {
        warn!("nothing can be watched: {error}");
    }
}

struct Audience {
    view: View,
    dissector: Dissector,
    seats: Vec<Seat>,
    /// Steps so far.
    steps: u64,
    /// The [`View::missed`] count up to which the seats' own counts are up to date.
    missed: u64,
}

/// A viewer, and the number of steps that it missed and that it has not been told about yet.
struct Seat {
    viewer: Viewer,
    missed: u64,
}

impl Audience {
    fn run(mut self, told: &Receiver<Told>) {
        let mut second = Instant::now();
        loop {
            let next = if self.seats.is_empty() {
                told.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                told.recv_timeout((second + Duration::from_secs(1)).saturating_duration_since(Instant::now()))
            };
            match next {
                Ok(Told::End) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(told) => self.hear(told),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if second.elapsed() >= Duration::from_secs(1) {
                second = Instant::now();
                self.begin_second();
            }
        }
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Record(record) => self.take(&record),
            Told::Viewer(viewer, present) => self.admit(viewer, &present),
            Told::End => self.seats.clear(),
        }
    }

    fn begin_second(&mut self) {
        self.view.renew_budget();
        self.dissector.forget_ended();
        self.seats.retain(|seat| !seat.viewer.queue.is_closed());
        self.report_missed(self.view.missed());
        self.seats.iter_mut().for_each(Seat::report_missed);
    }

    /// Adds what was left out for all to what each viewer missed. `missed` is the count so far.
    fn report_missed(&mut self, missed: u64) {
        // The count in a record may be older than the last one that was added.
        let news = missed.saturating_sub(self.missed);
        self.missed += news;
        self.seats.iter_mut().for_each(|seat| seat.missed += news);
    }

    fn admit(&mut self, viewer: Viewer, present: &[Arc<Client>]) {
        self.seats.retain(|seat| !seat.viewer.queue.is_closed());
        if self.seats.is_empty() {
            // Without a viewer there were no records: what is known is out of date.
            self.dissector.forget_all();
            self.missed = self.view.missed();
        }
        let mut seat = Seat { viewer, missed: 0 };
        for client in present {
            self.steps += 1;
            let event = Event::present(present.len());
            let unseen = seat.show(&Arc::new(step(self.steps, client, true, Instant::now(), event)));
            self.view.counters().unseen_steps.add(unseen);
        }
        self.seats.push(seat);
    }

    fn take(&mut self, record: &Record) {
        self.report_missed(record.missed);
        let Self { view, dissector, seats, steps, .. } = self;
        dissector.take(record, &mut |event| {
            *steps += 1;
            let step = Arc::new(step(*steps, &record.client, record.named, record.at, event));
            view.counters().unseen_steps.add(seats.iter_mut().map(|seat| seat.show(&step)).sum());
        });
    }
}

fn step(id: u64, client: &Arc<Client>, named: bool, at: Instant, event: Event) -> Step {
    let elapsed = at.saturating_duration_since(client.accepted);
    Step { id, client: Arc::clone(client), named, elapsed, event, text: OnceLock::new() }
}

impl Seat {
    /// Shows a step. Returns 1 if its queue is full, 0 otherwise. A viewer that has left misses nothing.
    fn show(&mut self, step: &Arc<Step>) -> u64 {
        if self.viewer.number == Some(step.client.number) || self.viewer.queue.is_closed() {
            return 0;
        }
        self.report_missed();
        let is_full = self.missed > 0 || self.viewer.queue.try_send(Shown::Step(Arc::clone(step))).is_err();
        self.missed += u64::from(is_full);
        u64::from(is_full)
    }

    fn report_missed(&mut self) {
        if self.missed > 0 && self.viewer.queue.try_send(Shown::Missed(self.missed)).is_ok() {
            self.missed = 0;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests;
