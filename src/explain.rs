//! `--explain`: the steps on the terminal, for reading.
//!
//! Lines are grouped by connection and phase, and each still says whose it is. A frame's header is drawn as its bits. All
//! text from clients is escaped before it gets here. A terminal that is held up holds up nobody: the steps it can't take are left
//! out, and it says so.

use crate::frame::{FrameView, count, escape, hex};
use crate::lifecycle::{Event, Lifecycle, Phase, Seen, Step, TERMINAL, milliseconds};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Prints steps until the watch ends.
///
/// # Errors
/// The thread that prints can't be started.
pub fn start(lifecycle: &Lifecycle) -> io::Result<JoinHandle<()>> {
    let mut seen = lifecycle.watch(TERMINAL);
    let colour = io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    Builder::new().name("explain".into()).spawn(move || {
        let mut terminal = Terminal::new(colour);
        while let Some(seen) = seen.blocking_recv() {
            let text = terminal.draw(&seen);
            let mut stdout = io::stdout().lock();
            if stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err() {
                // Nobody reads any more.
                return;
            }
        }
    })
}

/// The width of a heading, in columns.
const WIDTH: usize = 100;

/// The columns that a headline has before the RFC's section comes. All but messages and reasons have room in it.
const HEADLINE: usize = 57;

/// How many connections' phases are remembered.
const KNOWN_PHASES: usize = 1024;

/// Draws steps as lines of text.
#[derive(Debug, Default)]
pub struct Terminal {
    /// Whether colours may be used.
    pub colour: bool,
    /// The phases that connections are in, for a heading where one enters the next.
    phases: BTreeMap<u64, Phase>,
}

#[derive(Clone, Copy)]
enum Paint {
    Bold,
    Dim,
    Good,
    Bad,
    Phase(Phase),
}

/// A time in 10 columns.
fn short(time: Duration) -> String {
    if time < Duration::from_secs(10) { milliseconds(time) } else { format!("{:.3} s", time.as_secs_f64()) }
}

fn sign_paint(event: &Event) -> Paint {
    match event {
        Event::Check { passed: true, .. } => Paint::Good,
        Event::Check { passed: false, .. } => Paint::Bad,
        Event::FrameIn(_) | Event::FrameOut(_) => Paint::Bold,
        _ => Paint::Dim,
    }
}

impl Terminal {
    /// A terminal with colours or without.
    pub fn new(colour: bool) -> Self {
        Self { colour, phases: BTreeMap::new() }
    }

    /// The lines for what was seen.
    pub fn draw(&mut self, seen: &Seen) -> String {
        match seen {
            Seen::Missed(steps) => {
                self.paint(Paint::Bad, &format!("… at least {} left out …", count(*steps, "step"))) + "\n"
            }
            Seen::Step(step) => self.step(step),
        }
    }

    fn step(&mut self, step: &Step) -> String {
        let mut text = String::new();
        let before = self.phases.get(&step.connection).copied();
        // A connection never goes back a phase: the Close frames belong to the fourth, a refusal to the second.
        let phase = step.event.phase().max(before.unwrap_or(Phase::Http));
        if before != Some(phase) {
            self.phases.insert(step.connection, phase);
            text.push_str(&self.heading(step, phase));
        }
        let whose = self.paint(Paint::Phase(phase), &format!("#{:<3}", step.connection));
        if self.phases.len() > KNOWN_PHASES {
            // The oldest: it is long over, or else it just gets its heading once more.
            self.phases.pop_first();
        }
        let time = format!("{:>10}", step.elapsed.map_or_else(String::new, short));
        let headline = Self::headline(&step.event);
        let gap = " ".repeat(HEADLINE.saturating_sub(headline.chars().count()) + 2);
        let (sign, words) = headline.split_at(headline.find(' ').unwrap_or(0));
        let sign = self.paint(sign_paint(&step.event), sign);
        let rfc = self.paint(Paint::Dim, step.event.rfc());
        let _ = writeln!(text, "{whose} {time}  {sign}{words}{gap}{rfc}");
        for line in self.details(&step.event) {
            let _ = writeln!(text, "{whose} {:10}  {line}", "");
        }
        text
    }

