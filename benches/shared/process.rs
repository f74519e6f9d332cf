//! A server as a process: its start, what it uses, and its end.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::system;

/// An interpreter that loads a framework may take some seconds.
const START_DEADLINE: Duration = Duration::from_secs(20);
const START_POLL: Duration = Duration::from_millis(5);

/// A running server. Dropping it kills the process.
pub struct Process {
    child: Child,
    pub port: u16,
    /// What the server prints; removed when it ends.
    output: PathBuf,
}

impl Process {
    /// Runs a command of the shell with `PORT` in its environment. The server doesn't listen yet. Its output goes to a
    /// file: to read it from a pipe would cost the load CPU time, and a pipe that nobody reads would block the server.
    pub fn start(command: &str, port: u16) -> io::Result<Process> {
        let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("server-{port}.log"));
        let log = File::create(&output)?;
        // `exec` makes the child the server itself, not a shell.
        let mut shell = system::command("bash");
        shell.args(["-c", &format!("exec {command}")]).env("PORT", port.to_string()).env("RUST_LOG", "off");
        shell.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Process { child: shell.spawn()?, port, output })
    }

    /// Waits until the server listens on its port of 127.0.0.1.
    pub fn wait_until_it_listens(&mut self) -> io::Result<()> {
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let status = self.child.try_wait()?;
            if status.is_some() || start.elapsed() > START_DEADLINE {
                let how = status.map_or_else(|| format!("in {START_DEADLINE:?}"), |status| status.to_string());
                let output = fs::read_to_string(&self.output).unwrap_or_default();
                return Err(io::Error::other(format!("did not start: {how}\n{}", output.trim_end())));
            }
            sleep(START_POLL);
        }
        Ok(())
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(&mut self) {
        // These fail only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        // It fails only if the file is already gone.
        let _ = fs::remove_file(&self.output);
    }
}
