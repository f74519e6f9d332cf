//! 2. One request (phase 1): a hand-written hyper service that routes it.
//!
//! On the wire: `GET /ws/42 HTTP/1.1`. The path says what the connection is to become (RFC 6455 3 and 4.1, item 3 of
//! the request); the [`handshake`](crate::handshake) decides whether it may.
//!
//! `/` is the page, `/ws/{client_id}` and `/echo` begin a WebSocket, and `ROUTES` has the rest. The service remembers
//! what the connection is to become, and the server asks for it once the response has been written.

mod log;

use crate::client::Client;
use crate::connection::Purpose;
use crate::handshake::{Accept, accept, asks_for_websocket};
use crate::http::page::{inspector_script, inspector_style, members_script, page, page_style};
use crate::http::refusal::{Fields, Head, Refusal};
use crate::http::responses::{
    bad_client_id, check_http, healthy, last, no_websocket, not_found, out_of_reach, unavailable,
};
use crate::http::streams::{ResponseBody, lifecycle, members, metrics};
use crate::limits::MAX_REQUESTS;
use crate::server::shared::Shared;
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper::{Request, Response};
use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt::{self, Display, Formatter};
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::Arc;

/// What a path leads to.
#[derive(Clone, Copy, Debug)]
pub enum Route {
    /// A response that is the same for every request, such as the page.
    Fixed(fn() -> Response<Full<Bytes>>),
    /// The chat, for a client with this id.
    Chat(i64),
    /// The echo.
    Echo,
    /// Whether the server serves.
    Health,
    /// A stream of events, or the metrics, for the connection with this number.
    Stream(fn(&Arc<Shared>, u64) -> Result<Response<ResponseBody>, Refusal>),
}

/// A path of this server.
struct Row {
    path: &'static str,
    route: Route,
    /// The methods, as an `Allow` header field. For WebSockets there are none: the opening handshake checks the method.
    methods: Fields,
    /// How a 404 lists the path. Empty if it does not.
    about: &'static str,
}

/// The path of the chat, before the client's id.
const CHAT: &str = "/ws/";

const READ: Fields = &[("allow", "GET, HEAD")];

/// All paths. The id of the chat's route is a placeholder.
static ROUTES: &[Row] = &[
    Row { path: "/", route: Route::Fixed(page), methods: READ, about: "/ (the page)" },
    Row { path: CHAT, route: Route::Chat(0), methods: &[], about: "/ws/{client_id} (the chat)" },
    Row { path: "/echo", route: Route::Echo, methods: &[], about: "/echo" },
    Row { path: "/lifecycle", route: Route::Stream(lifecycle), methods: &[("allow", "GET")], about: "/lifecycle" },
    Row { path: "/members", route: Route::Stream(members), methods: &[("allow", "GET")], about: "/members" },
    Row { path: "/metrics", route: Route::Stream(metrics), methods: READ, about: "/metrics" },
    Row { path: "/healthz", route: Route::Health, methods: READ, about: "/healthz" },
    Row { path: "/page.css", route: Route::Fixed(page_style), methods: READ, about: "" },
    Row { path: "/members.js", route: Route::Fixed(members_script), methods: READ, about: "" },
    Row { path: "/inspector.js", route: Route::Fixed(inspector_script), methods: READ, about: "" },
    Row { path: "/inspector.css", route: Route::Fixed(inspector_style), methods: READ, about: "" },
];

/// Finds the route of a path.
///
/// # Errors
/// 404 for an unknown path, 400 for an id that is not a 64-bit integer.
pub fn route(path: &str) -> Result<Route, Refusal> {
    find(path).map(|(route, _)| route)
}

fn find(path: &str) -> Result<(Route, Fields), Refusal> {
    if let Some(client_id) = path.strip_prefix(CHAT) {
        return client_id.parse().map(|id| (Route::Chat(id), Fields::default())).map_err(|_| bad_client_id());
    }
    let row = ROUTES.iter().find(|row| row.path == path);
    row.map(|row| (row.route, row.methods)).ok_or_else(|| not_found(&list(|row| !row.about.is_empty())))
}

/// Lists some of the paths, with what is there.
fn list(which: impl Fn(&Row) -> bool) -> String {
    let paths: Vec<_> = ROUTES.iter().filter(|row| which(row)).map(|row| row.about).collect();
    paths.join(", ")
}

/// The service of one TCP connection, as long as it speaks HTTP.
#[derive(Debug)]
pub struct HttpService {
    server: Arc<Shared>,
    client: Arc<Client>,
    /// The server's address and the client's.
    local: SocketAddr,
    address: SocketAddr,
    /// Whether the request is answered with 503, because the server is full.
    full: bool,
    /// What the connection is to become after its 101.
    upgrade: RefCell<Option<Purpose>>,
}

