//! `--stdin-socket`: the server listens on the socket that another program gives it as standard input.

use crate::SWITCHBOARD;
use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::Command;
use test_client::blocking::Client;
use test_client::frame::says;
use test_client::program::{Program, run};
use test_client::request::{opening, switching_protocols};

/// A command that isn't running yet, with this as standard input.
fn command(stdin: impl Into<OwnedFd>) -> Command {
    let mut command = SWITCHBOARD.command(&["--stdin-socket"]);
    command.stdin(stdin.into());
    command
}

#[test]
fn url_and_admission_are_those_of_the_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let program = Program::spawn(&mut command(listener)).unwrap();
    assert_eq!(program.announcement, format!("switchboard listens on http://{address} (Ctrl-C stops it)"));
    let mut client = Client::open(address, "/ws/1");
    client.send_text("hi");
    client.expect(&says(1, "hi"));
    let mut client = Client::tcp(address);
    client.send("GET /members HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert!(client.read_head().starts_with("HTTP/1.1 421 "));
}

#[test]
fn socket_that_other_machines_can_connect_to() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let program = Program::spawn(&mut command(listener)).unwrap();
    assert_eq!(program.address, ([127, 0, 0, 1], port).into());
    program.log_line("GET /lifecycle and /members are off");
    Client::open(program.address, "/ws/1");
}

/// Connections wait in the socket's queue while no server runs.
#[test]
fn restart_refuses_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let start = || Program::spawn(&mut command(listener.try_clone().unwrap())).unwrap();
    let mut program = start();
    drop(Client::open(address, "/ws/1"));
    program.kill();
    drop(program);
    let mut clients = [1, 2].map(|id| {
        let mut client = Client::tcp(address);
        client.send(opening(address, &format!("/ws/{id}")));
        client
    });
    let _program = start();
    for client in &mut clients {
        assert_eq!(client.read_head(), switching_protocols());
    }
    clients[0].send_text("hi");
    for client in &mut clients {
        client.expect(&says(1, "hi"));
    }
}

#[test]
fn standard_input_that_cannot_listen() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (pipe, _writer) = std::io::pipe().unwrap();
    let unix = std::env::temp_dir().join(format!("switchboard-{}", std::process::id()));
    let inputs: [(&str, OwnedFd); 6] = [
        ("a file", File::open(file!()).unwrap().into()),
        ("a device", File::open("/dev/null").unwrap().into()),
        ("a pipe", pipe.into()),
        ("a Unix socket", UnixListener::bind(&unix).unwrap().into()),
        ("a UDP socket", UdpSocket::bind("127.0.0.1:0").unwrap().into()),
        ("a connection", connection.into()),
    ];
    std::fs::remove_file(unix).unwrap();
    for (input, stdin) in inputs {
        let (status, stdout, stderr) = run(&mut command(stdin));
        assert_eq!((status, &*stdout, stderr.lines().count()), (Some(1), "", 1), "{input}: {stderr}");
        let line = "switchboard: --stdin-socket: standard input is not a TCP socket that can listen: ";
        assert!(stderr.starts_with(line), "{input}: {stderr}");
    }
}
