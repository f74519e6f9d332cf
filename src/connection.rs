//! 6. One connection's life (phases 3 and 4): socket to protocol to room, and back.
//!
//! In the RFC: the connection is OPEN from the 101 on (RFC 6455 4.1), CLOSING from the first Close frame on (7.1.3), CLOSED at
//! the end of TCP (7.1.4).
//!
//! A connection is one task. In the event loop (`Connection::converse`) it takes what its socket holds, hands it to the
//! protocol, and what was said to the room. However that ends, it leaves the room and finishes the closing handshake
//! (`Connection::close`): the server closes TCP first (RFC 6455 7.1.1), and reads to the end, so that no reset
//! overtakes its Close frame.

use crate::frame::{Failure, encode};
use crate::http::refusal::quote;
use crate::limits::{CLOSE_DEADLINE, Limits, READ_SIZE};
use crate::protocol::{Closing, Data, Output, Protocol};
use crate::room::{Cut, Member};
use crate::server::Stop;
use crate::view::lifecycle::{Event, Lifecycle};
use crate::view::trace::Trace;
use std::cell::RefCell;
use std::fmt::{self, Display, Formatter};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::yield_now;
use tokio::time::{sleep_until, timeout};
use tungstenite::protocol::frame::coding::{CloseCode, Data as Opcode};

/// What a connection was upgraded for.
#[derive(Debug)]
pub enum Purpose {
    /// `/ws/{client_id}`: the chat, with the place in the room taken before the 101.
    Chat {
        /// The id that the client calls itself by.
        client_id: i64,
        /// Its place.
        member: Member,
    },
    /// `/echo`: every message straight back.
    Echo,
}

impl Display for Purpose {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chat { client_id, .. } => write!(f, "Client #{client_id}"),
            Self::Echo => write!(f, "Echo"),
        }
    }
}

/// How a connection ended, and what it did in its life.
#[derive(Debug)]
pub struct Ending {
    /// `Client #42` or `Echo`.
    pub who: Box<str>,
    /// Why.
    pub why: End,
    /// From the 101 to the end of TCP.
    pub lasted: Duration,
    /// How many messages the client sent.
    pub messages: u64,
}

/// Why a connection ended.
#[derive(Debug)]
pub enum End {
    /// With a closing handshake, or the server's half of one.
    Closed(Closing),
    /// The client ended its side of TCP without a Close frame.
    EndOfStream,
    /// The socket failed: a reset, for instance.
    Lost(io::ErrorKind),
    /// Nothing came any more, not even an answer to a Ping.
    Silence,
}

impl Display for Ending {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { who, why, lasted, messages } = self;
        let plural = if *messages == 1 { "" } else { "s" };
        write!(f, "{who} disconnected: {why}, after {:.1} s and {messages} message{plural}", lasted.as_secs_f64())
    }
}

impl Display for End {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(Closing::ByClient(None)) => write!(f, "the client closed without a code"),
            Self::Closed(Closing::ByClient(Some(close))) => {
                write!(f, "the client closed with {} \"{}\"", close.code, quote(close.reason.as_bytes()))
            }
            Self::Closed(Closing::ByServer { failure, answered }) => {
                let answer = if *answered { "" } else { ", without an answer" };
                write!(f, "the server closed with {} \"{}\"{answer}", failure.code, failure.reason)
            }
            Self::EndOfStream => write!(f, "end of stream without a Close frame"),
            Self::Lost(kind) => write!(f, "{kind}"),
            Self::Silence => write!(f, "silence, and no answer to a Ping"),
        }
    }
}

impl Ending {
    /// Whether this is a way to end that needs nobody's attention.
    pub fn is_expected(&self) -> bool {
        match &self.why {
            End::Closed(Closing::ByClient(_)) | End::EndOfStream | End::Lost(_) | End::Silence => true,
            End::Closed(Closing::ByServer { failure, .. }) => failure.code == CloseCode::Away,
        }
    }
}

/// Where a connection's frames go, and who writes them.
#[derive(Debug)]
enum Seat {
    /// In the room: its turns write what is said there.
    Room { member: Member, says: Box<str> },
    /// Alone: nobody else writes.
    Alone(OwnedWriteHalf),
}

#[derive(Debug)]
struct Connection {
    reader: OwnedReadHalf,
    seat: Seat,
    protocol: Protocol,
    /// Frames for this client alone: Pong, Close, echoes.
    own: Output,
    messages: u64,
    /// Behind the handshake.
    bytes_in: u64,
    /// Of frames for this client alone.
    bytes_out: u64,
    trace: Trace,
}

/// What is left of a connection at its end.
struct Life {
    why: End,
    trace: Trace,
    messages: u64,
    bytes_in: u64,
    bytes_out: u64,
}

/// What woke a connection.
enum Wake {
    /// So many bytes were read, and worked through.
    Read(usize),
    EndOfStream,
    Cut(Cut),
    Expired,
    Stopping,
}

fn going_away() -> Failure {
    Failure::new(CloseCode::Away, "the server is going away")
}

/// Far enough.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

