//! Behind the proxy is a server that reads lines, counts them, and answers each with that number.

use super::*;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread;

/// A server, and how many lines it has read.
fn server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (address, lines) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&lines);
    thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            let counter = Arc::clone(&counter);
            thread::spawn(move || {
                let input = BufReader::new(socket.try_clone().unwrap());
                for _ in input.lines().map_while(Result::ok) {
                    let number = counter.fetch_add(1, Relaxed) + 1;
                    // The other side may be gone.
                    let _ = writeln!(socket, "{number}");
                }
            });
        }
    });
    (address, lines)
}

fn connect(proxy: &Proxy) -> TcpStream {
    let socket = TcpStream::connect(proxy.address).unwrap();
    socket.set_read_timeout(Some(FLOOD_DEADLINE)).unwrap();
    socket
}

fn answer(socket: &mut TcpStream) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(socket).read_line(&mut line).map(|_| line)
}

fn ask(socket: &mut TcpStream, line: &str) -> io::Result<String> {
    socket.write_all(line.as_bytes())?;
    answer(socket)
}

fn has_input(socket: &TcpStream) -> bool {
    socket.set_nonblocking(true).unwrap();
    let has_input = socket.peek(&mut [0]).is_ok();
    socket.set_nonblocking(false).unwrap();
    has_input
}

#[test]
fn passes() {
    let proxy = Proxy::to(server().0);
    let mut socket = connect(&proxy);
    assert_eq!(ask(&mut socket, "a\n").unwrap(), "1\n");
    assert_eq!(ask(&mut socket, "b\n").unwrap(), "2\n");
}

#[test]
fn holds_old_and_new_connections() {
    let (address, lines) = server();
    let proxy = Proxy::to(address);
    let mut old = connect(&proxy);
    assert_eq!(ask(&mut old, "a\n").unwrap(), "1\n");
    proxy.hold();
    let mut new = connect(&proxy);
    old.write_all(b"b\n").unwrap();
    new.write_all(b"c\n").unwrap();
    thread::sleep(Duration::from_millis(100));
    assert_eq!((lines.load(Relaxed), has_input(&old), has_input(&new)), (1, false, false));
    proxy.pass();
    let mut answers = [answer(&mut old).unwrap(), answer(&mut new).unwrap()];
    answers.sort();
    assert_eq!(answers, ["2\n", "3\n"]);
}

#[test]
fn held_request_arrives_after_its_client_is_gone() {
    let (address, lines) = server();
    let proxy = Proxy::to(address);
    let mut socket = connect(&proxy);
    assert_eq!(ask(&mut socket, "a\n").unwrap(), "1\n");
    proxy.hold();
    socket.write_all(b"b\n").unwrap();
    drop(socket);
    proxy.pass();
    let begun = Instant::now();
    while lines.load(Relaxed) < 2 {
        assert!(begun.elapsed() < FLOOD_DEADLINE);
        thread::yield_now();
    }
}

#[test]
fn resets_until_it_passes() {
    let (address, _) = server();
    let proxy = Proxy::to(address);
    let mut old = connect(&proxy);
    assert_eq!(ask(&mut old, "a\n").unwrap(), "1\n");
    proxy.reset();
    assert_eq!(answer(&mut old).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(answer(&mut connect(&proxy)).unwrap_err().kind(), ErrorKind::ConnectionReset);
    proxy.pass();
    assert_eq!(ask(&mut connect(&proxy), "b\n").unwrap(), "2\n");
}

#[test]
fn cuts_replies_to_one_command() {
    let (address, lines) = server();
    let proxy = Proxy::to(address);
    proxy.cut("EVAL", 2);
    assert_eq!(ask(&mut connect(&proxy), "PING\n").unwrap(), "1\n");
    for _ in 0..2 {
        let mut socket = connect(&proxy);
        socket.write_all(b"EVAL\n").unwrap();
        assert_eq!(socket.read_to_end(&mut Vec::new()).unwrap(), 0);
    }
    proxy.wait_for_cuts(0);
    assert_eq!(lines.load(Relaxed), 3);
    assert_eq!(ask(&mut connect(&proxy), "EVAL\n").unwrap(), "4\n");
}

#[test]
fn switches() {
    let ((one, _), (other, lines)) = (server(), server());
    let proxy = Proxy::to(one);
    let mut old = connect(&proxy);
    assert_eq!(ask(&mut old, "a\n").unwrap(), "1\n");
    proxy.switch(other);
    assert_eq!(answer(&mut old).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(ask(&mut connect(&proxy), "b\n").unwrap(), "1\n");
    assert_eq!(lines.load(Relaxed), 1);
}
