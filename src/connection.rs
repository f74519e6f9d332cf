//! 6. One WebSocket connection (phases 3 and 4): its socket, its protocol, and the room.
//!
//! In the RFC: the connection is OPEN after the 101 (RFC 6455 4.1), CLOSING after the first Close frame (7.1.3), and CLOSED
//! once TCP is closed (7.1.4).
//!
//! A connection is one task. Its event loop ([`run`]) reads the socket, hands the bytes to the protocol, and the messages to the
//! room. When the loop ends, the connection leaves the room and, unless its socket failed or the client went silent, finishes
//! the closing handshake (`Connection::close`): the server closes TCP first (RFC 6455 7.1.1). Unless the client's Close was its
//! last frame, it reads to the end before, so that no reset overtakes its own Close.

pub mod ending;
mod farewell;

use crate::client::Client;
use crate::frame::{Failure, encode};
use crate::limits::{CLOSE_DEADLINE, MAX_OWN_OUTPUT, MAX_PENDING, READ_SIZE};
use crate::protocol::output::Output;
use crate::protocol::{Incoming, Protocol};
use crate::room::member::{Cut, Member};
use crate::server::shared::Shared;
use crate::server::unfinished::{Share, given_up};
use crate::view::record::{Life, Start};
use bytes::Bytes;
use ending::Ending;
use farewell::poll_write_all;
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
use tokio::sync::futures::OwnedNotified;
use tokio::task::yield_now;
use tokio::time::{Sleep, sleep_until, timeout};
use tungstenite::protocol::frame::coding::{CloseCode, Data};

/// The endpoint that a connection is upgraded for.
#[derive(Debug)]
pub enum Purpose {
    /// `/ws/{client_id}`: the chat. The connection joins the room before the 101 is written.
    Chat(Member),
    /// `/echo`: every message goes back to the client.
    Echo,
}

/// A connection that has just been upgraded.
#[derive(Debug)]
pub struct Upgraded {
    /// What all connections share.
    pub server: Arc<Shared>,
    /// What the server knows of it.
    pub client: Arc<Client>,
    /// The socket, out of hyper.
    pub socket: TcpStream,
    /// Bytes that hyper has read beyond the request.
    pub early: Bytes,
    /// The endpoint.
    pub purpose: Purpose,
    /// Its place among all connections, released once TCP is closed.
    pub permit: OwnedSemaphorePermit,
}

/// What writes a connection's frames.
#[derive(Debug)]
enum Seat {
    /// In the room: its turns write, or this task.
    Room(Member),
    /// Alone: only this task writes. The room tells its members of a stop, so others wait for the signal.
    Alone(OwnedWriteHalf, Pin<Box<OwnedNotified>>),
}

#[derive(Debug)]
struct Connection {
    server: Arc<Shared>,
    client: Arc<Client>,
    reader: OwnedReadHalf,
    seat: Seat,
    protocol: Protocol,
    /// Bytes that hyper has read beyond the request, until they are processed.
    early: Option<Box<Bytes>>,
    /// Its share in the unfinished messages.
    share: Share,
    /// For this client alone: control frames and echoes.
    own: Output,
    messages: u64,
    /// Bytes read before the closing handshake.
    bytes_in: u64,
    /// The last field, so that it is dropped once TCP is closed.
    _permit: OwnedSemaphorePermit,
}

/// The reason that a connection's task woke.
enum Wake {
    /// This many bytes were read and processed.
    Read(usize),
    EndOfStream,
    Cut(Cut),
    GivenUp,
    Expired,
    Stopping,
}

/// The failure of a connection that the stop closes.
pub fn going_away() -> Failure {
    Failure::new(CloseCode::Away, "the server is going away")
}

/// Far enough away that an alarm does not fire.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

thread_local! {
    /// Scratch buffers, shared by all connections of a thread, so that an idle connection owns none.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch { read: vec![0; READ_SIZE], said: Vec::new() });
}

struct Scratch {
    read: Vec<u8>,
    said: Vec<u8>,
}

/// Runs a connection, from the first byte after the handshake until TCP is closed: the event loop (phase 3), until a closing
/// handshake begins or the connection fails, and then the end (phase 4).
///
/// An idle connection is little more than this future, so it is kept small. An `async fn` would store its arguments besides
/// the connection. `close` is boxed, so that its state does not enlarge the future.
pub fn run(upgraded: Upgraded) -> impl Future<Output = ()> {
    let mut connection = Connection::open(upgraded);
    async move {
        let end = {
            let mut alarm = pin!(sleep_until(connection.deadline().into()));
            loop {
                if connection.protocol.closing().is_some() {
                    break None;
                }
                let wake = poll_fn(|context| connection.poll_wake(alarm.as_mut(), context)).await;
                let is_full = matches!(wake, Wake::Read(READ_SIZE));
                if let Some(ending) = connection.handle(wake) {
                    break Some(ending);
                }
                if is_full {
                    // More input may be waiting. Let other tasks run first.
                    yield_now().await;
                }
                alarm.as_mut().reset(connection.deadline().into());
            }
        };
        Box::pin(connection.close(end)).await;
    }
}

