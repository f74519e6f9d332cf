//! Linux.

use std::fs;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

const THIS_THREAD: Pid = Pid::from_raw(0);

/// Added to a signal's number, the exit status of a process it ended, as in shells.
const ENDED_BY_SIGNAL: i32 = 128;

/// The process to kill when a signal ends this one; 0 for none.
static CHILD: AtomicU32 = AtomicU32::new(0);

/// The CPU's name and the kernel.
pub fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(": "))
        .map_or("unknown CPU", |(_, model)| model);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, Linux {}", kernel.trim())
}

/// The load average over the last minute.
pub fn load_average() -> Option<f64> {
    let averages = fs::read_to_string("/proc/loadavg").ok()?;
    averages.split(' ').next()?.parse().ok()
}

/// The cores this process may use.
pub fn cores() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(THIS_THREAD) else {
        return Vec::new();
    };
    (0..CpuSet::count()).filter(|&core| set.is_set(core).unwrap_or(false)).collect()
}

/// Pins this thread, and the processes it starts from here on, as `taskset` does.
pub fn pin(cores: &[usize]) {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core).expect("the core is one of those the system listed");
    }
    sched_setaffinity(THIS_THREAD, &set).expect("this process may use these cores");
}

/// Raises the limit on open files, which the server inherits: each client needs one here and one there.
pub fn raise_open_files() {
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        eprintln!("can't raise the limit on open files: {error}");
    }
}

/// A process's CPU time, from its CPU clock: exact, unlike the ticks in `/proc/PID/stat`.
pub fn cpu_time(pid: u32) -> Option<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid.try_into().ok()?)).ok()?;
    Some(clock_gettime(clock).ok()?.into())
}

/// A process's resident memory in bytes.
pub fn memory(pid: u32) -> Option<u64> {
    status(pid, "VmRSS:")
}

/// A process's largest resident memory so far, in bytes.
pub fn peak_memory(pid: u32) -> Option<u64> {
    status(pid, "VmHWM:")
}

fn status(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Sets the process to kill when a signal ends this one; 0 for none.
pub fn kill_on_signal(pid: u32) {
    CHILD.store(pid, Ordering::Relaxed);
}

/// Starts a thread that waits for signals. Must be called before any other thread is started, since it blocks these
/// signals in the calling thread and all its later ones.
pub fn watch_for_signals() {
    let mut signals = SigSet::empty();
    signals.extend([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block().expect("these signals can be blocked");
    thread::spawn(move || {
        let signal = signals.wait().expect("the set names real signals");
        let child = CHILD.load(Ordering::Relaxed);
        if let Ok(pid @ 1..) = i32::try_from(child) {
            // Fails only if it has already ended.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        process::exit(ENDED_BY_SIGNAL + signal as i32);
    });
}
