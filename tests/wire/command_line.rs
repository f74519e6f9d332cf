//! The program: its options, its output, and signals.

use crate::SWITCHBOARD;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use test_client::blocking::Client;
use test_client::frame::{CLOSE, FIN, close_payload, says};
use test_client::program::Program;
use test_client::request::opening;
use test_client::server::limits::{MAX_PENDING, READ_SIZE};

#[test]
fn help_names_every_option() {
    for option in ["--help", "-h"] {
        let (status, stdout, stderr) = SWITCHBOARD.run(&[option]);
        assert_eq!((status, &*stderr), (Some(0), ""));
        for part in [
            "Usage: switchboard [OPTIONS]\n",
            "--host ADDR ",
            "--port N ",
            "--stdin-socket ",
            "--threads N ",
            "--allow-origin ORIGIN ",
            "--max-message-size BYTES ",
            "--max-backlog BYTES ",
            "--max-connections N ",
            "--ping-interval SECONDS ",
            "--explain ",
            "--lifecycle on|off ",
            "-h, --help ",
            "-V, --version ",
        ] {
            assert!(stdout.contains(part), "{part:?} is not in {stdout}");
        }
    }
}

#[test]
fn version_prints_the_version() {
    let version = concat!("switchboard ", env!("CARGO_PKG_VERSION"), "\n");
    for option in ["--version", "-V"] {
        assert_eq!(SWITCHBOARD.run(&[option]), (Some(0), version.into(), "".into()));
    }
}

/// An invalid command line: the program prints one line that names the fault, and exits with status 2.
#[track_caller]
fn refused(arguments: &[&str], line: &str) {
    let line = format!("switchboard: {line}\n");
    assert_eq!(SWITCHBOARD.run(arguments), (Some(2), "".into(), line));
}

#[test]
fn unknown_options() {
    refused(&["--prot", "1"], "invalid option '--prot'; --help lists what there is");
    refused(&["-x"], "invalid option '-x'; --help lists what there is");
    refused(&["8000"], "unexpected argument \"8000\"; --help lists what there is");
}

#[test]
fn invalid_values() {
    refused(&["--port"], "missing argument for option '--port'");
    refused(&["--port", "65536"], "--port 65536: must be a number from 0 to 65535");
    refused(&["--port", "http"], "--port http: must be a number from 0 to 65535");
    for host in ["127.0.0.1:8000", "[::1]:8000", "localhost:8000"] {
        refused(&["--host", host], &format!("--host {host}: must not have a port; set it with --port"));
    }
    refused(&["--threads", "0"], "--threads 0: must be a number from 1 to 256");
    refused(&["--max-message-size", "0"], "--max-message-size 0: must be a number from 1 to 1073741824");
    refused(&["--max-backlog", "-1"], "--max-backlog -1: must be a number from 1 to 18446744073709551615");
    refused(&["--max-connections", "0"], "--max-connections 0: must be a number from 1 to 4294967295");
    refused(&["--ping-interval", "x"], "--ping-interval x: must be a number from 0 to 86400");
    let origin = "--allow-origin x: \"x\" is not an origin such as https://chat.example, nor *";
    refused(&["--allow-origin", "x"], origin);
    refused(&["--lifecycle", "maybe"], "--lifecycle maybe: must be on or off");
}

/// The empty label makes the name invalid, so that no name server is asked. The reason is the system's.
#[test]
fn unknown_host() {
    let (status, stdout, stderr) = SWITCHBOARD.run(&["--host", "no..such..name"]);
    assert_eq!((status, &*stdout, stderr.lines().count()), (Some(2), "", 1), "{stderr}");
    assert!(stderr.starts_with("switchboard: --host no..such..name: failed to lookup address"), "{stderr}");
}

/// `localhost` is one address or two. All of them are listened on, and all are loopback.
#[test]
fn host_by_name() {
    let program = Program::spawn(&mut SWITCHBOARD.command(&["--host", "localhost", "--port", "0"])).unwrap();
    let announced = announced(&program);
    assert!(announced.iter().all(|address| address.ip().is_loopback()), "{announced:?}");
    for address in ("localhost", program.address.port()).to_socket_addrs().unwrap() {
        assert!(announced.contains(&address) || TcpListener::bind((address.ip(), 0)).is_err(), "{address}");
    }
    for address in announced {
        let mut client = Client::tcp(address);
        client.send("GET /lifecycle HTTP/1.1\r\nHost: evil.example\r\n\r\n");
        assert!(client.read_head().starts_with("HTTP/1.1 421 "));
    }
    let line = program.log_line("");
    assert!(line.contains(" 421 "), "{line}");
}

