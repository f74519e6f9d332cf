//! A client over a raw socket: it writes what it is told, broken or not, and reads under a deadline.

use super::DEADLINE;
use super::frame::{CLOSE, FIN, close_payload, from_client, from_server, text};
use super::neighbours::is_small_talk;
use socket2::SockRef;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// The key of RFC 6455 1.3, and the accept value that is worked out for it there.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The opening handshake that is right in every way (RFC 6455 4.1).
pub fn opening(address: SocketAddr, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// The answer to it, up to its `date`.
pub fn switching_protocols() -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {ACCEPT}\r\n\r\n"
    )
}

/// A frame as it was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// FIN, the RSV bits and the opcode.
    pub first: u8,
    pub payload: Vec<u8>,
}

pub struct Client {
    socket: BufReader<TcpStream>,
}

impl Client {
    /// TCP and nothing more.
    pub fn tcp(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { socket: BufReader::new(socket) }
    }

    /// A WebSocket: the opening handshake is done, and its answer is as it has to be.
    #[track_caller]
    pub fn open(address: SocketAddr, path: &str) -> Self {
        let mut client = Self::tcp(address);
        client.shake_hands(path);
        client
    }

    /// The opening handshake.
    #[track_caller]
    pub fn shake_hands(&mut self, path: &str) {
        let address = self.socket().peer_addr().unwrap();
        self.send(opening(address, path));
        assert_eq!(self.read_head(), switching_protocols());
    }

    /// The same connection for another thread. Only one of the two may read.
    pub fn second(&self) -> Self {
        let socket = self.socket().try_clone().unwrap();
        Self { socket: BufReader::new(socket) }
    }

    /// The socket itself.
    pub fn socket(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    pub fn into_socket(self) -> TcpStream {
        self.socket.into_inner()
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the server takes it");
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.socket.get_mut().write_all(bytes.as_ref())
    }

    pub fn send_text(&mut self, message: &str) {
        self.send(text(message));
    }

    pub fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.send(from_client(first, payload));
    }

    /// Waits for input: `Ok` also at the end, `Err` when none comes in time.
    pub fn try_read(&mut self) -> io::Result<()> {
        self.socket.fill_buf().map(drop)
    }

    /// The head of a response, without its `date`, which is different every time.
    pub fn read_head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let before = head.len();
            let read = self.socket.read_line(&mut head);
            assert_ne!(read.expect("a head in time"), 0, "the end inside {head:?}");
            if head[before..].starts_with("date: ") {
                head.truncate(before);
            }
        }
        head
    }

    /// Everything up to the end of TCP.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let end = self.socket.read_to_end(&mut rest);
        end.unwrap_or_else(|error| panic!("{error} instead of the end, after {rest:?}"));
        rest
    }

    pub fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.socket.read_exact(&mut bytes).expect("bytes in time");
        bytes
    }

    /// The next frame, whatever it is.
    pub fn read_any_frame(&mut self) -> Frame {
        let header = self.read_exactly(2);
        let payload_length = match header[1] {
            126 => u64::from(u16::from_be_bytes(self.read_exactly(2).try_into().unwrap())),
            127 => u64::from_be_bytes(self.read_exactly(8).try_into().unwrap()),
            short => u64::from(short),
        };
        assert_eq!(header[1] & 0x80, 0, "a server does not mask (RFC 6455 5.1)");
        Frame { first: header[0], payload: self.read_exactly(payload_length.try_into().unwrap()) }
    }

    /// The next frame that is not the neighbours' small talk.
    pub fn read_frame(&mut self) -> Frame {
        loop {
            let frame = self.read_any_frame();
            if !is_small_talk(&frame.payload) {
                return frame;
            }
        }
    }

    /// The next message, small talk or not.
    pub fn read_text(&mut self) -> String {
        let Frame { first, payload } = self.read_any_frame();
        assert_eq!(first, 0x81, "a text message: {payload:?}");
        String::from_utf8(payload).unwrap()
    }

    /// Reads a frame and compares it, byte by byte.
    #[track_caller]
    pub fn expect(&mut self, bytes: &[u8]) {
        let Frame { first, payload } = self.read_frame();
        let got = from_server(first, &payload);
        assert!(got == bytes, "expected {:?}\n     got {:?}", excerpt(bytes), excerpt(&got));
    }

    /// Reads a Close frame with this code and this reason.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16, reason: &str) {
        self.expect(&from_server(FIN | CLOSE, &close_payload(code, reason)));
    }

    /// Reads the end of TCP, in order: no byte before it, and no reset.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let rest = self.read_to_end();
        assert!(rest.is_empty(), "before the end: {:?}", excerpt(&rest));
    }

    /// Ends the own side of TCP.
    pub fn end(&mut self) {
        self.socket().shutdown(Shutdown::Write).unwrap();
    }

    /// Drops the connection with a reset.
    pub fn reset(self) {
        let linger = SockRef::from(self.socket()).set_linger(Some(Duration::ZERO));
        linger.unwrap();
    }
}

/// The beginning of bytes, to be read in a failed test.
fn excerpt(bytes: &[u8]) -> String {
    let mut text = bytes[..bytes.len().min(300)].escape_ascii().to_string();
    if bytes.len() > 300 {
        text += &format!("... ({} bytes)", bytes.len());
    }
    text
}
