//! The server as it is run: the program, its options, its output, and signals.

use super::DEADLINE;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// The program, not yet run, with an environment that logs as it does by default.
pub fn switchboard(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    command.env_remove("RUST_LOG").env_remove("RUST_LOG_STYLE");
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs the program to its end, which has to come by itself.
pub fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut child = switchboard(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait(&mut child, DEADLINE);
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// The program while it serves. Dropping it kills it.
pub struct Program {
    child: Child,
    /// The first line on its standard output.
    pub announcement: String,
    pub address: SocketAddr,
    log: Receiver<String>,
}

impl Program {
    /// Starts it on a free port of 127.0.0.1.
    pub fn start(arguments: &[&str]) -> Self {
        let arguments = [&["--host", "127.0.0.1", "--port", "0"], arguments].concat();
        let mut child = switchboard(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let log = lines(child.stderr.take().unwrap());
        let announcement = stdout.recv_timeout(DEADLINE).expect("it says where it is");
        let port = announcement.split_once("http://127.0.0.1:").unwrap().1;
        let port = port.split_once(' ').unwrap().0.parse().unwrap();
        Self { child, announcement, address: (Ipv4Addr::LOCALHOST, port).into(), log }
    }

    /// The next line of the log that contains this.
    pub fn log_line(&self, part: &str) -> String {
        let start = Instant::now();
        let mut before = Vec::new();
        loop {
            let left = DEADLINE.saturating_sub(start.elapsed());
            match self.log.recv_timeout(left) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => before.push(line),
                Err(_) => panic!("no line with {part:?} in the log, only {before:#?}"),
            }
        }
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// What is left of the log once the program has ended.
    pub fn rest_of_log(&self) -> Vec<String> {
        self.log.iter().collect()
    }

    /// Waits for its end, and says how it ended and how long that took.
    pub fn wait(&mut self, deadline: Duration) -> (ExitStatus, Duration) {
        wait(&mut self.child, deadline)
    }

    #[cfg(unix)]
    pub fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, signal).unwrap();
    }

    /// How much memory it has in RAM, in bytes.
    #[cfg(target_os = "linux")]
    pub fn resident(&self) -> usize {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
        kib.parse::<usize>().unwrap() * 1024
    }

    /// Lets it have only so many files open from now on.
    #[allow(dead_code, reason = "tests/chaos uses it")]
    #[cfg(target_os = "linux")]
    pub fn limit_open_files(&self, most: usize) {
        let process = rustix::process::Pid::from_child(&self.child);
        let most = Some(most as u64);
        let limit = rustix::process::Rlimit { current: most, maximum: most };
        rustix::process::prlimit(Some(process), rustix::process::Resource::Nofile, limit).unwrap();
    }

    /// How many files it has open, sockets among them.
    #[cfg(target_os = "linux")]
    pub fn open_files(&self) -> usize {
        let path = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(path).unwrap().count()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads lines as they come, so that the program never waits for its reader.
fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (line, lines) = mpsc::channel();
    thread::spawn(move || {
        for read in BufReader::new(output).lines() {
            if line.send(read.unwrap()).is_err() {
                break;
            }
        }
    });
    lines
}

fn wait(child: &mut Child, deadline: Duration) -> (ExitStatus, Duration) {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return (status, start.elapsed());
        }
        assert!(start.elapsed() < deadline, "the program does not end");
        thread::sleep(Duration::from_millis(5));
    }
}
