use super::*;
use crate::client::Client;
use crate::frame::tests::{claim, masked};
use crate::handshake::CHECKS;
use crate::view::frame::tests::collect;
use std::sync::{Arc, OnceLock};

fn step(number: u64, event: Event) -> Shown {
    let client = Arc::new(Client::new(number, 0));
    let (elapsed, text) = (Duration::ZERO, OnceLock::new());
    Shown::Step(Arc::new(Step { id: 1, client, named: false, elapsed, event, text }))
}

/// The lines below a frame's headline.
fn drawn(frame: &[u8]) -> Vec<String> {
    let text = Terminal::new(false).draw(&step(1, Event::frame_in(collect(&[frame]).remove(0))));
    text.lines().skip(2).map(|line| line.strip_prefix("#1               ").unwrap().to_owned()).collect()
}

#[test]
fn a_header_is_drawn_for_each_form_of_length() {
    assert_eq!(
        drawn(&masked(0x81, b"Hello"))[..],
        [
            "FIN RSV opcode MASK length  masking key",
            "1   000 0001   1    0000101 37 fa 21 3d",
            "masked 7f 9f 4d 51 58",
            "clear  48 65 6c 6c 6f",
        ]
    );
    let mut frame = vec![0x52, 0x7e, 0x01, 0x00];
    frame.extend([0; 256]);
    let zeros = "00 ".repeat(24);
    assert_eq!(
        drawn(&frame)[..],
        [
            "FIN RSV opcode MASK length  extended length masking key",
            "0   101 0010   0    1111110 01 00           none",
            &format!("clear  {}", zeros.trim_end()),
            &format!("       {}", zeros.trim_end()),
        ]
    );
    let mut frame = claim(0x82, 65536);
    frame.resize(frame.len() + 65536, 0);
    assert_eq!(
        drawn(&frame)[..2],
        [
            "FIN RSV opcode MASK length  extended length         masking key",
            "1   000 0010   1    1111111 00 00 00 00 00 01 00 00 37 fa 21 3d",
        ]
    );
    assert_eq!(drawn(b"\x89\x00").len(), 2, "no payload, no line");
}

#[test]
fn a_connection_never_goes_back_a_phase() {
    let mut terminal = Terminal::new(false);
    let mut headings = |connection, event| {
        let text = terminal.draw(&step(connection, event));
        text.lines().filter(|line| line.starts_with("──")).map(|line| line[..20].to_owned()).collect::<Vec<_>>()
    };
    let (joined, left) = (Event::joined(2), Event::left(1));
    assert_eq!(headings(1, joined.clone()), ["── phase 3: even"]);
    assert_eq!(headings(2, joined.clone()), ["── phase 3: even"]);
    assert_eq!(headings(1, joined.clone()), [""; 0]);
    assert_eq!(headings(1, left), ["── phase 4: term"]);
    assert_eq!(headings(1, joined.clone()), [""; 0]);
    // What is remembered is bounded: the oldest is forgotten.
    for connection in 3..=KNOWN_PHASES as u64 + 1 {
        headings(connection, joined.clone());
    }
    assert_eq!(headings(2, joined.clone()), [""; 0]);
    assert_eq!(headings(1, joined), ["── phase 3: even"]);
}

#[test]
fn colours_change_no_text() {
    let seen = step(12, Event::check(&CHECKS[3], "s: \\u{1b}".into(), false));
    let colours = Terminal::new(true).draw(&seen);
    let line = colours.lines().nth(1).unwrap();
    let gap = " ".repeat(15);
    assert_eq!(
        line,
        format!(
            "\x1b[35m#12 \x1b[0m {:>10}  \x1b[31m✗\x1b[0m {:29}  s: \\u{{1b}}{gap}  \x1b[2m{}\x1b[0m",
            "0.000 ms", CHECKS[3].label, CHECKS[3].rfc
        )
    );
    let plain = Terminal::new(false).draw(&seen);
    assert!(!plain.contains('\x1b'));
    let mut bare = colours;
    for code in ["0", "1", "2", "31", "32", "33", "34", "35", "36"] {
        bare = bare.replace(&format!("\x1b[{code}m"), "");
    }
    assert_eq!(bare, plain);
    assert_eq!(Terminal::new(true).draw(&Shown::Missed(1)), "\x1b[31m… at least 1 step left out …\x1b[0m\n");
    assert_eq!(Terminal::new(false).draw(&Shown::Missed(7)), "… at least 7 steps left out …\n");
}

#[test]
fn a_passed_check_shows_the_value_alone() {
    let line = |sent: &str, passed| {
        let check = Event::check(&CHECKS[3], sent.into(), passed);
        Terminal::headline(&check).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("upgrade: websocket", true), "✓ Upgrade has websocket websocket");
    assert_eq!(line("no origin", true), "✓ Upgrade has websocket no origin");
    assert_eq!(line("upgrade: a | upgrade: b", false), "✗ Upgrade has websocket upgrade: a | upgrade: b");
}

#[test]
fn long_times_stay_in_their_column() {
    assert_eq!(short(Duration::from_micros(999_999)), "999.999 ms");
    assert_eq!(short(Duration::from_secs(1)), "1.00 s");
    assert_eq!(short(Duration::from_secs(99_999)), "99999.00 s");
}
