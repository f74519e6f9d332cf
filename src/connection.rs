//! 6. One connection's life (phases 3 and 4): from the socket to the protocol to the room, and back.
//!
//! In the RFC: the connection is OPEN from the 101 on (RFC 6455 4.1), CLOSING from the first Close frame on (7.1.3), CLOSED at
//! the end of TCP (7.1.4).
//!
//! A connection is one task. Its event loop (`Connection::converse`) reads the socket, hands the bytes to the protocol, and
//! the messages to the room. However that ends, the connection leaves the room and finishes the closing handshake
//! (`Connection::close`): the server closes TCP first (RFC 6455 7.1.1), and reads to the end, so that no reset overtakes its
//! Close frame.

pub mod ending;
mod farewell;

use crate::client::Client;
use crate::frame::{Failure, encode};
use crate::limits::{CLOSE_DEADLINE, READ_SIZE};
use crate::protocol::output::Output;
use crate::protocol::{Incoming, Protocol};
use crate::room::{Cut, Left, Member};
use crate::server::shared::Shared;
use crate::view::hooks::{Life, Start};
use ending::Ending;
use farewell::{Farewell, poll_write_all};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::yield_now;
use tokio::time::{sleep_until, timeout};
use tungstenite::protocol::frame::coding::{CloseCode, Data};

/// What a connection is upgraded for.
#[derive(Debug)]
pub enum Purpose {
    /// `/ws/{client_id}`: the chat. The place in the room is taken before the 101.
    Chat(Member),
    /// `/echo`: every message goes straight back.
    Echo,
}

/// A connection that has just been upgraded.
#[derive(Debug)]
pub struct Upgraded {
    /// Its record.
    pub client: Arc<Client>,
    /// Its socket.
    pub socket: TcpStream,
    /// Bytes that arrived after the request in the same packets.
    pub early: Vec<u8>,
    /// What it is upgraded for.
    pub purpose: Purpose,
}

/// Where a connection's frames go, and what writes them.
#[derive(Debug)]
enum Seat {
    /// In the room: its turns write what is said there.
    Room(Member),
    /// Alone: only this task writes.
    Alone(OwnedWriteHalf),
}

#[derive(Debug)]
struct Connection {
    server: Arc<Shared>,
    client: Arc<Client>,
    reader: OwnedReadHalf,
    seat: Seat,
    protocol: Protocol,
    /// Frames for this client alone: Pong, Close, echoes.
    own: Output,
    messages: u64,
    /// Bytes read after the handshake.
    bytes_in: u64,
}

/// What woke a connection.
enum Wake {
    /// This many bytes were read and processed.
    Read(usize),
    EndOfStream,
    Cut(Cut),
    Expired,
    Stopping,
}

fn going_away() -> Failure {
    Failure::new(CloseCode::Away, "the server is going away")
}

/// Longer than any connection lives.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

thread_local! {
    /// The buffers of one poll. All connections of a thread share them, so an idle connection has none.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch { read: vec![0; READ_SIZE], said: Vec::new() });
}

struct Scratch {
    read: Vec<u8>,
    said: Vec<u8>,
}

/// Lives a connection's life, from the first byte after the handshake to the end of TCP. Then the server has its permit
/// back.
///
/// An idle connection is little more than this future, so it is kept small: it has the connection once (an `async fn` would
/// keep its arguments, too), and the end of life has a box of its own (2.8 KiB a connection became 1.7).
pub fn live(server: Arc<Shared>, upgraded: Upgraded, permit: OwnedSemaphorePermit) -> impl Future<Output = ()> {
    let born = Instant::now();
    let mut connection = Connection::open(server, upgraded, born);
    async move {
        let end = connection.converse().await;
        Box::pin(connection.close(end, born)).await;
        drop(permit);
    }
}

impl Connection {
    fn open(server: Arc<Shared>, upgraded: Upgraded, now: Instant) -> Self {
        let Upgraded { client, socket, early, purpose } = upgraded;
        let (reader, writer) = socket.into_split();
        let seat = match purpose {
            Purpose::Chat(member) => {
                member.open(writer);
                Seat::Room(member)
            }
            Purpose::Echo => Seat::Alone(writer),
        };
        let protocol = Protocol::new(server.limits.max_message_size, server.limits.ping_interval, now);
        let mut connection =
            Self { server, client, reader, seat, protocol, own: Output::new(), messages: 0, bytes_in: 0 };
        if !early.is_empty() {
            SCRATCH.with_borrow_mut(|scratch| connection.receive(&early, &mut scratch.said));
        }
        connection
    }