    fn heading(&self, step: &Step, phase: Phase) -> String {
        let client = step.client_id.map_or_else(String::new, |client_id| format!(", client {client_id}"));
        let title = match phase {
            Phase::Http => "phase 1: HTTP",
            Phase::Upgrade => "phase 2: upgrade, the opening handshake",
            Phase::Loop => "phase 3: event loop",
            Phase::Termination => "phase 4: termination",
        };
        let title = format!("── {title} ── connection {}{client} ", step.connection);
        let rule = "─".repeat(WIDTH.saturating_sub(title.chars().count()));
        self.paint(Paint::Phase(phase), &format!("{title}{rule}")) + "\n"
    }

    fn headline(event: &Event) -> String {
        match event {
            // What has passed needs no name before its value: the rule has it.
            Event::Check { rule, sent, passed: true, .. } => {
                format!("✓ {rule:<29}  {}", sent.split_once(": ").map_or(&**sent, |(_, value)| value))
            }
            Event::Check { rule, sent, passed: false, .. } => format!("✗ {rule:<29}  {sent}"),
            Event::FrameIn(frame) => format!("← frame in: {frame}"),
            Event::FrameOut(frame) => format!("→ frame out: {frame}"),
            Event::Key { key, .. } => format!("· key: {key}"),
            Event::JoinedKey(_) => "· key and GUID joined:".into(),
            other => format!("· {}", other.headline()),
        }
    }

    fn details(&self, event: &Event) -> Vec<String> {
        match event {
            Event::Request(head) | Event::Response(head) | Event::Switching(head) => String::from_utf8_lossy(head)
                .lines()
                .map(|line| {
                    format!("{} {}", self.paint(Paint::Dim, "│"), escape(line.as_bytes())).trim_end().to_owned()
                })
                .collect(),
            Event::FrameIn(frame) | Event::FrameOut(frame) => self.frame(frame),
            Event::Key { nonce, .. } => vec![format!("  16 bytes: {nonce}")],
            Event::JoinedKey(text) => vec![format!("  {text}")],
            _ => Vec::new(),
        }
    }

    /// The header as its bits, field by field (RFC 6455 5.2), then the payload.
    fn frame(&self, frame: &FrameView) -> Vec<String> {
        let bits = |byte: u8, from: u8, count: u8| {
            (0..count).map(|bit| if byte >> (7 - from - bit) & 1 == 1 { '1' } else { '0' }).collect::<String>()
        };
        let header = frame.header();
        let (first, second) = (header[0], header[1]);
        let key = frame.masking_key().map(|key| hex(&key));
        let extended = hex(&header[2..header.len() - if key.is_some() { 4 } else { 0 }]);
        let mut columns = vec![
            ("FIN", bits(first, 0, 1)),
            ("RSV", bits(first, 1, 3)),
            ("opcode", bits(first, 4, 4)),
            ("MASK", bits(second, 0, 1)),
            ("length", bits(second, 1, 7)),
        ];
        if !extended.is_empty() {
            columns.push(("extended length", extended));
        }
        columns.push(("masking key", key.clone().unwrap_or_else(|| "none".into())));
        let width = |(name, value): &(&str, String)| name.len().max(value.len());
        let names: Vec<_> = columns.iter().map(|column| format!("{:<1$}", column.0, width(column))).collect();
        let values: Vec<_> = columns.iter().map(|column| format!("{:<1$}", column.1, width(column))).collect();
        let mut lines =
            vec![self.paint(Paint::Dim, names.join(" ").trim_end()), values.join(" ").trim_end().to_owned()];
        if !frame.payload().is_empty() {
            if key.is_some() {
                lines.extend(self.bytes("masked", &frame.masked()));
            }
            lines.extend(self.bytes("clear ", frame.payload()));
        }
        lines
    }

