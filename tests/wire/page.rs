//! Phase 1: the page and the files of its inspector, over plain HTTP.

use crate::support::client::Client;
use crate::support::neighbours::beside_neighbours;
use crate::support::server::Server;
use switchboard::http::page::{INSPECTOR_SCRIPT, INSPECTOR_STYLE, PAGE, PAGE_POLICY};
use switchboard::server::Options;

/// The head of the response that carries the page, up to its `date`.
fn page_head(version: &str) -> String {
    format!(
        "{version} 200 OK\r\ncontent-type: text/html; charset=utf-8\r\n\
         cache-control: no-cache\r\nx-content-type-options: nosniff\r\n\
         content-security-policy: {PAGE_POLICY}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        PAGE.len()
    )
}

/// Sends a request, and expects this head, this body, and then the end.
#[track_caller]
fn answers(server: &Server, request: &str, head: &str, body: &str) {
    let mut client = Client::tcp(server.address);
    client.send(request.replace("HOST", &server.address.to_string()));
    assert_eq!(client.read_head(), head);
    assert_eq!(String::from_utf8(client.read_to_end()).unwrap(), body);
}

#[test]
fn get_answers_the_page() {
    let server = Server::start(Options::default());
    let head = page_head("HTTP/1.1");
    let request = "GET / HTTP/1.1\r\nHost: HOST\r\n\r\n";
    answers(&server, request, &head, PAGE);
}

#[test]
fn head_answers_the_same_head_and_no_body() {
    let server = Server::start(Options::default());
    let head = page_head("HTTP/1.1");
    let request = "HEAD / HTTP/1.1\r\nHost: HOST\r\n\r\n";
    answers(&server, request, &head, "");
}

#[test]
fn the_inspectors_files_are_served_at_their_own_paths() {
    let server = Server::start(Options::default());
    for (path, content_type, text) in [
        ("/inspector.js", "text/javascript; charset=utf-8", INSPECTOR_SCRIPT),
        ("/inspector.css", "text/css; charset=utf-8", INSPECTOR_STYLE),
    ] {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncache-control: no-cache\r\n\
             x-content-type-options: nosniff\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        answers(&server, &format!("GET {path} HTTP/1.1\r\nHost: HOST\r\n\r\n"), &head, text);
        answers(&server, &format!("HEAD {path} HTTP/1.1\r\nHost: HOST\r\n\r\n"), &head, "");
    }
}

#[test]
fn a_query_changes_nothing_about_the_page() {
    let server = Server::start(Options::default());
    let head = page_head("HTTP/1.1");
    let request = "GET /?a=b HTTP/1.1\r\nHost: HOST\r\n\r\n";
    answers(&server, request, &head, PAGE);
}

#[test]
fn http_1_0_gets_the_page_without_a_host() {
    let server = Server::start(Options::default());
    let head = page_head("HTTP/1.0");
    answers(&server, "GET / HTTP/1.0\r\n\r\n", &head, PAGE);
}

#[test]
fn a_connection_carries_one_request() {
    let server = Server::start(Options::default());
    let head = page_head("HTTP/1.1");
    let request = "GET / HTTP/1.1\r\nHost: HOST\r\n\r\n".repeat(2);
    answers(&server, &request, &head, PAGE);
}

#[test]
fn keep_alive_is_declined_to_http_1_0() {
    let server = Server::start(Options::default());
    let head = page_head("HTTP/1.0");
    let request = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    answers(&server, request, &head, PAGE);
}

#[test]
fn a_page_that_nobody_takes_bothers_nobody() {
    beside_neighbours(Options::default(), |server| {
        let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
        let mut reset = Client::tcp(server.address);
        reset.send(&request);
        reset.reset();
    });
}
