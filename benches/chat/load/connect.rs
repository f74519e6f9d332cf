//! Connections, up to the end of the opening handshake. Sockets block here, so every read has a deadline.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::fault::Fault;

const DEADLINE: Duration = Duration::from_secs(10);

/// The nonce of RFC 6455 section 1.3 and its accept value: the load needs no hash.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// How many connections are opened before the first of them is waited for. Less than any listener's backlog.
const AT_ONCE: usize = 100;

/// Over loopback, where a segment has 64 KiB, the kernel lets a socket hold 2.6 MB that its peer does not read. These two
/// make it some 100 KB, so that what is not read piles up in the server soon, and does not fill the kernel's memory.
#[cfg(unix)]
const STUCK_SEGMENT_BYTES: u32 = 1460;
const STUCK_RECEIVE_BYTES: usize = 16 * 1024;

/// Connects clients, and returns when each has seen its 101.
pub fn clients(port: u16, ids: Range<usize>) -> Result<Vec<TcpStream>, Fault> {
    open_all(port, ids, tcp)
}

/// The same, for clients that will not read.
pub fn stuck_clients(port: u16, ids: Range<usize>) -> Result<Vec<TcpStream>, Fault> {
    open_all(port, ids, short_of_room)
}

/// One client.
pub fn client(port: u16, id: usize) -> Result<TcpStream, Fault> {
    let mut stream = tcp(port)?;
    request(&mut stream, port, id)?;
    response(&mut stream, id)?;
    Ok(stream)
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
            request(&mut stream, port, id)?;
            streams.push(stream);
        }
        for (stream, id) in streams[first..].iter_mut().zip(some) {
            response(stream, id)?;
        }
    }
    Ok(streams)
}

fn tcp(port: u16) -> Result<TcpStream, Fault> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|error| Fault::Io("connecting", error))?;
    prepared(stream)
}

fn short_of_room(port: u16) -> Result<TcpStream, Fault> {
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

fn request(stream: &mut TcpStream, port: u16, id: usize) -> Result<(), Fault> {
    let request = format!(
        "GET /ws/{id} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(|error| Fault::Io("writing a request", error))
}

/// Reads the response. As nobody has spoken yet, nothing may come behind it.
fn response(stream: &mut TcpStream, client: usize) -> Result<(), Fault> {
    let mut bytes = [0; 4096];
    let mut length = 0;
    while !bytes[..length].ends_with(b"\r\n\r\n") {
        match stream.read(&mut bytes[length..]) {
            Ok(0) => return Err(rejected(client, &bytes[..length])),
            Ok(count) => length += count,
            Err(error) => return Err(Fault::Io("waiting for a response", error)),
        }
    }
    let head = &bytes[..length];
    let accepted = head.starts_with(b"HTTP/1.1 101 ") && head.windows(ACCEPT.len()).any(|part| part == ACCEPT);
    if accepted { Ok(()) } else { Err(rejected(client, head)) }
}

fn rejected(client: usize, seen: &[u8]) -> Fault {
    Fault::Handshake { client, seen: seen[..seen.len().min(200)].escape_ascii().to_string() }
}