    /// Bytes in lines that a terminal has room for, the first with their name.
    fn bytes(&self, name: &str, bytes: &[u8]) -> Vec<String> {
        let line = |(index, bytes)| {
            let name = if index == 0 { self.paint(Paint::Dim, name) } else { " ".repeat(name.len()) };
            format!("{name} {}", hex(bytes))
        };
        bytes.chunks(24).enumerate().map(line).collect()
    }

    fn paint(&self, paint: Paint, text: &str) -> String {
        if !self.colour {
            return text.into();
        }
        let code = match paint {
            Paint::Bold => "1",
            Paint::Dim => "2",
            Paint::Good => "32",
            Paint::Bad => "31",
            Paint::Phase(Phase::Http) => "34",
            Paint::Phase(Phase::Upgrade) => "35",
            Paint::Phase(Phase::Loop) => "36",
            Paint::Phase(Phase::Termination) => "33",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::frame::tests::{claim, masked};
    use crate::trace::frames_in;
    use std::sync::Arc;

    fn step(connection: u64, event: Event) -> Seen {
        Seen::Step(Arc::new(Step { id: 1, connection, client_id: None, elapsed: None, event }))
    }

    /// The lines below a frame's headline.
    fn drawn(frame: &[u8]) -> Vec<String> {
        let text = Terminal::new(false).draw(&step(1, Event::FrameIn(frames_in(frame).remove(0))));
        text.lines().skip(2).map(|line| line.strip_prefix("#1               ").unwrap().to_owned()).collect()
    }

    #[test]
    fn the_bits_of_a_header_are_drawn_for_each_form_of_length() {
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
    fn a_heading_comes_where_a_connection_enters_a_phase_and_it_never_goes_back() {
        let mut terminal = Terminal::new(false);
        let mut headings = |connection, event| {
            let text = terminal.draw(&step(connection, event));
            text.lines().filter(|line| line.starts_with("──")).map(|line| line[..20].to_owned()).collect::<Vec<_>>()
        };
        let (joined, left) = (Event::Joined { members: 2 }, Event::Left { members: 1 });
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
    fn colours_stand_where_they_help_and_change_no_text() {
        let refused = Event::Check { rule: "r", rfc: "RFC", sent: "s: \\u{1b}".into(), passed: false };
        let seen = step(12, refused);
        let colours = Terminal::new(true).draw(&seen);
        let line = colours.lines().nth(1).unwrap();
        let gap = " ".repeat(15);
        assert_eq!(
            line,
            format!("\x1b[35m#12 \x1b[0m {:10}  \x1b[31m✗\x1b[0m r{:28}  s: \\u{{1b}}{gap}  \x1b[2mRFC\x1b[0m", "", "")
        );
        let plain = Terminal::new(false).draw(&seen);
        assert!(!plain.contains('\x1b'));
        let mut bare = colours;
        for code in ["0", "1", "2", "31", "32", "33", "34", "35", "36"] {
            bare = bare.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(bare, plain);
        assert_eq!(Terminal::new(true).draw(&Seen::Missed(1)), "\x1b[31m… at least 1 step left out …\x1b[0m\n");
        assert_eq!(Terminal::new(false).draw(&Seen::Missed(7)), "… at least 7 steps left out …\n");
    }

    #[test]
    fn a_passed_check_shows_the_value_alone_and_a_refused_one_all_that_was_sent() {
        let line = |sent: &str, passed| {
            let check = Event::Check { rule: "r", rfc: "RFC", sent: sent.into(), passed };
            Terminal::headline(&check).split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("upgrade: websocket", true), "✓ r websocket");
        assert_eq!(line("no origin", true), "✓ r no origin");
        assert_eq!(line("upgrade: a | upgrade: b", false), "✗ r upgrade: a | upgrade: b");
    }

    #[test]
    fn long_times_stay_in_their_column() {
        assert_eq!(short(Duration::from_micros(9_999_999)), "9999.999 ms");
        assert_eq!(short(Duration::from_secs(10)), "10.000 s");
        assert_eq!(short(Duration::from_secs(99_999)), "99999.000 s");
    }
}
