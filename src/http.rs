//! Responses in plain HTTP, beside the way of the bytes.

pub mod page;
