//! `switchboard accept KEY`: the computation, or the fault of the key.

use crate::SWITCHBOARD;

#[test]
fn valid_key() {
    let text = "\
key          dGhlIHNhbXBsZSBub25jZQ==
decoded      74 68 65 20 73 61 6d 70 6c 65 20 6e 6f 6e 63 65  (16 bytes)
GUID         258EAFA5-E914-47DA-95CA-C5AB0DC85B11
joined       dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11
SHA-1        b3 7a 4f 2c c0 62 4f 16 90 f6 46 06 cf 38 59 45 b2 be c4 ea
base64       s3pPLMBiTxaQ9kYGzzhZRbK+xOo=

Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
";
    assert_eq!(SWITCHBOARD.run(&["accept", "dGhlIHNhbXBsZSBub25jZQ=="]), (Some(0), text.into(), "".into()));
}

#[test]
fn invalid_key() {
    // The whole text is asserted where a handshake has the same fault.
    let wrong = |key: &str, phrase: &str| {
        let (status, stdout, stderr) = SWITCHBOARD.run(&["accept", key]);
        assert_eq!((status, &*stdout), (Some(1), ""), "{key:?}");
        let one_line = stderr.starts_with("switchboard: ") && stderr.ends_with('\n') && stderr.lines().count() == 1;
        assert!(one_line && stderr.contains(phrase) && stderr.contains("RFC 6455 4.2.1, item 5"), "{key:?}: {stderr}");
    };
    wrong("c2hvcnQ=", " 5 bytes");
    wrong("dGhlIHNhbXBsZSBub25jZSE=", " 17 bytes");
    wrong("", " 0 bytes");
    for key in ["dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ== ", "\x1b[31m", "d-_lIHNhbXBsZSBub25jZQ=="] {
        wrong(key, "not base64");
    }
}

#[test]
fn takes_exactly_one_key() {
    let line = "switchboard: accept: the KEY is missing, the value of Sec-WebSocket-Key\n".into();
    assert_eq!(SWITCHBOARD.run(&["accept"]), (Some(2), "".into(), line));
    let line = "switchboard: unexpected argument \"x\"; --help lists what there is\n".into();
    assert_eq!(SWITCHBOARD.run(&["accept", "dGhlIHNhbXBsZSBub25jZQ==", "x"]), (Some(2), "".into(), line));
}

#[test]
fn help() {
    let help = SWITCHBOARD.run(&["--help"]);
    for arguments in [&["accept", "--help"][..], &["accept", "-h"], &["accept", "dGhlIHNhbXBsZSBub25jZQ==", "--help"]] {
        assert_eq!(SWITCHBOARD.run(arguments), help, "{arguments:?}");
    }
}
