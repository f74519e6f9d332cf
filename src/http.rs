//! HTTP beside the way of the bytes: refusals, and who may come in.

pub mod admission;
pub mod refusal;
