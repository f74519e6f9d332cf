//! The view: everything that shows the lifecycle. The server works the same without it.
//!
//! The view is a dissector. The main path tells it what happens on the wire and in the room, through the hooks of
//! [`View`](hooks::View); from these [`Record`](hooks::Record)s it derives every step that it shows, with the server's own
//! parsers, on a thread of its own. In the order of the data:
//!
//! 1. [`hooks`]: what the main path sees of the view
//! 2. [`dissector`]: records become steps, with [`head`] for HTTP and [`frame`] for WebSocket
//! 3. [`step`]: a step, with its name, phase, RFC section, fields and sentence
//! 4. [`audience`]: the thread, and the queue of each viewer
//! 5. [`events`]: a viewer of `GET /lifecycle`; [`explain`]: the terminal

pub mod audience;
pub mod dissector;
pub mod events;
pub mod explain;
pub mod frame;
pub mod head;
pub mod hooks;
pub mod step;
