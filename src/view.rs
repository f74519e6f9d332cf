//! The view: everything that shows the lifecycle.

pub mod events;
pub mod explain;
pub mod lifecycle;
pub mod trace;
