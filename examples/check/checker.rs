//! What a stage works with: connections to the server, and the failure that ends the stage.

use super::connection::{Connection, Shared};
use super::transcript::{Entry, Transcript};
use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;
use test_client::client::Client;
use test_client::request::{Request, Response};
use test_client::started::{Group, Started};
use test_client::target::Target;
use tokio::runtime::Builder;
use tokio::time::timeout;

/// The pause between two attempts to connect to a server that starts.
const PAUSE: Duration = Duration::from_millis(20);

const NOT_LISTENING: &str = "Start the server first, or let --start do it. Is the port right? A server may listen on ::1 \
                             alone, or on another interface.";
const ENDED_EARLY: &str = "Run the command by hand, with PORT set, and read what it prints.";
const OTHER_PORT: &str = "The checker sets PORT in the server's environment. Does the server listen on that port?";
const OLD_VERSION: &str = "The version at the start of the status line: which one does RFC 6455 4.1 ask for, and where does \
                           your HTTP code set it?";
const NO_ROUTE: &str = "This request is a valid opening handshake. Does the server have a route for its path yet?";
const NO_UPGRADE: &str =
    "This request is a valid opening handshake. Which of its header fields made the server refuse it?";

/// What went wrong in a stage.
#[derive(Clone, Debug)]
pub struct Failure {
    pub expected: String,
    pub came: String,
    /// Empty means: the stage's own.
    pub hint: &'static str,
    pub cause: Cause,
}

/// How a stage noticed that something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The wrong thing came.
    Wrong,
    /// Nothing came, or not all of it, before the deadline.
    Silence,
    /// The connection ended first.
    Ended,
    /// There is no server.
    NoServer,
}

impl Failure {
    pub fn new(expected: impl Into<String>, came: impl Into<String>) -> Self {
        Self { expected: expected.into(), came: came.into(), hint: "", cause: Cause::Wrong }
    }

    pub fn cause(self, cause: Cause) -> Self {
        Self { cause, ..self }
    }

    pub fn hint(self, hint: &'static str) -> Self {
        Self { hint, ..self }
    }
}

/// Adds to failures what only a stage knows.
pub trait Explain {
    /// Gives the failure this hint, unless it has a more exact one.
    fn or_hint(self, hint: &'static str) -> Self;

    /// Says what the expected answer is an answer to.
    fn to(self, what: &str) -> Self;
}

impl<T> Explain for Result<T, Failure> {
    fn or_hint(self, hint: &'static str) -> Self {
        self.map_err(|failure| if failure.hint.is_empty() { failure.hint(hint) } else { failure })
    }

    fn to(self, what: &str) -> Self {
        self.map_err(|failure| Failure { expected: format!("{}, in answer to {what}", failure.expected), ..failure })
    }
}

/// The server's process.
enum State {
    /// The checker hasn't started it.
    NotStarted,
    Runs,
    Ended(ExitStatus),
}

/// The server, as a stage sees it.
pub struct Checker {
    pub target: Target,
    shared: Rc<Shared>,
    command: Option<String>,
    started: Option<Started>,
}

impl Checker {
    pub fn new(target: Target, command: Option<String>) -> io::Result<Self> {
        let shared = Rc::new(Shared {
            runtime: Builder::new_current_thread().enable_all().build()?,
            patience: target.patience,
            transcript: RefCell::default(),
            members: RefCell::default(),
        });
        Ok(Self { target, shared, command, started: None })
    }

    /// Begins a stage: with an empty transcript, and with a server, if there is a command for it. Returns the server's
    /// process group if it has just been started.
    pub fn begin(&mut self) -> io::Result<Option<Group>> {
        self.shared.transcript.take();
        self.shared.members.take();
        let runs = matches!(self.state(), State::Runs);
        let Some(command) = self.command.as_ref().filter(|_| !runs) else {
            return Ok(None);
        };
        // Dropping the old server first ends the rest of its process group.
        self.started = None;
        let started = Started::run(command, self.target.address)?;
        let group = started.group();
        self.started = Some(started);
        Ok(Some(group))
    }

    /// Begins the next of several cases of a stage. Only what the last one has sent and received is shown.
    pub fn next_case(&self) {
        self.shared.transcript.take();
    }

    /// What the stage has sent and received.
    pub fn transcript(&self) -> Transcript {
        self.shared.transcript.take()
    }

    fn state(&mut self) -> State {
        match self.started.as_mut().map(Started::status) {
            None => State::NotStarted,
            Some(None) => State::Runs,
            Some(Some(status)) => State::Ended(status),
        }
    }

