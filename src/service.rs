//! 2. One request (phase 1): a hand-written hyper service that routes it.
//!
//! On the wire: `GET /ws/42 HTTP/1.1`. The path says what the connection is to become (RFC 6455 3 and 4.1, item 2 of the
//! request); whether it may is the [`handshake`](crate::handshake)'s to say.
//!
//! `/` is the page, `/inspector.js` and `/inspector.css` are files it loads, `/ws/{client_id}` and `/echo` begin a
//! WebSocket, everything else is refused. An upgrade is left in [`Visit::upgrade`]; the server takes it from there once the
//! 101 is on the wire.

use crate::connection::Purpose;
use crate::events::Events;
use crate::frame::hex;
use crate::handshake::{Accept, Checked, Computation, Rejection, accept, checks, decode_key, sent};
use crate::http::page;
use crate::lifecycle::{Event, visible_head};
use crate::limits;
use crate::refusal::{Refusal, quote};
use crate::server::Shared;
use crate::wire::Record;
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, ORIGIN, RETRY_AFTER};
use hyper::service::Service;
use hyper::{Method, Request, Response, StatusCode, Version};
use log::info;
use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt::{self, Display, Formatter};
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::Arc;

/// The body of a response: all there is, or the steps as they come.
pub type ResponseBody = Either<Full<Bytes>, Events>;

/// One TCP connection's visit, while it speaks HTTP.
#[derive(Debug)]
pub struct Visit {
    /// What it shares with the others.
    pub server: Arc<Shared>,
    /// The connection's number.
    pub number: u64,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// The part of the room that this thread serves.
    pub part: usize,
    /// Whether it came when there was no place left for it.
    pub full: bool,
    /// What goes over the wire, if somebody watches.
    pub record: Option<Record>,
    /// What the connection is to become, once its 101 is on the wire.
    pub upgrade: RefCell<Option<Purpose>>,
}

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Page,
    InspectorScript,
    InspectorStyle,
    Health,
    Lifecycle,
    Chat(i64),
    Echo,
}

/// Finds the route of a path.
fn route(path: &str) -> Result<Route, Refusal> {
    if let Some(client_id) = path.strip_prefix("/ws/") {
        return client_id.parse().map(Route::Chat).map_err(|_| bad_client_id(client_id));
    }
    match path {
        "/" => Ok(Route::Page),
        "/inspector.js" => Ok(Route::InspectorScript),
        "/inspector.css" => Ok(Route::InspectorStyle),
        "/echo" => Ok(Route::Echo),
        "/healthz" => Ok(Route::Health),
        "/lifecycle" => Ok(Route::Lifecycle),
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
        rule: "the paths are / (the page), /ws/{client_id} (the chat), /echo, /lifecycle and /healthz",
        sent: quote(path.as_bytes()),
    }
}

fn read_only(method: &Method) -> Refusal {
    Refusal {
        status: StatusCode::METHOD_NOT_ALLOWED,
        headers: vec![(ALLOW, "GET, HEAD")],
        fault: "this is only to be read".into(),
        rule: "RFC 9110 15.5.6: the methods here are GET and HEAD",
        sent: quote(method.as_str().as_bytes()),
    }
}

fn endless(method: &Method) -> Refusal {
    Refusal {
        status: StatusCode::METHOD_NOT_ALLOWED,
        headers: vec![(ALLOW, "GET")],
        fault: "this is only to be watched".into(),
        rule: "RFC 9110 15.5.6: the method here is GET",
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

fn lifecycle_off() -> Refusal {
    Refusal {
        status: StatusCode::NOT_FOUND,
        headers: Vec::new(),
        fault: "the lifecycle is not shown here".into(),
        rule: "it is where all addresses listened on are loopback, or with `--lifecycle on`",
        sent: "/lifecycle".into(),
    }
}

fn unavailable(fault: &str) -> Refusal {
    Refusal {
        status: StatusCode::SERVICE_UNAVAILABLE,
        headers: vec![(RETRY_AFTER, limits::RETRY_AFTER)],
        fault: fault.into(),
        rule: "RFC 9110 15.6.4: come again when Retry-After has passed",
        sent: "nothing wrong".into(),
    }
}

/// Marks a response as the last of its connection, unless it is the 101: a connection carries one request.
fn last(mut response: Response<ResponseBody>, version: Version) -> Response<ResponseBody> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let headers = response.headers_mut();
        let close = if headers.contains_key(CONNECTION) { "Upgrade, close" } else { "close" };
        headers.insert(CONNECTION, HeaderValue::from_static(close));
        // To an HTTP/1.1 response hyper would add the `keep-alive` that an HTTP/1.0 request asked for.
        *response.version_mut() = version;
    }
    response
}

