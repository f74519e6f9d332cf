//! A client on a raw socket. It sends whatever bytes it is given, and reads what the server answers.
//!
//! Reads may be cancelled at any await point without losing input. While it reads, the client also sends what is queued,
//! so a server that waits for the client to read can't deadlock with it.

use crate::frame::Frame;
use crate::request::Response;
use std::fmt::{self, Display, Formatter};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

/// Size of one read, in bytes.
const READ_SIZE: usize = 64 * 1024;

/// How the server's side of TCP ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a FIN.
    InOrder,
    /// With a reset.
    Reset,
}

impl Display for Ended {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InOrder => "end of stream",
            Self::Reset => "reset",
        })
    }
}

/// A connection, seen from the client.
#[derive(Debug)]
pub struct Client {
    socket: TcpStream,
    /// Bytes queued for sending.
    outgoing: Vec<u8>,
    /// Bytes received; those before `seen` have been returned.
    incoming: Vec<u8>,
    seen: usize,
    /// The first error that sending met. Queued bytes are dropped from then on.
    send_error: Option<ErrorKind>,
}

impl Client {
    /// Connects, and sends nothing yet.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::over(TcpStream::connect(address).await?))
    }

    /// Connects with a tiny receive buffer, which is full at once if this client doesn't read.
    pub async fn connect_small(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_recv_buffer_size(4096)?;
        Ok(Self::over(socket.connect(address).await?))
    }

    pub fn over(socket: TcpStream) -> Self {
        // Without it, things are only slower.
        let _ = socket.set_nodelay(true);
        Self { socket, outgoing: Vec::new(), incoming: Vec::new(), seen: 0, send_error: None }
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub fn into_socket(self) -> TcpStream {
        self.socket
    }

    /// Queues bytes. They leave while this client reads or [`flush`](Self::flush)es.
    pub fn send(&mut self, bytes: &[u8]) {
        if self.send_error.is_none() {
            self.outgoing.extend(bytes);
        }
    }

    /// Sends everything queued, without reading.
    pub async fn flush(&mut self) {
        while !self.outgoing.is_empty() && self.socket.writable().await.is_ok() {
            self.write();
        }
    }

    /// Sends bytes one by one, with a pause after each.
    pub async fn trickle(&mut self, bytes: &[u8], pause: Duration) {
        for byte in bytes {
            self.send(&[*byte]);
            self.flush().await;
            sleep(pause).await;
        }
    }

    /// The first error that sending met.
    pub fn send_error(&self) -> Option<ErrorKind> {
        self.send_error
    }

    fn write(&mut self) {
        match self.socket.try_write(&self.outgoing) {
            Ok(written) => drop(self.outgoing.drain(..written)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                self.send_error.get_or_insert(error.kind());
                self.outgoing.clear();
            }
        }
    }

    /// Waits for input, and sends what is queued meanwhile.
    pub async fn read_more(&mut self) -> Result<(), Ended> {
        self.incoming.drain(..self.seen);
        self.seen = 0;
        loop {
            let wanted = match self.outgoing.is_empty() {
                true => Interest::READABLE,
                false => Interest::READABLE | Interest::WRITABLE,
            };
            let ready = self.socket.ready(wanted).await.map_err(|_| Ended::Reset)?;
            if ready.is_writable() && !self.outgoing.is_empty() {
                self.write();
            }
            if ready.is_readable() {
                self.incoming.reserve(READ_SIZE);
                match self.socket.try_read_buf(&mut self.incoming) {
                    Ok(0) if self.send_error == Some(ErrorKind::ConnectionReset) => return Err(Ended::Reset),
                    Ok(0) => return Err(Ended::InOrder),
                    Ok(_) => return Ok(()),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return Err(Ended::Reset),
                }
            }
        }
    }

    /// Input that has been received and not yet returned.
    pub fn unread(&self) -> &[u8] {
        &self.incoming[self.seen..]
    }

    /// Drops this much of the input that has been received.
    pub fn skip(&mut self, length: usize) {
        self.seen += length.min(self.unread().len());
    }

    /// Reads the head of a response, up to and including the empty line.
    pub async fn head(&mut self) -> Result<Vec<u8>, Ended> {
        const END: &[u8] = b"\r\n\r\n";
        loop {
            if let Some(start) = self.unread().windows(END.len()).position(|bytes| bytes == END) {
                return self.exactly(start + END.len()).await;
            }
            self.read_more().await?;
        }
    }

    /// Reads the head of a response. Returns `None` if it isn't HTTP.
    pub async fn response(&mut self) -> Result<Option<Response>, Ended> {
        Ok(Response::parse(&self.head().await?))
    }

    /// Reads a number of bytes.
    pub async fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Ended> {
        while self.unread().len() < length {
            self.read_more().await?;
        }
        let bytes = self.unread()[..length].to_vec();
        self.seen += length;
        Ok(bytes)
    }

    /// Reads a frame.
    pub async fn frame(&mut self) -> Result<Frame, Ended> {
        loop {
            if let Some((frame, length)) = Frame::parse(self.unread()) {
                self.seen += length;
                return Ok(frame);
            }
            self.read_more().await?;
        }
    }

    /// Reads to the end of the stream, and leaves the input in [`unread`](Self::unread).
    pub async fn read_to_end(&mut self) -> Ended {
        loop {
            if let Err(ended) = self.read_more().await {
                return ended;
            }
        }
    }

    /// Reads to the end of the stream, and drops the input.
    pub async fn end(&mut self) -> Ended {
        loop {
            self.seen = self.incoming.len();
            if let Err(ended) = self.read_more().await {
                return ended;
            }
        }
    }

    /// Sends everything queued, then closes the client's side of TCP (a FIN). Reading still works.
    pub async fn finish(&mut self) {
        self.flush().await;
        // An error means that the connection is gone, which is an end too.
        let _ = socket2::SockRef::from(&self.socket).shutdown(std::net::Shutdown::Write);
    }

    /// Drops the connection with a reset, as the kernel does for a killed client with unread input.
    pub fn reset(self) {
        // Without it, the connection ends in order.
        let _ = self.socket.set_zero_linger();
    }
}
