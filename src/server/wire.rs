//! The socket under hyper: it tells the view what is read and written, and gives up a client that takes nothing.

use crate::client::Client;
use crate::limits::{MAX_HEAD_SIZE, RESPONSE_DEADLINE};
use crate::view::hooks::View;
use crate::view::record::Start;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, timeout};

/// A socket, and the client at its other end.
#[derive(Debug)]
pub struct Wire {
    socket: TcpStream,
    client: Arc<Client>,
    view: View,
    /// How many more bytes the view is told of, in each direction: a head's worth for each request, because it shows no
    /// bodies.
    read: usize,
    written: usize,
    /// Whether the last read ended like a head. Once that is answered, the next read begins with a head.
    at_head: bool,
    /// Whether more was read since the last write. hyper reads nothing while it writes a response, so the next write begins one.
    at_response: bool,
    /// [`Client::requests`] at the last write. If it has grown, the next write begins a response.
    requests: u32,
    /// Runs while the client takes nothing of a response.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    /// The socket of this client.
    pub fn new(socket: TcpStream, client: Arc<Client>, view: View) -> Self {
        let (read, written) = (MAX_HEAD_SIZE, MAX_HEAD_SIZE);
        Self { socket, client, view, read, written, at_head: true, at_response: false, requests: 0, stalled: None }
    }

    /// The socket by itself.
    pub fn into_socket(self) -> TcpStream {
        self.socket
    }

    /// Closes TCP so that the client sees the response: close the write side, then read to the end, but only for this
    /// long. Unread input would turn the close into a reset.
    pub async fn linger(mut self, patience: Duration) {
        self.view.shutdown(&self.client);
        let _ = timeout(patience, async {
            self.socket.shutdown().await?;
            let mut discarded = [0; 1024];
            while self.socket.read(&mut discarded).await? > 0 {}
            io::Result::Ok(())
        })
        .await;
    }

