//! Log lines that clients can cause at will, at a bounded rate.

use crate::limits::LOG_LINES_PER_SECOND;
use log::warn;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets so many warnings pass in a second, and counts the rest.
#[derive(Debug)]
pub struct Throttle {
    lines_per_second: u32,
    second: Mutex<Second>,
}

#[derive(Debug)]
struct Second {
    begun: Instant,
    lines: u32,
    left_out: u64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new(LOG_LINES_PER_SECOND)
    }
}

impl Throttle {
    /// Lets this many lines pass in a second.
    pub fn new(lines_per_second: u32) -> Self {
        Self { lines_per_second, second: Mutex::new(Second { begun: Instant::now(), lines: 0, left_out: 0 }) }
    }

    /// Logs a warning, unless there were too many. The next one that passes tells how many did not.
    pub fn log(&self, line: impl FnOnce() -> String) {
        match self.pass(Instant::now()) {
            None => {}
            Some(0) => warn!("{}", line()),
            Some(left_out) => warn!("{} ({left_out} lines like this were left out)", line()),
        }
    }

    /// Whether a line may pass, and how many were left out before it.
    fn pass(&self, now: Instant) -> Option<u64> {
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(second.begun) >= Duration::from_secs(1) {
            second.begun = now;
            second.lines = 0;
        }
        if second.lines == self.lines_per_second {
            second.left_out += 1;
            return None;
        }
        second.lines += 1;
        Some(std::mem::take(&mut second.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_pass_in_a_second_and_the_next_one_tells_of_the_rest() {
        let throttle = Throttle::new(2);
        let now = Instant::now();
        let passed = |at: u64| throttle.pass(now + Duration::from_millis(at));
        assert_eq!([passed(0), passed(1), passed(2), passed(999)], [Some(0), Some(0), None, None]);
        assert_eq!([passed(1001), passed(1002), passed(1003)], [Some(2), Some(0), None]);
        assert_eq!(passed(2002), Some(1));
    }
}
