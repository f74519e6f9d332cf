//! A real-time chat over WebSockets that can be read in one sitting.
//!
//! The files stand in the order of the bytes. Read them from 1 to 7:
//!
//! 1. [`server`]: a TCP connection is accepted, HTTP/1.1 is served on it (phase 1)
//! 2. [`service`]: one request is routed: the page, `/ws/{client_id}`, `/echo`, or a [`refusal`](http::refusal)
//! 3. [`handshake`]: the opening handshake, computed by hand (phase 2)
//! 4. [`frame`]: where a frame begins and ends, and the rules of its header
//! 5. [`protocol`]: frames become messages, without any I/O (phase 3)
//! 6. [`connection`]: one connection's life, up to the closing handshake (phases 3 and 4)
//! 7. [`room`]: the connection list, and the broadcast
//!
//! Beside the way of the bytes: every limit stands in [`limits`]; [`admission`](http::admission) knows who may come in. Whoever wants to
//! see each step happen gets it from [`lifecycle`](view::lifecycle), on the terminal ([`explain`](view::explain)) or over HTTP ([`events`](view::events)); [`wire`](server::wire) and
//! [`trace`](view::trace) look on for it.

pub mod client;
pub mod connection;
pub mod escape;
pub mod frame;
pub mod handshake;
pub mod http;
pub mod limits;
pub mod protocol;
pub mod room;
pub mod server;
pub mod service;
pub mod view;
