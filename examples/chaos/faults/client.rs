//! A client on a raw socket: it sends whatever it is given, and reads what a server answers.

use super::frame::Frame;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};

/// The key of RFC 6455 1.3, and the value that accepts it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// How much is read at a time, in bytes.
const READ_SIZE: usize = 64 * 1024;

/// How the server's side of TCP ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a FIN.
    InOrder,
    /// With a reset.
    Reset,
}

/// A connection, seen from the client.
#[derive(Debug)]
pub struct Client {
    socket: TcpStream,
    /// What is still to be sent.
    outgoing: Vec<u8>,
    /// What has been read, and from where on it has not been looked at.
    incoming: Vec<u8>,
    seen: usize,
    /// The first thing that went wrong with sending. Reading tells of it when it has come to the end.
    refused: Option<ErrorKind>,
}

/// A response, without its body.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
}

impl Response {
    fn parse(head: &[u8]) -> Option<Self> {
        let head = String::from_utf8_lossy(head);
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Some(Self { status, headers })
    }

    /// The value of a header field, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key == name);
        values.next().map(|(_, value)| value.as_str())
    }
}

impl Client {
    /// A connection that has said nothing yet.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::over(TcpStream::connect(address).await?))
    }

    /// The same, with next to no room for what the server sends: a client that does not read is full at once.
    pub async fn connect_small(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_recv_buffer_size(4096)?;
        Ok(Self::over(socket.connect(address).await?))
    }

    fn over(socket: TcpStream) -> Self {
        // Without it things are only slower.
        let _ = socket.set_nodelay(true);
        Self { socket, outgoing: Vec::new(), incoming: Vec::new(), seen: 0, refused: None }
    }

    /// Puts bytes on their way: they leave while this client reads, or [`flush`](Self::flush)es.
    pub fn send(&mut self, bytes: &[u8]) {
        if self.refused.is_none() {
            self.outgoing.extend(bytes);
        }
    }

    /// Sends what is on its way, and does not read meanwhile.
    pub async fn flush(&mut self) {
        while !self.outgoing.is_empty() && self.socket.writable().await.is_ok() {
            self.write();
        }
    }

    fn write(&mut self) {
        match self.socket.try_write(&self.outgoing) {
            Ok(written) => drop(self.outgoing.drain(..written)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                self.refused.get_or_insert(error.kind());
                self.outgoing.clear();
            }
        }
    }

    /// Reads once, and sends what is on its way. May be dropped at any time, and loses nothing by it.
    async fn read(&mut self) -> Result<(), Ended> {
        if self.seen == self.incoming.len() {
            self.incoming.clear();
            self.seen = 0;
        }
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
                    Ok(0) if self.refused == Some(ErrorKind::ConnectionReset) => {
                        return Err(Ended::Reset);
                    }
                    Ok(0) => return Err(Ended::InOrder),
                    Ok(_) => return Ok(()),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return Err(Ended::Reset),
                }
            }
        }
    }

    /// The next response's head; nothing if what comes is not HTTP.
    pub async fn response(&mut self) -> Result<Option<Response>, Ended> {
        const END_OF_HEAD: &[u8] = b"\r\n\r\n";
        loop {
            let unseen = &self.incoming[self.seen..];
            let end = unseen.windows(END_OF_HEAD.len()).position(|bytes| bytes == END_OF_HEAD);
            if let Some(end) = end {
                let response = Response::parse(&unseen[..end]);
                self.seen += end + END_OF_HEAD.len();
                return Ok(response);
            }
            self.read().await?;
        }
    }

    /// The next frame.
    pub async fn frame(&mut self) -> Result<Frame, Ended> {
        loop {
            if let Some((frame, length)) = Frame::parse(&self.incoming[self.seen..]) {
                self.seen += length;
                return Ok(frame);
            }
            self.read().await?;
        }
    }

    /// Reads to the end of the stream.
    pub async fn end(&mut self) -> Ended {
        loop {
            self.seen = self.incoming.len();
            if let Err(ended) = self.read().await {
                return ended;
            }
        }
    }

    /// Ends this side of the stream (a FIN), and goes on reading.
    pub async fn finish(&mut self) {
        use tokio::io::AsyncWriteExt;
        self.flush().await;
        // If the connection is gone, that is an end as well.
        let _ = self.socket.shutdown().await;
    }

    /// Ends the connection with a reset, as a client does that is killed with unread input.
    pub fn reset(self) {
        // If it can't be set, the connection ends in order.
        let _ = self.socket.set_zero_linger();
    }
}
