//! A server that a shell command starts, in a process group of its own, so that all of it can be stopped.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Time limit for a server to start.
pub const START_DEADLINE: Duration = Duration::from_secs(10);

/// Time limit for a server to end after SIGTERM.
const STOP_DEADLINE: Duration = Duration::from_secs(1);

/// Time for a server that crashes to print why, and to end.
const CRASH_TIME: Duration = Duration::from_millis(300);

/// The output that is kept, in bytes: the end of it.
const KEPT_OUTPUT: usize = 2048;

/// The pause between two looks at a process.
const PAUSE: Duration = Duration::from_millis(5);

/// Returns a port of 127.0.0.1 that is free now.
///
/// # Errors
/// There is none.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A running server. Dropping it stops the server and everything that it started.
#[derive(Debug)]
pub struct Started {
    child: Child,
    since: Instant,
    /// The end of its standard output and standard error.
    output: Arc<Mutex<VecDeque<u8>>>,
    readers: [JoinHandle<()>; 2],
}

impl Started {
    /// Runs a shell command with the port of `address` as `PORT` in its environment. The server doesn't listen yet.
    ///
    /// # Errors
    /// The address is in use, or there is no shell.
    pub fn run(command: &str, address: SocketAddr) -> io::Result<Self> {
        drop(TcpListener::bind(address).map_err(|error| {
            io::Error::new(error.kind(), format!("{address} must be free, for the server that starts: {error}"))
        })?);
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).env("PORT", address.port().to_string());
        shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        let mut child = shell.spawn()?;
        let output = Arc::default();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let readers = [
            keep(stdout.expect("standard output is piped"), &output),
            keep(stderr.expect("standard error is piped"), &output),
        ];
        Ok(Self { child, since: Instant::now(), output, readers })
    }

    /// True if the server may need more time until it listens.
    pub fn may_still_start(&mut self) -> bool {
        self.since.elapsed() < START_DEADLINE && self.status().is_none()
    }

    /// How the command ended, if it has ended.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// True once the command has ended, and every process that could print something.
    fn has_ended(&mut self) -> bool {
        self.status().is_some() && self.readers.iter().all(JoinHandle::is_finished)
    }

    /// The end of what the server has printed. If it is about to end, waits until it has.
    pub fn last_output(&mut self) -> String {
        let start = Instant::now();
        while !self.has_ended() && start.elapsed() < CRASH_TIME {
            thread::sleep(PAUSE);
        }
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(output.make_contiguous()).into_owned()
    }

    /// What stops the server from outside, as a signal handler must.
    pub fn group(&self) -> Group {
        Group(self.child.id())
    }

    fn stop(&mut self) {
        self.group().ask_to_end();
        let start = Instant::now();
        while !self.has_ended() && start.elapsed() < STOP_DEADLINE {
            thread::sleep(PAUSE);
        }
        self.group().kill();
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The process group of a server, by its first process.
#[derive(Clone, Copy, Debug)]
pub struct Group(u32);

impl Group {
    /// Sends SIGTERM to every process of the group.
    pub fn ask_to_end(self) {
        #[cfg(unix)]
        self.signal(rustix::process::Signal::TERM);
    }

    /// Sends SIGKILL to every process of the group.
    pub fn kill(self) {
        #[cfg(unix)]
        self.signal(rustix::process::Signal::KILL);
    }

    #[cfg(unix)]
    fn signal(self, signal: rustix::process::Signal) {
        if let Some(group) = i32::try_from(self.0).ok().and_then(rustix::process::Pid::from_raw) {
            // An error means that all its processes have ended.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }
}

/// Reads output as it arrives, so that the server never waits for its reader, and keeps the end of it.
fn keep(mut output: impl Read + Send + 'static, kept: &Arc<Mutex<VecDeque<u8>>>) -> JoinHandle<()> {
    let kept = Arc::clone(kept);
    thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = output.read(&mut buffer) {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(&buffer[..length]);
            let excess = kept.len().saturating_sub(KEPT_OUTPUT);
            kept.drain(..excess);
        }
    })
}
