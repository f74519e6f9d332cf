//! The page.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};

/// The page, built into the program.
pub const PAGE: &str = include_str!("../../index.html");

/// What the page may do: run its own script and style, known by their SHA-256, and talk to this server. A test tells the
/// hashes when the page has changed.
pub const PAGE_POLICY: &str = "default-src 'none'; \
    script-src 'sha256-EZIat3xbA6+Ld0WkmMSgC7Ggb2ALFRfQq6BvrrAKEoY='; \
    style-src 'sha256-sh91u9ImP6Pm4mpXTxWCzNiI9uues0h8MxXzZ3DRocs='; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /`
pub fn page() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(PAGE.as_bytes())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    // Another version of the program has another page.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::alphabet::STANDARD;
    use base64::engine::general_purpose::{GeneralPurpose, PAD};
    use sha2::{Digest, Sha256};

    /// The text of the page's one element of this name.
    fn element(name: &str) -> &'static str {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let (_, rest) = PAGE.split_once(&open).expect("the page has the element");
        let (text, rest) = rest.split_once(&close).expect("the element ends");
        assert!(!rest.contains(&format!("<{name}")), "one element, so that one hash will do");
        text
    }

    #[test]
    fn the_policy_lets_the_pages_own_script_and_style_run() {
        for name in ["script", "style"] {
            let hash = GeneralPurpose::new(&STANDARD, PAD).encode(Sha256::digest(element(name)));
            let source = format!("{name}-src 'sha256-{hash}'");
            assert!(PAGE_POLICY.contains(&source), "the page has changed, its policy needs {source}");
        }
    }
}
