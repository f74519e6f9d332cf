//! The view: everything that shows the lifecycle. The server works the same without it.
//!
//! The view works like a packet dissector. The main path tells it what happens on the wire and in the room, through the
//! hooks of [`View`](hooks::View), as [`Record`](record::Record)s. On a thread of its own, the view derives the steps that it
//! shows from them. In the order in which the data flows:
//!
//! 1. [`hooks`]: what the main path calls
//! 2. [`dissector`]: records become steps, with [`head`] for HTTP and [`frame`] for WebSocket
//! 3. [`step`]: a step, with its name, phase, RFC section, fields and sentence
//! 4. [`audience`]: the thread, and the queue of each viewer
//! 5. [`events`]: a viewer of `GET /lifecycle`; [`explain`]: the terminal
//!
//! [`decode`] is for `switchboard frame`: it has neither a server nor a viewer.
//!
//! Two modules are apart: [`members`], the list of the room's members, for the page; and [`metrics`], the numbers for Prometheus,
//! in the text format of [`exposition`]. The hooks [count](counters) for them.

pub mod audience;
pub mod counters;
pub mod decode;
pub mod dissector;
pub mod events;
pub mod explain;
pub mod exposition;
pub mod frame;
pub mod head;
pub mod hooks;
pub mod members;
pub mod metrics;
pub mod record;
pub mod step;
