//! A part's log: the last bytes of the room's stream, kept once for its members that are behind.

use crate::frame::length_on_wire;
use std::collections::VecDeque;

/// The last bytes of the room's stream, from the slowest member's place on. Turns have taken everything before `end`.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) end: u64,
    /// The bytes before `end`, in whole batches.
    pub(super) bytes: VecDeque<u8>,
    /// The place where each batch begins. A frame begins there too.
    pub(super) batches: VecDeque<u64>,
}

impl Log {
    /// Adds a turn's batch. `needed` is the first place that some member still needs.
    pub(super) fn append(&mut self, batch: &[u8], needed: u64) {
        let start = self.end;
        self.end += batch.len() as u64;
        if needed < self.end {
            self.batches.push_back(start);
            self.bytes.extend(batch);
        }
        self.drop_before(needed);
    }

    /// Drops the batches that end before `needed`.
    pub(super) fn drop_before(&mut self, needed: u64) {
        if needed == self.end {
            *self = Self { end: self.end, ..Self::default() };
            return;
        }
        while self.batches.get(1).is_some_and(|second| *second <= needed) {
            self.batches.pop_front();
        }
        let start = self.batches.front().map_or(0, |first| self.index(*first));
        self.bytes.drain(..start);
    }

    pub(super) fn index(&self, place: u64) -> usize {
        let back = usize::try_from(self.end - place).expect("the log is in memory");
        self.bytes.len() - back
    }

    /// The bytes from a place to a later one, as many as are contiguous.
    pub(super) fn between(&self, place: u64, end: u64) -> &[u8] {
        if place >= end {
            return &[];
        }
        let (front, back) = self.bytes.as_slices();
        let (from, to) = (self.index(place), self.index(end));
        if from < front.len() { &front[from..to.min(front.len())] } else { &back[from - front.len()..to - front.len()] }
    }

    /// The end of the frame that a place is in. Between two frames: the place itself.
    pub(super) fn frame_end(&self, place: u64) -> u64 {
        if place >= self.end {
            return place;
        }
        let batch = self.batches.partition_point(|start| *start <= place) - 1;
        let mut end = self.batches[batch];
        while end < place {
            end += length_on_wire(self.bytes.range(self.index(end)..).copied());
        }
        end
    }

    /// The rest of the frame that a place is in.
    pub(super) fn rest_of_frame(&self, place: u64) -> Vec<u8> {
        let end = self.frame_end(place);
        let first = self.between(place, end);
        [first, self.between(place + first.len() as u64, end)].concat()
    }
}
