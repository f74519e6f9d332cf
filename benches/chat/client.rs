//! Requests, the checks of their responses, and clients whose reads block.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};
use test_client::request::{ACCEPT, Response, opening};
use test_client::server::PAGE;

/// The longest wait for an answer. Some servers send a Ping 20 s after the 101, which the clients here do not expect.
pub const DEADLINE: Duration = Duration::from_secs(18);

pub const END_OF_HEAD: &[u8; 4] = b"\r\n\r\n";

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
        let (expected, status, name, value) = match self {
            Request::Page => ("200 with the page's length", 200, "content-length", &*PAGE.len().to_string()),
            Request::Steps => ("200 with an event stream", 200, "content-type", "text/event-stream"),
            Request::Chat(_) => ("101 with the accept value", 101, "sec-websocket-accept", ACCEPT),
        };
        let is_expected = |response: &Response| {
            let header = response.header(name).and_then(|header| header.split(';').next());
            response.status == status && header == Some(value)
        };
        let response = Response::parse(head).filter(is_expected);
        response.with_context(|| format!("expected {expected}, got \"{}\"", head.escape_ascii()))
    }
}

/// The address of a server, which listens on loopback alone.
pub fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A client. Its buffer has what it received after the last response.
pub type Client = BufReader<TcpStream>;

/// Connects a client. If it is not to read, its socket's buffers are small.
pub fn connect(port: u16, is_stuck: bool) -> Result<Client> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if is_stuck {
        #[cfg(unix)]
        socket.set_tcp_mss(STUCK_SEGMENT_BYTES)?;
        socket.set_recv_buffer_size(STUCK_RECEIVE_BYTES)?;
    }
    socket.connect(&address(port).into()).context("connecting")?;
    socket.set_tcp_nodelay(true)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    Ok(BufReader::with_capacity(READ_BYTES, socket.into()))
}

pub fn send(client: &Client, bytes: &[u8]) -> Result<()> {
    client.get_ref().write_all(bytes).context("writing")
}

/// Reads and checks the head of a response.
pub fn read_head(client: &mut Client, request: Request) -> Result<Response> {
    let mut head = Vec::new();
    while !head.ends_with(END_OF_HEAD) {
        let count = client.read_until(b'\n', &mut head).with_context(|| format!("no response in {DEADLINE:?}"))?;
        ensure!(count > 0, "expected a response, got \"{}\" and the end of the stream", head.escape_ascii());
    }
    request.check(&head)
}

/// Connects a client of the chat, and waits for its 101.
pub fn join(port: u16, id: usize, is_stuck: bool) -> Result<Client> {
    let mut client = connect(port, is_stuck)?;
    send(&client, &Request::Chat(id).bytes(port))?;
    read_head(&mut client, Request::Chat(id)).with_context(|| format!("client {id}"))?;
    Ok(client)
}
