//! The end of a connection: its last frames, the client's Close, and the close of TCP.

use super::{Connection, SCRATCH, Seat};
use crate::client::Client;
use crate::limits::cluster::RETURN_DEADLINE;
use crate::protocol::Closing;
use crate::protocol::output::Output;
use crate::room::member::Cut;
use crate::server::unfinished::given_up;
use crate::view::hooks::View;
use crate::view::record::Start;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::timeout;

impl Connection {
    /// Leaves the room, writes what was broadcast until then and its own last frames, waits for the client's Close, and
    /// then closes TCP before the client does (RFC 6455 7.1.1).
    ///
    /// Unread input would turn the close into a reset, which may overtake the server's Close. So the server first ends its side
    /// of TCP and, unless the client's Close was its last frame, reads to the end.
    pub(super) async fn farewell(&mut self) -> Result<(), Cut> {
        self.count_unfinished();
        // The Close goes last. The connection's other frames go before the room's if one of them is partly written.
        let mut close = self.own.split_off_end(self.close_length());
        // An error means that the time is up.
        let _ = timeout(RETURN_DEADLINE, poll_fn(|context| self.poll_broadcast(context))).await;
        self.leave();
        // Read while writing: the client may have to write before it can read.
        let mut ended = false;
        poll_fn(|context| self.poll_closed(context, &mut close, &mut ended)).await?;
        self.server.view.shutdown(&self.client);
        poll_fn(|context| self.poll_shutdown(context)).await?;
        while !ended && !self.protocol.is_clean() {
            ended = poll_fn(|context| self.poll_discard(context)).await?;
        }
        Ok(())
    }

    /// Ready when all that the client said has been broadcast, so that it receives its own last words before the Close.
    fn poll_broadcast(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Seat::Room(member) = &self.seat else { return Poll::Ready(()) };
        if member.poll_broadcast(context).is_pending()
            && !matches!(member.poll_send(context, &mut self.own), Poll::Ready(Err(Cut::TooSlow(_) | Cut::Lost(_))))
        {
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// The length of the Close frame at the end of the output.
    fn close_length(&self) -> usize {
        match self.protocol.closing() {
            None | Some(Closing::ByClient(None)) => 2,
            Some(Closing::ByClient(Some(close))) => 4 + close.reason.len(),
            Some(Closing::ByServer(failure)) => 4 + failure.reason.len(),
        }
    }

    /// Leaves the room. The rest of a partly written frame of the room goes before all other frames.
    pub(super) fn leave(&mut self) {
        if let Seat::Room(member) = &self.seat {
            let mut rest = member.leave();
            rest.append(std::mem::take(&mut self.own));
            self.own = rest;
        }
    }

    /// Ready when all is written and nothing more is expected from the client.
    fn poll_closed(
        &mut self,
        context: &mut Context<'_>,
        close: &mut Output,
        ended: &mut bool,
    ) -> Poll<Result<(), Cut>> {
        // Nothing else asks once the end of the stream has been read.
        let _ = self.poll_give_up(context);
        let mut sent = self.poll_send(context);
        if let Poll::Ready(Err(Cut::TooSlow(_))) = sent {
            // The client has fallen too far behind the room since it left.
            self.leave();
            sent = self.poll_send(context);
        }
        if sent.is_ready() && !close.is_empty() {
            if self.protocol.is_clean() {
                cork(self.reader.as_ref());
            }
            self.own.append(std::mem::take(close));
            sent = self.poll_send(context);
        }
        while !*ended && (sent.is_pending() || !self.protocol.is_closed()) {
            *ended = ready!(self.poll_discard(context))?;
        }
        sent
    }

    /// Reads once. Only the client's Close still counts. True at the end of the stream.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.poll_give_up(context).is_ready() {
            return Poll::Ready(Ok(false));
        }
        ready!(self.server.unfinished.poll_room(context));
        SCRATCH.with_borrow_mut(|scratch| {
            let input = ready!(self.poll_input(context, &mut scratch.read))?;
            let ended = input.is_empty();
            if ended || !self.protocol.is_closed() {
                let start = Start::aligned(self.protocol.is_between_messages());
                self.server.view.read(&self.client, input, start);
            }
            self.protocol.receive(input, Instant::now(), &mut self.own, |_, _| Ok(()));
            self.count_unfinished();
            Poll::Ready(Ok(ended))
        })
    }

    /// Ready if the client's message is given up. Its Close is then no longer waited for.
    fn poll_give_up(&mut self, context: &mut Context<'_>) -> Poll<()> {
        ready!(self.share.poll_given_up(context));
        self.protocol.fail(given_up(), &mut self.own);
        self.count_unfinished();
        Poll::Ready(())
    }

    /// A client may still send messages until it answers the Close, and they take memory too.
    fn count_unfinished(&mut self) {
        self.share.count(&self.server.unfinished, self.client.number, self.protocol.unfinished());
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.seat {
            Seat::Room(member) => member.poll_shutdown(context),
            Seat::Alone(writer, _) => Pin::new(writer).poll_shutdown(context),
        }
    }
}

/// Has TCP keep the end of what is written next until the server ends its side, so that the Close and the FIN are one packet.
#[cfg(target_os = "linux")]
fn cork(socket: &TcpStream) {
    // If this fails, they are two packets.
    let _ = SockRef::from(socket).set_tcp_cork(true);
}

#[cfg(not(target_os = "linux"))]
fn cork(_: &TcpStream) {}

/// Writes all of `output`, as the socket takes it.
pub(super) fn poll_write_all(
    writer: &mut OwnedWriteHalf,
    context: &mut Context<'_>,
    output: &mut Output,
    view: &View,
    client: &Arc<Client>,
) -> Poll<io::Result<()>> {
    while !output.is_empty() {
        let written = ready!(Pin::new(&mut *writer).poll_write(context, output.next()))?;
        view.wrote(client, &output.next()[..written], || Start::aligned(!output.is_begun()));
        output.advance(written);
    }
    Poll::Ready(Ok(()))
}
