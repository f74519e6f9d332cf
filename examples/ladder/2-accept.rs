//! Rung 2: the opening handshake.
//!
//! New: the server checks the request for a WebSocket, computes the accept value and answers with 101 (RFC 6455 4.2). From then
//! on, the connection does not speak HTTP any more.
//!
//! Still wrong: nothing follows. The server closes the connection after the 101. And any page on the web may connect in its
//! visitors' names, because nobody looks at `Origin` (10.2). That stays so in all six rungs.

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use std::{convert::Infallible, env, io};
use tokio::net::TcpListener;

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
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

/// Phase 1: HTTP.
fn answer(request: Request<Incoming>) -> Result<Answer, Refusal> {
    if request.uri().path() == "/" {
        let page = Response::builder().header("content-type", "text/html; charset=utf-8");
        return Ok(page.body(include_str!("page.html").into()).expect("valid"));
    }
    let id = request.uri().path().strip_prefix("/ws/").and_then(|id| id.parse::<i64>().ok());
    id.ok_or((404, "the page is at /, the chat at /ws/{client_id}\n"))?;
    let accept = accept(&request)?;
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
