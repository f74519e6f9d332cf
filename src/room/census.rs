//! What the view and `GET /metrics` ask of the room. Each question takes the lock of a part at a time.

use super::{List, Part, Room, lock};
use crate::client::Client;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Room {
    /// Returns the number of members.
    pub fn members(&self) -> usize {
        self.parts.iter().map(|part| lock(&part.list).members.len()).sum()
    }

    /// Returns the connections of the first `most` members, ordered by number.
    pub fn clients(&self, most: usize) -> Vec<Arc<Client>> {
        let of_part =
            |part: &Part| lock(&part.list).members.values().take(most).map(|place| Arc::clone(&place.client)).collect();
        let mut clients: Vec<_> = self.parts.iter().flat_map::<Vec<_>, _>(of_part).collect();
        clients.sort_by_key(|client| client.number);
        clients.truncate(most);
        clients
    }

    /// Returns the number of members, and how many of them are behind.
    pub(super) fn counts(&self) -> (usize, usize) {
        let behind = |part: &Part| {
            let List { members, log, .. } = &*lock(&part.list);
            members.values().filter(|place| place.behind(log) > 0).count()
        };
        (self.members(), self.parts.iter().map(behind).sum())
    }

    /// Returns the bytes of the logs: what is kept for members that are behind.
    pub fn backlog(&self) -> usize {
        self.parts.iter().map(|part| lock(&part.list).log.bytes.len()).sum()
    }

    /// Returns the speakers that wait because the room is paced, and how long speakers have waited for that reason so far, all
    /// together.
    pub fn paced(&self) -> (usize, Duration) {
        self.pace.waiting(Instant::now())
    }
}