impl Connection {
    fn open(upgraded: Upgraded) -> Self {
        let Upgraded { server, client, socket, early, purpose, permit: _permit } = upgraded;
        let (reader, writer) = socket.into_split();
        let seat = match purpose {
            Purpose::Chat(member) => {
                member.open(writer);
                Seat::Room(member)
            }
            Purpose::Echo => Seat::Alone(writer, Box::pin(server.stop.told())),
        };
        let protocol = Protocol::new(server.limits.max_message_size, server.limits.ping_interval, Instant::now());
        let early = (!early.is_empty()).then(|| Box::new(early));
        let (share, own) = (Share::default(), Output::new());
        let mut connection =
            Self { server, client, reader, seat, protocol, early, share, own, messages: 0, bytes_in: 0, _permit };
        if connection.server.stop.is_told() {
            connection.protocol.close(going_away(), &mut connection.own);
        }
        connection
    }

    /// When the alarm is to fire.
    fn deadline(&self) -> Instant {
        self.protocol.deadline().unwrap_or_else(|| Instant::now() + NEVER)
    }

    /// Ready when there is something to do. What was read has been processed.
    fn poll_wake(&mut self, alarm: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<Wake> {
        if self.share.poll_given_up(context).is_ready() {
            return Poll::Ready(Wake::GivenUp);
        }
        if let Poll::Ready(wake) = self.poll_socket(context) {
            return Poll::Ready(wake);
        }
        if alarm.poll(context).is_ready() {
            return Poll::Ready(Wake::Expired);
        }
        match &mut self.seat {
            Seat::Room(_) => Poll::Pending,
            Seat::Alone(_, stopping) => stopping.as_mut().poll(context).map(|()| Wake::Stopping),
        }
    }

    /// Begins a closing handshake, unless the connection goes on. Returns how the connection ended, if it did without one.
    fn handle(&mut self, wake: Wake) -> Option<Ending> {
        let Self { protocol, own, .. } = self;
        match wake {
            Wake::Read(_) => {}
            Wake::EndOfStream => return Some(Ending::EndOfStream),
            Wake::Cut(Cut::Lost(kind)) => return Some(Ending::Lost(kind)),
            Wake::Cut(Cut::Dismissed(failure)) => protocol.close(failure, own),
            Wake::Cut(Cut::TooSlow(behind)) => {
                protocol.close(Failure::new(CloseCode::Again, format!("too slow: {behind} bytes behind")), own);
            }
            Wake::Expired => {
                let now = Instant::now();
                if let Seat::Room(member) = &self.seat {
                    self.protocol.note_progress(member.progress());
                    if member.is_waiting() {
                        self.protocol.excuse(now);
                    }
                }
                return self.protocol.expire(now, &mut self.own).then_some(Ending::Silence);
            }
            Wake::GivenUp => protocol.fail(given_up(), own),
            Wake::Stopping => protocol.close(going_away(), own),
        }
        None
    }

    /// Writes pending output, then reads once.
    fn poll_socket(&mut self, context: &mut Context<'_>) -> Poll<Wake> {
        if let Poll::Ready(Err(cut)) = self.poll_send(context) {
            return Poll::Ready(Wake::Cut(cut));
        }
        // Stop reading from a client that isn't reading its replies, or Pongs would pile up.
        if self.own.len() > MAX_OWN_OUTPUT {
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
            Seat::Alone(writer, _) => {
                let (was_full, before) = (self.own.is_begun(), self.own.written());
                let written = poll_write_all(writer, context, &mut self.own, &self.server.view, &self.client);
                if was_full && self.own.written() > before {
                    self.protocol.note_progress(Some(Instant::now()));
                }
                written.map_err(|error| Cut::Lost(error.kind()))
            }
        }
    }

    /// Reads once, and processes the input.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.server.unfinished.poll_room(context));
        let most = match &mut self.seat {
            Seat::Room(member) => {
                let has_waited = member.is_waiting();
                let socket = if self.early.is_none() { Some(self.reader.as_ref()) } else { None };
                let most = ready!(member.poll_speak(socket, context))?;
                if has_waited {
                    self.protocol.excuse(Instant::now());
                }
                most
            }
            Seat::Alone(..) => READ_SIZE,
        };
        SCRATCH.with_borrow_mut(|scratch| {
            let input = ready!(self.poll_input(context, &mut scratch.read[..most]))?;
            self.receive(input, &mut scratch.said);
            Poll::Ready(Ok(input.len()))
        })
    }

    /// Reads once: what hyper has read beyond the request, then from the socket. Returns what was read.
    fn poll_input<'a>(&mut self, context: &mut Context<'_>, buffer: &'a mut [u8]) -> Poll<io::Result<&'a [u8]>> {
        let mut read = ReadBuf::new(buffer);
        if let Some(early) = &mut self.early {
            read.put_slice(&early.split_to(early.len().min(read.remaining())));
            self.early.take_if(|early| early.is_empty());
        } else {
            ready!(Pin::new(&mut self.reader).poll_read(context, &mut read))?;
        }
        let length = read.filled().len();
        Poll::Ready(Ok(&buffer[..length]))
    }

