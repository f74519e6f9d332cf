//! What depends on the operating system. Outside Linux, nothing is pinned, and a value that can't be measured is NaN.

use std::fs;
use std::process::Command;

pub use os::*;

/// The CPU's name and the kernel.
pub fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name\t: "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{}, {} {}", model.unwrap_or("unknown CPU"), std::env::consts::OS, kernel.trim())
}

/// The load average over the last minute.
pub fn load_average() -> f64 {
    let averages = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    averages.split(' ').next().and_then(|average| average.parse().ok()).unwrap_or(f64::NAN)
}

/// A process's resident memory in bytes.
pub fn memory(pid: u32) -> f64 {
    status(pid, "VmRSS:").unwrap_or(f64::NAN)
}

/// A process's largest resident memory so far, in bytes.
pub fn peak_memory(pid: u32) -> f64 {
    status(pid, "VmHWM:").unwrap_or(f64::NAN)
}

fn status(pid: u32, field: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// Raises the limit on open files, which the server inherits: each client needs one here and one there.
pub fn raise_open_files() {
    #[cfg(unix)]
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        eprintln!("can't raise the limit on open files: {error}");
    }
}

/// A command that the kernel kills when this process ends, however it ends.
pub fn command(program: &str) -> Command {
    if !cfg!(target_os = "linux") {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command
}

#[cfg(target_os = "linux")]
mod os {
    use std::time::Duration;

    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::time::{clock_getcpuclockid, clock_gettime};
    use nix::unistd::Pid;

    const THIS_THREAD: Pid = Pid::from_raw(0);

    /// The cores this process may use.
    pub fn cores() -> Vec<usize> {
        let set = sched_getaffinity(THIS_THREAD).unwrap_or_default();
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

    /// The seconds of a process's CPU clock: exact, unlike the ticks in `/proc/PID/stat`.
    pub fn cpu_time(pid: u32) -> f64 {
        let clock = clock_getcpuclockid(Pid::from_raw(pid.cast_signed()));
        clock.and_then(clock_gettime).map_or(f64::NAN, |time| Duration::from(time).as_secs_f64())
    }
}

#[cfg(not(target_os = "linux"))]
mod os {
    pub fn cores() -> Vec<usize> {
        Vec::new()
    }

    pub fn pin(_cores: &[usize]) {}

    pub fn cpu_time(_pid: u32) -> f64 {
        f64::NAN
    }
}
