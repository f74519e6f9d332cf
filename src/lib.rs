//! A real-time chat over WebSockets that can be read in one sitting.
//!
//! # Reading order
//!
//! Seven files carry the bytes from TCP to the broadcast, in this order:
//!
//! 1. [`server`]: accepts a TCP connection and serves HTTP/1.1 on it (phase 1)
//! 2. [`service`]: routes one request: the page, `/ws/{client_id}`, `/echo`, or a [refusal](http::refusal)
//! 3. [`handshake`]: the opening handshake, computed by hand (phase 2)
//! 4. [`frame`]: where a frame begins and ends, and the rules for its header
//! 5. [`protocol`]: frames become messages, without any I/O (phase 3)
//! 6. [`connection`]: one connection's life, up to the closing handshake (phases 3 and 4)
//! 7. [`room`]: the connection list, and the broadcast
//!
//! They have less than 1,800 lines, which take about two hours at 15 lines a minute. That is an estimate, not a measurement;
//! the first lines of each file take ten minutes in all.
//!
//! A first reading can skip the rest. A folder has the details of the file with its name. [`client`] is the record of one
//! connection, [`limits`] has every limit with its reason, [`escape`] makes text from clients safe for a terminal.
//! [`view`] shows each step as it happens; the main path calls its [hooks](view::hooks) and knows nothing else of it.
//!
//! # Glossary
//!
//! Other terms are those of [RFC 6455](https://www.rfc-editor.org/rfc/rfc6455).
//!
//! - **backlog**: the bytes of the room's stream that a member has yet to receive
//! - **batch**: the bytes that one turn takes
//! - **broadcast**: to append frames to the room's stream, for all members
//! - **join**: to take a place in the room, before the 101 is written
//! - **log**: the last bytes of the room's stream, kept for members that are behind
//! - **member**: a connection that has joined
//! - **part**: the members whose connections one thread serves
//! - **place**: the next byte of the room's stream that a member gets
//! - **record**: what a hook tells the view
//! - **room**: the members, and the stream of frames that all of them receive
//! - **step**: one thing that happened to one connection, as the view shows it
//! - **turn**: one pass over the members, with one write to each, after all readable sockets were read
//! - **viewer**: a reader of the view: a client of `GET /lifecycle`, or the terminal

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
