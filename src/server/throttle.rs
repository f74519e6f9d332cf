//! Log lines that clients can cause at will, at a bounded rate.

use crate::limits::LOG_LINES_PER_SECOND;
use crate::limits::per_second::PerSecond;
use log::warn;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Logs a bounded number of warnings per second, and counts the rest.
#[derive(Debug)]
pub struct Throttle {
    lines_per_second: u32,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    passed: PerSecond,
    left_out: u64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new(LOG_LINES_PER_SECOND)
    }
}

impl Throttle {
    /// A throttle with this bound.
    pub fn new(lines_per_second: u32) -> Self {
        Self { lines_per_second, lines: Mutex::default() }
    }

    /// Logs a warning if there is room in this second. The next line that passes tells how many were left out.
    pub fn log(&self, line: impl FnOnce() -> String) {
        match self.pass(Instant::now()) {
            None => {}
            Some(0) => warn!("{}", line()),
            Some(left_out) => warn!("{} ({left_out} lines like this were left out)", line()),
        }
    }

    /// Whether a line may pass, and how many were left out before it.
    fn pass(&self, now: Instant) -> Option<u64> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if !lines.passed.take(self.lines_per_second, now) {
            lines.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut lines.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_line_that_passes_tells_how_many_did_not() {
        let throttle = Throttle::new(2);
        let now = Instant::now();
        let passed = |at: u64| throttle.pass(now + Duration::from_millis(at));
        assert_eq!([passed(0), passed(1), passed(2), passed(999)], [Some(0), Some(0), None, None]);
        assert_eq!([passed(1001), passed(1002), passed(1003)], [Some(2), Some(0), None]);
        assert_eq!(passed(2002), Some(1));
    }
}
