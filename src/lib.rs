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
//! Without tests, they have fewer than 1,800 lines: two hours of reading at 15 lines a minute, which is an estimate,
//! not a measurement. Reading only the comment at the top of each file takes about ten minutes.
//!
//! A first reading can skip the rest. The details of a file are in the folder of the same name. [`client`] holds what the
//! server knows about one connection, [`limits`] has the server's limits, and [`escape`] makes text from clients
//! safe for a terminal. [`view`] shows each step as it happens. The main path starts the view, calls its
//! [hooks](view::hooks), and serves its events. [`cluster`] joins the rooms of several servers into one.
//!
//! # Glossary
//!
//! Other terms are those of [RFC 6455](https://www.rfc-editor.org/rfc/rfc6455).
//!
//! - **backlog**: the bytes of the room's stream that a member has yet to receive
//! - **batch**: the pending bytes of the room's stream that one turn writes to the members
//! - **broadcast**: to append frames to the room's stream, for all members
//! - **delivery**: one message for one member
//! - **entry**: what one server appends to the log of a room on several servers at a time
//! - **join**: to take a place in the room, before the 101 is written
//! - **log**, of a part: the last bytes of the room's stream, kept for members that are behind
//! - **log**, of a room on several servers: its stream in Redis, from which each server broadcasts
//! - **member**: a connection that has joined
//! - **node**: a server that shares its room with others
//! - **outbox**: what members said that is not yet in the log of a room on several servers
//! - **pace**: the bytes per second that all speakers together may say while a member is far behind
//! - **part**: the members whose connections one thread serves
//! - **place**: the position, in the room's stream, of the next byte that a member gets
//! - **record**: what a hook tells the view
//! - **room**: the members, and the stream of frames that all of them receive
//! - **speaker**: a member that sends messages
//! - **step**: one thing that happened to one connection, as the view shows it
//! - **turn**: one pass over the members of a part, with one write to each; usually after all readable sockets of its
//!   thread have been read
//! - **viewer**: a reader of the view: a client of `GET /lifecycle`, or the terminal

pub mod client;
pub mod cluster;
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
