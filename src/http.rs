//! HTTP off the main path: the page, other responses, refusals, and which requests are admitted.

pub mod admission;
pub mod forwarded;
pub mod host;
pub mod page;
pub mod refusal;
pub mod responses;
pub mod streams;
