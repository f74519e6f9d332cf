//! A Redis server of a test's own: a process, a port and a folder.
//!
//! Its port is below those that the system hands out, so no other socket takes the port while the server is down.

use crate::resp::{Reply, command};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufReader, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use test_client::FLOOD_DEADLINE;

/// Linux hands out ports from 32768 on.
const PORTS: std::ops::Range<u64> = 10_000..32_000;

/// Attempts to start on a port that was free before.
const ATTEMPTS: usize = 5;

/// The pause between two looks at the server.
const PAUSE: Duration = Duration::from_millis(5);

/// Files are written before a command is answered.
pub const FSYNC_ALWAYS: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

/// Files are written within a second.
pub const FSYNC_EVERY_SECOND: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];

/// Everything is lost when the server ends.
pub const IN_MEMORY: &[&str] = &["--appendonly", "no"];

/// A running Redis server. Dropping it kills it, and removes its folder.
#[derive(Debug)]
pub struct Redis {
    pub address: SocketAddr,
    folder: PathBuf,
    arguments: Vec<String>,
    password: Option<String>,
    process: Option<Child>,
}

impl Redis {
    /// Starts a server with these arguments, and waits until it answers.
    #[track_caller]
    pub fn start(arguments: &[&str]) -> Self {
        for _ in 0..ATTEMPTS {
            let mut redis = Self::stopped(arguments);
            if redis.try_start() {
                return redis;
            }
        }
        panic!("redis-server doesn't start with {arguments:?}");
    }

    /// A server that isn't running yet.
    fn stopped(arguments: &[&str]) -> Self {
        let address = free_address();
        let folder = std::env::temp_dir().join(format!("switchboard-redis-{}", address.port()));
        let password = arguments.iter().position(|argument| *argument == "--requirepass");
        let password = password.map(|position| arguments[position + 1].to_owned());
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self { address, folder, arguments, password, process: None }
    }

    /// Starts the process. Returns false if it ends by itself.
    fn try_start(&mut self) -> bool {
        fs::create_dir_all(&self.folder).unwrap();
        let output = File::create(self.folder.join("output")).unwrap();
        let port = self.address.port().to_string();
        let mut server = Command::new("redis-server");
        server.args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--dir"]).arg(&self.folder);
        server.args(&self.arguments).stdin(Stdio::null()).stdout(output).stderr(Stdio::null());
        match server.spawn() {
            Ok(process) => self.process = Some(process),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("redis-server isn't installed: run `apt-get install redis-server`")
            }
            Err(error) => panic!("redis-server can't be run: {error}"),
        }
        self.answers()
    }

    /// Waits until the server answers. Returns false if it ends.
    fn answers(&mut self) -> bool {
        let start = Instant::now();
        while self.try_command(&["PING"]) != Ok(Reply::Bytes("PONG".into())) {
            let process = self.process.as_mut().expect("a process that was started");
            if process.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(start.elapsed() < FLOOD_DEADLINE, "no answer from redis-server");
            thread::sleep(PAUSE);
        }
        true
    }

    /// The URL of a room.
    pub fn url(&self, room: &str) -> String {
        let user = self.password.iter().map(|password| format!(":{password}@")).collect::<String>();
        format!("redis://{user}{}/{room}", self.address)
    }

    /// Ends the process with SIGKILL.
    #[track_caller]
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("a running process");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Starts the server again, on the same port and with the same folder. Waits until it has loaded its files.
    #[track_caller]
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "kill it first");
        assert!(self.try_start(), "redis-server doesn't start again");
    }

    /// Stops the process with SIGSTOP: its sockets stay open, and it answers nothing.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets the process continue (SIGCONT).
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("a running process");
        kill(Pid::from_raw(i32::try_from(process.id()).unwrap()), signal).unwrap();
    }

    /// Copies the append-only file, as it is now.
    pub fn copy_file(&self) {
        copy(&self.folder.join("appendonlydir"), &self.folder.join("copy"));
    }

    /// Puts the copy in place of the append-only file.
    pub fn restore_copy(&self) {
        fs::remove_dir_all(self.folder.join("appendonlydir")).unwrap();
        copy(&self.folder.join("copy"), &self.folder.join("appendonlydir"));
    }

    /// Runs a command, and returns the reply, which isn't an error.
    #[track_caller]
    pub fn command(&self, arguments: &[impl AsRef<[u8]>]) -> Reply {
        match self.try_command(arguments) {
            Ok(Reply::Error(error)) => panic!("Redis answers {error:?}"),
            Ok(reply) => reply,
            Err(error) => panic!("no reply from Redis: {error}"),
        }
    }

    /// Runs a command on a connection of its own.
    fn try_command(&self, arguments: &[impl AsRef<[u8]>]) -> Result<Reply, String> {
        let run = || {
            let mut socket = TcpStream::connect(self.address)?;
            socket.set_read_timeout(Some(FLOOD_DEADLINE))?;
            let mut replies = BufReader::new(socket.try_clone()?);
            if let Some(password) = &self.password {
                socket.write_all(&command(&["AUTH", password]))?;
                Reply::read(&mut replies)?;
            }
            socket.write_all(&command(arguments))?;
            Reply::read(&mut replies)
        };
        run().map_err(|error: std::io::Error| error.to_string())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
        // What is left is in the system's folder for temporary files.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A loopback address on which nobody listens.
pub fn free_address() -> SocketAddr {
    loop {
        let random = RandomState::new().build_hasher().finish() % (PORTS.end - PORTS.start);
        let port = u16::try_from(PORTS.start + random).expect("a port");
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener.local_addr().unwrap();
        }
    }
}

/// Copies a folder without folders in it. Replaces what is there.
fn copy(from: &Path, to: &Path) {
    // It may not exist yet.
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(redis: &Redis) -> Reply {
        redis.command(&["GET", "key"])
    }

    #[test]
    fn file_survives_a_kill() {
        let mut redis = Redis::start(FSYNC_ALWAYS);
        redis.command(&["SET", "key", "old"]);
        redis.copy_file();
        redis.command(&["SET", "key", "new"]);
        redis.kill();
        redis.restart();
        assert_eq!(value(&redis).text(), "new");
        redis.kill();
        redis.restore_copy();
        redis.restart();
        assert_eq!(value(&redis).text(), "old");
        let folder = redis.folder.clone();
        drop(redis);
        assert!(!folder.exists());
    }

    #[test]
    fn memory_does_not() {
        let mut redis = Redis::start(IN_MEMORY);
        redis.command(&["SET", "key", "value"]);
        redis.kill();
        redis.restart();
        assert_eq!(value(&redis), Reply::Nil);
    }

    #[test]
    fn frozen_server_answers_when_it_thaws() {
        let redis = Redis::start(&["--requirepass", "secret"]);
        redis.freeze();
        let (asked, begun) = (Duration::from_millis(100), Instant::now());
        thread::scope(|scope| {
            scope.spawn(|| redis.command(&["SET", "key", "value"]));
            thread::sleep(asked);
            redis.thaw();
        });
        assert!(begun.elapsed() >= asked);
        assert_eq!(value(&redis).text(), "value");
    }
}
