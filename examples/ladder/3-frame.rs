//! Rung 3: a frame.
//!
//! New: hyper hands over the socket after the 101. The server reads a frame, unmasks it, and writes one (RFC 6455 5.2, 5.3).
//!
//! Still wrong: only text in a single frame is understood. At a fragment, a Ping or a Close, the server hangs up. It does not
//! check that the text is UTF-8. Each client hears itself alone.

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use std::{convert::Infallible, env, io, io::ErrorKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const LARGEST: u64 = 65_536; // bytes of payload

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
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let _ = talk(TokioIo::new(upgraded), id).await;
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

/// Phase 3: frames.
async fn talk(mut io: TokioIo<Upgraded>, id: i64) -> io::Result<()> {
    loop {
        let text = read_frame(&mut io).await?;
        let answer = [format!("Client #{id} says: ").as_bytes(), &text].concat();
        io.write_all(&frame(&answer)).await?;
    }
}

/// Reads a text frame (RFC 6455 5.2). Returns its payload.
async fn read_frame(io: &mut TokioIo<Upgraded>) -> io::Result<Vec<u8>> {
    let [first, second] = [io.read_u8().await?, io.read_u8().await?];
    // FIN and the opcode of text, and the MASK bit.
    if first != 0x81 || second & 0x80 == 0 {
        return Err(ErrorKind::InvalidData.into());
    }
    let length = match second & 0x7f {
        126 => io.read_u16().await?.into(),
        127 => io.read_u64().await?,
        length => length.into(),
    };
    if length > LARGEST {
        return Err(ErrorKind::InvalidData.into());
    }
    let (mut key, mut payload) = ([0; 4], vec![0; length as usize]);
    io.read_exact(&mut key).await?;
    io.read_exact(&mut payload).await?;
    // 5.3: each byte is XORed with a byte of the key, which repeats.
    payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    Ok(payload)
}

/// A text frame. A server does not mask (5.1).
fn frame(text: &[u8]) -> Vec<u8> {
    let length = match text.len() {
        length @ ..126 => vec![length as u8],
        length @ ..65_536 => [&[126], (length as u16).to_be_bytes().as_slice()].concat(),
        length => [&[127], (length as u64).to_be_bytes().as_slice()].concat(),
    };
    [&[0x81], length.as_slice(), text].concat()
}