thread_local! {
    /// What is read and what is said within one poll. A thread's connections share both, so that an idle one has neither.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch { read: vec![0; READ_SIZE], said: Vec::new() });
}

struct Scratch {
    read: Vec<u8>,
    said: Vec<u8>,
}

/// A connection that has just been upgraded.
#[derive(Debug)]
pub struct Upgraded {
    /// The connection's number.
    pub number: u64,
    /// Its socket.
    pub socket: TcpStream,
    /// What came in the handshake's own packets, behind the request.
    pub early: Vec<u8>,
    /// What it was upgraded for.
    pub purpose: Purpose,
}

/// Lives a connection's life, from the first byte behind the handshake to the end of TCP.
///
/// An idle connection is little more than this future, so it is kept small: the connection stands in it once (an `async fn`
/// would keep its arguments twice), and the end of its life has a box of its own (2.8 KiB a connection became 1.7).
pub fn live<'a>(
    upgraded: Upgraded,
    limits: &Limits,
    lifecycle: Arc<Lifecycle>,
    stop: &'a Stop,
) -> impl Future<Output = Ending> + use<'a> {
    let who = upgraded.purpose.to_string().into_boxed_str();
    let born = Instant::now();
    let mut connection = Connection::open(upgraded, limits, lifecycle, born);
    async move {
        let end = connection.converse(stop).await;
        let Life { why, trace, messages, bytes_in, bytes_out } = Box::pin(connection.close(end)).await;
        let lasted = born.elapsed();
        trace.step(|| Event::Life { messages, bytes_in, bytes_out, lasted });
        Ending { who, why, lasted, messages }
    }
}

impl Connection {
    fn open(upgraded: Upgraded, limits: &Limits, lifecycle: Arc<Lifecycle>, now: Instant) -> Self {
        let Upgraded { number, socket, early, purpose } = upgraded;
        let (reader, writer) = socket.into_split();
        let trace = Trace::new(lifecycle, number);
        let seat = match purpose {
            Purpose::Chat { client_id, member } => {
                member.open(writer);
                trace.joined(member.members());
                Seat::Room { member, says: format!("Client #{client_id} says: ").into() }
            }
            Purpose::Echo => Seat::Alone(writer),
        };
        let protocol = Protocol::new(limits.max_message_size, limits.ping_interval, now);
        let mut connection =
            Self { reader, seat, protocol, own: Output::new(), messages: 0, bytes_in: 0, bytes_out: 0, trace };
        SCRATCH.with_borrow_mut(|scratch| connection.receive(&early, &mut scratch.said));
        connection
    }