#[test]
fn host_given_twice() {
    let hosts = ["--host", "127.0.0.1", "--host", "127.0.0.1", "--port", "0"];
    assert_eq!(announced(&Program::spawn(&mut SWITCHBOARD.command(&hosts)).unwrap()).len(), 1);
}

/// The addresses in the first line of the output.
fn announced(program: &Program) -> Vec<SocketAddr> {
    let urls = program.announcement.strip_prefix("switchboard listens on ").unwrap();
    let urls = urls.strip_suffix(" (Ctrl-C stops it)").unwrap();
    urls.split(" and ").map(|url| url.strip_prefix("http://").unwrap().parse().unwrap()).collect()
}

/// The URLs are those of addresses that clients can connect to, and the log says what differs from listening on loopback.
#[test]
fn unspecified_address() {
    let program = Program::spawn(&mut SWITCHBOARD.command(&["--host", "0.0.0.0", "--port", "0"])).unwrap();
    let announced = announced(&program);
    assert_eq!(announced[0].ip(), Ipv4Addr::LOCALHOST);
    for address in &announced {
        assert!(!address.ip().is_unspecified(), "{address}");
        Client::open(*address, "/ws/1");
    }
    let off =
        "INFO  GET /lifecycle and /members are off, because other machines can connect; --lifecycle on turns them on";
    assert_eq!(program.log_line("/lifecycle"), off);
    let off = "INFO  GET /metrics is off, because other machines can connect; --metrics on turns it on";
    assert_eq!(program.log_line("/metrics"), off);
    if announced.len() == 1 {
        let line = program.log_line("");
        assert!(line.starts_with("WARN  no address for other machines was found; "), "{line}");
    }
    let line = program.log_line("");
    assert!(line.ends_with(" accepted"), "{line}");
}

/// The backlog that a message of this size needs: the frame with its prefix, and what one turn may have pending.
fn backlog_for(max_message_size: usize) -> usize {
    2 * (max_message_size + 45 + MAX_PENDING + 7 * READ_SIZE)
}

#[test]
fn message_size_and_backlog_that_contradict_each_other() {
    let (needed, most) = (backlog_for(33_554_432), (16_777_216 - backlog_for(0)) / 2);
    let line = format!(
        "--max-backlog 16777216 is too small for --max-message-size 33554432: set --max-backlog to at least {needed}, \
         or --max-message-size to at most {most}"
    );
    refused(&["--max-message-size", "33554432"], &line);
    let needed = backlog_for(65_536);
    let line =
        format!("--max-backlog 1000 is too small for --max-message-size 65536: set --max-backlog to at least {needed}");
    refused(&["--max-backlog", "1000"], &line);
}

#[test]
fn largest_message_reaches_everyone_with_the_smallest_backlog_for_it() {
    const SIZE: usize = 4 << 20;
    let (size, backlog) = (SIZE.to_string(), backlog_for(SIZE).to_string());
    let program = SWITCHBOARD.start(&["--max-message-size", &size, "--max-backlog", &backlog]);
    let mut clients = [1, 2].map(|id| Client::open(program.address, &format!("/ws/{id}")));
    let message = "x".repeat(SIZE);
    clients[0].send_text(&message);
    for client in &mut clients {
        client.expect(&says(1, &message));
    }
}

#[test]
fn url_is_printed_when_it_listens() {
    let program = SWITCHBOARD.start(&[]);
    assert_eq!(program.announcement, format!("switchboard listens on http://{} (Ctrl-C stops it)", program.address));
    let mut client = Client::tcp(program.address);
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert!(client.read_head().starts_with("HTTP/1.0 200 OK\r\n"));
}

