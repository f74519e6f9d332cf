//! A real-time chat over WebSockets that can be read in one sitting.
//!
//! The files stand in the order of the bytes. Read them from 1 to 7:
//!
//! 1. [`server`]: a TCP connection is accepted, HTTP/1.1 is served on it (phase 1)
//! 2. [`service`]: one request is routed: the page, `/ws/{client_id}`, `/echo`, or a [`refusal`]
//! 3. [`handshake`]: the opening handshake, computed by hand (phase 2)
//! 4. [`frame`]: where a frame begins and ends, and the rules of its header
//! 5. [`protocol`]: frames become messages, without any I/O (phase 3)
//! 6. [`connection`]: one connection's life, up to the closing handshake (phases 3 and 4)
//! 7. [`room`]: the connection list, and the broadcast
//!
//! Beside the way of the bytes: every limit stands in [`limits`]; [`admission`] knows who may come in. Whoever wants to
//! see each step happen gets it from [`lifecycle`], on the terminal ([`explain`]) or over HTTP ([`events`]); [`wire`] and
//! [`trace`] look on for it.

pub mod admission;
pub mod connection;
pub mod events;
pub mod explain;
pub mod frame;
pub mod handshake;
pub mod http;
pub mod lifecycle;
pub mod limits;
pub mod protocol;
pub mod refusal;
pub mod room;
pub mod server;
pub mod service;
pub mod throttle;
pub mod trace;
pub mod wire;
