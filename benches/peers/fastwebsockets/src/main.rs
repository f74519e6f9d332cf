//! fastwebsockets on hyper, in one thread: a broadcast channel, and two tasks per connection. The sending task drains the
//! queue before it flushes. Listens on 127.0.0.1, port PORT from the environment.

use std::convert::Infallible;
use std::io::Cursor;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use fastwebsockets::upgrade::{UpgradeFut, is_upgrade_request, upgrade};
use fastwebsockets::{FragmentCollectorRead, Frame, OpCode, Payload, Role, WebSocket, WebSocketError, WebSocketWrite};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, BufWriter};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::sync::broadcast::{self, Receiver, Sender, error::TryRecvError};

/// Larger than the largest burst: a client that falls further behind misses messages.
const QUEUE: usize = 1 << 16;

/// Bytes written to a socket at a time.
const BUFFER: usize = 64 * 1024;

const PAGE: &str = include_str!("../../../../index.html");

type Writer = Mutex<WebSocketWrite<BufWriter<OwnedWriteHalf>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::var("PORT")?.parse()?;
    let (room, _) = broadcast::channel(QUEUE);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        // Failure only makes it slower.
        let _ = stream.set_nodelay(true);
        let room = room.clone();
        let service = service_fn(move |request| {
            let response = answer(request, &room);
            async { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection.with_upgrades());
    }
}

fn answer(mut request: Request<Incoming>, room: &Sender<Bytes>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if path == "/" {
        return page();
    }
    let id = path.strip_prefix("/ws/").and_then(|id| id.parse().ok());
    if let (Some(id), true) = (id, is_upgrade_request(&request))
        && let Ok((response, upgrade)) = upgrade(&mut request)
    {
        tokio::spawn(chat(upgrade, id, room.clone(), room.subscribe()));
        return response.map(|_| Full::default());
    }
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

fn page() -> Response<Full<Bytes>> {
    Response::builder()
        .header("content-type", "text/html; charset=utf-8")
        .header("cache-control", "no-cache")
        .header("x-content-type-options", "nosniff")
        .body(Full::new(Bytes::from_static(PAGE.as_bytes())))
        .expect("these headers are valid")
}

async fn chat(upgrade: UpgradeFut, id: i64, room: Sender<Bytes>, messages: Receiver<Bytes>) {
    let Ok(upgraded) = upgrade.await else { return };
    // Without hyper's wrapper, the halves of the socket need no lock.
    let Ok(parts) = upgraded.into_inner().into_inner().downcast::<TokioIo<TcpStream>>() else {
        return;
    };
    let socket = WebSocket::after_handshake(parts.io.into_inner(), Role::Server);
    let (reader, writer) = socket.split(|stream| {
        let (reader, writer) = stream.into_split();
        // What hyper has read beyond the request comes first.
        let reader = Cursor::new(parts.read_buf.clone()).chain(reader);
        (reader, BufWriter::with_capacity(BUFFER, writer))
    });
    let writer = Arc::new(Mutex::new(writer));
    let sender = tokio::spawn(deliver(Arc::clone(&writer), messages));
    let mut reader = FragmentCollectorRead::new(reader);
    // Answers a Close or a Ping.
    let mut answer = async |frame| {
        let mut writer = writer.lock().await;
        writer.write_frame(frame).await?;
        writer.flush().await
    };
    while let Ok(frame) = reader.read_frame(&mut answer).await
        && frame.opcode != OpCode::Close
    {
        if frame.opcode == OpCode::Text {
            let mut message = format!("Client #{id} says: ").into_bytes();
            message.extend_from_slice(&frame.payload);
            // Can't fail: this connection's own receiver exists.
            let _ = room.send(message.into());
        }
    }
    sender.abort();
}

async fn deliver(writer: Arc<Writer>, mut messages: Receiver<Bytes>) -> Result<(), WebSocketError> {
    while let Ok(message) = messages.recv().await {
        let mut writer = writer.lock().await;
        writer.write_frame(text(&message)).await?;
        loop {
            match messages.try_recv() {
                Ok(message) => writer.write_frame(text(&message)).await?,
                Err(TryRecvError::Empty) => break,
                Err(_) => return Ok(()),
            }
        }
        writer.flush().await?;
    }
    Ok(())
}

fn text(message: &Bytes) -> Frame<'_> {
    Frame::text(Payload::Borrowed(message))
}