    /// Hands input to the protocol. A text in the chat goes to everyone, an echo back to the client.
    fn receive(&mut self, input: &[u8], said: &mut Vec<u8>) {
        let Self { server, client, seat, protocol, share, own, messages, .. } = self;
        server.view.read(client, input, Start::aligned(protocol.is_between_messages()));
        self.bytes_in += input.len() as u64;
        let (now, before) = (Instant::now(), *messages);
        protocol.receive(input, now, own, |message, own| {
            match (&seat, message) {
                (Seat::Room(_), Incoming::Text(text)) => encode(Data::Text, &[client.says(), text.as_bytes()], said),
                (Seat::Alone(..), Incoming::Text(text)) => encode(Data::Text, &[text.as_bytes()], own),
                (Seat::Alone(..), Incoming::Binary(bytes)) => encode(Data::Binary, &[bytes], own),
                (Seat::Room(_), Incoming::Binary(_)) => {
                    return Err(Failure::text_only());
                }
            }
            *messages += 1;
            Ok(())
        });
        server.view.received(client, *messages - before);
        share.count(&server.unfinished, client.number, protocol.unfinished());
        if let Seat::Room(member) = seat {
            member.broadcast(said, *messages - before);
            member.count_read(input.len(), now);
        }
        // One huge message must not hold its memory for good.
        said.clear();
        said.shrink_to(MAX_PENDING);
    }

    /// Leaves the room, and closes the connection cleanly (phase 4).
    async fn close(mut self, end: Option<Ending>) {
        if let Some(Ending::EndOfStream) = end {
            // The client may have half-closed, and may still be reading.
            let reason = "end of stream without a Close frame, RFC 6455 7.1.4";
            self.protocol.fail(Failure::new(CloseCode::Protocol, reason), &mut self.own);
        }
        let reachable = matches!(end, None | Some(Ending::EndOfStream));
        if reachable && timeout(CLOSE_DEADLINE, self.farewell()).await.is_err() {
            // Time is up: TCP is closed when this function ends.
            self.server.view.shutdown(&self.client);
        }
        // Harmless if it has left.
        self.leave();
        let Self { server, client, seat, protocol, own, messages, bytes_in, .. } = self;
        let ending = end.unwrap_or_else(|| Ending::Closed {
            closing: protocol.closing().expect("the event loop ended because a Close has begun").clone(),
            unanswered: !protocol.is_closed(),
        });
        let sent = if let Seat::Room(member) = &seat { member.sent() } else { 0 };
        let (lasted, bytes_out) = (client.accepted.elapsed(), sent + own.written());
        drop(seat);
        server.view.ended(&client, Some(Life { messages, bytes_in, bytes_out, lasted }));
        ending.log(&server, &client, lasted, messages);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::http::admission::Admission;
    use crate::server::shared::Options;
    use crate::view::hooks::View;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::runtime::Builder;

    const GOING_AWAY: &[u8] = b"\x88\x1a\x03\xe9the server is going away";
    const ANSWER: &[u8] = b"\x88\x82\0\0\0\0\x03\xe9";

    /// Runs a test with an echo connection of a server that stops, and with its client.
    fn with_stopping<F: Future<Output = ()>>(early: &'static [u8], test: impl FnOnce(Upgraded, TcpStream) -> F) {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let view = View::new(|_, _, _| (), Admission::default());
            let server = Arc::new(Shared::new(&Options::default(), view));
            server.stop.tell();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let upgraded = Upgraded {
                client: Arc::new(Client::new(1, 0)),
                socket: listener.accept().await.unwrap().0,
                early: Bytes::from_static(early),
                purpose: Purpose::Echo,
                permit: server.permit().unwrap().0,
                server,
            };
            test(upgraded, client).await;
        });
    }

    /// What hyper has read beyond the request comes before what the socket has, also for a connection that closes before it has
    /// read anything. Otherwise, the client's Close would not be found, and the server would wait for the client.
    #[test]
    fn farewell_reads_early_bytes_first() {
        // Half of a text; the rest follows.
        with_stopping(b"\x81\x84\0\0\0\0h", |upgraded, mut client| async move {
            client.write_all(&[b"alf", ANSWER].concat()).await.unwrap();
            timeout(CLOSE_DEADLINE / 2, run(upgraded)).await.expect("the closing handshake is clean");
            let mut close = Vec::new();
            client.read_to_end(&mut close).await.unwrap();
            assert_eq!(close, GOING_AWAY);
        });
    }

    /// Only the last Close waits for the end of TCP.
    #[cfg(target_os = "linux")]
    #[test]
    fn close_that_the_client_is_to_answer_is_sent_at_once() {
        with_stopping(b"", |upgraded, mut client| async move {
            let socket = socket2::SockRef::from(&upgraded.socket).try_clone().unwrap();
            let answer = async move {
                let mut close = [0; GOING_AWAY.len()];
                client.read_exact(&mut close).await.unwrap();
                assert!(close == GOING_AWAY && !socket.tcp_cork().unwrap());
                client.write_all(ANSWER).await.unwrap();
            };
            tokio::join!(run(upgraded), answer);
        });
    }
}
