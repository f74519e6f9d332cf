//! The clients of a run, as tasks of one thread. A task ends only with a fault, which ends the run.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, ensure};
use test_client::client::Client;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::yield_now;
use tokio::time::{sleep, sleep_until, timeout_at};

use crate::connect;
use crate::transcript::Transcript;

/// Some servers write the 101 before they add the connection to their list, so the senders wait this long.
pub const SETTLE: Duration = Duration::from_millis(200);

/// One read empties a socket, or nearly.
const READ_BYTES: usize = 256 * 1024;

/// If no client receives anything for this long, the missing messages are lost.
const STALL: Duration = Duration::from_secs(5);

/// How long to wait for surplus messages after the last expected one.
const QUIET: Duration = Duration::from_millis(20);

/// How long to wait for what onlookers must receive. A server may show a bounded number of steps per second, so a viewer of a
/// short run gets its first ones with the next second.
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

/// Timers are exact to a millisecond, so the last ones before a message is due are spent without sleeping.
const TIMER_SLACK: Duration = Duration::from_millis(2);

/// Onlookers that begin to connect before the others' messages are read again.
const CONNECTS_PER_TURN: usize = 50;

pub struct Room {
    port: u16,
    /// One per client. The first of them are the senders.
    writers: Vec<OwnedWriteHalf>,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Notified when nothing is missing any more.
    complete: Notify,
    faults: UnboundedSender<Error>,
}

pub struct State {
    pub transcript: Transcript,
    onlookers: Vec<Onlooker>,
    chunk: Box<[u8]>,
}

/// A connection that only receives, beside the clients that chat.
#[derive(Clone, Copy, Debug)]
pub enum Onlooking {
    /// It watches `/lifecycle`, and must receive something.
    Viewer,
    /// It joins the room while others chat, with this ID. It must receive the messages up to the last one. The first may be any that
    /// was sent after the 101, since some servers write that before they add the connection to their list.
    Newcomer(usize),
}

struct Onlooker {
    onlooking: Onlooking,
    /// When it had the head of the response.
    opened: Option<Instant>,
    received: Vec<u8>,
}

impl Room {
    /// Lets clients that have their 101 chat, in the order of their IDs, from 0. Returns the result of `run`, or the first fault
    /// that a task finds.
    pub async fn with<T>(
        port: u16,
        clients: Vec<Client>,
        transcript: Transcript,
        run: impl AsyncFnOnce(&Room) -> Result<T>,
    ) -> Result<T> {
        let (sender, mut faults) = unbounded_channel();
        let state = Mutex::new(State { transcript, onlookers: Vec::new(), chunk: vec![0; READ_BYTES].into() });
        let shared = Arc::new(Shared { state, complete: Notify::new(), faults: sender });
        let mut writers = Vec::with_capacity(clients.len());
        for (id, client) in clients.into_iter().enumerate() {
            let (reader, writer) = client.into_socket().into_split();
            shared.spawn(format!("client {id}"), shared.clone().chat(id, reader));
            writers.push(writer);
        }
        let room = Room { port, writers, shared };
        tokio::select! {
            biased;
            Some(fault) = faults.recv() => Err(fault),
            result = run(&room) => result,
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Lets onlookers connect from now on, as fast as possible while the others' messages are read.
    pub fn admit(&self, onlookers: impl IntoIterator<Item = Onlooking>) {
        let onlookers: Vec<_> = onlookers.into_iter().collect();
        let new = |&onlooking| Onlooker { onlooking, opened: None, received: Vec::new() };
        self.state().onlookers = onlookers.iter().map(new).collect();
        let (port, shared) = (self.port, Arc::clone(&self.shared));
        tokio::spawn(async move {
            for (number, onlooking) in onlookers.into_iter().enumerate() {
                shared.spawn(format!("{onlooking:?}"), shared.clone().onlook(number, onlooking, port));
                if number % CONNECTS_PER_TURN == 0 {
                    yield_now().await;
                }
            }
        });
    }

    /// When the last of the onlookers got its response, if all have.
    pub fn all_opened(&self) -> Option<Instant> {
        let opened: Option<Vec<Instant>> = self.state().onlookers.iter().map(|onlooker| onlooker.opened).collect();
        opened?.into_iter().max()
    }

    /// Waits until the server has added everyone to its lists. What onlookers receive until then does not count.
    pub async fn settle(&self) {
        sleep(SETTLE).await;
        while self.state().onlookers.iter().any(|onlooker| onlooker.opened.is_none()) {
            sleep(POLL).await;
        }
        self.state().onlookers.iter_mut().for_each(|onlooker| onlooker.received.clear());
    }

    /// Makes a sender's next write. Returns the number of bytes that each client must receive for it.
    pub async fn send(&self, sender: usize, when: Instant) -> Result<usize> {
        let (write, bytes) = self.state().transcript.begin_write(sender, when);
        let writer = &self.writers[sender];
        let mut rest = &write[..];
        while !rest.is_empty() {
            match writer.try_write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => writer.writable().await?,
                Err(error) => return Err(error).with_context(|| format!("client {sender}: writing messages")),
            }
        }
        Ok(bytes)
    }

    pub async fn wait_until(&self, due: Instant) {
        sleep_until((due - TIMER_SLACK).into()).await;
        while Instant::now() < due {
            yield_now().await;
        }
    }

    /// Waits until every client has received everything. Returns false if the time is over before: the server is slow, which is
    /// no fault.
    pub async fn wait_for_all(&self, deadline: Instant) -> Result<bool> {
        let start = Instant::now();
        loop {
            let Transcript { missing, last_received, .. } = self.state().transcript;
            let stall = last_received.max(start) + STALL;
            let now = Instant::now();
            if missing == 0 || now > deadline {
                return Ok(missing == 0);
            }
            ensure!(now < stall, "{}; none received anything for {STALL:?}", self.state().transcript.loss());
            // If the time is over, the loop finds out why.
            let _ = timeout_at(deadline.min(stall).into(), self.shared.complete.notified()).await;
        }
    }

    /// Ends a run: checks that no client receives more than it must, and that every onlooker received what it must.
    pub async fn finish(&self) -> Result<()> {
        sleep(QUIET).await;
        let patience = Instant::now() + PATIENCE;
        loop {
            let checked = self.state().check_onlookers();
            if checked.is_ok() || Instant::now() > patience {
                return checked;
            }
            sleep(POLL).await;
        }
    }
}

impl State {
    fn check_onlookers(&self) -> Result<()> {
        for Onlooker { onlooking, received, .. } in &self.onlookers {
            let is_served = match onlooking {
                Onlooking::Viewer => !received.is_empty(),
                Onlooking::Newcomer(_) => self.transcript.ends_with(received),
            };
            ensure!(is_served, "{onlooking:?}: expected everything up to the end, got \"{}\"", received.escape_ascii());
        }
        Ok(())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no task panics")
    }

