//! The text format of Prometheus, version 0.0.4, read strictly: only what the server may write.
//!
//! Each family has one line of help, one with its type, and then all its samples. Names follow Prometheus' conventions: a counter
//! ends in `_total`, and nothing else does.

use crate::blocking::Client;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// The head of the answer to an HTTP/1.0 request, without `content-length`.
const HEAD: &str = "HTTP/1.0 200 OK\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n\
    cache-control: no-store\r\n\r\n";

/// The labels of a sample, and their values.
pub type Labels = BTreeMap<String, String>;

/// A family of samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    pub kind: String,
    pub help: String,
    /// The samples, by the name, which a summary adds something to, and the labels.
    pub samples: BTreeMap<(String, Labels), f64>,
}

/// The families, by their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(pub BTreeMap<String, Family>);

impl Metrics {
    /// Asks a server, and parses the answer.
    #[track_caller]
    pub fn get(address: SocketAddr) -> Self {
        let mut client = Client::tcp(address);
        client.send(format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n"));
        let head = client.read_head();
        let body = String::from_utf8(client.read_to_end()).expect("text in UTF-8");
        let length = format!("content-length: {}\r\n", body.len());
        assert_eq!(head.replacen(&length, "", 1), HEAD);
        Self::parse(&body).unwrap_or_else(|fault| panic!("{fault}\n{body}"))
    }

    /// Parses a whole text.
    ///
    /// # Errors
    /// The first line that breaks a rule, and how.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut metrics = Self::default();
        let mut last = String::new();
        for line in text.split_inclusive('\n') {
            let fault = |fault: &str| format!("{fault}: {line:?}");
            let line = line.strip_suffix('\n').ok_or_else(|| fault("no line end"))?;
            metrics.read_line(line, &mut last).map_err(|what| fault(&what))?;
        }
        match metrics.0.iter().find(|(_, family)| family.kind.is_empty()) {
            Some((name, _)) => Err(format!("{name} has no type")),
            None => Ok(metrics),
        }
    }

    /// Reads a line. `last` is the name of the family that it may belong to.
    fn read_line(&mut self, line: &str, last: &mut String) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or("no help")?;
            check(name.starts_with("switchboard_") && is_name(name, true), "not a name of this server")?;
            let help = unescape(help, "\\n").ok_or("an escape")?;
            check(!help.trim().is_empty(), "empty help")?;
            let family = Family { help, ..Family::default() };
            check(self.0.insert(name.into(), family).is_none(), "a second family of this name")?;
            *last = name.into();
            return Ok(());
        }
        let family = self.0.get_mut(last).ok_or("no family yet")?;
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("no type")?;
            check(name == last && family.kind.is_empty(), "not after its help")?;
            check(["counter", "gauge", "summary"].contains(&kind), "an unknown type")?;
            check((kind == "counter") == name.ends_with("_total"), "a name of another type")?;
            family.kind = kind.into();
            return Ok(());
        }
        let (name, rest) = line.split_at(line.find(['{', ' ']).ok_or("no value")?);
        let suffix = name.strip_prefix(&**last).ok_or("a sample of another family")?;
        let is_summary = family.kind == "summary";
        check(if is_summary { ["_sum", "_count"].contains(&suffix) } else { suffix.is_empty() }, "a wrong suffix")?;
        let (labels, value) = read_labels(rest)?;
        let sample = (name.to_owned(), labels);
        check(family.samples.insert(sample, read_value(value)?).is_none(), "a second sample with these labels")
    }

    /// The value of a sample. `labels` is like `by="client",code="1000"`. None if there is no such sample.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &str) -> Option<f64> {
        let name = format!("switchboard_{name}");
        let labels = if labels.is_empty() { Labels::new() } else { read_labels(&format!("{{{labels}}} 0")).unwrap().0 };
        let sample = (name.clone(), labels);
        self.0.values().find_map(|family| family.samples.get(&sample)).copied()
    }

    /// All samples of a family, in the form of the text: name, labels, value.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let family = self.0.get(&format!("switchboard_{name}"));
        let line = |((_, labels), value): (&(String, Labels), &f64)| {
            let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{} {value}", labels.join(" "))
        };
        family.iter().flat_map(|family| &family.samples).map(line).collect()
    }
}

fn check(holds: bool, fault: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault.into()) }
}

fn is_name(name: &str, may_have_colons: bool) -> bool {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || may_have_colons && c == ':';
    !name.is_empty() && name.chars().all(is_valid) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Reads the labels, if there are some, and the space after them. Returns the labels, and what follows.
fn read_labels(text: &str) -> Result<(Labels, &str), String> {
    if let Some(value) = text.strip_prefix(' ') {
        return Ok((Labels::new(), value));
    }
    let (mut labels, mut order) = (Labels::new(), BTreeSet::new());
    let mut rest = text.strip_prefix('{').ok_or("no labels")?;
    loop {
        let (name, quoted) = rest.split_once("=\"").ok_or("a label without a value")?;
        check(is_name(name, false) && order.insert(name), "a wrong label")?;
        let end = end_of_quote(quoted).ok_or("a value without an end")?;
        labels.insert(name.into(), unescape(&quoted[..end], "\\\"n").ok_or("an escape")?);
        rest = &quoted[end + 1..];
        if let Some(value) = rest.strip_prefix("} ") {
            return Ok((labels, value));
        }
        rest = rest.strip_prefix(',').ok_or("neither another label nor a value")?;
    }
}

/// The place of the first quote that isn't escaped.
fn end_of_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends.then_some(at)
    })
}

/// Undoes the escapes. None if there is another than `\` before one of `allowed`.
fn unescape(text: &str, allowed: &str) -> Option<String> {
    let mut result = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next().filter(|c| allowed.contains(*c))? {
                'n' => result.push('\n'),
                other => result.push(other),
            },
            '"' if allowed.contains('"') => return None,
            other => result.push(other),
        }
    }
    Some(result)
}

/// A number of digits, perhaps with a point and more digits.
fn read_value(text: &str) -> Result<f64, String> {
    let mut parts = text.split('.');
    let are_digits = parts.all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    check(are_digits, "not a value")?;
    text.parse().map_err(|_| "not a number".into())
}
