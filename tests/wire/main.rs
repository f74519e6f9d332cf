//! Tests of the whole server over real sockets: raw bytes in, raw bytes out.
//!
//! They are one program, so that they are linked once and the few that must wait do so beside the others.

#![allow(clippy::unwrap_used)]

mod support;

mod after_the_upgrade;
mod before_the_upgrade;
mod chat;
mod command_line;
mod ends;
mod page;
