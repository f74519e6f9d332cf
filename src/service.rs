//! 2. One request (phase 1): a hand-written hyper service that routes it.
//!
//! `/` is the page, `/ws/{client_id}` and `/echo` begin a WebSocket, everything else is refused. An upgrade is left in
//! [`Visit::upgrade`]; the server takes it from there once the 101 is on the wire.

use crate::connection::Purpose;
use crate::handshake::{Accept, accept};
use crate::refusal::{Refusal, quote};
use crate::room::Room;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::service::Service;
use hyper::{Method, Request, Response, StatusCode, Version};
use log::{info, warn};
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::Arc;

/// The page, built into the program.
pub const PAGE: &str = include_str!("../index.html");

/// One TCP connection's visit, while it speaks HTTP.
#[derive(Debug)]
pub struct Visit {
    /// The connection's number.
    pub number: u64,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// The room that `/ws/{client_id}` leads to.
    pub room: Arc<Room>,
    /// The part of the room that this thread serves.
    pub part: usize,
    /// What the connection is to become, once its 101 is on the wire.
    pub upgrade: RefCell<Option<Purpose>>,
}

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Page,
    Chat(i64),
    Echo,
}

/// Finds the route of a path.
fn route(path: &str) -> Result<Route, Refusal> {
    if let Some(client_id) = path.strip_prefix("/ws/") {
        return client_id
            .parse()
            .map(Route::Chat)
            .map_err(|_| bad_client_id(client_id));
    }
    match path {
        "/" => Ok(Route::Page),
        "/echo" => Ok(Route::Echo),
        _ => Err(not_found(path)),
    }
}

fn bad_client_id(client_id: &str) -> Refusal {
    Refusal {
        status: StatusCode::BAD_REQUEST,
        headers: Vec::new(),
        fault: "the client id is not a whole number of 64 bits".into(),
        rule: "the path is /ws/{client_id}, with a client_id from -9223372036854775808 to 9223372036854775807",
        sent: format!("/ws/{}", quote(client_id.as_bytes())),
    }
}

fn not_found(path: &str) -> Refusal {
    Refusal {
        status: StatusCode::NOT_FOUND,
        headers: Vec::new(),
        fault: "there is nothing at this path".into(),
        rule: "the paths are / (the page), /ws/{client_id} (the chat) and /echo",
        sent: quote(path.as_bytes()),
    }
}

fn page_method(method: &Method) -> Refusal {
    Refusal {
        status: StatusCode::METHOD_NOT_ALLOWED,
        headers: vec![(ALLOW, "GET, HEAD")],
        fault: "the page is only to be read".into(),
        rule: "RFC 9110 15.5.6: the methods of / are GET and HEAD",
        sent: quote(method.as_str().as_bytes()),
    }
}

fn no_host() -> Refusal {
    Refusal {
        status: StatusCode::BAD_REQUEST,
        headers: Vec::new(),
        fault: "the request has no Host".into(),
        rule: "RFC 9112 3.2: an HTTP/1.1 request has a Host header field",
        sent: "no host".into(),
    }
}

fn page() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(PAGE.as_bytes())));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

impl Visit {
    fn answer(&self, request: &Request<Incoming>) -> Result<Response<Full<Bytes>>, Refusal> {
        match route(request.uri().path())? {
            Route::Page if !matches!(*request.method(), Method::GET | Method::HEAD) => {
                Err(page_method(request.method()))
            }
            Route::Page
                if request.version() == Version::HTTP_11
                    && !request.headers().contains_key(HOST) =>
            {
                Err(no_host())
            }
            Route::Page => Ok(page()),
            Route::Chat(client_id) => {
                let accept = self.accept(request)?;
                // The place comes before the 101: whoever can have seen the 101 gets every message from then on.
                let member = self.room.join(self.part, self.number);
                Ok(self.switch(Purpose::Chat { client_id, member }, &accept))
            }
            Route::Echo => {
                let accept = self.accept(request)?;
                Ok(self.switch(Purpose::Echo, &accept))
            }
        }
    }

    fn accept(&self, request: &Request<Incoming>) -> Result<Accept, Refusal> {
        accept(request.method(), request.version(), request.headers())
            .map_err(|rejection| Refusal::from(&rejection))
    }

    fn switch(&self, purpose: Purpose, accept: &Accept) -> Response<Full<Bytes>> {
        self.upgrade.replace(Some(purpose));
        accept.response()
    }

    fn log(&self, request: &Request<Incoming>, answer: &Result<Response<Full<Bytes>>, Refusal>) {
        let Self { number, peer, .. } = self;
        let method = quote(request.method().as_str().as_bytes());
        let path = quote(request.uri().path().as_bytes());
        match answer {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                info!("connection {number}, {peer}: WebSocket {path} accepted");
            }
            Ok(response) => {
                info!(
                    "connection {number}, {peer}: {method} {path} {}",
                    response.status()
                );
            }
            Err(refusal) => {
                warn!(
                    "connection {number}, {peer}: {method} {path} {}: {}",
                    refusal.status, refusal.fault
                );
            }
        }
    }
}

impl Service<Request<Incoming>> for Visit {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let answer = self.answer(&request);
        self.log(&request, &answer);
        let mut response = answer.unwrap_or_else(|refusal| refusal.response(request.headers()));
        // One request a connection. hyper's own switch for that would say so in the 101 too, and clients that expect
        // `Connection: Upgrade` and nothing else (tungstenite's is one) would refuse it.
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            // To an HTTP/1.1 response hyper would add the `keep-alive` that an HTTP/1.0 request asked for.
            *response.version_mut() = request.version();
            let headers = response.headers_mut();
            headers.append(CONNECTION, HeaderValue::from_static("close"));
        }
        ready(Ok(response))
    }
}
