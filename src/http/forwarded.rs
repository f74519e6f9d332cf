//! The client behind a proxy, as the proxy names it: `X-Forwarded-For`, or else `Forwarded` (RFC 7239 5.2).
//!
//! Any client can send these header fields, so they count only if the request came from a trusted proxy (`--trust-proxy`), and
//! only for the log. A proxy adds the address of its client at the end, so the list is read from there.

use hyper::HeaderMap;
use std::net::{IpAddr, SocketAddr};

/// The client that a trusted proxy names: the last address in the list that is not a trusted proxy's. None if the peer is not
/// trusted, or if there is no such address.
pub fn client(headers: &HeaderMap, peer: IpAddr, trusted: &[IpAddr]) -> Option<IpAddr> {
    let is_trusted = |address: &IpAddr| trusted.contains(&address.to_canonical());
    if !is_trusted(&peer) {
        return None;
    }
    let mut named = list(headers, "x-forwarded-for", |element| element);
    if named.is_empty() {
        named = list(headers, "forwarded", for_parameter);
    }
    // Beyond an element that is no address, nothing is known.
    let mut known = named.into_iter().rev().map_while(address);
    known.find(|address| !is_trusted(address))
}

/// The elements of a list over all lines of a header field, and of each the part that names the client.
fn list<'a>(headers: &'a HeaderMap, name: &str, part: fn(&'a str) -> &'a str) -> Vec<&'a str> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(part).collect()
}

/// The value of `for` in `for="[2001:db8::1]:4711";proto=https`, without quotes. Empty if there is none.
fn for_parameter(element: &str) -> &str {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for")).map(|(_, value)| value);
    values.next().unwrap_or_default().trim().trim_matches('"')
}

/// An address, perhaps in brackets, perhaps with a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    const PROXY: &str = "127.0.0.1";

    /// The client of a request from `peer` with these header fields.
    fn client_from(peer: &str, fields: &[(&str, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let trusted = [PROXY, "10.0.0.1"].map(|address| address.parse().unwrap());
        client(&headers, peer.parse().unwrap(), &trusted).map(|address| address.to_string())
    }

    #[test]
    fn client_is_the_last_address_that_is_not_a_trusted_proxys() {
        let named = |value| client_from(PROXY, &[("x-forwarded-for", value)]);
        for (value, client) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("6.6.6.6, 192.0.2.1", "192.0.2.1"),
            ("6.6.6.6,192.0.2.1 ,10.0.0.1", "192.0.2.1"),
            ("nonsense, 192.0.2.1", "192.0.2.1"),
            ("192.0.2.1, ::ffff:10.0.0.1", "192.0.2.1"),
        ] {
            assert_eq!(named(value).as_deref(), Some(client), "{value}");
        }
        for value in
            ["", "unknown", "192.0.2.1, nonsense", "192.0.2.1, nonsense, 10.0.0.1", "10.0.0.1", "192.0.2.1:99999"]
        {
            assert_eq!(named(value), None, "{value}");
        }
    }

    #[test]
    fn lines_are_one_list() {
        let lines = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "192.0.2.2")];
        assert_eq!(client_from(PROXY, &lines).as_deref(), Some("192.0.2.2"));
    }

    #[test]
    fn forwarded_counts_where_there_is_no_x_forwarded_for() {
        let named = |value| client_from(PROXY, &[("forwarded", value)]);
        for (value, client) in [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=6.6.6.6, proto=http; for=192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(named(value).as_deref(), Some(client), "{value}");
        }
        for value in ["", "proto=https", "for=_hidden", "for=unknown", "for=192.0.2.1, proto=http"] {
            assert_eq!(named(value), None, "{value}");
        }
        let both = [("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(client_from(PROXY, &both).as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn other_peers_are_not_believed() {
        let fields = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1")];
        assert_eq!(client_from("127.0.0.2", &fields), None);
        assert_eq!(client_from("::ffff:127.0.0.1", &fields).as_deref(), Some("192.0.2.1"));
    }
}
