//! Options, exit statuses, JSON, and servers that the checker starts.

use crate::json::Json;
use crate::tiny::{self, Trait::*};
use crate::{Run, run, url};
use std::net::TcpStream;
use std::time::Instant;
use test_client::DEADLINE;

/// A shell command that starts this server.
const SWITCHBOARD: &str = concat!("'", env!("CARGO_BIN_EXE_switchboard"), "' --port $PORT");

#[test]
fn help_names_every_option() {
    for option in ["--help", "-h"] {
        let Run { status, out, err } = run(&[option]);
        assert_eq!((status, &*err), (0, ""));
        for part in [
            "Usage: check [OPTIONS] [ws://HOST:PORT/ws/{id}]\n",
            "--start COMMAND ",
            "--stage N ",
            "--skip N ",
            "--all ",
            "--timeout SECONDS ",
            "--json ",
            "--list ",
            "-h, --help ",
        ] {
            assert!(out.contains(part), "{part:?} is not in {out}");
        }
    }
}

#[test]
fn list_has_a_number_per_stage() {
    let out = run(&["--list"]).out;
    assert!((1..=16).all(|number| out.lines().any(|line| line.starts_with(&format!("{number:2}  ")))), "{out}");
}

#[test]
fn wrong_usage() {
    const URL: &str = "ws://127.0.0.1:1/ws/{id}";
    for (arguments, complaint) in [
        (&[][..], "a URL is missing, such as 'ws://127.0.0.1:8000/ws/{id}', or --start COMMAND"),
        (&["--stages"], "invalid option '--stages'"),
        (&["--stage", "17", URL], "--stage 17: must be a number from 1 to 16"),
        (&["--skip", "0", URL], "--skip 0: must be a number from 1 to 16"),
        (&["--timeout", "x", URL], "--timeout x: must be a number from 0.1 to 3600"),
        (&[URL, URL], "unexpected argument \"ws://127.0.0.1:1/ws/{id}\""),
        (&["http://127.0.0.1:1"], "\"http://127.0.0.1:1\" is not like ws://127.0.0.1:8000/ws/{id}"),
        (&["ws://127.0.0.1:1/ws/1"], "\"ws://127.0.0.1:1/ws/1\" is not like ws://127.0.0.1:8000/ws/{id}"),
        (&["ws://127.0.0.1:{port}/ws/{id}"], "\"ws://127.0.0.1:{port}/ws/{id}\" has no port, and there is no --start"),
    ] {
        let Run { status, out, err } = run(arguments);
        assert_eq!((status, &*out, err), (2, "", format!("check: {complaint}\n")), "{arguments:?}");
    }
}

#[test]
fn nothing_listens() {
    // Nothing listens on a port of this range unless root has started it.
    let run = run(&["ws://127.0.0.1:1/ws/{id}"]);
    assert_eq!(run.status, 1);
    assert!(run.failure().is_some_and(|(stage, hint)| stage == 1 && hint.starts_with("Start the server first")));
    assert!(run.out.ends_with("\n0 of 1 stages passed, 15 not run\n"), "{}", run.out);
}

#[test]
fn stages_can_be_selected() {
    let url = url(tiny::start(NoPage));
    let last = |arguments: &[&str]| {
        let run = run(&[arguments, &[&url]].concat());
        (run.status, run.out.lines().last().unwrap().to_owned())
    };
    assert_eq!(last(&["--stage", "3"]), (1, "0 of 1 stages passed, 15 not run".into()));
    assert_eq!(last(&["--stage", "3", "--all"]), (1, "2 of 3 stages passed, 13 not run".into()));
    assert_eq!(last(&["--stage", "3", "--skip", "1"]), (0, "2 of 2 stages passed, 1 skipped, 13 not run".into()));
}

/// The port of a run, from its first line.
fn port(run: &Run) -> u16 {
    let url = run.out.lines().next().and_then(|line| line.strip_prefix("Checking ws://127.0.0.1:")).unwrap();
    url.split('/').next().unwrap().parse().unwrap()
}

#[test]
fn server_is_started_and_stopped() {
    // The shell has a child, which must be stopped too.
    let command = format!("{SWITCHBOARD} & wait");
    for url in [&[][..], &["ws://127.0.0.1:{port}/ws/{id}"], &["ws://127.0.0.1:PORT/ws/{id}"]] {
        let run = run(&[&["--stage", "3", "--start", &command], url].concat());
        assert_eq!(run.status, 0, "{}", run.out);
        let stopped = Instant::now();
        while TcpStream::connect(("127.0.0.1", port(&run))).is_ok() {
            assert!(stopped.elapsed() < DEADLINE, "the server still runs");
        }
    }
}

#[test]
fn command_that_ends() {
    let run = run(&["--start", "echo on port $PORT; echo trouble >&2; exit 3"]);
    assert_eq!(run.status, 1);
    assert!(run.failure().is_some_and(|(stage, hint)| stage == 1 && hint.starts_with("Run the command by hand")));
    for part in
        ["the command has ended: exit status: 3\n", &format!("    | on port {}\n", port(&run)), "    | trouble\n"]
    {
        assert!(run.out.contains(part), "{part:?} is not in {}", run.out);
    }
}

#[test]
fn port_in_use() {
    let url = url(tiny::start(Correct));
    let run = run(&["--start", SWITCHBOARD, &url]);
    assert_eq!(run.status, 1);
    assert!(run.out.contains("must be free, for the server that starts"), "{}", run.out);
}

#[test]
fn json_of_a_pass() {
    let json = Json::parse(&run(&["--json", "--start", SWITCHBOARD]).out);
    assert_eq!(json.get("passed"), &Json::Bool(true));
    let stages = json.get("stages").items();
    assert!(stages.iter().all(|stage| stage.get("result").text() == "passed" && *stage.get("failure") == Json::Null));
    let numbers: Vec<_> = stages.iter().map(|stage| stage.get("stage").clone()).collect();
    assert_eq!(numbers, (1..=16).map(Json::Number).collect::<Vec<_>>());
}

#[test]
fn json_of_a_failure() {
    let run = run(&["--json", &url(tiny::start(NotUnmasked))]);
    assert_eq!((run.status, &*run.err), (1, ""));
    let json = Json::parse(&run.out);
    assert_eq!(json.get("passed"), &Json::Bool(false));
    let results: Vec<_> = json.get("stages").items().iter().map(|stage| stage.get("result").text()).collect();
    assert_eq!(results[4..7], ["passed", "failed", "not run"]);
    let failure = json.get("stages").items()[5].get("failure");
    let sent = &failure.get("transcript").items()[1];
    assert_eq!(sent.get("hex").text(), "81 85 37 fa 21 3d 5f 9f 4d 51 58");
    let decoded: Vec<_> = sent.get("decoded").items().iter().map(|row| row.get("text").text()).collect();
    let rows =
        ["FIN 1, RSV 000, opcode 1 (text)", "MASK 1, length 5", "masking key", "masked payload, clear: \"hello\""];
    assert_eq!(decoded, rows);
}
