//! The end of a connection: its last frames, the client's Close, and the close of TCP.

use super::SCRATCH;
use crate::client::Client;
use crate::protocol::Protocol;
use crate::protocol::output::Output;
use crate::view::hooks::{Start, View};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// A connection that has left the room.
pub(super) struct Farewell<'a> {
    pub reader: OwnedReadHalf,
    pub writer: OwnedWriteHalf,
    pub own: &'a mut Output,
    pub protocol: &'a mut Protocol,
    pub view: &'a View,
    pub client: &'a Arc<Client>,
}

impl Farewell<'_> {
    /// Writes the last frames, waits for the client's Close, and closes TCP first (RFC 6455 7.1.1).
    pub(super) async fn finish(mut self) -> io::Result<()> {
        // Read while writing: the client may have to write before it can read.
        let mut ended = false;
        poll_fn(|context| self.poll_closed(context, &mut ended)).await?;
        self.view.shutdown(self.client);
        poll_fn(|context| Pin::new(&mut self.writer).poll_shutdown(context)).await?;
        while !ended {
            ended = poll_fn(|context| self.poll_discard(context)).await?;
        }
        Ok(())
    }

    /// Ready when all is written and nothing more is expected from the client.
    fn poll_closed(&mut self, context: &mut Context<'_>, ended: &mut bool) -> Poll<io::Result<()>> {
        let sent = poll_write_all(&mut self.writer, context, self.own, self.view, self.client)?;
        while !*ended && (sent.is_pending() || !self.protocol.is_closed()) {
            *ended = ready!(self.poll_discard(context))?;
        }
        sent.map(Ok)
    }

    /// Reads once. Only the client's Close still counts. True at the end of the stream.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(&mut scratch.read);
            ready!(Pin::new(&mut self.reader).poll_read(context, &mut read))?;
            let (input, ended) = (read.filled(), read.filled().is_empty());
            if ended || !self.protocol.is_closed() {
                self.view.read(self.client, input, Start::aligned(self.protocol.is_between_messages()));
            }
            self.protocol.receive(input, Instant::now(), self.own, |_, _| Ok(()));
            Poll::Ready(Ok(ended))
        })
    }
}

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
