//! `switchboard frame [HEX]`: the fields of frames, and what the server would do.

use crate::SWITCHBOARD;
use std::fs::{File, write};
use test_client::program::run;

const HI: &str = "\
text of 2 bytes: \"hi\"
  FIN RSV opcode MASK length  masking key
  1   000 0001   1    0000010 37 fa 21 3d
  masked 5f 93
  clear  68 69
  FIN     1: the last or only frame of its message (RFC 6455 5.4)
  opcode  1: text (RFC 6455 5.6)
  MASK    1: the payload is masked, as from a client (RFC 6455 5.3)
  length  2 bytes of payload, in 7 bits (RFC 6455 5.2)
  server  broadcasts 2 bytes: \"hi\"
";

const CLOSE: &str = "\
close of 5 bytes, more to come: \"1002 no\\n\"
  FIN RSV opcode MASK length  masking key
  0   100 1000   0    0000101 none
  clear  03 ea 6e 6f 0a
  FIN     0: the message continues in another frame (RFC 6455 5.4)
  RSV     100: needs an extension (RFC 6455 5.2)
  opcode  8: close (RFC 6455 5.5.1)
  MASK    0: the payload is not masked, as from a server (RFC 6455 5.1)
  length  5 bytes of payload, in 7 bits (RFC 6455 5.2)
  code    1002: protocol error (RFC 6455 7.4)
  reason  \"no\\n\"
  server  closes with 1002: a client must mask every frame, RFC 6455 5.1
";

const CUT: &str = "\
text of 300 bytes: \"H…\"
  FIN RSV opcode MASK length  extended length masking key
  1   000 0001   1    1111110 01 2c           37 fa 21 3d
  masked 7f
  clear  48
  FIN     1: the last or only frame of its message (RFC 6455 5.4)
  opcode  1: text (RFC 6455 5.6)
  MASK    1: the payload is masked, as from a client (RFC 6455 5.3)
  length  300 bytes of payload, in 16 bits (RFC 6455 5.2)
  cut     the bytes end inside this frame
  server  waits for the rest of the message
";

#[test]
fn one_frame_in_any_notation() {
    for arguments in [
        &["81", "82", "37", "fa", "21", "3d", "5f", "93"][..],
        &["818237fa213d5f93"],
        &["0x81,0x82,0x37 FA:21:3D", "5F93"],
    ] {
        let arguments = [&["frame"], arguments].concat();
        assert_eq!(SWITCHBOARD.run(&arguments), (Some(0), HI.into(), "".into()), "{arguments:?}");
    }
}

#[test]
fn standard_input() {
    let path = std::env::temp_dir().join(format!("switchboard-frame-{}", std::process::id()));
    write(&path, "81 82 37 fa\n21 3d 5f 93\n").unwrap();
    let output = run(SWITCHBOARD.command(&["frame"]).stdin(File::open(&path).unwrap()));
    std::fs::remove_file(path).unwrap();
    assert_eq!(output, (Some(0), HI.into(), "".into()));
}

#[test]
fn several_frames_faults_and_a_cut_frame() {
    assert_eq!(SWITCHBOARD.run(&["frame", "480503ea6e6f0a"]), (Some(1), CLOSE.into(), "".into()));
    let two = format!("{HI}\n{CUT}");
    assert_eq!(SWITCHBOARD.run(&["frame", "818237fa213d5f93", "81fe012c37fa213d7f"]), (Some(1), two, "".into()));
    let header = "a header that is not complete\n  cut     the bytes end inside this frame\n  server  waits for the rest of the message\n";
    assert_eq!(SWITCHBOARD.run(&["frame", "81"]), (Some(1), header.into(), "".into()));
}

#[test]
fn bytes_that_are_none() {
    let refuses = |word: &str, status, line: &str| {
        assert_eq!(SWITCHBOARD.run(&["frame", word]), (Some(status), "".into(), format!("switchboard: {line}\n")));
    };
    for word in ["8", "818", "xy", "8é"] {
        refuses(word, 1, &format!("frame: {word:?} is not hex: each byte has two digits, 0 to 9 and a to f"));
    }
    refuses(" ", 1, "frame: the bytes are missing, in hex, such as 81 82 37 fa 21 3d 5f 93");
    refuses("--bits", 2, "invalid option '--bits'; --help lists what there is");
    assert_eq!(SWITCHBOARD.run(&["frame", "--help"]), SWITCHBOARD.run(&["--help"]));
}
