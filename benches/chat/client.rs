//! Requests, the checks of their responses, and a client that blocks while it reads.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};
use test_client::request::{ACCEPT, Response, opening};
use test_client::server::PAGE;

/// The longest wait for an answer. Some servers send a Ping 20 s after the 101, which the clients here do not expect.
pub const DEADLINE: Duration = Duration::from_secs(18);

pub const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// One read takes the whole page.
const READ_BYTES: usize = 64 * 1024;

/// Over loopback, with segments of 64 KiB, the kernel buffers 2.6 MB for a peer that does not read. These two limits
/// reduce that to about 100 KB, so unread messages queue in the server soon and don't fill the kernel's memory.
#[cfg(unix)]
const STUCK_SEGMENT_BYTES: u32 = 1460;
const STUCK_RECEIVE_BYTES: usize = 16 * 1024;

/// What a client requests.
#[derive(Clone, Copy, Debug)]
pub enum Request {
    Page,
    /// The stream of steps, `/lifecycle`.
    Steps,
    /// The chat, with this ID.
    Chat(usize),
}

impl Request {
    pub fn bytes(self, port: u16) -> Vec<u8> {
        let get = |path| format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", address(port));
        let text = match self {
            Request::Page => get("/"),
            Request::Steps => get("/lifecycle"),
            Request::Chat(id) => opening(address(port), &format!("/ws/{id}")),
        };
        text.into()
    }

    /// Checks the head of the response.
    pub fn check(self, head: &[u8]) -> Result<Response> {
        let is_expected = |response: &Response| {
            let header = |name| response.header(name).unwrap_or_default();
            match self {
                Request::Page => response.status == 200 && header("content-length") == PAGE.len().to_string(),
                Request::Steps => response.status == 200 && header("content-type").starts_with("text/event-stream"),
                Request::Chat(_) => response.status == 101 && header("sec-websocket-accept") == ACCEPT,
            }
        };
        let response = Response::parse(head).filter(is_expected);
        response.with_context(|| format!("expected {}, got \"{}\"", self.expected(), head.escape_ascii()))
    }

    fn expected(self) -> &'static str {
        match self {
            Request::Page => "200 with the page's length",
            Request::Steps => "200 with an event stream",
            Request::Chat(_) => "101 with the accept value",
        }
    }
}

/// The address of a server, which listens on loopback alone.
pub fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

pub struct Client {
    /// Its buffer has what was received after the last response.
    pub reader: BufReader<TcpStream>,
    port: u16,
}

impl Client {
    pub fn connect(port: u16) -> Result<Client> {
        Client::over(TcpStream::connect(address(port)).context("connecting")?, port)
    }

    /// Connects a client that is not to read, so its buffers should be small.
    pub fn connect_stuck(port: u16) -> Result<Client> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        #[cfg(unix)]
        socket.set_tcp_mss(STUCK_SEGMENT_BYTES)?;
        socket.set_recv_buffer_size(STUCK_RECEIVE_BYTES)?;
        socket.connect(&address(port).into()).context("connecting")?;
        Client::over(socket.into(), port)
    }

    fn over(stream: TcpStream, port: u16) -> Result<Client> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(Client { reader: BufReader::with_capacity(READ_BYTES, stream), port })
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.reader.get_ref().write_all(bytes).context("writing")
    }

    /// Reads and checks the head of a response.
    pub fn head(&mut self, request: Request) -> Result<Response> {
        let mut head = Vec::new();
        while !head.ends_with(END_OF_HEAD) {
            let read = self.reader.read_until(b'\n', &mut head);
            let count = read.with_context(|| format!("expected {} in {DEADLINE:?}", request.expected()))?;
            ensure!(count > 0, "expected {}, got the end of the stream", request.expected());
        }
        request.check(&head)
    }

    pub fn open(mut self, request: Request) -> Result<Client> {
        self.send(&request.bytes(self.port))?;
        self.head(request).with_context(|| format!("{request:?}"))?;
        Ok(self)
    }

    /// Ends the use of blocking reads, before anything was received after the response.
    pub fn into_stream(self) -> Result<mio::net::TcpStream> {
        let rest = self.reader.buffer();
        ensure!(rest.is_empty(), "expected nothing after the response, got \"{}\"", rest.escape_ascii());
        let stream = self.reader.into_inner();
        stream.set_nonblocking(true)?;
        Ok(mio::net::TcpStream::from_std(stream))
    }
}
