//! A Redis and the nodes that share it, as processes. Dropping a room kills them.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use test_client::started::free_port;

use crate::process::Process;
use crate::system;
use crate::wire::Protocol;

const ANSWER_DEADLINE: Duration = Duration::from_secs(2);

/// How long Redis may take from when it listens until it answers.
const READY_DEADLINE: Duration = Duration::from_secs(20);
const READY_POLL: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// switchboard without `--redis`. Its Redis is idle.
    Alone,
    Switchboard,
    /// Socket.IO with its Redis Streams adapter.
    SocketIo,
    /// FastAPI with broadcaster, which uses Pub/Sub.
    FastApi,
}

/// A kind of server and its number of nodes.
#[derive(Clone, Copy)]
pub struct Setup {
    pub name: &'static str,
    pub kind: Kind,
    pub nodes: usize,
}

const fn setup(name: &'static str, kind: Kind, nodes: usize) -> Setup {
    Setup { name, kind, nodes }
}

pub const SETUPS: [Setup; 8] = [
    setup("alone", Kind::Alone, 1),
    setup("switchboard/1", Kind::Switchboard, 1),
    setup("switchboard/2", Kind::Switchboard, 2),
    setup("switchboard/3", Kind::Switchboard, 3),
    setup("socketio/1", Kind::SocketIo, 1),
    setup("socketio/2", Kind::SocketIo, 2),
    setup("fastapi/1", Kind::FastApi, 1),
    setup("fastapi/2", Kind::FastApi, 2),
];

impl Kind {
    /// Whether it is this project's: a fault of it fails the benchmark.
    pub fn is_ours(self) -> bool {
        matches!(self, Kind::Alone | Kind::Switchboard)
    }

    pub fn is_installed(self) -> bool {
        self.is_ours() || peers().exists()
    }

    /// The messages that a sender has on their way, at most, when the most messages are measured. Of 16, 64, 256, 1,024, 2,048
    /// and 8,192, each server is fastest with this.
    pub fn window(self) -> usize {
        if self.is_ours() { 2_048 } else { 64 }
    }

    /// The stream that holds the messages.
    fn stream_key(self) -> Option<&'static str> {
        match self {
            Kind::Switchboard => Some("switchboard:{bench}:log"),
            Kind::SocketIo => Some("socket.io"),
            Kind::Alone | Kind::FastApi => None,
        }
    }

    /// The shell command that starts a node, with `PORT` in its environment.
    fn command(self, redis: &str) -> String {
        let peers = peers();
        let peers = peers.display();
        let switchboard = concat!("'", env!("CARGO_BIN_EXE_switchboard"), "' --host 127.0.0.1 --port $PORT");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/fastapi_broadcaster.py");
        match self {
            Kind::Alone => switchboard.to_owned(),
            Kind::Switchboard => format!("{switchboard} --redis {redis}/bench"),
            Kind::SocketIo => format!("env REDIS={redis} NODE_ENV=production node '{peers}/socketio/socketio.mjs'"),
            Kind::FastApi => format!("env REDIS={redis} '{peers}/venv/bin/python' '{script}'"),
        }
    }
}

/// Where `benches/peers/setup.sh` installs the other servers.
fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers")
}

pub struct Room {
    pub kind: Kind,
    /// Redis's `appendfsync`.
    fsync: String,
    /// For Redis's files.
    folder: PathBuf,
    redis: Process,
    pub nodes: Vec<Process>,
}

impl Room {
    /// Starts everything, and waits until each node listens.
    pub fn start(setup: Setup, fsync: &str) -> io::Result<Self> {
        let port = free_port()?;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cluster-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let redis = start_redis(port, fsync, &folder)?;
        let mut room = Self { kind: setup.kind, fsync: fsync.to_owned(), folder, redis, nodes: Vec::new() };
        room.redis.wait_until_it_listens()?;
        let start = Instant::now();
        while !room.is_redis_ready() {
            if start.elapsed() > READY_DEADLINE {
                return Err(io::Error::other("Redis doesn't answer PING"));
            }
            thread::sleep(READY_POLL);
        }
        for _ in 0..setup.nodes {
            let command = setup.kind.command(&format!("redis://127.0.0.1:{port}"));
            let mut node = Process::start(&command, free_port()?)?;
            node.wait_until_it_listens()?;
            room.nodes.push(node);
        }
        Ok(room)
    }

    pub fn protocol(&self) -> Protocol {
        if self.kind == Kind::SocketIo { Protocol::SocketIo } else { Protocol::WebSocket }
    }

    /// Kills Redis with SIGKILL.
    pub fn kill_redis(&mut self) {
        self.redis.kill();
    }

    /// Starts Redis again, with its data. It may need time to load them.
    pub fn restart_redis(&mut self) -> io::Result<()> {
        self.redis = start_redis(self.redis.port, &self.fsync, &self.folder)?;
        Ok(())
    }

    pub fn is_redis_ready(&self) -> bool {
        self.ask_redis("PING").is_ok_and(|answer| answer == "+PONG")
    }

    /// Sends a command in the inline form, and reads one line.
    fn ask_redis(&self, command: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.redis.port))?;
        stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// The CPU time so far of all nodes, of Redis, and of the clients, in seconds.
    pub fn cpu(&self) -> [f64; 3] {
        let cpu = |process: &Process| system::cpu_time(process.id());
        [self.nodes.iter().map(cpu).sum(), cpu(&self.redis), system::cpu_time(std::process::id())]
    }

    /// The resident memory of the largest node and of Redis, and the part of the latter that the stream takes, in bytes.
    pub fn memory(&self) -> [f64; 3] {
        let resident = |process: &Process| system::memory(process.id());
        let ask = |key| self.ask_redis(&format!("MEMORY USAGE {key} SAMPLES 0")).ok();
        let stream = self.kind.stream_key().and_then(ask).and_then(|answer| answer.strip_prefix(':')?.parse().ok());
        let largest = self.nodes.iter().map(resident).fold(f64::NAN, f64::max);
        [largest, resident(&self.redis), stream.unwrap_or(f64::NAN)]
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.nodes.iter_mut().for_each(Process::kill);
        self.redis.kill();
        // Whatever remains is in the target folder.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn start_redis(port: u16, fsync: &str, folder: &Path) -> io::Result<Process> {
    let command = format!(
        "redis-server --bind 127.0.0.1 --port {port} --dir '{}' --save '' --appendonly yes --appendfsync {fsync} \
         --loglevel warning",
        folder.display()
    );
    Process::start(&command, port)
}
