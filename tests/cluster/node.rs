//! A node: the server program with `--redis`.

use crate::SWITCHBOARD;
use std::thread;
use std::time::{Duration, Instant};
use test_client::blocking::Client;
use test_client::program::Program;
use test_client::request::{Request, Response};
use test_client::target::Target;

/// A running node. If the test fails, dropping it prints its log.
pub struct Node {
    pub program: Program,
}

impl Node {
    /// Starts a node of the room at a URL.
    #[track_caller]
    pub fn start(url: &str) -> Self {
        Self::start_with(url, &[])
    }

    /// Starts a node with more options.
    #[track_caller]
    pub fn start_with(url: &str, options: &[&str]) -> Self {
        Self { program: SWITCHBOARD.start(&[&["--redis", url], options].concat()) }
    }

    /// Starts a node that closes its members' connections after this many seconds without Redis.
    #[track_caller]
    pub fn start_with_patience(url: &str, seconds: u64) -> Self {
        Self::start_with(url, &["--redis-patience", &seconds.to_string()])
    }

    pub fn target(&self) -> Target {
        self.program.target()
    }

    /// Connects a client to the chat, past its opening handshake.
    #[track_caller]
    pub fn join(&self, client_id: i64) -> Client {
        Client::open(self.program.address, &format!("/ws/{client_id}"))
    }

    /// The status of `GET /healthz`.
    #[track_caller]
    pub fn health(&self) -> u16 {
        self.status(&self.target().request("0").path("/healthz").without("Upgrade"))
    }

    /// The status that answers an opening handshake.
    #[track_caller]
    pub fn upgrade(&self) -> u16 {
        self.status(&self.target().request("0"))
    }

    /// The status that answers a plain request for the path of the chat, by which a page finds out why it was refused.
    #[track_caller]
    pub fn plain(&self) -> u16 {
        self.status(&self.target().request("0").without("Upgrade"))
    }

    /// The status that answers a request. A 503 says when to try again.
    #[track_caller]
    fn status(&self, request: &Request) -> u16 {
        let mut client = Client::tcp(self.program.address);
        client.send(request.bytes());
        let head = client.read_head();
        let response = Response::parse(head.as_bytes()).expect("a response");
        assert!(response.status != 503 || response.header("retry-after").is_some(), "{head}");
        response.status
    }

    /// Waits for a status of `GET /healthz`, and returns how long that took.
    #[track_caller]
    pub fn wait_for_health(&self, status: u16, within: Duration) -> Duration {
        let start = Instant::now();
        while self.health() != status {
            assert!(start.elapsed() < within, "/healthz doesn't become {status}");
            thread::sleep(Duration::from_millis(20));
        }
        start.elapsed()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if thread::panicking() {
            self.program.kill();
            for line in self.program.rest_of_log() {
                eprintln!("{}: {line}", self.program.address);
            }
        }
    }
}
