//! Responses about the server: `GET /lifecycle` and `GET /members`, which have no end, and `GET /metrics`.

use super::refusal::{Refusal, Sent};
use super::responses::unavailable;
use crate::server::shared::Shared;
use crate::view::events::Events;
use crate::view::members::Members;
use crate::view::{exposition, metrics};
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use std::sync::Arc;

/// The body of a response: complete, or a stream of events.
pub type ResponseBody = Either<Full<Bytes>, Either<Events, Members>>;

/// `GET /lifecycle`, for the connection with this number, whose own steps are not shown.
///
/// # Errors
/// The server does not show its lifecycle, or too many watch it.
pub fn lifecycle(server: &Arc<Shared>, number: u64) -> Result<Response<ResponseBody>, Refusal> {
    if !server.lifecycle {
        let rule = "it is on by default on loopback alone, or with `--lifecycle on`";
        return Err(off("the lifecycle is not shown here", rule));
    }
    let watch = server.view.watch(Some(number), server.room.clients(usize::MAX)).ok_or_else(too_many)?;
    Ok(event_stream(Either::Left(Events::new(watch))))
}

/// `GET /members`. The page asks for it unasked, so a server that does not show its lifecycle does not refuse, but has no content:
/// after that, an `EventSource` does not try again.
///
/// # Errors
/// Too many watch it.
pub fn members(server: &Arc<Shared>, _: u64) -> Result<Response<ResponseBody>, Refusal> {
    if !server.lifecycle {
        let mut response = Response::new(Either::Left(Full::default()));
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    }
    let members = Members::watch(server).ok_or_else(too_many)?;
    Ok(event_stream(Either::Right(members)))
}

/// `GET /metrics`.
///
/// # Errors
/// The server does not show its metrics.
pub fn metrics(server: &Arc<Shared>, _: u64) -> Result<Response<ResponseBody>, Refusal> {
    if !server.metrics {
        let rule = "they are on by default on loopback alone, or with `--metrics on`";
        return Err(off("the metrics are not shown here", rule));
    }
    let mut response = Response::new(Either::Left(Full::from(metrics::metrics(server))));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(exposition::CONTENT_TYPE));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn event_stream(events: Either<Events, Members>) -> Response<ResponseBody> {
    let mut response = Response::new(Either::Right(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An option turns this path off.
fn off(fault: &'static str, rule: &'static str) -> Refusal {
    Refusal { status: StatusCode::NOT_FOUND, fields: &[], fault: fault.into(), rule: rule.into(), sent: Sent::Path }
}

fn too_many() -> Refusal {
    unavailable("the maximum number of viewers is reached")
}
