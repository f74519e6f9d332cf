//! A bound on how often something happens in a second.

use std::time::{Duration, Instant};

/// Counts what happens in the current second.
#[derive(Debug, Default)]
pub struct PerSecond {
    begun: Option<Instant>,
    taken: u32,
}

impl PerSecond {
    /// Counts one more event. Returns false, and does not count it, if this second already has `most`.
    pub fn take(&mut self, most: u32, now: Instant) -> bool {
        let over = |begun| now.saturating_duration_since(begun) >= Duration::from_secs(1);
        if self.begun.is_none_or(over) {
            *self = Self { begun: Some(now), taken: 0 };
        }
        let free = self.taken < most;
        self.taken += u32::from(free);
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_room_for_as_many() {
        let (mut rate, start) = (PerSecond::default(), Instant::now());
        let mut take = |milliseconds| rate.take(2, start + Duration::from_millis(milliseconds));
        assert_eq!([take(0), take(1), take(2), take(999)], [true, true, false, false]);
        assert_eq!([take(1000), take(1001), take(1999)], [true, true, false]);
        assert!(take(5000));
    }
}
