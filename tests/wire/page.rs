//! Phase 1: the page and the files of its inspector, over plain HTTP.

use crate::SWITCHBOARD;
use std::time::Instant;
use test_client::DEADLINE;
use test_client::blocking::Client;
use test_client::program::Program;
use test_client::server::limits::CLOSE_DEADLINE;
use test_client::server::{INSPECTOR_SCRIPT, INSPECTOR_STYLE, Options, PAGE, Server, beside_neighbours, page_head};
use tokio::runtime::Builder;

/// Sends a request and the end of the stream, and expects this head, this body, and the end of the stream.
#[track_caller]
fn answers(server: &Server, request: &str, head: &str, body: &str) {
    let mut client = Client::tcp(server.address);
    client.send(request.replace("HOST", &server.address.to_string()));
    client.end();
    assert_eq!(client.read_head(), head);
    assert_eq!(String::from_utf8(client.read_to_end()).unwrap(), body);
}

#[test]
fn get() {
    let server = Server::start(Options::default());
    let head = page_head("HTTP/1.1", "");
    let request = "GET / HTTP/1.1\r\nHost: HOST\r\n\r\n";
    answers(&server, request, &head, PAGE);
}

#[test]
fn head_has_no_body() {
    let server = Server::start(Options::default());
    let head = page_head("HTTP/1.1", "");
    let request = "HEAD / HTTP/1.1\r\nHost: HOST\r\n\r\n";
    answers(&server, request, &head, "");
}

#[test]
fn inspector_files() {
    let server = Server::start(Options::default());
    for (path, content_type, text) in [
        ("/inspector.js", "text/javascript; charset=utf-8", INSPECTOR_SCRIPT),
        ("/inspector.css", "text/css; charset=utf-8", INSPECTOR_STYLE),
    ] {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncache-control: no-cache\r\n\
             x-content-type-options: nosniff\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        answers(&server, &format!("GET {path} HTTP/1.1\r\nHost: HOST\r\n\r\n"), &head, text);
        answers(&server, &format!("HEAD {path} HTTP/1.1\r\nHost: HOST\r\n\r\n"), &head, "");
    }
}

#[test]
fn health() {
    let server = Server::start(Options::default());
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncache-control: no-store\r\n\
         content-length: 3\r\n\r\n";
    answers(&server, "GET /healthz HTTP/1.1\r\nHost: HOST\r\n\r\n", head, "ok\n");
}

#[test]
fn query_is_ignored() {
    let server = Server::start(Options::default());
    let head = page_head("HTTP/1.1", "");
    let request = "GET /?a=b HTTP/1.1\r\nHost: HOST\r\n\r\n";
    answers(&server, request, &head, PAGE);
}

#[test]
fn http_1_0_needs_no_host() {
    let server = Server::start(Options::default());
    let head = page_head("HTTP/1.0", "");
    answers(&server, "GET / HTTP/1.0\r\n\r\n", &head, PAGE);
}

#[test]
fn two_requests_on_one_connection() {
    let server = Server::start(Options::default());
    let mut client = Client::tcp(server.address);
    client.send(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", server.address).repeat(2));
    for _ in 0..2 {
        assert_eq!(client.read_head(), page_head("HTTP/1.1", ""));
        assert_eq!(client.read_exactly(PAGE.len()), PAGE.as_bytes());
    }
}

#[test]
fn http_1_0_keeps_the_connection_if_asked() {
    let server = Server::start(Options::default());
    let mut client = Client::tcp(server.address);
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(client.read_head(), page_head("HTTP/1.0", "connection: keep-alive\r\n"));
    client.read_exactly(PAGE.len());
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.read_head(), page_head("HTTP/1.0", ""));
    client.read_exactly(PAGE.len());
    client.expect_end();
}

/// The client waits for the server to take its body, and keeps its side of the connection open.
#[test]
fn request_whose_body_never_comes_is_answered_and_ends() {
    let program = SWITCHBOARD.start(&[]);
    let files = program.open_files();
    let mut clients = Vec::new();
    for (method, path, status) in
        [("POST", "/", "405 "), ("GET", "/", "200 "), ("POST", "/nowhere", "404 "), ("GET", "/healthz", "200 ")]
    {
        for body in [
            "Content-Length: 100\r\n\r\n",
            "Content-Length: 100\r\n\r\nhalf",
            "Transfer-Encoding: chunked\r\n\r\n",
            "Content-Length: 100\r\nExpect: 100-continue\r\n\r\n",
        ] {
            let mut client = Client::tcp(program.address);
            client.send(format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{body}", program.address));
            let head = client.read_head();
            assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{method} {path} {body}: {head}");
            assert!(head.contains("\r\nconnection: close\r\n"), "{method} {path} {body}: {head}");
            client.read_to_end();
            clients.push(client);
        }
    }
    closed(&program, files);
}

/// The server reads on after its response, so that no reset overtakes it, but not for long.
#[test]
fn body_without_end_does_not_keep_the_connection() {
    let server = Server::start(Options::default());
    let mut client = Client::tcp(server.address);
    client.send(format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 1000000000\r\n\r\n", server.address));
    assert!(client.read_head().starts_with("HTTP/1.1 405 "));
    client.read_to_end();
    let start = Instant::now();
    while client.try_send("x", DEADLINE).is_ok() {
        assert!(start.elapsed() < CLOSE_DEADLINE + DEADLINE, "the server still reads");
    }
}

/// Waits until the server has closed all connections.
#[track_caller]
fn closed(program: &Program, files: usize) {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let open = runtime.block_on(program.settle(files, DEADLINE)).unwrap().open_files;
    assert!(open <= files, "{open} files are open, not {files}");
}

#[test]
fn reset_before_the_page() {
    beside_neighbours(Options::default(), |server| {
        let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
        let mut reset = Client::tcp(server.address);
        reset.send(&request);
        reset.reset();
    });
}