#[test]
fn port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let port = address.port().to_string();
    let (status, stdout, stderr) = SWITCHBOARD.run(&["--host", "127.0.0.1", "--port", &port]);
    assert_eq!((status, &*stdout), (Some(1), ""));
    let reason = format!("switchboard: can't listen on {address}: ");
    assert!(stderr.starts_with(&reason) && stderr.ends_with("; choose another port with --port\n"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

/// A socket of `::` may or may not take IPv4 as well. Either way, both addresses are listened on.
#[test]
fn both_unspecified_addresses_in_any_order() {
    if TcpListener::bind("[::1]:0").is_err() {
        // This machine has no IPv6.
        return;
    }
    for hosts in [["0.0.0.0", "::"], ["::", "0.0.0.0"], ["127.0.0.1", "::"]] {
        let command = &mut SWITCHBOARD.command(&["--host", hosts[0], "--host", hosts[1], "--port", "0"]);
        let program = Program::spawn(command).unwrap();
        let port = program.address.port();
        let announced = announced(&program);
        for host in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            assert_eq!(announced.iter().filter(|address| **address == (host, port).into()).count(), 1, "{announced:?}");
        }
        let mut clients: Vec<_> = announced.iter().map(|address| Client::open(*address, "/ws/1")).collect();
        clients[0].send_text("hi");
        for client in &mut clients {
            client.expect(&says(1, "hi"));
        }
    }
}

/// A port that someone else has is no address that `::` covers.
#[test]
fn port_in_use_beside_the_unspecified_address() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (status, stdout, stderr) = SWITCHBOARD.run(&["--host", "::", "--host", "127.0.0.1", "--port", &port]);
    assert_eq!((status, &*stdout), (Some(1), ""), "{stderr}");
    assert!(stderr.starts_with("switchboard: can't listen on "), "{stderr}");
}

#[cfg(target_os = "linux")]
mod open_files {
    use super::*;
    use test_client::program::run;

    #[test]
    fn too_few_for_any_connection() {
        let too_few = |most: usize, needed: usize, threads: &str| {
            let (status, stdout, stderr) = run(&mut SWITCHBOARD
                .command_with_open_files(most, &["--host", "127.0.0.1", "--port", "0", "--threads", threads]));
            let line = format!(
                "switchboard: the limit on open files, {most}, leaves no room for connections: raise it to more than \
                 {needed} (ulimit -n)\n"
            );
            assert_eq!((status, &*stdout, stderr), (Some(1), "", line));
        };
        too_few(64, 64, "1");
        // Nothing announces an address that is never served.
        too_few(300, 1084, "256");
    }

    #[test]
    fn few_are_told_and_hold() {
        let arguments = ["--host", "127.0.0.1", "--port", "0"];
        let command = &mut SWITCHBOARD.command_with_open_files(66, &arguments);
        let program = Program::spawn(command).unwrap();
        let line = program.log_line("open files");
        assert_eq!(line, "WARN  the limit on open files, 66, leaves room for 2 connections");
        let _clients = [1, 2].map(|id| Client::open(program.address, &format!("/ws/{id}")));
        let mut third = Client::tcp(program.address);
        third.send(opening(program.address, "/ws/3"));
        assert!(third.read_head().starts_with("HTTP/1.1 503 "));
    }

    #[test]
    fn fewer_than_asked_for_are_told() {
        let most = 10_000;
        let arguments = ["--host", "127.0.0.1", "--port", "0", "--max-connections", "20000"];
        let program = Program::spawn(&mut SWITCHBOARD.command_with_open_files(most, &arguments)).unwrap();
        let line = program.log_line("open files");
        assert_eq!(line, "WARN  the limit on open files, 10000, leaves room for 9936 connections, not 20000");
    }

    /// What each thread opens is not available to connections.
    #[test]
    fn threads_have_open_files_too() {
        let arguments = ["--host", "127.0.0.1", "--port", "0", "--threads", "16"];
        let program = Program::spawn(&mut SWITCHBOARD.command_with_open_files(126, &arguments)).unwrap();
        program.log_line("leaves room for 2 connections");
        assert!(program.open_files() <= 124, "{}", program.open_files());
    }
}

#[test]
fn limits_from_the_command_line() {
    let program = SWITCHBOARD.start(&["--max-message-size", "3"]);
    let mut clients = [1, 2].map(|id| Client::open(program.address, &format!("/ws/{id}")));
    for (client, id) in clients.iter_mut().zip([1, 2]) {
        client.send_text("abc");
        client.expect(&says(1, "abc"));
        if id == 2 {
            client.expect(&says(2, "abc"));
        }
    }
    clients[1].send_text("abcd");
    clients[1].expect_close_about(1009, "the limit is 3");
}

