//! `switchboard accept KEY`: the computation, or what is wrong with the key.

use crate::support::program::run;

#[test]
fn a_good_key_is_computed_step_by_step() {
    let text = "\
key          dGhlIHNhbXBsZSBub25jZQ==
decoded      74 68 65 20 73 61 6d 70 6c 65 20 6e 6f 6e 63 65  (16 bytes)
GUID         258EAFA5-E914-47DA-95CA-C5AB0DC85B11
joined       dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11
SHA-1        b3 7a 4f 2c c0 62 4f 16 90 f6 46 06 cf 38 59 45 b2 be c4 ea
base64       s3pPLMBiTxaQ9kYGzzhZRbK+xOo=

Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
";
    assert_eq!(run(&["accept", "dGhlIHNhbXBsZSBub25jZQ=="]), (Some(0), text.into(), "".into()));
}

#[test]
fn a_bad_key_is_told_what_is_wrong() {
    let wrong = |key: &str, fault: &str| {
        let line =
            format!("switchboard: {fault} (RFC 6455 4.2.1, item 5: one Sec-WebSocket-Key, base64 of 16 bytes)\n");
        assert_eq!(run(&["accept", key]), (Some(1), "".into(), line), "{key:?}");
    };
    wrong("c2hvcnQ=", "the key decodes to 5 bytes, must be 16");
    wrong("dGhlIHNhbXBsZSBub25jZSE=", "the key decodes to 17 bytes, must be 16");
    wrong("", "the key decodes to 0 bytes, must be 16");
    for key in ["dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ== ", "\x1b[31m", "d-_lIHNhbXBsZSBub25jZQ=="] {
        wrong(key, "the key is not base64");
    }
}

#[test]
fn it_takes_one_key() {
    assert_eq!(run(&["accept"]), (Some(2), "".into(), "switchboard: missing argument\n".into()));
    let line = "switchboard: unexpected argument \"x\"\n".into();
    assert_eq!(run(&["accept", "dGhlIHNhbXBsZSBub25jZQ==", "x"]), (Some(2), "".into(), line));
}