impl HttpService {
    /// The service of the connection to `local` from `address`.
    pub fn new(server: Arc<Shared>, client: Arc<Client>, local: SocketAddr, address: SocketAddr, full: bool) -> Self {
        Self { server, client, local, address, full, upgrade: RefCell::new(None) }
    }

    /// What all connections share.
    pub fn server(&self) -> &Arc<Shared> {
        &self.server
    }

    /// What the server knows about the connection.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Takes what the connection is to become, if its request was answered with a 101. A second call returns `None`.
    pub fn upgrade(&self) -> Option<Purpose> {
        self.upgrade.take()
    }

    fn answer(&self, head: &Head) -> Result<Response<ResponseBody>, Refusal> {
        if self.full {
            return Err(unavailable("the server is full"));
        }
        if self.server.stop.has_begun() {
            return Err(unavailable("the server is stopping"));
        }
        self.server.admission.check_host(head)?;
        let (route, methods) = find(head.uri.path())?;
        check_http(head, methods)?;
        // A route with methods is none for WebSockets.
        if !methods.is_empty() && asks_for_websocket(head) {
            return Err(no_websocket(&list(|row| row.methods.is_empty())));
        }
        match route {
            Route::Fixed(response) => Ok(response().map(Either::Left)),
            Route::Chat(_) | Route::Health if !self.server.room.is_open() => Err(out_of_reach()),
            Route::Health => Ok(healthy().map(Either::Left)),
            Route::Stream(response) => response(&self.server, self.client.number),
            Route::Chat(client_id) => {
                self.client.name_chat(client_id);
                let accept = accept(head, &self.server.admission)?;
                // The client joins before the 101 is written, so once it has seen the 101, it misses no later message.
                let member = self.server.room.join(&self.client).ok_or_else(out_of_reach)?;
                Ok(self.switch(Purpose::Chat(member), &accept))
            }
            Route::Echo => {
                self.client.name_echo();
                let accept = accept(head, &self.server.admission)?;
                Ok(self.switch(Purpose::Echo, &accept))
            }
        }
    }

    fn switch(&self, purpose: Purpose, accept: &Accept) -> Response<ResponseBody> {
        self.upgrade.replace(Some(purpose));
        accept.response().map(Either::Left)
    }

    /// Whether the response is the last one. A body is not read, so the next request could not be found, and a stream of events
    /// has no end. A client's name never changes, so the request that sets it is the last one.
    fn is_last(&self, request: &Incoming, response: &ResponseBody) -> bool {
        let ends = self.client.requests() >= MAX_REQUESTS || self.full || self.server.stop.has_begun();
        ends || !request.is_end_stream() || matches!(response, Either::Right(_)) || self.client.name().is_some()
    }
}

impl Display for HttpService {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}, {}", self.client.number, self.address)
    }
}

impl Service<Request<Incoming>> for HttpService {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (head, body) = request.into_parts();
        self.client.count_request();
        let answer = self.answer(&head);
        self.log(&head, &answer);
        let answer = answer.unwrap_or_else(|refusal| refusal.response(&head, self.local).map(Either::Left));
        let is_last = self.is_last(&body, answer.body());
        ready(Ok(if is_last { last(answer, head.version) } else { answer }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::http::admission::Admission;
    use crate::server::shared::Options;
    use crate::view::head::parse_request;
    use crate::view::hooks::View;

    /// A service of a server that listens on loopback alone.
    fn service(full: bool) -> HttpService {
        let admission = Admission { loopback_only: true, ..Admission::default() };
        let view = View::new(|_, _, _| (), admission.clone());
        let server = Arc::new(Shared::new(&Options { admission, ..Options::default() }, view));
        let [local, address] = [80, 1].map(|port| ([127, 0, 0, 1], port).into());
        HttpService::new(server, Arc::new(Client::new(1, 0)), local, address, full)
    }

    /// The fault of the refusal, or nothing.
    fn fault(service: &HttpService, host: &str) -> String {
        let head = parse_request(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
        service.answer(&head).map_or_else(|refusal| refusal.fault.into_owned(), |_| String::new())
    }

    #[test]
    fn refusals_before_the_route() {
        assert_eq!(fault(&service(false), "localhost"), "");
        assert!(fault(&service(false), "chat.example").starts_with("this server listens on loopback alone"));
        let full = service(true);
        assert_eq!(fault(&full, "localhost"), "the server is full");
        let stopping = service(false);
        stopping.server.stop.begin();
        assert_eq!(fault(&stopping, "localhost"), "the server is stopping");
    }
}
