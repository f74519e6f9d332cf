//! Stages up to the 101: the page, and the opening handshake.

use super::super::checker::{Checker, Explain, Failure, is_101};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha1::{Digest, Sha1};
use test_client::faults;
use test_client::request::{KEY, Request, Response};

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Another valid key.
const OTHER_KEY: &str = "AQIDBAUGBwgJCgsMDQ4PEA==";

const NO_PAGE: &str = "Which path does this request ask for, and what does the server have there?";
const PAGE_TYPE: &str = "A browser shows a page only if a header field says what it is.";
const PLAIN_ACCEPTED: &str = "The server switched protocols, but this request didn't ask for it. Which fields would?";
const SAME_FOR_EVERYONE: &str = "The path of this request is not that of the page.";
const DECODED_KEY: &str = "The hash covers too few bytes. Is the key used as the client sent it?";
const NO_GUID: &str = "Something has to be appended to the key before it is hashed.";
const WRONG_GUID: &str = "Compare the GUID with the RFC's, character by character.";
const SPACE_IN_KEY: &str = "The value of a header field doesn't include the spaces and the line end around it.";
const HEX_DIGEST: &str = "SHA-1 gives 20 bytes. What exactly does your program encode in base64?";
const FIXED: &str = "The first key got the right value, the second didn't. Where does the value come from?";
const NO_ACCEPT: &str = "One header field proves that the server has read the key. It is missing.";
const UPGRADE_FIELD: &str = "The server must name the protocol that it switches to.";
const CONNECTION_FIELD: &str = "A second header field belongs to Upgrade, and must say so.";
const NOT_OFFERED: &str = "A server may choose only from what the client has offered.";
const LIST: &str = "This field is a list of tokens, in any case: Firefox sends `keep-alive, Upgrade`.";
const NAMES: &str = "How does HTTP compare the names of header fields?";
const TOKEN: &str = "The field contains the letters, but not the token.";
const BROKEN: &str = "Each item of RFC 6455 4.2.1 is a reason to refuse. Which one is broken here?";

/// `GET /`, as a browser sends it for a page.
pub fn page(checker: &mut Checker) -> Result<(), Failure> {
    let (id, request) = checker.opening();
    let request = ["Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version"]
        .iter()
        .fold(request.path("/"), |request, name| request.without(name));
    let (mut connection, response) = checker.ask(id, &request.bytes())?;
    if response.status != 200 {
        return Err(Failure::new("status 200 for GET /", in_words(&response)).hint(NO_PAGE));
    }
    let media_type = response.header("content-type").unwrap_or("no Content-Type");
    if !media_type.to_ascii_lowercase().starts_with("text/html") {
        return Err(Failure::new("Content-Type: text/html", media_type).hint(PAGE_TYPE));
    }
    match connection.body(&response)? {
        0 => Err(Failure::new("a page", "an empty body")),
        _ => Ok(()),
    }
}

fn in_words(response: &Response) -> String {
    format!("{} {}", response.version, response.status)
}

pub fn plain_request(checker: &mut Checker) -> Result<(), Failure> {
    refused(checker, "no Upgrade").or_hint(SAME_FOR_EVERYONE)
}

/// Sends the request of a fault, and expects a refusal.
fn refused(checker: &mut Checker, fault: &str) -> Result<(), Failure> {
    checker.next_case();
    let (id, opening) = checker.opening();
    let (_, response) = checker.ask(id, &faults::named(fault).bytes(opening))?;
    let failure = Failure::new("a status from 400 to 499", in_words(&response));
    match response.status {
        400..=499 => Ok(()),
        101 if fault == "no Upgrade" => Err(failure.hint(PLAIN_ACCEPTED)),
        _ => Err(failure),
    }
}

pub fn accept_value(checker: &mut Checker) -> Result<(), Failure> {
    accept_value_of(checker, KEY)?;
    accept_value_of(checker, OTHER_KEY).or_hint(FIXED)
}

