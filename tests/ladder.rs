//! The rungs of `examples/ladder`: each passes the stages of `examples/check` up to the one for which it confesses what is missing.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::Command;

/// An example, which `cargo test` has built beside this test.
fn example(name: &str) -> PathBuf {
    let path = std::env::current_exe().unwrap().parent().unwrap().with_file_name("examples").join(name);
    assert!(path.exists(), "no {}: run `cargo build --examples` first", path.display());
    path
}

/// Checks a rung: the stages that it passes, and what the first lines of its file say about the rest.
fn rung(name: &str, passed: usize, failed: &str, confessed: &str) {
    let command = example(&format!("ladder-{name}"));
    let output = Command::new(example("check")).args(["--timeout", "5", "--start"]).arg(command).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches(" passed  ").count(), passed, "{text}");
    assert_eq!(output.status.code(), Some(i32::from(!failed.is_empty())), "{text}");
    let failure = text.lines().find(|line| line.ends_with(" FAILED")).unwrap_or_default();
    assert!(failure.contains(failed) && failure.is_empty() == failed.is_empty(), "{text}");
    let source = std::fs::read_to_string(format!("{}/examples/ladder/{name}.rs", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (head, _) = source.split_once("\nuse ").unwrap();
    let (_, wrong) = head.split_once("Still wrong: ").unwrap();
    assert!(wrong.replace("\n//! ", " ").contains(confessed), "{head}");
    assert!(source.lines().count() <= 150, "a rung has at most 150 lines");
}

#[test]
fn page() {
    rung("1-page", 2, "the accept value", "the page opens a WebSocket at `/ws/{client_id}`, and gets a 404");
}

#[test]
fn accept() {
    rung("2-accept", 5, "a text frame", "The server closes the connection after the 101");
}

#[test]
fn frame() {
    rung("3-frame", 9, "fragments", "only text in a single frame is understood");
}

#[test]
fn talk() {
    rung("4-talk", 13, "two clients", "each client hears itself alone");
}

#[test]
fn chat() {
    rung("5-chat", 15, "a client that doesn't read", "One that does not read stops the chat for everyone");
}

#[test]
fn room() {
    rung("6-room", 16, "", "a message costs each member a queue entry, a wake-up and a write");
}