    /// The event loop (phase 3), until a closing handshake begins or the socket ends.
    async fn converse(&mut self) -> Option<Ending> {
        let server = Arc::clone(&self.server);
        let mut stopping = pin!(server.stop.told());
        if server.stop.is_told() {
            self.protocol.close(going_away(), &mut self.own);
        }
        let mut alarm = pin!(sleep_until((Instant::now() + NEVER).into()));
        while self.protocol.closing().is_none() {
            // Every byte read defers the deadline. The alarm is reset only when it has fired, or would fire too late.
            let deadline = self.protocol.deadline().map(Into::into);
            if let Some(deadline) = deadline.filter(|deadline| alarm.is_elapsed() || *deadline < alarm.deadline()) {
                alarm.as_mut().reset(deadline);
            }
            let wake = poll_fn(|context| {
                if let Poll::Ready(wake) = self.poll_socket(context) {
                    return Poll::Ready(wake);
                }
                if deadline.is_some() && alarm.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Wake::Expired);
                }
                stopping.as_mut().poll(context).map(|()| Wake::Stopping)
            });
            match wake.await {
                // There may be more to read: the others' turn first.
                Wake::Read(READ_SIZE) => yield_now().await,
                Wake::Read(_) => {}
                Wake::EndOfStream => return Some(Ending::EndOfStream),
                Wake::Cut(Cut::Lost(kind)) => return Some(Ending::Lost(kind)),
                Wake::Cut(Cut::TooSlow(behind)) => {
                    let failure = Failure::new(CloseCode::Again, format!("too slow: {behind} bytes behind"));
                    self.protocol.close(failure, &mut self.own);
                }
                Wake::Expired if self.protocol.expire(Instant::now(), &mut self.own) => return Some(Ending::Silence),
                Wake::Expired => {}
                Wake::Stopping => self.protocol.close(going_away(), &mut self.own),
            }
        }
        None
    }

    /// Writes what this task has to write, then reads once.
    fn poll_socket(&mut self, context: &mut Context<'_>) -> Poll<Wake> {
        if let Poll::Ready(Err(cut)) = self.poll_send(context) {
            return Poll::Ready(Wake::Cut(cut));
        }
        // Stop reading from a client that isn't reading its replies, or Pongs would pile up.
        if !self.own.is_empty() {
            return Poll::Pending;
        }
        self.poll_read(context).map(|read| match read {
            Ok(0) => Wake::EndOfStream,
            Ok(length) => Wake::Read(length),
            Err(error) => Wake::Cut(Cut::Lost(error.kind())),
        })
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        match &mut self.seat {
            Seat::Room(member) => member.poll_send(context, &mut self.own),
            Seat::Alone(writer) => {
                let written = poll_write_all(writer, context, &mut self.own, &self.server.view, &self.client);
                written.map_err(|error| Cut::Lost(error.kind()))
            }
        }
    }

    /// Reads once, and processes all of it.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(&mut scratch.read);
            ready!(Pin::new(&mut self.reader).poll_read(context, &mut read))?;
            self.receive(read.filled(), &mut scratch.said);
            Poll::Ready(Ok(read.filled().len()))
        })
    }

    /// Hands input to the protocol. A text for the room goes to everyone, an echo straight back.
    fn receive(&mut self, input: &[u8], said: &mut Vec<u8>) {
        let Self { server, client, seat, protocol, own, messages, .. } = self;
        server.view.read(client, input, Start::aligned(protocol.is_between_messages()));
        self.bytes_in += input.len() as u64;
        said.clear();
        protocol.receive(input, Instant::now(), own, |message, own| {
            *messages += 1;
            match (&seat, message) {
                (Seat::Room(_), Incoming::Text(text)) => {
                    encode(Data::Text, &[client.says().as_bytes(), text.as_bytes()], said)
                }
                (Seat::Alone(_), Incoming::Text(text)) => encode(Data::Text, &[text.as_bytes()], own),
                (Seat::Alone(_), Incoming::Binary(bytes)) => encode(Data::Binary, &[bytes], own),
                (Seat::Room(_), Incoming::Binary(_)) => {
                    return Err(Failure::new(CloseCode::Unsupported, "this chat takes text only, RFC 6455 7.4.1"));
                }
            }
            Ok(())
        });
        if let Seat::Room(member) = seat {
            member.broadcast(said);
        }
    }

    /// Leaves the room, and ends the connection in order (phase 4).
    async fn close(mut self, end: Option<Ending>, born: Instant) {
        if let Some(Ending::EndOfStream) = end {
            // The client may have ended its own side only, and still read.
            let reason = "end of stream without a Close frame, RFC 6455 7.1.4";
            self.protocol.fail(Failure::new(CloseCode::Protocol, reason), &mut self.own);
        }
        let left = match self.seat {
            Seat::Alone(writer) => Left { socket: Some(writer), ..Left::default() },
            Seat::Room(member) => member.leave(),
        };
        let mut own = left.rest;
        own.append(self.own);
        let Self { server, client, reader, mut protocol, messages, bytes_in, .. } = self;
        if let (Some(writer), None | Some(Ending::EndOfStream)) = (left.socket, &end) {
            let (view, client) = (&server.view, &client);
            let farewell = Farewell { reader, writer, own: &mut own, protocol: &mut protocol, view, client };
            if timeout(CLOSE_DEADLINE, farewell.finish()).await.is_err() {
                // The socket is dropped, with all that is still on the way.
                view.shutdown(client);
            }
        }
        let closing = || protocol.closing().expect("the loop ends with a Close or with an end").clone();
        let ending = end.unwrap_or_else(|| Ending::Closed(closing()));
        let (lasted, bytes_out) = (born.elapsed(), left.bytes + own.written());
        server.view.ended(&client, Some(Life { messages, bytes_in, bytes_out, lasted }));
        ending.log(&client, lasted, messages);
    }
}
