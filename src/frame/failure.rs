//! Why the server fails a connection.

use std::borrow::Cow;
use tungstenite::protocol::frame::coding::CloseCode;

/// Why the server closes a connection: a close code (RFC 6455 7.4.1), and a reason in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The close code.
    pub code: CloseCode,
    /// The reason, for people: at most 123 bytes, so that it fits a control frame.
    pub reason: Cow<'static, str>,
}

impl Failure {
    /// A failure with this code and reason.
    pub fn new(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into() }
    }

    /// The failure of a client that sends the chat a binary message.
    pub fn text_only() -> Self {
        Self::new(CloseCode::Unsupported, "this chat takes text only, RFC 6455 7.4.1")
    }

    /// A protocol error (1002) against this rule.
    pub(super) fn protocol(rule: &'static str) -> Self {
        Self::new(CloseCode::Protocol, rule)
    }
}
