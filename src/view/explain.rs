//! `--explain`: the steps on the terminal, for reading.
//!
//! Each phase of a connection has a heading; each line says whose it is. A frame's header is drawn field by field. A
//! terminal that
//! stalls holds nobody up: the steps that it has no room for are left out, and it says so.

use super::frame::FrameView;
use super::hooks::{Shown, View, Watch};
use super::step::{Drawing, Event, Phase, Step, milliseconds};
use crate::escape::{count, escape, hex};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::thread::Builder;
use std::time::Duration;
use tokio::sync::oneshot;

/// Prints steps until the watch ends. The receiver then gets its answer; it may never come if nobody reads the terminal.
///
/// # Errors
/// The thread that prints can't be started.
pub fn start(view: &View) -> io::Result<oneshot::Receiver<()>> {
    let watch = view.watch(None, Vec::new());
    let colour = io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    let (end, ended) = oneshot::channel();
    Builder::new().name("explain".into()).spawn(move || {
        if let Some(watch) = watch {
            print(watch, colour);
        }
        // An error means that the server has ended without waiting.
        let _ = end.send(());
    })?;
    Ok(ended)
}

fn print(mut watch: Watch, colour: bool) {
    let mut terminal = Terminal::new(colour);
    while let Some(shown) = watch.shown.blocking_recv() {
        let text = terminal.draw(&shown);
        let mut stdout = io::stdout().lock();
        if stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err() {
            // The output is closed. Returning ends the watch.
            return;
        }
    }
}

/// The width of a heading, in columns.
const WIDTH: usize = 100;

/// The width of a headline, before the section of the RFC. Lines with long values are longer.
const HEADLINE: usize = 57;

/// Connections whose phase is remembered.
const KNOWN_PHASES: usize = 1024;

/// Draws steps as lines of text.
#[derive(Debug, Default)]
pub struct Terminal {
    /// Whether colours may be used.
    pub colour: bool,
    /// The phase of each connection, for a heading where it enters the next.
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

/// A time in at most 10 columns, for the first day.
fn short(time: Duration) -> String {
    if time < Duration::from_secs(1) { milliseconds(time) } else { format!("{:.2} s", time.as_secs_f64()) }
}

fn sign_paint(event: &Event) -> Paint {
    match event.drawing {
        Drawing::Check { passed: true, .. } => Paint::Good,
        Drawing::Check { passed: false, .. } => Paint::Bad,
        Drawing::In(_) | Drawing::Out(_) => Paint::Bold,
        _ => Paint::Dim,
    }
}

impl Terminal {
    /// A terminal with colours or without.
    pub fn new(colour: bool) -> Self {
        Self { colour, phases: BTreeMap::new() }
    }

    /// The lines for what is shown.
    pub fn draw(&mut self, shown: &Shown) -> String {
        match shown {
            Shown::Missed(steps) => {
                self.paint(Paint::Bad, &format!("… at least {} left out …", count(*steps, "step"))) + "\n"
            }
            Shown::Step(step) => self.step(step),
        }
    }

    fn step(&mut self, step: &Step) -> String {
        let mut text = String::new();
        let number = step.client.number;
        let before = self.phases.get(&number).copied();
        // A connection never goes back a phase: a frame after a `close` stays in the fourth, for instance.
        let phase = step.event.phase.max(before.unwrap_or(Phase::Http));
        if before != Some(phase) {
            self.phases.insert(number, phase);
            text.push_str(&self.heading(step, phase));
        }
        let whose = self.paint(Paint::Phase(phase), &format!("#{number:<3}"));
        if self.phases.len() > KNOWN_PHASES {
            // The oldest is long over, or it gets its heading once more.
            self.phases.pop_first();
        }
        let time = format!("{:>10}", short(step.elapsed));
        let headline = Self::headline(&step.event);
        let gap = " ".repeat(HEADLINE.saturating_sub(headline.chars().count()) + 2);
        let (sign, words) = headline.split_at(headline.find(' ').unwrap_or(0));
        let sign = self.paint(sign_paint(&step.event), sign);
        let rfc = self.paint(Paint::Dim, step.event.rfc);
        let _ = writeln!(text, "{whose} {time}  {sign}{words}{gap}{rfc}");
        for line in self.details(&step.event) {
            let _ = writeln!(text, "{whose} {:10}  {line}", "");
        }
        text
    }

    fn heading(&self, step: &Step, phase: Phase) -> String {
        let name = step.name().map_or_else(String::new, |name| format!(", {name}"));
        let title = format!("── {} ── connection {}{name} ", phase.title(), step.client.number);
        let rule = "─".repeat(WIDTH.saturating_sub(title.chars().count()));
        self.paint(Paint::Phase(phase), &format!("{title}{rule}")) + "\n"
    }

    fn headline(event: &Event) -> String {
        match &event.drawing {
            // The label names the field, so a passed check shows only the value.
            Drawing::Check { label, sent, passed: true } => {
                format!("✓ {label:<29}  {}", sent.split_once(": ").map_or(&**sent, |(_, value)| value))
            }
            Drawing::Check { label, sent, passed: false } => format!("✗ {label:<29}  {sent}"),
            Drawing::In(_) => format!("← {}", event.sentence),
            Drawing::Out(_) => format!("→ {}", event.sentence),
            Drawing::Value(sentence, _) => format!("· {sentence}"),
            Drawing::Sentence | Drawing::Head(_) => format!("· {}", event.sentence),
        }
    }

    fn details(&self, event: &Event) -> Vec<String> {
        match &event.drawing {
            Drawing::Head(head) => {
                let bar = self.paint(Paint::Dim, "│");
                let line = |line: &str| format!("{bar} {}", escape(line.as_bytes())).trim_end().to_owned();
                String::from_utf8_lossy(head).lines().map(line).collect()
            }
            Drawing::In(frame) | Drawing::Out(frame) => self.frame(frame),
            Drawing::Value(_, value) => vec![format!("  {value}")],
            Drawing::Sentence | Drawing::Check { .. } => Vec::new(),
        }
    }

    /// The header's fields, in bits or hex (RFC 6455 5.2), then the payload.
    pub fn frame(&self, frame: &FrameView) -> Vec<String> {
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

    /// Bytes in lines that fit a terminal. The first line has their name.
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
mod tests;
