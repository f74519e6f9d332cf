//! A frame as it was on the wire, for people.

use crate::escape::{count, escape, hex};
use crate::frame::Header;
use crate::frame::header_reader::HeaderReader;
use crate::limits::SHOWN_PAYLOAD;
use std::fmt::{self, Display, Formatter};

/// The payload bytes that are kept: the whole payload of a control frame (RFC 6455 5.5), for the reason of a Close.
const KEPT_PAYLOAD: usize = 125;

const _: () = assert!(SHOWN_PAYLOAD <= KEPT_PAYLOAD);

/// A frame: the whole header, and the first bytes of the unmasked payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameView {
    header: Vec<u8>,
    payload: Vec<u8>,
}

impl FrameView {
    /// The header in the words of RFC 6455 5.2.
    pub fn parsed(&self) -> Header {
        Header::parse(&self.header)
    }

    /// The bytes of the header.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The first bytes of the payload, unmasked.
    pub fn payload(&self) -> &[u8] {
        &self.payload[..self.payload.len().min(SHOWN_PAYLOAD)]
    }

    /// The masking key, in a client's frame.
    pub fn masking_key(&self) -> Option<[u8; 4]> {
        let key = self.header.len().checked_sub(4).filter(|_| self.parsed().masked)?;
        self.header[key..].try_into().ok()
    }

    /// The first bytes of the payload as they were on the wire.
    pub fn masked(&self) -> Vec<u8> {
        mask(self.payload(), self.masking_key().unwrap_or_default())
    }

    /// The name of the opcode (RFC 6455 5.2).
    pub fn name(&self) -> &'static str {
        match self.parsed().opcode {
            0 => "continuation",
            1 => "text",
            2 => "binary",
            8 => "close",
            9 => "ping",
            10 => "pong",
            _ => "reserved",
        }
    }

    /// The bits that the payload length takes in this header: 7, 16 or 64.
    pub fn length_form(&self) -> u8 {
        match self.header[1] & 0x7f {
            126 => 16,
            127 => 64,
            _ => 7,
        }
    }

    /// The close code and the escaped reason of a Close frame, if it has them (RFC 6455 5.5.1).
    pub fn close(&self) -> Option<(u16, String)> {
        close_in(&self.payload)
    }

    /// The fields of the frame: names and values.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let header = self.parsed();
        let mut fields = vec![
            ("header", hex(&self.header)),
            ("fin", u8::from(header.fin).to_string()),
            ("rsv", format!("{:03b}", header.rsv >> 4)),
            ("opcode", header.opcode.to_string()),
            ("name", self.name().into()),
            ("mask", u8::from(header.masked).to_string()),
            ("length", header.payload_length.to_string()),
            ("form", self.length_form().to_string()),
        ];
        if let Some(key) = self.masking_key() {
            fields.extend([("masking-key", hex(&key)), ("masked", hex(&self.masked()))]);
        }
        fields.extend([("payload", hex(self.payload())), ("text", self.text())]);
        fields
    }

    /// The first bytes of the payload as text, escaped. A close code is written as a number.
    fn text(&self) -> String {
        match close_in(self.payload()).filter(|_| self.parsed().opcode == 8) {
            Some((code, reason)) if reason.is_empty() => code.to_string(),
            Some((code, reason)) => format!("{code} {reason}"),
            None => escape(self.payload()),
        }
    }
}

fn close_in(payload: &[u8]) -> Option<(u16, String)> {
    let (code, reason) = payload.split_first_chunk()?;
    Some((u16::from_be_bytes(*code), escape(reason)))
}

/// Masks a payload, or unmasks it: the operation is its own inverse (RFC 6455 5.3).
fn mask(payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
}

impl Display for FrameView {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Header { fin, payload_length, .. } = self.parsed();
        let more = if fin { "" } else { ", more to come" };
        let cut = if payload_length > self.payload().len() as u64 { "…" } else { "" };
        write!(f, "{} of {}{more}: \"{}{cut}\"", self.name(), count(payload_length, "byte"), self.text())
    }
}

/// Collects frames from the bytes of one direction. It checks nothing.
#[derive(Debug, Default)]
pub struct FrameCollector {
    header: HeaderReader,
    payload: Vec<u8>,
    payload_seen: u64,
}

impl FrameCollector {
    /// Takes bytes up to the end of one frame, and returns it with the rest of the bytes. None if they end inside a frame.
    pub fn next<'a>(&mut self, bytes: &'a [u8]) -> Option<(FrameView, &'a [u8])> {
        let header = self.header.read(bytes);
        let bytes = &bytes[header..];
        if !self.header.is_whole() {
            return None;
        }
        let left = Header::parse(self.header.bytes()).payload_length.saturating_sub(self.payload_seen);
        let (payload, rest) = bytes.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()));
        let shown = payload.len().min(KEPT_PAYLOAD - self.payload.len());
        self.payload.extend_from_slice(&payload[..shown]);
        self.payload_seen += payload.len() as u64;
        (payload.len() as u64 == left).then(|| (std::mem::take(self).view(), rest))
    }

    /// The frame that has begun, with the payload so far. None if its header is not complete.
    pub fn begun(self) -> Option<FrameView> {
        self.header.is_whole().then(|| self.view())
    }

    fn view(self) -> FrameView {
        let wire = FrameView { header: self.header.bytes().to_vec(), payload: self.payload };
        FrameView { payload: mask(&wire.payload, wire.masking_key().unwrap_or_default()), ..wire }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests;
