//! Rung 1: the page.
//!
//! New: the server accepts TCP connections. From each, hyper reads a request (RFC 9112), and writes what `answer` returns: the
//! page, or 404.
//!
//! Still wrong: the page opens a WebSocket at `/ws/{client_id}`, and gets a 404.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
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
    Err((404, "the page is at /\n"))
}

fn refuse((status, why): Refusal) -> Answer {
    Response::builder().status(status).body(why.into()).expect("valid")
}
