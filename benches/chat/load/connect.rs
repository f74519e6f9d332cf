//! Opens connections, up to the end of the opening handshake. Sockets block here, so every read has a deadline.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::fault::Fault;

const DEADLINE: Duration = Duration::from_secs(10);

/// The nonce of RFC 6455 section 1.3 and its accept value, so the load needs no hash function.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Connections opened before the first response is read: fewer than any server's listen backlog.
const AT_ONCE: usize = 100;

/// Over loopback, with segments of 64 KiB, the kernel buffers 2.6 MB for a peer that does not read. These two limits
/// reduce that to about 100 KB, so unread messages queue in the server soon and don't fill the kernel's memory.
#[cfg(unix)]
const STUCK_SEGMENT_BYTES: u32 = 1460;
const STUCK_RECEIVE_BYTES: usize = 16 * 1024;

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// Connects clients, and returns once each has received its 101.
pub fn clients(port: u16, ids: Range<usize>) -> Result<Vec<TcpStream>, Fault> {
    open_all(port, ids, tcp)
}

/// Like [`clients`], with small receive buffers, for clients that never read.
pub fn stuck_clients(port: u16, ids: Range<usize>) -> Result<Vec<TcpStream>, Fault> {
    open_all(port, ids, tcp_with_small_buffers)
}

/// Connects one client.
pub fn client(port: u16, id: usize) -> Result<TcpStream, Fault> {
    let mut stream = tcp(port)?;
    request_upgrade(&mut stream, port, id)?;
    expect_switch(&mut stream, id)?;
    Ok(stream)
}

/// Connects viewers of `/lifecycle`, and returns once each has received the head of its response.
pub fn viewers(port: u16, count: usize) -> Result<Vec<TcpStream>, Fault> {
    (0..count).map(|number| viewer(port, number)).collect()
}

fn viewer(port: u16, number: usize) -> Result<TcpStream, Fault> {
    let mut stream = tcp(port)?;
    request(&mut stream, port, "/lifecycle", "Accept: text/event-stream\r\n")?;
    let response = response(&mut stream)?;
    if response.starts_with(b"HTTP/1.1 200 ") && contains(&response, b"text/event-stream") {
        return Ok(stream);
    }
    Err(Fault::Viewer { viewer: number, seen: excerpt(&response) })
}

fn open_all(
    port: u16,
    ids: Range<usize>,
    tcp: impl Fn(u16) -> Result<TcpStream, Fault>,
) -> Result<Vec<TcpStream>, Fault> {
    let mut streams = Vec::with_capacity(ids.len());
    for id in ids.clone().step_by(AT_ONCE) {
        let some = id..ids.end.min(id + AT_ONCE);
        let first = streams.len();
        for id in some.clone() {
            let mut stream = tcp(port)?;
            request_upgrade(&mut stream, port, id)?;
            streams.push(stream);
        }
        for (stream, id) in streams[first..].iter_mut().zip(some) {
            expect_switch(stream, id)?;
        }
    }
    Ok(streams)
}

fn tcp(port: u16) -> Result<TcpStream, Fault> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|error| Fault::Io("connecting", error))?;
    prepared(stream)
}

fn tcp_with_small_buffers(port: u16) -> Result<TcpStream, Fault> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let connected = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        #[cfg(unix)]
        socket.set_tcp_mss(STUCK_SEGMENT_BYTES)?;
        socket.set_recv_buffer_size(STUCK_RECEIVE_BYTES)?;
        socket.connect(&address.into())?;
        Ok(socket.into())
    };
    prepared(connected().map_err(|error| Fault::Io("connecting", error))?)
}

fn prepared(stream: TcpStream) -> Result<TcpStream, Fault> {
    let set = || {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))
    };
    set().map_err(|error| Fault::Io("preparing a socket", error))?;
    Ok(stream)
}

fn request_upgrade(stream: &mut TcpStream, port: u16, id: usize) -> Result<(), Fault> {
    let headers = format!(
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
    );
    request(stream, port, &format!("/ws/{id}"), &headers)
}

fn request(stream: &mut TcpStream, port: u16, path: &str, headers: &str) -> Result<(), Fault> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| Fault::Io("writing a request", error))
}

/// Reads the 101. Nobody has sent a message yet, so nothing may follow it.
fn expect_switch(stream: &mut TcpStream, client: usize) -> Result<(), Fault> {
    let response = response(stream)?;
    let accepted =
        response.starts_with(b"HTTP/1.1 101 ") && contains(&response, ACCEPT) && response.ends_with(END_OF_HEAD);
    if accepted { Ok(()) } else { Err(Fault::Handshake { client, seen: excerpt(&response) }) }
}

/// Reads until the end of a response's head, or of the stream. Bytes that follow the head are included.
fn response(stream: &mut TcpStream) -> Result<Vec<u8>, Fault> {
    let mut response = Vec::new();
    let mut chunk = [0; 4096];
    while !contains(&response, END_OF_HEAD) {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => response.extend_from_slice(&chunk[..count]),
            Err(error) => return Err(Fault::Io("waiting for a response", error)),
        }
    }
    Ok(response)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn excerpt(response: &[u8]) -> String {
    response[..response.len().min(200)].escape_ascii().to_string()
}
