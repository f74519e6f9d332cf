//! The log line of a request, and what is counted of it.

use super::{CHAT, HttpService, Route, route};
use crate::escape::quote;
use crate::handshake::asks_for_websocket;
use crate::http::forwarded;
use crate::http::refusal::{Head, Refusal, Sent};
use crate::http::streams::ResponseBody;
use crate::server::throttle::Kind;
use hyper::{Response, StatusCode};
use log::Level;

impl HttpService {
    /// Logs a request with its answer, and counts it if it is an opening handshake. A refusal is a warning.
    pub(super) fn log(&self, head: &Head, answer: &Result<Response<ResponseBody>, Refusal>) {
        let (method, path) = (|| Sent::Method.show(head), || quote(head.uri.path().as_bytes()));
        let (level, status) = match answer {
            Ok(response) => (Level::Info, response.status()),
            Err(refusal) => (Level::Warn, refusal.status),
        };
        if is_handshake(head) {
            self.server.view.counters().handshakes.add(status.as_u16());
        }
        self.server.log.log(level, Kind::Answer(status), || {
            let client = self.client_of(head);
            match answer {
                Ok(_) if status == StatusCode::SWITCHING_PROTOCOLS => {
                    format!("{client}: WebSocket {} accepted", path())
                }
                Ok(_) => format!("{client}: {} {} {status}", method(), path()),
                Err(refusal) => format!("{client}: {} {} {status}: {}", method(), path(), refusal.fault),
            }
        });
    }

    /// The connection, with the client that a trusted proxy names.
    fn client_of(&self, head: &Head) -> String {
        match forwarded::client(&head.headers, self.address.ip(), &self.server.trusted_proxies) {
            Some(client) => format!("connection {}, {client} through {}", self.client.number, self.address),
            None => self.to_string(),
        }
    }
}

/// Whether a request is for a WebSocket: by its path, or because it asks for one.
fn is_handshake(head: &Head) -> bool {
    let path = head.uri.path();
    path.starts_with(CHAT) || asks_for_websocket(head) || matches!(route(path), Ok(Route::Echo))
}