    /// After a failure: what became of the server, if it isn't running any more, and the last lines it printed.
    pub fn aftermath(&mut self) -> (Option<String>, Vec<String>) {
        let output = self.started.as_mut().map(Started::last_output).unwrap_or_default();
        let state = match self.state() {
            State::Ended(status) => Some(format!("the server has ended: {status}")),
            State::Runs => None,
            State::NotStarted => self.try_connect().err().map(|error| format!("the server is gone: {error}")),
        };
        (state, output.lines().map(without_controls).collect())
    }

    /// A valid opening handshake of a new client, and its id.
    pub fn opening(&self) -> (i64, Request) {
        let id = self.target.id();
        (id, self.target.request(&id.to_string()))
    }

    fn try_connect(&self) -> io::Result<Client> {
        let connect = async { timeout(self.target.patience, Client::connect(self.target.address)).await };
        self.shared.runtime.block_on(connect).unwrap_or(Err(ErrorKind::TimedOut.into()))
    }

    /// Connects, and sends nothing yet.
    pub fn connect(&mut self, id: i64) -> Result<Connection, Failure> {
        self.connect_with(id, Self::try_connect)
    }

    fn connect_with(&mut self, id: i64, connect: fn(&Self) -> io::Result<Client>) -> Result<Connection, Failure> {
        loop {
            match connect(self) {
                Ok(client) => return Ok(Connection::new(id, client, Rc::clone(&self.shared))),
                Err(error) if !self.started.as_mut().is_some_and(Started::may_still_start) => {
                    return Err(self.not_listening(&error));
                }
                Err(_not_yet) => std::thread::sleep(PAUSE),
            }
        }
    }

    fn not_listening(&mut self, error: &io::Error) -> Failure {
        let address = self.target.address;
        let (came, hint) = match self.state() {
            State::Ended(status) => (format!("{error}; the command has ended: {status}"), ENDED_EARLY),
            State::Runs => (format!("{error}; the command still runs"), OTHER_PORT),
            State::NotStarted => (error.to_string(), NOT_LISTENING),
        };
        Failure::new(format!("a server that listens on {address}"), came).hint(hint).cause(Cause::NoServer)
    }

    /// Connects, sends a request, and reads the head of the response.
    pub fn ask(&mut self, id: i64, request: &[u8]) -> Result<(Connection, Response), Failure> {
        let mut connection = self.connect(id)?;
        connection.send_request(request);
        let response = connection.head()?;
        Ok((connection, response))
    }

    /// Connects a new client to the chat, past its opening handshake.
    pub fn join(&mut self) -> Result<Connection, Failure> {
        let (id, request) = self.opening();
        self.open(id, &request.bytes())
    }

    /// Connects a client to the chat with this request.
    pub fn open(&mut self, id: i64, request: &[u8]) -> Result<Connection, Failure> {
        let (connection, response) = self.ask(id, request)?;
        self.admit(connection, &response)
    }

    fn admit(&self, connection: Connection, response: &Response) -> Result<Connection, Failure> {
        is_101(response)?;
        self.shared.transcript.borrow_mut().fold_handshake(connection.id);
        Ok(connection.joined())
    }

    /// Connects a new client that has a tiny receive buffer.
    pub fn join_with_small_buffer(&mut self) -> Result<Connection, Failure> {
        let (id, request) = self.opening();
        let mut connection = self.connect_with(id, |checker| {
            checker.shared.runtime.block_on(Client::connect_small(checker.target.address))
        })?;
        connection.send_request(&request.bytes());
        let response = connection.head()?;
        self.admit(connection, &response)
    }
}

/// A line of the server's output, safe for a terminal.
fn without_controls(line: &str) -> String {
    line.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Checks that a response opens a WebSocket, without its other header fields.
pub fn is_101(response: &Response) -> Result<(), Failure> {
    let Response { version, status, .. } = response;
    let failure = Failure::new("HTTP/1.1 101 Switching Protocols", format!("{version} {status}"));
    match (version.as_str(), status) {
        ("HTTP/1.1", 101) => Ok(()),
        ("HTTP/1.1", 404) => Err(failure.hint(NO_ROUTE)),
        ("HTTP/1.1", _) => Err(failure.hint(NO_UPGRADE)),
        _ => Err(failure.hint(OLD_VERSION)),
    }
}

impl Shared {
    pub fn record(&self, entry: Entry) {
        self.transcript.borrow_mut().add(entry);
    }
}
