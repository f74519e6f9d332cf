//! The server under soak: a process of its own, looked at from outside (Linux: /proc).

use crate::{MAX_BACKLOG, PING_INTERVAL};
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// Linux counts processor time in these, whatever the machine.
const TICKS_PER_SECOND: u64 = 100;

pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

/// One look at the server.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Its memory in RAM, in bytes.
    pub resident: u64,
    pub open_files: usize,
    /// The processor time it has used.
    pub processor: Duration,
}

impl Display for Sample {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { resident, open_files, processor } = self;
        write!(f, "{} KiB, {open_files} open files, {:.1} s", resident / 1024, processor.as_secs_f64())
    }
}

impl Server {
    pub async fn start(program: &Path) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(["--host", "127.0.0.1", "--port", "0"])
            .args(["--ping-interval", &PING_INTERVAL.as_secs().to_string()])
            .args(["--max-backlog", &MAX_BACKLOG.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().expect("it is piped");
        let announcement = BufReader::new(stdout).lines().next_line().await?.unwrap_or_default();
        let address = announcement
            .split_once("http://")
            .and_then(|(_, rest)| rest.split(' ').next())
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| io::Error::other(format!("no address in {announcement:?}")))?;
        Ok(Self { child, address })
    }

    fn proc(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.child.id().unwrap_or(0))
    }

    pub fn sample(&self) -> io::Result<Sample> {
        let status = fs::read_to_string(self.proc("status"))?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
            .ok_or_else(|| io::Error::other("no VmRSS"))?;
        // Behind the name in parentheses, the fields from the third on: utime and stime are 14 and 15.
        let stat = fs::read_to_string(self.proc("stat"))?;
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Sample {
            resident: resident * 1024,
            open_files: fs::read_dir(self.proc("fd"))?.count(),
            processor: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
        })
    }

    /// Waits until only so many files are open, and says how it stands then, or when the time is over.
    pub async fn settle(&self, open_files: usize, within: Duration) -> io::Result<Sample> {
        let end = Instant::now() + within;
        loop {
            let sample = self.sample()?;
            if sample.open_files <= open_files || Instant::now() > end {
                return Ok(sample);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops it in order, where there is a polite kill.
    pub async fn stop(&mut self) -> io::Result<ExitStatus> {
        #[cfg(unix)]
        if let Some(process) = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            rustix::process::kill_process(process, rustix::process::Signal::TERM)?;
            return self.child.wait().await;
        }
        self.child.kill().await?;
        self.child.wait().await
    }
}