fn accept_value_of(checker: &mut Checker, key: &str) -> Result<(), Failure> {
    checker.next_case();
    let (id, opening) = checker.opening();
    let (_, response) = checker.ask(id, &opening.with("Sec-WebSocket-Key", key).bytes())?;
    is_101(&response)?;
    let expected = value(format!("{key}{GUID}"));
    match response.header("sec-websocket-accept") {
        Some(came) if came == expected => Ok(()),
        Some(came) => Err(Failure::new(
            format!("Sec-WebSocket-Accept: {expected} for the key {key}"),
            format!("Sec-WebSocket-Accept: {came}"),
        )
        .hint(known_mistake(key, came))),
        None => Err(Failure::new(format!("Sec-WebSocket-Accept: {expected}"), "no such header field").hint(NO_ACCEPT)),
    }
}

/// The accept value of what is hashed.
fn value(hashed: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(Sha1::digest(hashed))
}

/// The hint for a wrong accept value that comes from a known mistake.
fn known_mistake(key: &str, came: &str) -> &'static str {
    let decoded = BASE64_STANDARD.decode(key).unwrap_or_default();
    let hexadecimal: String = Sha1::digest(format!("{key}{GUID}")).iter().map(|byte| format!("{byte:02x}")).collect();
    let mistakes = [
        (value([&decoded, GUID.as_bytes()].concat()), DECODED_KEY),
        (value(&decoded), DECODED_KEY),
        (value(key), NO_GUID),
        (value(format!("{key}{}", GUID.to_ascii_lowercase())), WRONG_GUID),
        (value(format!(" {key}{GUID}")), SPACE_IN_KEY),
        (value(format!("{key}\r{GUID}")), SPACE_IN_KEY),
        (value(format!("{key}\r\n{GUID}")), SPACE_IN_KEY),
        (BASE64_STANDARD.encode(&hexadecimal), HEX_DIGEST),
        (hexadecimal, HEX_DIGEST),
    ];
    mistakes.iter().find(|(value, _)| value == came).map_or("", |(_, hint)| hint)
}

pub fn response_fields(checker: &mut Checker) -> Result<(), Failure> {
    checker.next_case();
    let (id, opening) = checker.opening();
    let (_, response) = checker.ask(id, &opening.bytes())?;
    is_101(&response)?;
    for (name, token, hint) in [("upgrade", "websocket", UPGRADE_FIELD), ("connection", "upgrade", CONNECTION_FIELD)] {
        if !response.has_token(name, token) {
            let came = response.header(name).unwrap_or("no such header field");
            return Err(Failure::new(format!("the header field {name}: {token}"), came).hint(hint));
        }
    }
    for name in ["sec-websocket-extensions", "sec-websocket-protocol"] {
        if let Some(came) = response.header(name) {
            return Err(Failure::new(format!("no header field {name}"), came).hint(NOT_OFFERED));
        }
    }
    Ok(())
}

pub fn request_fields(checker: &mut Checker) -> Result<(), Failure> {
    accepted(checker, "Connection: keep-alive, UPGRADE", LIST, |request| {
        let fault = faults::named("Connection: keep-alive, UPGRADE");
        fault.bytes(request)
    })?;
    accepted(checker, "Upgrade: WebSocket", LIST, |request| request.with("Upgrade", "WebSocket").bytes())?;
    accepted(checker, "header names in lower case", NAMES, |mut request| {
        request.headers.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
        request.bytes()
    })?;
    for (fault, hint) in
        [("Connection: notupgrade", TOKEN), ("no key", BROKEN), ("a key of 13 bytes", BROKEN), ("version 12", BROKEN)]
    {
        refused(checker, fault).to(fault).or_hint(hint)?;
    }
    Ok(())
}

/// Sends a valid handshake in another spelling, and expects a 101.
fn accepted(
    checker: &mut Checker,
    what: &str,
    hint: &'static str,
    spell: fn(Request) -> Vec<u8>,
) -> Result<(), Failure> {
    checker.next_case();
    let (id, opening) = checker.opening();
    let (_, response) = checker.ask(id, &spell(opening))?;
    is_101(&response).map_err(|failure| failure.hint(hint)).to(what)
}
