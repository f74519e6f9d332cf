//! The text format of Prometheus, version 0.0.4.
//!
//! Each metric is a family: a help line, a type line, and samples that differ in their labels.

use std::fmt::{Display, Write};
use std::time::Duration;

/// The value of `Content-Type` for this format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The prefix of all metric names.
const NAMESPACE: &str = "switchboard_";

/// The types of metrics that this server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// It only grows.
    Counter,
    /// It is as it is now.
    Gauge,
    /// The number and the sum of what was observed.
    Summary,
}

/// The text so far.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// Begins a family, which then gets its samples. Its name is without the part that all names begin with.
    pub fn family(&mut self, name: &'static str, kind: Type, help: &str) -> Samples<'_> {
        let word = match kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Summary => "summary",
        };
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        self.line(format_args!("# HELP {NAMESPACE}{name} {help}"));
        self.line(format_args!("# TYPE {NAMESPACE}{name} {word}"));
        Samples { name, text: self }
    }

    /// A family of one counter without labels.
    pub fn counter(&mut self, name: &'static str, help: &str, value: u64) {
        self.family(name, Type::Counter, help).add(&[], value);
    }

    /// A family of one gauge without labels.
    pub fn gauge(&mut self, name: &'static str, help: &str, value: usize) {
        self.family(name, Type::Gauge, help).add(&[], value);
    }

    /// The whole text.
    pub fn into_text(self) -> String {
        self.0
    }

    fn line(&mut self, line: impl Display) {
        // Writing to memory does not fail.
        let _ = writeln!(self.0, "{line}");
    }
}

/// The samples of a family.
#[derive(Debug)]
pub struct Samples<'a> {
    name: &'static str,
    text: &'a mut Exposition,
}

impl Samples<'_> {
    /// Adds a sample with these labels. Returns the samples, for more.
    pub fn add(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.text.line(format_args!("{NAMESPACE}{}{labels} {value}", self.name));
        self
    }

    /// Adds the two samples of a summary.
    pub fn add_summary(&mut self, sum: Duration, count: u64) {
        let name = self.name;
        self.text.line(format_args!("{NAMESPACE}{name}_sum {}", seconds(sum)));
        self.text.line(format_args!("{NAMESPACE}{name}_count {count}"));
    }
}

/// A time in seconds, exactly.
pub fn seconds(time: Duration) -> String {
    format!("{}.{:09}", time.as_secs(), time.subsec_nanos())
}

/// Escapes the value of a label.
fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn family_has_its_help_and_its_type_before_its_samples() {
        let mut text = Exposition::default();
        text.counter("a_total", "What is counted.", u64::MAX);
        text.gauge("b", "What is there.", 0);
        text.family("c_total", Type::Counter, "None yet.");
        text.family("d", Type::Gauge, "Two.").add(&[("x", "1")], 1).add(&[("x", "2"), ("y", "")], 0.25);
        text.family("e_seconds", Type::Summary, "Observed.").add_summary(Duration::from_micros(1_500_001), 3);
        assert_eq!(
            text.into_text(),
            "# HELP switchboard_a_total What is counted.\n\
             # TYPE switchboard_a_total counter\n\
             switchboard_a_total 18446744073709551615\n\
             # HELP switchboard_b What is there.\n\
             # TYPE switchboard_b gauge\n\
             switchboard_b 0\n\
             # HELP switchboard_c_total None yet.\n\
             # TYPE switchboard_c_total counter\n\
             # HELP switchboard_d Two.\n\
             # TYPE switchboard_d gauge\n\
             switchboard_d{x=\"1\"} 1\n\
             switchboard_d{x=\"2\",y=\"\"} 0.25\n\
             # HELP switchboard_e_seconds Observed.\n\
             # TYPE switchboard_e_seconds summary\n\
             switchboard_e_seconds_sum 1.500001000\n\
             switchboard_e_seconds_count 3\n"
        );
    }

    #[test]
    fn line_ends_backslashes_and_quotes_are_escaped() {
        let mut text = Exposition::default();
        text.family("a", Type::Gauge, "\"a\\b\nc\"").add(&[("x", "\"a\\b\nc\"")], 1);
        let expected = r#"# HELP switchboard_a "a\\b\nc"
# TYPE switchboard_a gauge
switchboard_a{x="\"a\\b\nc\""} 1
"#;
        assert_eq!(text.into_text(), expected);
    }
}
