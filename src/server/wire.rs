//! The socket under hyper, with a copy of what goes over it for those who watch.

use crate::limits::MAX_HEAD_SIZE;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What went over the wire so far.
#[derive(Clone, Debug, Default)]
pub struct Record(Arc<Mutex<(Vec<u8>, Vec<u8>)>>);

impl Record {
    /// Keeps a head's worth of bytes.
    fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
        kept.extend_from_slice(&bytes[..bytes.len().min(MAX_HEAD_SIZE - kept.len())]);
    }

    fn with<T>(&self, with: impl FnOnce(&mut (Vec<u8>, Vec<u8>)) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the client sent.
    pub fn read(&self) -> Vec<u8> {
        self.with(|(read, _)| read.clone())
    }

    /// What was sent to it.
    pub fn written(&self) -> Vec<u8> {
        self.with(|(_, written)| written.clone())
    }
}

/// A socket that keeps a [`Record`], if there is one.
#[derive(Debug)]
pub struct Wire {
    socket: TcpStream,
    record: Option<Record>,
}

impl Wire {
    /// A socket, and where to keep what goes over it.
    pub fn new(socket: TcpStream, record: Option<Record>) -> Self {
        Self { socket, record }
    }

    /// The socket by itself.
    pub fn into_socket(self) -> TcpStream {
        self.socket
    }

    fn keep_written(&self, length: usize, slices: &[IoSlice<'_>]) {
        if let Some(record) = &self.record {
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(length).collect();
            record.with(|(_, written)| Record::keep(written, &bytes));
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
        if let Some(record) = &self.record {
            record.with(|(read, _)| Record::keep(read, &buffer.filled()[before..]));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(context, bytes))?;
        self.keep_written(written, &[IoSlice::new(bytes)]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write_vectored(context, slices))?;
        self.keep_written(written, slices);
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
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_a_heads_worth_and_no_more() {
        let record = Record::default();
        record.with(|(read, _)| Record::keep(read, b"GET "));
        record.with(|(read, _)| Record::keep(read, &[b'x'; 2 * MAX_HEAD_SIZE]));
        record.with(|(read, _)| Record::keep(read, b"more"));
        assert_eq!(record.read().len(), MAX_HEAD_SIZE);
        assert!(record.read().starts_with(b"GET xxx"));
        assert_eq!(record.written(), b"");
    }
}
