//! The servers: how each is started, watched and stopped. One runs at a time, as a process of its own.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::load::Fault;
use crate::system;

/// The first argument with which the benchmark's own executable is the floor.
pub const FLOOR: &str = "floor";

/// An interpreter with a framework to load may take some seconds.
const START_DEADLINE: Duration = Duration::from_secs(20);
const START_POLL: Duration = Duration::from_millis(5);

/// How much of a server's last words a fault quotes.
const LAST_LINES: usize = 5;

/// A server to measure.
pub struct Server {
    pub name: String,
    pub launch: Launch,
}

pub enum Launch {
    /// This package's own binary, which picks its port and prints it.
    Switchboard { options: &'static [&'static str] },
    /// This executable once more.
    Floor,
    /// What the shell makes of it; it is told its `PORT`.
    Command(String),
}

/// A server that listens. Dropping it kills it.
pub struct Process {
    child: Child,
    port: u16,
    output: PathBuf,
}

impl Process {
    /// Starts a server, and returns when it listens.
    pub fn start(server: &Server) -> Result<Process, Fault> {
        let port = match server.launch {
            Launch::Switchboard { .. } => 0,
            Launch::Floor | Launch::Command(_) => free_port()?,
        };
        // A pipe that nobody empties would stop a server that prints a lot, and emptying it would cost the load.
        let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("server-{}.log", std::process::id()));
        let child = spawn(&server.launch, port, &output)?;
        system::kill_with_us(child.id());
        let mut process = Process { child, port, output };
        process.wait_until_it_listens()?;
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

    /// The most that ever was.
    pub fn peak_memory(&self) -> Option<u64> {
        system::peak_memory(self.child.id())
    }

    fn wait_until_it_listens(&mut self) -> Result<(), Fault> {
        let deadline = Instant::now() + START_DEADLINE;
        while !self.listens() {
            let ended = self.child.try_wait().map_err(|error| Fault::Io("watching the server", error))?;
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

    fn listens(&mut self) -> bool {
        if self.port == 0 {
            match self.printed_port() {
                Some(port) => self.port = port,
                None => return false,
            }
        }
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
    }

    /// The port in the printed line with `http://127.0.0.1:PORT`, once that line is whole.
    fn printed_port(&self) -> Option<u16> {
        let output = fs::read_to_string(&self.output).ok()?;
        let (_, rest) = output.split_once("http://127.0.0.1:")?;
        let end = rest.find(|next: char| !next.is_ascii_digit())?;
        rest[..end].parse().ok()
    }

    fn last_lines(&self) -> String {
        let output = fs::read_to_string(&self.output).unwrap_or_default();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors here mean that it has ended already, and that nothing is left to remove.
        let _ = self.child.kill();
        let _ = self.child.wait();
        system::kill_with_us(0);
        let _ = fs::remove_file(&self.output);
    }
}

fn spawn(launch: &Launch, port: u16, output: &Path) -> Result<Child, Fault> {
    let spawned = || {
        let stdout = File::create(output)?;
        let stderr = stdout.try_clone()?;
        let mut command = match launch {
            Launch::Switchboard { options } => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
                command.args(["--host", "127.0.0.1", "--port", "0"]).args(*options);
                command
            }
            Launch::Floor => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg(FLOOR);
                command
            }
            Launch::Command(line) => {
                // `exec`, so that the process we know is the server and not a shell.
                let mut command = Command::new("sh");
                command.args(["-c", &format!("exec {line}")]);
                command
            }
        };
        command
            .env("RUST_LOG", "off")
            .env("PORT", port.to_string())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
    };
    spawned().map_err(|error| Fault::Io("starting the server", error))
}

fn free_port() -> Result<u16, Fault> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| Fault::Io("looking for a free port", error))
}