/// The rules of plain HTTP for what is only to be read.
fn only_read(request: &Request<Incoming>) -> Result<(), Refusal> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(read_only(request.method()));
    }
    if request.version() == Version::HTTP_11 && !request.headers().contains_key(HOST) {
        return Err(no_host());
    }
    Ok(())
}

fn healthy() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"ok\n")));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Visit {
    fn answer(&self, request: &Request<Incoming>) -> Result<Response<ResponseBody>, Refusal> {
        if self.full {
            return Err(unavailable("the server is full"));
        }
        if self.server.is_stopping() {
            return Err(unavailable("the server is stopping"));
        }
        self.server.admission.check_host(request.headers())?;
        match route(request.uri().path())? {
            Route::Page => only_read(request).map(|()| page::page().map(Either::Left)),
            Route::InspectorScript => only_read(request).map(|()| page::inspector_script().map(Either::Left)),
            Route::InspectorStyle => only_read(request).map(|()| page::inspector_style().map(Either::Left)),
            Route::Health => only_read(request).map(|()| healthy().map(Either::Left)),
            Route::Lifecycle => self.lifecycle(request),
            Route::Chat(client_id) => {
                self.server.lifecycle.named(self.number, client_id);
                let accept = self.accept(request)?;
                // The place comes before the 101: whoever can have seen the 101 gets every message from then on.
                let member = self.server.room.join(self.part, self.number);
                Ok(self.switch(Purpose::Chat { client_id, member }, &accept))
            }
            Route::Echo => {
                let accept = self.accept(request)?;
                Ok(self.switch(Purpose::Echo, &accept))
            }
        }
    }

    fn accept(&self, request: &Request<Incoming>) -> Result<Accept, Refusal> {
        let outcome = accept(request.method(), request.version(), request.headers());
        let origin = self.server.admission.check_origin(request.headers());
        self.show(request, &outcome, origin.is_ok());
        let accept = outcome.map_err(|rejection| Refusal::from(&rejection))?;
        origin.map(|()| accept)
    }

    fn switch(&self, purpose: Purpose, accept: &Accept) -> Response<ResponseBody> {
        self.upgrade.replace(Some(purpose));
        accept.response().map(Either::Left)
    }

    /// For those who watch: the request, each check, and the computation.
    fn show(&self, request: &Request<Incoming>, outcome: &Result<Accept, Rejection>, origin_passed: bool) {
        let step = |event| self.server.lifecycle.step(self.number, || event);
        if !self.server.lifecycle.is_watched() {
            return;
        }
        let headers = request.headers();
        for Checked { rule, rfc, sent, passed } in checks(request.method(), request.version(), headers, outcome) {
            step(Event::Check { rule, rfc, sent, passed });
        }
        if let Ok(accept) = outcome {
            let (rule, rfc) = ("the origin is let in", "RFC 6455 4.2.2, item 4");
            step(Event::Check { rule, rfc, sent: sent(headers, &ORIGIN), passed: origin_passed });
            if !origin_passed {
                return;
            }
            let Computation { key, joined, digest, value } = accept.computation().clone();
            let nonce = hex(&decode_key(key.as_bytes()).unwrap_or_default());
            step(Event::Key { key, nonce });
            step(Event::JoinedKey(joined));
            step(Event::Digest(hex(&digest).replace(' ', "")));
            step(Event::Accept(value));
        }
    }

    fn lifecycle(&self, request: &Request<Incoming>) -> Result<Response<ResponseBody>, Refusal> {
        if !self.server.lifecycle_on {
            return Err(lifecycle_off());
        }
        if request.method() != Method::GET {
            return Err(endless(request.method()));
        }
        only_read(request)?;
        if self.server.lifecycle.viewers() >= limits::MOST_VIEWERS {
            return Err(unavailable("enough are watching"));
        }
        let mut response = Response::new(Either::Right(Events::watch(&self.server.lifecycle, self.number)));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }

    fn log(&self, request: &Request<Incoming>, answer: &Result<Response<ResponseBody>, Refusal>) {
        let method = || quote(request.method().as_str().as_bytes());
        let path = || quote(request.uri().path().as_bytes());
        match answer {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                info!("{self}: WebSocket {} accepted", path());
            }
            Ok(response) => info!("{self}: {} {} {}", method(), path(), response.status()),
            Err(refusal) => self
                .server
                .faults
                .log(|| format!("{self}: {} {} {}: {}", method(), path(), refusal.status, refusal.fault)),
        }
    }
}

impl Display for Visit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}, {}", self.number, self.peer)
    }
}

impl Service<Request<Incoming>> for Visit {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if let Some(record) = &self.record {
            self.server.lifecycle.step(self.number, || Event::Request(visible_head(&record.read())));
        }
        let answer = self.answer(&request);
        self.log(&request, &answer);
        let answer = answer.unwrap_or_else(|refusal| refusal.response(request.headers()).map(Either::Left));
        ready(Ok(last(answer, request.version())))
    }
}
