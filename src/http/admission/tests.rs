use super::*;
use hyper::header::HeaderValue;

fn headers(host: &str, origins: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_str(host).unwrap());
    for origin in origins {
        headers.append(ORIGIN, HeaderValue::from_str(origin).unwrap());
    }
    headers
}

fn admission(allowed: &[&str]) -> Admission {
    Admission { loopback_only: true, allowed: allowed.iter().map(|text| text.parse().unwrap()).collect() }
}

#[test]
fn a_host_must_be_a_loopback_name_where_only_loopback_is_listened_on() {
    for host in [
        "localhost",
        "LOCALHOST:8000",
        "chat.localhost:1",
        "localhost.",
        "127.0.0.1",
        "127.1.2.3:80",
        "[::1]",
        "[::1]:8000",
    ] {
        assert_eq!(admission(&[]).check_host(&headers(host, &[])), Ok(()), "{host}");
    }
    for host in
        ["evil.example", "evil.example:8000", "localhost.evil.example", "notlocalhost", "128.0.0.1", "[::2]", "::1", ""]
    {
        let refusal = admission(&[]).check_host(&headers(host, &[])).unwrap_err();
        assert_eq!((refusal.status.as_u16(), refusal.sent), (421, format!("host: {host}")));
    }
}

#[test]
fn any_host_may_be_meant_where_more_than_loopback_is_listened_on() {
    let open = Admission::default();
    assert_eq!(open.check_host(&headers("chat.example", &[])), Ok(()));
}

#[test]
fn the_host_of_an_allowed_origin_is_allowed() {
    let admission = admission(&["https://Chat.Example", "http://other:81"]);
    assert_eq!(admission.check_host(&headers("chat.example", &[])), Ok(()));
    assert_eq!(admission.check_host(&headers("OTHER:81", &[])), Ok(()));
    assert!(admission.check_host(&headers("other:82", &[])).is_err());
}

#[test]
fn without_a_host_another_rule_answers() {
    assert_eq!(admission(&[]).check_host(&HeaderMap::new()), Ok(()));
}

#[test]
fn the_page_of_this_server_is_let_in_whatever_its_scheme() {
    for (host, origin) in [
        ("localhost:8000", "http://localhost:8000"),
        ("chat.example", "https://chat.example"),
        ("Chat.example", "https://chat.Example"),
    ] {
        assert_eq!(admission(&[]).check_origin(&headers(host, &[origin])), Ok(()));
    }
}

#[test]
fn no_origin_is_not_a_browser() {
    assert_eq!(admission(&[]).check_origin(&headers("localhost", &[])), Ok(()));
}

#[test]
fn a_page_of_another_origin_is_refused_with_both_values() {
    for origin in [
        "http://localhost:8001",
        "http://localhost",
        "https://evil.example",
        "null",
        "localhost:8000",
        "file://localhost:8000",
        "",
    ] {
        let refusal = admission(&["https://chat.example"]).check_origin(&headers("localhost:8000", &[origin]));
        let refusal = refusal.unwrap_err();
        assert_eq!(refusal.status.as_u16(), 403);
        assert_eq!(refusal.sent, format!("origin: {origin}, host: localhost:8000"));
        assert!(refusal.fault.contains("--allow-origin"));
    }
}

#[test]
fn two_origins_are_none() {
    let headers = headers("localhost:8000", &["http://localhost:8000", "http://localhost:8000"]);
    assert!(admission(&[]).check_origin(&headers).is_err());
}

#[test]
fn an_allowed_origin_is_let_in_and_a_star_is_for_any() {
    let from = |origin: &str| headers("localhost:8000", &[origin]);
    let some = admission(&["https://chat.example"]);
    assert_eq!(some.check_origin(&from("https://CHAT.example")), Ok(()));
    assert!(some.check_origin(&from("http://chat.example")).is_err());
    let any = admission(&["*"]);
    assert_eq!(any.check_origin(&from("https://evil.example")), Ok(()));
    assert_eq!(any.check_origin(&from("null")), Ok(()));
    assert_eq!(any.check_host(&headers("evil.example", &[])), Ok(()));
}

#[test]
fn what_is_not_an_origin_is_refused_on_the_command_line() {
    for text in ["", "chat.example", "https://", "ftp://chat.example", "https://chat.example/", "https://a b"] {
        assert!(text.parse::<Origin>().is_err(), "{text}");
    }
    assert_eq!("HTTPS://Chat.example:8443".parse(), Ok(Origin::Of("https://chat.example:8443".into())));
}
