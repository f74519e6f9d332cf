//! A histogram of latencies. A class is at most 1/64 as wide as the latencies in it.

use std::time::Duration;

const BITS: u32 = 6;
const CLASSES_PER_DOUBLING: usize = 1 << BITS;

pub struct Latencies {
    classes: Vec<u64>,
    count: u64,
}

impl Latencies {
    pub fn new() -> Latencies {
        Latencies { classes: vec![0; CLASSES_PER_DOUBLING * 64], count: 0 }
    }

    pub fn clear(&mut self) {
        self.classes.fill(0);
        self.count = 0;
    }

    pub fn record(&mut self, latency: Duration, times: u64) {
        // 2^64 nanoseconds are 584 years.
        self.classes[class_of(latency.as_nanos() as u64)] += times;
        self.count += times;
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// The latency that a `share` of all deliveries do not exceed; 0.5 gives the median.
    pub fn percentile(&self, share: f64) -> Duration {
        let rank = (share * self.count as f64).ceil() as u64;
        let mut below = 0;
        for (class, count) in self.classes.iter().enumerate() {
            below += count;
            if below >= rank && below > 0 {
                return Duration::from_nanos(start_of(class));
            }
        }
        Duration::ZERO
    }
}

fn class_of(nanoseconds: u64) -> usize {
    let doublings = (64 - nanoseconds.leading_zeros()).saturating_sub(BITS + 1);
    (doublings as usize) * CLASSES_PER_DOUBLING + (nanoseconds >> doublings) as usize
}

/// The inverse of [`class_of`]: the smallest number in a class.
fn start_of(class: usize) -> u64 {
    let doublings = (class / CLASSES_PER_DOUBLING).saturating_sub(1);
    ((class - doublings * CLASSES_PER_DOUBLING) as u64) << doublings
}
