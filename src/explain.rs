//! `--explain`: the steps on the terminal, for reading.
//!
//! Lines are grouped by connection and phase, and each still says whose it is. A frame's header is drawn as its bits. All
//! text from clients is escaped before it gets here. A terminal that is held up holds up nobody: the steps it can't take are left
//! out, and it says so.

use crate::frame::{FrameView, hex};
use crate::lifecycle::{Event, Lifecycle, Phase, Seen, Step, TERMINAL, milliseconds};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::thread::{Builder, JoinHandle};

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
        let mut terminal = Terminal { colour, last: None };
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

/// Draws steps as lines of text.
#[derive(Debug, Default)]
pub struct Terminal {
    /// Whether colours may be used.
    pub colour: bool,
    /// The connection and phase of the last line.
    last: Option<(u64, Phase)>,
}

#[derive(Clone, Copy)]
enum Paint {
    Bold,
    Dim,
    Good,
    Bad,
    Phase(Phase),
}

impl Terminal {
    /// A terminal with colours or without.
    pub fn new(colour: bool) -> Self {
        Self { colour, last: None }
    }

    /// The lines for what was seen.
    pub fn draw(&mut self, seen: &Seen) -> String {
        match seen {
            Seen::Missed(steps) => self.paint(Paint::Bad, &format!("… at least {steps} steps were left out …")) + "\n",
            Seen::Step(step) => self.step(step),
        }
    }

    fn step(&mut self, step: &Step) -> String {
        let mut text = String::new();
        let phase = step.event.phase();
        if self.last != Some((step.connection, phase)) {
            self.last = Some((step.connection, phase));
            text.push_str(&self.heading(step, phase));
        }
        let time =
            step.elapsed.map_or_else(|| "            ".into(), |elapsed| format!("{:>12}", milliseconds(elapsed)));
        let rfc = self.paint(Paint::Dim, &format!("  {}", step.event.rfc()));
        let _ = writeln!(text, "{} {time}  {}{rfc}", self.whose(step), self.headline(&step.event));
        for line in self.details(&step.event) {
            let _ = writeln!(text, "{}               {line}", self.whose(step));
        }
        text
    }

    fn heading(&self, step: &Step, phase: Phase) -> String {
        let client = step.client_id.map_or_else(String::new, |client_id| format!(", client {client_id}"));
        let title = match phase {
            Phase::Http => "phase 1: HTTP",
            Phase::Upgrade => "phase 2: upgrade, the opening handshake",
            Phase::Loop => "phase 3: event loop",
            Phase::Termination => "phase 4: termination, the closing handshake",
        };
        let title = format!("── {title} ── connection {}{client} ", step.connection);
        let rule = "─".repeat(78_usize.saturating_sub(title.chars().count()));
        self.paint(Paint::Phase(phase), &format!("{title}{rule}")) + "\n"
    }

    fn whose(&self, step: &Step) -> String {
        self.paint(Paint::Phase(step.event.phase()), &format!("#{:<3}", step.connection))
    }

    fn headline(&self, event: &Event) -> String {
        match event {
            Event::Check { rule, sent, passed: true } => format!("{} {rule}  {sent}", self.paint(Paint::Good, "✓")),
            Event::Check { rule, sent, passed: false } => format!("{} {rule}  {sent}", self.paint(Paint::Bad, "✗")),
            Event::FrameIn(frame) => format!("{} {frame}", self.paint(Paint::Bold, "← frame in:")),
            Event::FrameOut(frame) => format!("{} {frame}", self.paint(Paint::Bold, "→ frame out:")),
            other => other.headline(),
        }
    }

    fn details(&self, event: &Event) -> Vec<String> {
        match event {
            Event::Request(head) | Event::Response(head) | Event::Switching(head) => String::from_utf8_lossy(head)
                .lines()
                .map(|line| format!("{} {}", self.paint(Paint::Dim, "│"), line.escape_debug()).trim_end().to_owned())
                .collect(),
            Event::FrameIn(frame) | Event::FrameOut(frame) => self.frame(frame),
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
                lines.push(format!("{} {}", self.paint(Paint::Dim, "masked"), hex(&frame.masked())));
            }
            lines.push(format!("{} {}", self.paint(Paint::Dim, "clear "), hex(frame.payload())));
        }
        lines
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
