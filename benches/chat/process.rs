//! A server as a process: its start, what it uses, and its end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use test_client::started::free_port;

use crate::system;

/// An interpreter that loads a framework may take some seconds.
const START_DEADLINE: Duration = Duration::from_secs(20);
const START_POLL: Duration = Duration::from_millis(5);

/// A server's standard output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stdout {
    /// A pipe that nobody reads would block a server that prints a lot, and reading it would cost the load CPU time.
    File,
    /// A pipe whose reader goes away once the server has printed its first line.
    Closed,
}

/// A server that listens. Dropping it kills the process.
pub struct Process {
    child: Child,
    pub port: u16,
    /// What the server prints; removed when it ends.
    output: PathBuf,
}

impl Process {
    /// Runs a shell command with `PORT` in its environment, and waits until the server listens on that port of 127.0.0.1.
    pub fn start(command: &str, stdout: Stdout) -> Result<Process> {
        let port = free_port()?;
        let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("server-{port}.log"));
        let log = File::create(&output)?;
        // `exec` makes the child the server itself, not a shell.
        let mut shell = system::command("sh");
        shell.args(["-c", &format!("exec {command}")]).env("PORT", port.to_string()).env("RUST_LOG", "off");
        shell.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if stdout == Stdout::Closed {
            shell.stdout(Stdio::piped());
        }
        let child = shell.spawn().context("starting the server")?;
        let mut process = Process { child, port, output };
        process.wait_until_it_listens()?;
        if let Some(stdout) = process.child.stdout.take() {
            BufReader::new(stdout).read_line(&mut String::new()).context("reading the server's first line")?;
        }
        Ok(process)
    }

    fn wait_until_it_listens(&mut self) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("did not start: {status}\n{}", self.log());
            }
            ensure!(start.elapsed() < START_DEADLINE, "did not start in {START_DEADLINE:?}\n{}", self.log());
            sleep(START_POLL);
        }
        Ok(())
    }

    /// What it has printed.
    fn log(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // These fail only if the process has already ended or the file is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.output);
    }
}
