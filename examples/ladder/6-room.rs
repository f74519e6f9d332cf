//! Rung 6: the room. A slow member keeps nobody waiting.
//!
//! New: each member has a bounded queue. `broadcast` puts the frame into all of them, and waits for none. A member whose queue is
//! full is cut off. A client takes its place before its 101 is written, so it misses nothing from then on (RFC 6455 is silent).
//!
//! Still wrong: a message costs each member a queue entry, a wake-up and a write. A client that vanishes without a Close keeps its
//! place: nobody sends it a Ping. One that floods fills everyone's queues.

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use std::io::{self, ErrorKind::WouldBlock, Read, Write};
use std::{collections::VecDeque, convert::Infallible, env, mem::take, sync::Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::{net::TcpListener, sync::mpsc};
use tungstenite::protocol::frame::{CloseFrame, Frame, coding::Data, coding::OpCode};
use tungstenite::{Error, Message, WebSocket, protocol::Role};

type Answer = Response<Full<Bytes>>;
type Refusal = (u16, &'static str);

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let port = env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8000);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?; // or TCP holds small frames back for up to 40 ms
        let service = service_fn(|request| async { Ok::<_, Infallible>(answer(request).unwrap_or_else(refuse)) });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service).with_upgrades());
    }
}

/// Phase 1: HTTP.
fn answer(request: Request<Incoming>) -> Result<Answer, Refusal> {
    if request.uri().path() == "/" {
        let page = Response::builder().header("content-type", "text/html; charset=utf-8");
        return Ok(page.body(include_str!("page.html").into()).expect("valid"));
    }
    let id = request.uri().path().strip_prefix("/ws/").and_then(|id| id.parse().ok());
    let id = id.ok_or((404, "the page is at /, the chat at /ws/{client_id}\n"))?;
    let accept = accept(&request)?;
    let (queue, frames) = mpsc::channel(4096); // frames
    ROOM.lock().expect("nobody panics").push(queue);
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let _ = talk(TokioIo::new(upgraded), id, frames).await;
        }
        println!("Client #{id} disconnected");
    });
    let switching = Response::builder().status(101).header("upgrade", "websocket").header("connection", "Upgrade");
    Ok(switching.header("sec-websocket-accept", accept).body(Full::default()).expect("valid"))
}

fn refuse((status, why): Refusal) -> Answer {
    let refusal = Response::builder().status(status).header("upgrade", "websocket");
    refusal.header("sec-websocket-version", "13").body(why.into()).expect("valid")
}

/// Phase 2: the opening handshake (RFC 6455 4.2). Returns the accept value.
fn accept(request: &Request<Incoming>) -> Result<String, Refusal> {
    let has = |name, token: &str| {
        let values = request.headers().get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
    };
    if !has("upgrade", "websocket") || !has("connection", "upgrade") || !has("sec-websocket-version", "13") {
        return Err((426, "this is for WebSockets, version 13 (4.2.1, items 3, 4 and 6)\n"));
    }
    let key = request.headers().get("sec-websocket-key").map(|key| key.as_bytes()).unwrap_or_default();
    if !BASE64.decode(key).is_ok_and(|nonce| nonce.len() == 16) {
        return Err((400, "the key must be 16 bytes in base64 (4.2.1, item 5)\n"));
    }
    let guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    Ok(BASE64.encode(Sha1::new().chain_update(key).chain_update(guid).finalize()))
}

/// Phases 3 and 4: frames, and the closing handshake. tungstenite joins fragments, and answers Pings and Closes.
async fn talk(mut io: TokioIo<Upgraded>, id: i64, mut frames: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let mut socket = WebSocket::from_raw_socket(Memory::default(), Role::Server, None);
    let mut buffer = [0; 4096];
    loop {
        let message = socket.read();
        let code = match &message {
            Ok(Message::Binary(_)) => 1003,
            Err(Error::Protocol(_)) => 1002,
            Err(Error::Utf8(_)) => 1007,
            Err(Error::Capacity(_)) => 1009,
            Err(Error::Io(_)) if frames.is_closed() && frames.is_empty() => 1013,
            _ => 0,
        };
        if code > 0 {
            let _ = socket.close(Some(CloseFrame { code: code.into(), reason: "".into() }));
        }
        io.write_all(&take(&mut socket.get_mut().output)).await?;
        match message {
            Ok(Message::Text(text)) => broadcast(format!("Client #{id} says: {text}")),
            Err(Error::Io(_)) if code == 0 => tokio::select! {
                read = io.read(&mut buffer) => match read? {
                    0 => return Ok(()),
                    read => socket.get_mut().input.extend(&buffer[..read]),
                },
                frame = frames.recv() => io.write_all(&frame.unwrap_or_default()).await?,
            },
            Ok(_) if code == 0 => {}
            _ => return io.shutdown().await,
        }
    }
}

/// A text frame, as every member gets it: a server does not mask (RFC 6455 5.1).
fn frame(text: String) -> Bytes {
    let mut frame = Vec::new();
    Frame::message(text, OpCode::Data(Data::Text), true).format(&mut frame).expect("memory takes it");
    frame.into()
}

/// What tungstenite reads, and what it writes.
#[derive(Default)]
struct Memory {
    input: VecDeque<u8>,
    output: Vec<u8>,
}

impl Read for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() { Err(WouldBlock.into()) } else { self.input.read(buffer) }
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(&mut self.output, bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The queues of the members.
static ROOM: Mutex<Vec<mpsc::Sender<Bytes>>> = Mutex::new(Vec::new());

/// Removes the members whose queues are full, and those that have left.
fn broadcast(text: String) {
    let frame = frame(text);
    ROOM.lock().expect("nobody panics").retain(|queue| queue.try_send(frame.clone()).is_ok());
}