    fn spawn(&self, name: String, task: impl Future<Output = Result<Infallible>> + Send + 'static) {
        let faults = self.faults.clone();
        tokio::spawn(async move {
            let Err(fault) = task.await.context(name);
            // The run may have ended with another fault.
            let _ = faults.send(fault);
        });
    }

    /// Reads what a client of the chat receives.
    async fn chat(self: Arc<Self>, id: usize, reader: OwnedReadHalf) -> Result<Infallible> {
        let receive = |state: &mut State, count| {
            state.transcript.receive(id, &state.chunk[..count], Instant::now())?;
            if state.transcript.missing == 0 {
                self.complete.notify_one();
            }
            Ok(())
        };
        self.read(reader, receive).await
    }

    /// Connects an onlooker, and reads what it receives.
    async fn onlook(self: Arc<Self>, number: usize, onlooking: Onlooking, port: u16) -> Result<Infallible> {
        let client = match onlooking {
            Onlooking::Viewer => connect::view(port).await?,
            Onlooking::Newcomer(id) => connect::join(port, id).await?,
        };
        let received = client.unread().to_vec();
        self.state().onlookers[number] = Onlooker { onlooking, opened: Some(Instant::now()), received };
        let (reader, _writer) = client.into_socket().into_split();
        let receive = |state: &mut State, count| {
            state.onlookers[number].received.extend_from_slice(&state.chunk[..count]);
            Ok(())
        };
        self.read(reader, receive).await
    }

    /// Reads whatever arrives. `receive` gets the number of bytes that a read has put into the chunk.
    async fn read(
        &self,
        mut reader: OwnedReadHalf,
        receive: impl Fn(&mut State, usize) -> Result<()>,
    ) -> Result<Infallible> {
        poll_fn(|context| {
            loop {
                let mut state = self.state();
                let mut chunk = ReadBuf::new(&mut state.chunk);
                ready!(Pin::new(&mut reader).poll_read(context, &mut chunk)).context("reading")?;
                let count = chunk.filled().len();
                if count == 0 {
                    return Poll::Ready(Err(anyhow!("expected messages, got the end of the stream")));
                }
                receive(&mut state, count)?;
            }
        })
        .await
    }
}
