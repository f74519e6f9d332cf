//! The chat page and its files, built into the program.
//!
//! The page holds the whole chat. It loads the inspector's script and style only when the user looks inside.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};

/// The page.
pub const PAGE: &str = include_str!("../../index.html");

/// The page's style.
pub const PAGE_STYLE: &str = include_str!("page.css");

/// The script that shows the members.
pub const MEMBERS_SCRIPT: &str = include_str!("../view/members.js");

/// The inspector's script.
pub const INSPECTOR_SCRIPT: &str = include_str!("../view/inspector.js");

/// The inspector's style.
pub const INSPECTOR_STYLE: &str = include_str!("../view/inspector.css");

/// The page's Content-Security-Policy. It allows the page's own script, that of the members and the inspector's by their SHA-256,
/// styles by their origin (browsers know external styles by no hash), and requests to this server. If a script has changed, a test
/// prints the hash.
pub const PAGE_POLICY: &str = "default-src 'none'; \
    script-src 'sha256-72f3HpfTGQ1h50BxqugMx95kS0w7fw4zH7jS8bhoH/4=' \
        'sha256-oYQDCv9IO3P34GWnlu2ZfcGKF4sc35AMJRFquvLKYHY=' \
        'sha256-i6O0Ctz43Vh0QvxYX6Tpmtf4LIcUFNwHoqBU5zMSzeA='; \
    style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The response that carries the page.
pub fn page() -> Response<Full<Bytes>> {
    let mut response = file("text/html; charset=utf-8", PAGE);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    response
}

/// The response that carries the page's style.
pub fn page_style() -> Response<Full<Bytes>> {
    file("text/css; charset=utf-8", PAGE_STYLE)
}

/// The response that carries the script of the members.
pub fn members_script() -> Response<Full<Bytes>> {
    file("text/javascript; charset=utf-8", MEMBERS_SCRIPT)
}

/// The response that carries the inspector's script.
pub fn inspector_script() -> Response<Full<Bytes>> {
    file("text/javascript; charset=utf-8", INSPECTOR_SCRIPT)
}

/// The response that carries the inspector's style.
pub fn inspector_style() -> Response<Full<Bytes>> {
    file("text/css; charset=utf-8", INSPECTOR_STYLE)
}

fn file(content_type: &'static str, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Another version of the program has other files.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;
    use base64::Engine;
    use base64::alphabet::STANDARD;
    use base64::engine::general_purpose::{GeneralPurpose, PAD};
    use regex::Regex;
    use sha2::{Digest, Sha256};

    /// What the page has between these two texts; the first must occur once.
    fn between(open: &str, close: &str) -> &'static str {
        let (_, rest) = PAGE.split_once(open).expect("the page has the opening text");
        assert!(!rest.contains(open), "{open} occurs once");
        rest.split_once(close).expect("the page has the closing text").0
    }

    /// The text as a hash source of a policy.
    fn source(text: &str) -> String {
        format!("sha256-{}", GeneralPurpose::new(&STANDARD, PAD).encode(Sha256::digest(text)))
    }

    /// The sources of a directive of the policy.
    fn sources(directive: &str) -> &'static str {
        let mut directives = PAGE_POLICY.split("; ").filter_map(|text| text.split_once(' '));
        directives.find(|(name, _)| *name == directive).expect("the policy has the directive").1
    }

    #[test]
    fn integrity_is_the_hash_of_the_script() {
        for (file, script) in [("inspector", INSPECTOR_SCRIPT), ("members", MEMBERS_SCRIPT)] {
            let integrity = between(&format!("src=\"/{file}.js\" integrity=\""), "\"");
            assert_eq!(integrity, source(script), "{file}.js has changed; put the right hash into index.html");
        }
    }

    #[test]
    fn policy_allows_only_the_pages_scripts_and_styles() {
        let scripts = [between("<script>", "</script>"), MEMBERS_SCRIPT, INSPECTOR_SCRIPT].map(source);
        let allowed: Vec<_> =
            sources("script-src").split_whitespace().map(|source| source.trim_matches('\'')).collect();
        assert_eq!(allowed, scripts, "a script has changed");
        assert_eq!(sources("style-src"), "'self'");
        assert_eq!(sources("default-src"), "'none'");
        assert!(!PAGE_POLICY.contains("unsafe-"));
    }

    #[test]
    fn page_has_at_most_500_lines() {
        assert!(PAGE.lines().count() <= 500, "index.html holds the chat alone");
    }

    /// What the server sends for a message.
    fn broadcast(client_id: i64, message: &str) -> String {
        let client = Client::new(1, 0);
        client.name_chat(client_id);
        String::from_utf8_lossy(client.says()).into_owned() + message
    }

    #[test]
    fn page_pattern_matches_every_broadcast() {
        let pattern =
            Regex::new(between("const BROADCAST = /", "/;")).expect("a pattern that Rust and JavaScript share");
        for client_id in [0, 7, -1, i64::MIN, i64::MAX] {
            for message in ["", "hello", "two\r\nlines\n", "\u{2028}", "Client #8 says: hello"] {
                let text = broadcast(client_id, message);
                let (_, parts) = pattern.captures(&text).expect("a match").extract();
                assert_eq!(parts, [&*client_id.to_string(), message]);
            }
        }
        assert!(!pattern.is_match("a client says: hello"));
    }
}
