use super::*;
use hyper::Request;
use hyper::header::HOST;

/// The head of a request with this `Host`.
fn to(host: &str, origins: &[&str]) -> Head {
    request("/", &[host], origins)
}

fn request(target: &str, hosts: &[&str], origins: &[&str]) -> Head {
    let request = hosts.iter().fold(Request::builder().uri(target), |request, host| request.header(HOST, *host));
    let request = origins.iter().fold(request, |request, origin| request.header(ORIGIN, *origin));
    request.body(()).unwrap().into_parts().0
}

fn admission(allowed: &[&str]) -> Admission {
    Admission { loopback_only: true, allowed: allowed.iter().map(|text| text.parse().unwrap()).collect() }
}

#[test]
fn listening_on_loopback_alone_requires_a_loopback_host() {
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
        assert_eq!(admission(&[]).check_host(&to(host, &[])), Ok(()), "{host}");
    }
    for host in ["evil.example", "evil.example:8000", "localhost.evil.example", "notlocalhost", "128.0.0.1", "[::2]"] {
        let refusal = admission(&[]).check_host(&to(host, &[])).unwrap_err();
        assert_eq!((refusal.status.as_u16(), refusal.sent), (421, Sent::Host), "{host}");
    }
}

#[test]
fn listening_on_more_than_loopback_takes_any_host() {
    let open = Admission::default();
    assert_eq!(open.check_host(&to("chat.example", &[])), Ok(()));
}

#[test]
fn the_host_of_an_allowed_origin_is_allowed() {
    let admission = admission(&["https://Chat.Example", "http://other:81"]);
    assert_eq!(admission.check_host(&to("chat.example", &[])), Ok(()));
    assert_eq!(admission.check_host(&to("OTHER:81", &[])), Ok(()));
    assert!(admission.check_host(&to("other:82", &[])).is_err());
}

#[test]
fn a_missing_host_is_left_to_another_rule() {
    assert_eq!(admission(&[]).check_host(&request("/", &[], &[])), Ok(()));
}

#[test]
fn a_host_must_be_one_and_valid_wherever_the_server_listens() {
    for admission in [admission(&[]), admission(&["*"]), Admission::default()] {
        for hosts in [&["localhost", "localhost"][..], &["evil example.localhost"], &[""]] {
            let refusal = admission.check_host(&request("/", hosts, &[])).unwrap_err();
            assert_eq!((refusal.status.as_u16(), refusal.sent), (400, Sent::Host), "{hosts:?}");
        }
    }
}

#[test]
fn the_authority_of_an_absolute_target_is_the_host_that_counts() {
    let check = |target, host| admission(&[]).check_host(&request(target, &[host], &[])).is_ok();
    assert!(check("http://localhost:8000/", "evil.example"));
    assert!(!check("http://evil.example/", "localhost:8000"));
    let allows = |origin| admission(&[]).allows_origin(&request("http://chat.example/", &["other.example"], &[origin]));
    assert!(allows("http://chat.example"));
    assert!(!allows("http://other.example"));
}

#[test]
fn a_refusal_shows_the_target_and_the_host() {
    let head = request("http://evil.example/", &["localhost"], &["null"]);
    assert_eq!(Sent::Host.show(&head), "target: evil.example | host: localhost");
    assert_eq!(Sent::Origin.show(&head), "origin: null | target: evil.example | host: localhost");
}

#[test]
fn the_servers_own_page_is_allowed_with_any_scheme() {
    for (host, origin) in [
        ("localhost:8000", "http://localhost:8000"),
        ("chat.example", "https://chat.example"),
        ("Chat.example", "https://chat.Example"),
    ] {
        assert!(admission(&[]).allows_origin(&to(host, &[origin])));
    }
}

#[test]
fn no_origin_is_allowed() {
    assert!(admission(&[]).allows_origin(&to("localhost", &[])));
}

#[test]
fn other_origins_are_refused() {
    for origin in [
        "http://localhost:8001",
        "http://localhost",
        "https://evil.example",
        "null",
        "localhost:8000",
        "file://localhost:8000",
        "",
    ] {
        let allows = admission(&["https://chat.example"]).allows_origin(&to("localhost:8000", &[origin]));
        assert!(!allows, "{origin}");
    }
}

#[test]
fn two_origins_are_refused() {
    let head = to("localhost:8000", &["http://localhost:8000", "http://localhost:8000"]);
    assert!(!admission(&[]).allows_origin(&head));
}

#[test]
fn an_allowed_origin_and_a_star() {
    let from = |origin: &str| to("localhost:8000", &[origin]);
    let some = admission(&["https://chat.example"]);
    assert!(some.allows_origin(&from("https://CHAT.example")));
    assert!(!some.allows_origin(&from("http://chat.example")));
    let any = admission(&["*"]);
    assert!(any.allows_origin(&from("https://evil.example")));
    assert!(any.allows_origin(&from("null")));
    assert_eq!(any.check_host(&to("evil.example", &[])), Ok(()));
}

#[test]
fn malformed_origins_do_not_parse() {
    for text in ["", "chat.example", "https://", "ftp://chat.example", "https://chat.example/", "https://a b"] {
        assert!(text.parse::<Origin>().is_err(), "{text}");
    }
    assert_eq!("HTTPS://Chat.example:8443".parse(), Ok(Origin::Of("https://chat.example:8443".into())));
}