    /// The event loop (phase 3), until a closing handshake begins or the socket ends.
    async fn converse(&mut self, stop: &Stop) -> Option<End> {
        let mut stopping = pin!(stop.told());
        if stop.is_told() {
            self.begin_close(going_away());
        }
        let mut alarm = pin!(sleep_until((Instant::now() + NEVER).into()));
        while self.protocol.closing().is_none() {
            // Each byte that comes puts the deadline off. The alarm is set anew only when it has gone off, or would go off
            // too late.
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
                // There may be more: the others' turn first.
                Wake::Read(READ_SIZE) => yield_now().await,
                Wake::Read(_) => {}
                Wake::EndOfStream => return Some(End::EndOfStream),
                Wake::Cut(Cut::Lost(kind)) => return Some(End::Lost(kind)),
                Wake::Cut(Cut::TooSlow(behind)) => {
                    self.begin_close(Failure::new(CloseCode::Again, format!("too slow: {behind} bytes behind")));
                }
                Wake::Expired if self.expire() => return Some(End::Silence),
                Wake::Expired => {}
                Wake::Stopping => self.begin_close(going_away()),
            }
        }
        None
    }

    /// Writes what this task has to write, then reads once.
    fn poll_socket(&mut self, context: &mut Context<'_>) -> Poll<Wake> {
        if let Poll::Ready(Err(cut)) = self.poll_send(context) {
            return Poll::Ready(Wake::Cut(cut));
        }
        // Who does not take the answers is not asked for more: his Pongs would pile up.
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
            Seat::Room { member, .. } => member.poll_send(context, &mut self.own),
            Seat::Alone(writer) => {
                poll_write_all(writer, context, &mut self.own).map_err(|error| Cut::Lost(error.kind()))
            }
        }
    }

    /// Reads once, and works through all of it.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(&mut scratch.read);
            ready!(Pin::new(&mut self.reader).poll_read(context, &mut read))?;
            self.receive(read.filled(), &mut scratch.said);
            Poll::Ready(Ok(read.filled().len()))
        })
    }

    /// Hands input to the protocol: a text for the room goes to everyone, an echo comes straight back.
    fn receive(&mut self, input: &[u8], said: &mut Vec<u8>) {
        let Self { seat, protocol, own, messages, trace, .. } = self;
        let before = own.len();
        self.bytes_in += input.len() as u64;
        trace.came(input, protocol.is_between_messages());
        said.clear();
        protocol.receive(input, Instant::now(), own, |message, own| {
            *messages += 1;
            match (&seat, message) {
                (Seat::Room { says, .. }, Data::Text(text)) => {
                    encode(Opcode::Text, &[says.as_bytes(), text.as_bytes()], said);
                    Ok(())
                }
                (Seat::Alone(_), Data::Text(text)) => {
                    encode(Opcode::Text, &[text.as_bytes()], own);
                    Ok(())
                }
                (Seat::Alone(_), Data::Binary(bytes)) => {
                    encode(Opcode::Binary, &[bytes], own);
                    Ok(())
                }
                (Seat::Room { .. }, Data::Binary(_)) => {
                    Err(Failure::new(CloseCode::Unsupported, "this chat takes text only, RFC 6455 7.4.1"))
                }
            }
        });
        self.note_own(before);
        if let Seat::Room { member, .. } = &self.seat {
            member.broadcast(said);
        }
    }

    /// Frames for this client alone stand in the output, behind the first `before` bytes.
    fn note_own(&mut self, before: usize) {
        self.bytes_out += (self.own.len() - before) as u64;
        self.trace.begun(self.protocol.closing());
        self.trace.goes(&self.own, before);
        self.trace.done(self.protocol.closing());
    }

    /// The server closes, for this reason.
    fn begin_close(&mut self, failure: Failure) {
        let before = self.own.len();
        self.protocol.close(failure, &mut self.own);
        self.note_own(before);
    }

    /// Does what is due. True if nobody is there any more.
    fn expire(&mut self) -> bool {
        let before = self.own.len();
        let silent = self.protocol.expire(Instant::now(), &mut self.own);
        self.note_own(before);
        silent
    }

    /// Leaves the room, and ends the connection in order (phase 4).
    async fn close(mut self, end: Option<End>) -> Life {
        if let Some(End::EndOfStream) = end {
            // It may have ended only its own side, and still read.
            let before = self.own.len();
            let reason = "end of stream without a Close frame, RFC 6455 7.1.4";
            self.protocol.fail(Failure::new(CloseCode::Protocol, reason), &mut self.own);
            self.note_own(before);
        }
        let writer = match self.seat {
            Seat::Alone(writer) => Some(writer),
            Seat::Room { member, .. } => {
                let left = member.leave();
                self.trace.left(left.members);
                self.bytes_out += left.bytes;
                // The frame that was begun comes before all others.
                let own = std::mem::replace(&mut self.own, left.rest.into());
                self.own.extend(own);
                left.socket
            }
        };
        if let (Some(writer), None | Some(End::EndOfStream)) = (writer, &end) {
            let farewell = Farewell {
                reader: self.reader,
                writer,
                own: self.own,
                protocol: &mut self.protocol,
                trace: &mut self.trace,
            };
            // Past the deadline the socket is dropped, with whatever is still on the way.
            let _ = timeout(CLOSE_DEADLINE, farewell.finish()).await;
        }
        let closing = || self.protocol.closing().expect("the loop ends with a Close or with an end").clone();
        let why = end.unwrap_or_else(|| End::Closed(closing()));
        self.trace.closed(&why);
        Life { why, trace: self.trace, messages: self.messages, bytes_in: self.bytes_in, bytes_out: self.bytes_out }
    }
}

/// The end of a connection that has left the room: its last frames, the client's Close, the end of TCP.
struct Farewell<'a> {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    own: Output,
    protocol: &'a mut Protocol,
    trace: &'a mut Trace,
}

impl Farewell<'_> {
    async fn finish(mut self) -> io::Result<()> {
        // Reading goes on meanwhile: the client may be unable to read before it has written.
        let mut ended = false;
        poll_fn(|context| self.poll_closed(context, &mut ended)).await?;
        poll_fn(|context| Pin::new(&mut self.writer).poll_shutdown(context)).await?;
        while !ended {
            ended = poll_fn(|context| self.poll_discard(context)).await?;
        }
        Ok(())
    }

    /// Ready when all is written and nothing more is awaited from the client.
    fn poll_closed(&mut self, context: &mut Context<'_>, ended: &mut bool) -> Poll<io::Result<()>> {
        let sent = poll_write_all(&mut self.writer, context, &mut self.own)?;
        while !*ended && (sent.is_pending() || !self.protocol.is_closed()) {
            *ended = ready!(self.poll_discard(context))?;
        }
        sent.map(Ok)
    }

    /// Reads once. Nothing counts any more but the client's Close. True at the end of the stream.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(&mut scratch.read);
            ready!(Pin::new(&mut self.reader).poll_read(context, &mut read))?;
            if !self.protocol.is_closed() {
                self.trace.came(read.filled(), self.protocol.is_between_messages());
            }
            self.protocol.receive(read.filled(), Instant::now(), &mut self.own, |_, _| Ok(()));
            self.trace.done(self.protocol.closing());
            Poll::Ready(Ok(read.filled().is_empty()))
        })
    }
}

/// Writes all of `output`, as the socket takes it.
fn poll_write_all(writer: &mut OwnedWriteHalf, context: &mut Context<'_>, output: &mut Output) -> Poll<io::Result<()>> {
    while !output.is_empty() {
        let written = ready!(Pin::new(&mut *writer).poll_write(context, output.as_slices().0))?;
        output.drain(..written);
    }
    Poll::Ready(Ok(()))
}
