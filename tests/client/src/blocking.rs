//! The [client] for tests in plain threads. Every call has a deadline, and panics if it passes or if the
//! server's bytes aren't the expected ones.

use crate::client::{self, Ended};
use crate::frame::{CLOSE, FIN, Frame, TEXT, close_payload, from_client, from_server, text};
use crate::neighbours::is_small_talk;
use crate::request::{opening, switching_protocols};
use crate::{DEADLINE, excerpt};
use socket2::SockRef;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

pub struct Client {
    client: client::Client,
    runtime: Runtime,
}

impl Client {
    /// Opens a TCP connection, and sends nothing yet.
    #[track_caller]
    pub fn tcp(address: SocketAddr) -> Self {
        let runtime = runtime();
        let client = runtime.block_on(async { timeout(DEADLINE, client::Client::connect(address)).await });
        Self { client: client.expect("a connection in time").expect("a connection"), runtime }
    }

    /// Opens a WebSocket connection, and checks the whole response.
    #[track_caller]
    pub fn open(address: SocketAddr, path: &str) -> Self {
        let mut client = Self::tcp(address);
        client.shake_hands(path);
        client
    }

    /// Does the opening handshake, and checks the whole response.
    #[track_caller]
    pub fn shake_hands(&mut self, path: &str) {
        let address = self.client.socket().peer_addr().expect("a connected socket");
        self.send(opening(address, path));
        assert_eq!(self.read_head(), switching_protocols());
    }

    /// Returns a second handle to the same connection, to send from another thread while this one reads.
    pub fn second(&self) -> Self {
        let socket = SockRef::from(self.client.socket()).try_clone().expect("a second descriptor");
        let runtime = runtime();
        let socket = runtime.block_on(async { TcpStream::from_std(socket.into()) });
        Self { client: client::Client::over(socket.expect("a socket that the runtime takes")), runtime }
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.client.socket().local_addr().expect("a connected socket")
    }

    pub fn into_socket(self) -> std::net::TcpStream {
        let _in_runtime = self.runtime.enter();
        self.client.into_socket().into_std().expect("a socket that leaves its runtime")
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes, DEADLINE).expect("the server accepts the bytes");
    }

    /// Sends bytes. An error of the kind `TimedOut` means that the socket stayed full.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>, within: Duration) -> io::Result<()> {
        self.client.send(bytes.as_ref());
        match self.within(within, async |client| client.flush().await) {
            None => Err(ErrorKind::TimedOut.into()),
            Some(()) => self.client.send_error().map_or(Ok(()), |kind| Err(kind.into())),
        }
    }

    #[track_caller]
    pub fn send_text(&mut self, message: &str) {
        self.send(text(message));
    }

    #[track_caller]
    pub fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.send(from_client(first, payload));
    }

    /// Waits for input or the end of the stream. Returns false if neither arrives in time.
    pub fn poll_input(&mut self, within: Duration) -> bool {
        self.within(within, async |client| client.read_more().await).is_some()
    }

    /// Reads and drops input to the end of the stream. Returns `None` if that doesn't come in time.
    pub fn try_end(&mut self, within: Duration) -> Option<Ended> {
        self.within(within, async |client| client.end().await)
    }

    /// Reads the head of a response, and removes its `date`, which differs every time.
    #[track_caller]
    pub fn read_head(&mut self) -> String {
        let head = self.read("a response head", async |client| client.head().await);
        let head = String::from_utf8(head).expect("a head in UTF-8");
        head.split_inclusive("\r\n").filter(|line| !line.starts_with("date: ")).collect()
    }

    /// Reads to the end of the stream. A reset is a failure.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let ended = self.within(DEADLINE, async |client| client.read_to_end().await);
        let rest = self.client.unread().to_vec();
        assert_eq!(ended, Some(Ended::InOrder), "instead of the end of the stream, after {:?}", excerpt(&rest));
        rest
    }

    #[track_caller]
    pub fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        self.read("more bytes", async |client| client.exactly(length).await)
    }

    /// Reads the next frame.
    #[track_caller]
    pub fn read_any_frame(&mut self) -> Frame {
        let frame = self.read("a frame", async |client| client.frame().await);
        assert!(!frame.masked, "a server must not mask (RFC 6455 5.1)");
        frame
    }

    /// Reads the next frame that isn't small talk between the neighbours.
    #[track_caller]
    pub fn read_frame(&mut self) -> Frame {
        let start = Instant::now();
        loop {
            let frame = self.read_any_frame();
            if !is_small_talk(&frame.payload) {
                return frame;
            }
            assert!(start.elapsed() < DEADLINE, "only small talk arrives");
        }
    }

    /// Reads the next message, small talk included.
    #[track_caller]
    pub fn read_text(&mut self) -> String {
        let Frame { first, payload, .. } = self.read_any_frame();
        assert_eq!(first, FIN | TEXT, "not a text message: {payload:?}");
        String::from_utf8(payload).expect("text in UTF-8")
    }

    /// Reads a frame, and compares every byte.
    #[track_caller]
    pub fn expect(&mut self, bytes: &[u8]) {
        let Frame { first, payload, .. } = self.read_frame();
        let got = from_server(first, &payload);
        assert!(got == bytes, "expected {:?}\n     got {:?}", excerpt(bytes), excerpt(&got));
    }

    /// Reads a Close frame with this code and this reason.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16, reason: &str) {
        self.expect(&from_server(FIN | CLOSE, &close_payload(code, reason)));
    }

    /// Reads a Close frame with this code and a reason that contains a phrase.
    #[track_caller]
    pub fn expect_close_about(&mut self, code: u16, phrase: &str) {
        let frame = self.read_frame();
        assert!(frame.is(CLOSE), "not a Close frame: {:02x} {:?}", frame.first, excerpt(&frame.payload));
        assert_eq!(frame.close_code(), Some(code), "{frame:?}");
        let reason = str::from_utf8(&frame.payload[2..]).expect("a reason in UTF-8");
        assert!(reason.contains(phrase), "{phrase:?} is not in {reason:?}");
    }

    /// Reads the end of the stream: no byte before it, and no reset.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let rest = self.read_to_end();
        assert!(rest.is_empty(), "before the end: {:?}", excerpt(&rest));
    }

    /// Closes the client's side of TCP (a FIN). Reading still works.
    #[track_caller]
    pub fn end(&mut self) {
        self.try_finish().expect("a connection to end");
    }

    /// Closes the client's side of TCP (a FIN), which fails if the connection is gone.
    pub fn try_finish(&mut self) -> io::Result<()> {
        SockRef::from(self.client.socket()).shutdown(Shutdown::Write)
    }

    /// Drops the connection with a reset.
    #[track_caller]
    pub fn reset(self) {
        self.client.socket().set_zero_linger().expect("a connection to reset");
    }

    fn within<T>(&mut self, time: Duration, act: impl AsyncFnOnce(&mut client::Client) -> T) -> Option<T> {
        self.runtime.block_on(async { timeout(time, act(&mut self.client)).await.ok() })
    }

    #[track_caller]
    fn read<T>(&mut self, what: &str, read: impl AsyncFnOnce(&mut client::Client) -> Result<T, Ended>) -> T {
        match self.within(DEADLINE, read) {
            Some(Ok(read)) => read,
            other => {
                let how = if other.is_some() { "the stream ended" } else { "nothing in time" };
                panic!("expected {what}, {how} after {:?}", excerpt(self.client.unread()))
            }
        }
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}
