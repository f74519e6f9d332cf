//! Who is in the list of a part, and what they still need.

use super::List;
use super::place::Place;

impl List {
    /// Whether nobody needs what is said.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.leaving.is_empty()
    }

    /// The place of a member, or of one that is leaving.
    pub(super) fn place(&mut self, number: u64) -> Option<&mut Place> {
        self.members.get_mut(&number).or_else(|| self.leaving.get_mut(&number)).map(Box::as_mut)
    }

    /// Drops the batches that no member needs.
    pub(super) fn trim(&mut self) {
        if !self.log.bytes.is_empty() {
            let places = self.members.values().chain(self.leaving.values());
            let needed = places.map(|place| place.needs(self.log.end)).min();
            self.log.drop_before(needed.unwrap_or(self.log.end));
        }
    }
}