    /// Fails once the client has taken nothing for [`RESPONSE_DEADLINE`].
    fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let deadline = self.stalled.get_or_insert_with(|| Box::pin(sleep(RESPONSE_DEADLINE)));
        deadline.as_mut().poll(context).map(|()| Err(ErrorKind::TimedOut.into()))
    }

    fn tell_read(&mut self, bytes: &[u8]) {
        let start = Start::aligned(self.at_head && !self.at_response);
        if start == Start::Aligned {
            self.read = MAX_HEAD_SIZE;
        }
        if !bytes.is_empty() {
            self.at_head = bytes.ends_with(b"\n\r\n") || bytes.ends_with(b"\n\n");
            self.at_response = true;
        }
        if self.read > 0 || bytes.is_empty() {
            let told = bytes.len().min(self.read);
            self.read -= told;
            self.view.head_read(&self.client, &bytes[..told], start);
        }
    }

    fn tell_written(&mut self, bytes: &[u8]) {
        let requests = self.client.requests();
        let start = Start::aligned(self.at_response || requests != self.requests);
        (self.at_response, self.requests) = (false, requests);
        if start == Start::Aligned {
            self.written = MAX_HEAD_SIZE;
        }
        if self.written > 0 {
            let told = bytes.len().min(self.written);
            self.written -= told;
            self.view.head_written(&self.client, &bytes[..told], start);
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
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::view::audience::tests::{Hall, client};
    use crate::view::record::What;
    use std::future::poll_fn;
    use tokio::net::TcpListener;
    use tokio::runtime::Builder;

    /// Runs a test with a wire whose other end reads nothing.
    fn with_wire<F: Future<Output = ()>>(view: &View, test: impl FnOnce(Wire) -> F) {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let _peer = listener.accept().await.unwrap();
            test(Wire::new(socket, client(1), view.clone())).await;
        });
    }

    /// The lengths of the records told.
    fn lengths(hall: &mut Hall) -> Vec<usize> {
        let length = |what| match what {
            What::HeadRead(bytes, _) | What::HeadWritten(bytes, _) => bytes.len(),
            other => panic!("{other:?}"),
        };
        hall.told().into_iter().map(length).collect()
    }

    #[test]
    fn view_receives_one_heads_worth_and_the_half_close() {
        let mut hall = Hall::new();
        let _watch = hall.watch();
        with_wire(&hall.view.clone(), |mut wire| async move {
            let most = [b'x'; MAX_HEAD_SIZE - 1];
            [&most[..], b"abc", b"d", b""].into_iter().for_each(|bytes| wire.tell_read(bytes));
            assert_eq!(lengths(&mut hall), [MAX_HEAD_SIZE - 1, 1, 0]);
            [&most[..], b"abc", b"d", b""].into_iter().for_each(|bytes| wire.tell_written(bytes));
            assert_eq!(lengths(&mut hall), [MAX_HEAD_SIZE - 1, 1]);
            // Without an empty line this is not the end of a head, so the next read does not begin with one.
            wire.tell_read(b"d");
            assert_eq!(lengths(&mut hall), []);
        });
    }

    #[test]
    fn each_request_and_response_is_a_head_again() {
        let mut hall = Hall::new();
        let _watch = hall.watch();
        with_wire(&hall.view.clone(), |mut wire| async move {
            let mut starts = |wire: &mut Wire, acts: &[(bool, &[u8])]| {
                for (read, bytes) in acts {
                    if *read { wire.tell_read(bytes) } else { wire.tell_written(bytes) }
                }
                let starts = hall.told().into_iter().map(|what| match what {
                    What::HeadRead(bytes, start) | What::HeadWritten(bytes, start) => (bytes.len(), start),
                    other => panic!("{other:?}"),
                });
                starts.collect::<Vec<_>>()
            };
            let (read, write, large) = (true, false, [b'x'; MAX_HEAD_SIZE]);
            let (head, rest) = (Start::Aligned, Start::Anywhere);
            // A request in two packets, and a response with a body.
            let told = starts(&mut wire, &[(read, b"GET"), (read, b"\r\n\r\n"), (write, &large), (write, b"x")]);
            assert_eq!(told, [(3, head), (4, rest), (MAX_HEAD_SIZE, head)]);
            // The next one, with the beginning of a third.
            let told = starts(&mut wire, &[(read, b"GET\n\nGE"), (write, b"HTTP"), (write, b"x"), (read, b"T\n\n")]);
            assert_eq!(told, [(7, head), (4, head), (1, rest), (3, rest)]);
            // The responses to two requests that were read together.
            assert_eq!(starts(&mut wire, &[(write, &large), (write, b"x")]), [(MAX_HEAD_SIZE, head)]);
            wire.client.count_request();
            assert_eq!(starts(&mut wire, &[(write, &large), (write, b"x")]), [(MAX_HEAD_SIZE, head)]);
            // End of input: no response.
            assert_eq!(starts(&mut wire, &[(read, b""), (write, b"x")]), [(0, head)]);
        });
    }

    #[test]
    fn view_receives_the_written_part_of_each_slice() {
        let mut hall = Hall::new();
        let _watch = hall.watch();
        with_wire(&hall.view.clone(), |mut wire| async move {
            (wire.at_response, wire.written) = (false, usize::MAX);
            let slices = [b"head", b"body"].map(|slice| IoSlice::new(slice));
            assert_eq!(wire.write_vectored(&slices).await.unwrap(), 8);
            assert_eq!(lengths(&mut hall), [4, 4]);
            assert_eq!(wire.write(b"more").await.unwrap(), 4);
            assert_eq!(lengths(&mut hall), [4]);
            // More than the socket takes.
            let large = vec![0; 64 << 20];
            let written = wire.write_vectored(&[IoSlice::new(&large), IoSlice::new(b"body")]).await.unwrap();
            assert!(written < large.len());
            assert_eq!(lengths(&mut hall), [written, 0]);
        });
    }

    #[test]
    fn full_socket_starts_the_deadline() {
        let view = Hall::new().view;
        with_wire(&view, |mut wire| async move {
            let bytes = vec![0; 1 << 20];
            while let Poll::Ready(written) =
                poll_fn(|context| Poll::Ready(Pin::new(&mut wire).poll_write(context, &bytes))).await
            {
                assert!(written.unwrap() > 1, "more than a byte at a time");
            }
            assert!(wire.stalled.is_some());
        });
    }

    #[test]
    fn each_write_clears_the_deadline() {
        let view = Hall::new().view;
        with_wire(&view, |mut wire| async move {
            let stalled = || Some(Box::pin(sleep(RESPONSE_DEADLINE)));
            wire.stalled = stalled();
            wire.write_all(b"a").await.unwrap();
            assert!(wire.stalled.is_none());
            wire.stalled = stalled();
            assert_eq!(wire.write_vectored(&[IoSlice::new(b"b")]).await.unwrap(), 1);
            assert!(wire.stalled.is_none());
        });
    }
}