#[test]
fn log_tells_what_was_requested() {
    let program = SWITCHBOARD.start(&[]);
    let client = Client::open(program.address, "/ws/7");
    let line = program.log_line("WebSocket");
    assert!(line.ends_with(": WebSocket /ws/7 accepted"), "{line}");
    drop(client);
    let mut client = Client::tcp(program.address);
    client.send(format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", program.address));
    client.end();
    client.read_to_end();
    let line = program.log_line("/healthz");
    assert!(line.ends_with(": GET /healthz 200 OK"), "{line}");
}

/// hyper refuses unencoded control characters in a path. Percent-encoded ones stay encoded, and other characters that could
/// affect a terminal are escaped.
#[test]
fn control_characters_in_a_path_are_not_logged() {
    let program = SWITCHBOARD.start(&[]);
    for (path, logged) in [
        ("/ws/%1b%5b2J%0a", "/ws/%1b%5b2J%0a"),
        ("/\u{9b}31m\u{202e}", r"/\u{9b}31m\u{202e}"),
        ("/\"'$(reboot)", r#"/\"'$(reboot)"#),
    ] {
        let mut client = Client::tcp(program.address);
        client.send(opening(program.address, path));
        client.end();
        client.read_to_end();
        let line = program.log_line(": GET ");
        assert!(line.contains(&format!(": GET {logged} 40")), "{line}");
    }
}

#[cfg(unix)]
mod signals {
    use super::*;
    use std::time::Duration;

    /// Three seconds, plus a margin for a busy machine.
    const IN_TIME: Duration = Duration::from_millis(3500);

    #[test]
    fn interrupt_terminate_and_hangup_end_in_order() {
        for signal in [Program::interrupt, Program::terminate, Program::hang_up] {
            let mut program = SWITCHBOARD.start(&[]);
            let mut clients = [1, 2].map(|id| Client::open(program.address, &format!("/ws/{id}")));
            signal(&program);
            for client in &mut clients {
                client.expect_close_about(1001, "going away");
                client.send_frame(FIN | CLOSE, &close_payload(1001, ""));
                client.expect_end();
                client.end();
            }
            let (status, lasted) = program.wait(IN_TIME);
            assert_eq!(status.code(), Some(0));
            assert!(lasted < Duration::from_secs(1), "{lasted:?}");
            for line in program.rest_of_log() {
                assert!(line.starts_with("INFO "), "{line}");
            }
        }
    }

    /// `nohup` starts a program that ignores SIGHUP.
    #[cfg(target_os = "linux")]
    #[test]
    fn hangup_that_is_ignored_stays_ignored() {
        let command = &mut SWITCHBOARD.command_without_hangup(&["--host", "127.0.0.1", "--port", "0"]);
        let mut program = Program::spawn(command).unwrap();
        program.hang_up();
        let mut client = Client::open(program.address, "/ws/1");
        client.send_text("hi");
        client.expect(&says(1, "hi"));
        drop(client);
        program.terminate();
        assert_eq!(program.wait(IN_TIME).0.code(), Some(0));
    }

    #[test]
    fn idle_connection_does_not_delay_the_end() {
        let mut program = SWITCHBOARD.start(&[]);
        let mut idle = Client::tcp(program.address);
        // The server accepts in order: once this client has joined, the idle one has been accepted.
        drop(Client::open(program.address, "/ws/1"));
        program.terminate();
        assert_eq!(idle.read_to_end(), b"");
        drop(idle);
        let (status, _) = program.wait(IN_TIME);
        assert_eq!(status.code(), Some(0));
        for line in program.rest_of_log() {
            assert!(line.starts_with("INFO "), "{line}");
        }
    }

    #[test]
    fn client_that_stays_does_not_prevent_the_end() {
        let mut program = SWITCHBOARD.start(&["--threads", "2"]);
        let clients = [1, 2].map(|id| Client::open(program.address, &format!("/ws/{id}")));
        program.terminate();
        let line = program.log_line("stopping");
        assert_eq!(line, "INFO  stopping: waiting up to 2.5 s for 2 connections to close");
        let (status, _) = program.wait(IN_TIME);
        assert_eq!(status.code(), Some(0));
        drop(clients);
    }
}
