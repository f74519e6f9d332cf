//! HTTP as the tiny server speaks it: requests, the page, and the 101.

use crate::tiny::Trait::{self, *};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha1::{Digest, Sha1};

/// The request, as far as the server looks at it.
pub struct Request {
    pub path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub fn parse(head: &str, kind: Trait) -> Self {
        let mut lines = head.split("\r\n");
        let path = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
        let name = |name: &str| if kind == CaseSensitiveNames { name.to_owned() } else { name.to_ascii_lowercase() };
        let headers = lines.filter_map(|line| line.split_once(": ")).map(|(key, value)| (name(key), value.to_owned()));
        Self { path, headers: headers.collect() }
    }

    fn header(&self, name: &str, kind: Trait) -> &str {
        let name = if kind == CaseSensitiveNames { name.to_owned() } else { name.to_ascii_lowercase() };
        self.headers.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }

    /// The key, if this is a valid opening handshake.
    pub fn key(&self, kind: Trait) -> Option<&str> {
        let connection = self.header("Connection", kind).to_ascii_lowercase();
        let upgrades = match kind {
            ConnectionBySubstring => connection.contains("upgrade"),
            ConnectionAsWhole => connection == "upgrade",
            UpgradesPlainRequest => true,
            _ => connection.split(',').any(|token| token.trim() == "upgrade"),
        };
        let websocket = kind == UpgradesPlainRequest || self.header("Upgrade", kind).eq_ignore_ascii_case("websocket");
        let key = self.header("Sec-WebSocket-Key", kind);
        let valid = BASE64_STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16);
        let version = self.header("Sec-WebSocket-Version", kind) == "13";
        (upgrades && websocket && valid && version).then_some(key)
    }
}

pub fn accept(key: &str, kind: Trait) -> String {
    const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let decoded = BASE64_STANDARD.decode(key).unwrap();
    let digest = match kind {
        DecodedKey => Sha1::digest([&decoded, GUID.as_bytes()].concat()),
        _ => Sha1::digest(format!("{key}{GUID}")),
    };
    match kind {
        FixedAccept => test_client::request::ACCEPT.into(),
        HexDigest => BASE64_STANDARD.encode(digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        _ => BASE64_STANDARD.encode(digest),
    }
}

pub fn page(kind: Trait) -> String {
    let (status, media_type) = match kind {
        NoPage => ("404 Not Found", "text/html"),
        PageAsText => ("200 OK", "text/plain"),
        _ => ("200 OK", "text/html; charset=utf-8"),
    };
    let length = if kind == EndlessPage { "" } else { "Content-Length: 13\r\n" };
    let page = format!("HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\n{length}\r\n<h1>Chat</h1>");
    match kind {
        BareLines => page.replace("\r\n", "\n"),
        Rubbish => "Hello!\r\n\r\n".into(),
        Http10 => page.replace("HTTP/1.1", "HTTP/1.0"),
        _ => page,
    }
}

pub fn switching_protocols(accept: &str, kind: Trait) -> String {
    let version = if kind == Http10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let upgrade = if kind == NoUpgradeField { "" } else { "Upgrade: websocket\r\n" };
    let extension = match kind {
        OffersExtension => "Sec-WebSocket-Extensions: permessage-deflate\r\n",
        Unusual => "X-Powered-By: threads\r\n",
        _ => "",
    };
    let head = format!(
        "{version} 101 Go ahead\r\n{upgrade}{extension}Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    match kind {
        Unusual => {
            head.replace("Connection: Upgrade", "CONNECTION: keep-alive,upgrade").replace("Upgrade: w", "upgrade:W")
        }
        _ => head,
    }
}
