//! The server processes: start, measure, stop. Only one runs at a time.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::load::Fault;
use crate::system;

/// The first argument that makes the benchmark's own executable serve as the floor.
pub const FLOOR: &str = "floor";

/// An interpreter that loads a framework may take some seconds.
const START_DEADLINE: Duration = Duration::from_secs(20);
const START_POLL: Duration = Duration::from_millis(5);

/// How much of a failed server's output a fault quotes.
const LAST_LINES: usize = 5;

/// A server to measure.
pub struct Server {
    pub name: String,
    pub launch: Launch,
}

pub enum Launch {
    /// A build of switchboard.
    Switchboard { program: PathBuf, options: &'static [&'static str], stdout: Stdout },
    /// This executable, with [`FLOOR`] as its argument.
    Floor,
    /// A shell command that reads `PORT` from the environment.
    Command(String),
}

/// A server's standard output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stdout {
    /// A pipe that nobody reads would block a server that prints a lot, and reading it would cost the load CPU time.
    File,
    /// A pipe whose reader goes away once the server has printed its URL.
    Closed,
}

/// A server that listens. Dropping it kills the process.
pub struct Process {
    child: Child,
    port: u16,
    /// What the server prints; removed when it ends.
    output: PathBuf,
}

impl Process {
    /// Starts a server and waits until it listens.
    pub fn start(server: &Server) -> Result<Process, Fault> {
        let port = free_port()?;
        let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("server-{}.log", std::process::id()));
        let child = spawn(&server.launch, port, &output).map_err(|error| Fault::Io("starting the server", error))?;
        system::kill_on_signal(child.id());
        let mut process = Process { child, port, output };
        process.wait_until_it_listens()?;
        process.close_stdout()?;
        Ok(process)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The CPU time of all its threads so far.
    pub fn cpu_time(&self) -> Option<Duration> {
        system::cpu_time(self.child.id())
    }

    /// Its resident memory in bytes.
    pub fn memory(&self) -> Option<u64> {
        system::memory(self.child.id())
    }

    /// The largest resident memory so far, in bytes.
    pub fn peak_memory(&self) -> Option<u64> {
        system::peak_memory(self.child.id())
    }

    fn wait_until_it_listens(&mut self) -> Result<(), Fault> {
        let deadline = Instant::now() + START_DEADLINE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let ended = self.child.try_wait().map_err(|error| Fault::Io("waiting for the server", error))?;
            if let Some(status) = ended {
                return Err(Fault::Start(format!("{status}\n{}", self.last_lines())));
            }
            if Instant::now() > deadline {
                return Err(Fault::Start(format!("not within {START_DEADLINE:?}\n{}", self.last_lines())));
            }
            thread::sleep(START_POLL);
        }
        Ok(())
    }

    fn close_stdout(&mut self) -> Result<(), Fault> {
        let Some(stdout) = self.child.stdout.take() else {
            return Ok(());
        };
        let read = BufReader::new(stdout).read_line(&mut String::new());
        read.map(drop).map_err(|error| Fault::Io("reading the server's first line", error))
    }

    fn last_lines(&self) -> String {
        let output = fs::read_to_string(&self.output).unwrap_or_default();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // These fail only if the process has already ended or the file is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
        system::kill_on_signal(0);
        let _ = fs::remove_file(&self.output);
    }
}

fn spawn(launch: &Launch, port: u16, output: &Path) -> io::Result<Child> {
    let log = File::create(output)?;
    let mut command = match launch {
        Launch::Switchboard { program, options, .. } => {
            let mut command = Command::new(program);
            command.args(["--host", "127.0.0.1", "--port", &port.to_string()]).args(*options);
            command
        }
        Launch::Floor => {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg(FLOOR);
            command
        }
        Launch::Command(line) => {
            // `exec` makes the child the server itself, not a shell.
            let mut command = Command::new("sh");
            command.args(["-c", &format!("exec {line}")]);
            command
        }
    };
    let stdout = match launch {
        Launch::Switchboard { stdout: Stdout::Closed, .. } => Stdio::piped(),
        _ => log.try_clone()?.into(),
    };
    command.env("RUST_LOG", "off").env("PORT", port.to_string()).stdin(Stdio::null()).stdout(stdout).stderr(log).spawn()
}

fn free_port() -> Result<u16, Fault> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| Fault::Io("looking for a free port", error))
}
