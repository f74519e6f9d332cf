//! The socket under hyper: it tells the view what is read and written, and gives up a client that takes nothing.

use crate::client::Client;
use crate::limits::{MAX_HEAD_SIZE, RESPONSE_DEADLINE};
use crate::view::hooks::View;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// A socket, and the client at its other end.
#[derive(Debug)]
pub struct Wire {
    socket: TcpStream,
    client: Arc<Client>,
    view: View,
    /// Bytes that the view has yet to be told of, in each direction. A head's worth is enough; a stream of events must not
    /// cause more of them.
    read: usize,
    written: usize,
    /// Runs while the client takes nothing of a response.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    /// The socket of this client.
    pub fn new(socket: TcpStream, client: Arc<Client>, view: View) -> Self {
        Self { socket, client, view, read: MAX_HEAD_SIZE, written: MAX_HEAD_SIZE, stalled: None }
    }

    /// The socket by itself.
    pub fn into_socket(self) -> TcpStream {
        self.socket
    }

    /// Fails once the client has taken nothing for [`RESPONSE_DEADLINE`].
    fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let deadline = self.stalled.get_or_insert_with(|| Box::pin(sleep(RESPONSE_DEADLINE)));
        deadline.as_mut().poll(context).map(|()| Err(ErrorKind::TimedOut.into()))
    }

    fn tell_read(&mut self, bytes: &[u8]) {
        if self.read > 0 || bytes.is_empty() {
            let told = bytes.len().min(self.read);
            self.read -= told;
            self.view.head_read(&self.client, &bytes[..told]);
        }
    }

    fn tell_written(&mut self, bytes: &[u8]) {
        if self.written > 0 {
            let told = bytes.len().min(self.written);
            self.written -= told;
            self.view.head_written(&self.client, &bytes[..told]);
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
        self.tell_read(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = Pin::new(&mut self.socket).poll_write(context, bytes)? else {
            return self.poll_stalled(context);
        };
        self.stalled = None;
        self.tell_written(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = Pin::new(&mut self.socket).poll_write_vectored(context, slices)? else {
            return self.poll_stalled(context);
        };
        self.stalled = None;
        let mut left = written;
        for slice in slices {
            let taken = slice.len().min(left);
            self.tell_written(&slice[..taken]);
            left -= taken;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.view.shutdown(&self.client);
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
