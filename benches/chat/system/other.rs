//! Other systems: no pinning, no CPU clocks, and a signal that ends the benchmark leaves the server running.

use std::time::Duration;

pub fn machine() -> String {
    std::env::consts::OS.to_owned()
}

pub fn load_average() -> Option<f64> {
    None
}

pub fn cores() -> Vec<usize> {
    Vec::new()
}

pub fn pin(_cores: &[usize]) {}

pub fn raise_open_files() {}

pub fn cpu_time(_pid: u32) -> Option<Duration> {
    None
}

pub fn memory(_pid: u32) -> Option<u64> {
    None
}

pub fn peak_memory(_pid: u32) -> Option<u64> {
    None
}

pub fn kill_on_signal(_pid: u32) {}

pub fn watch_for_signals() {}
