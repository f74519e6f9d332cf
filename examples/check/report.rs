//! What a run prints: a line per stage and the details of each failure, or all of it as JSON.

use super::checker::{Cause, Failure};
use super::json::Json;
use super::stages::{STAGES, Stage};
use super::transcript::{Direction, Entry, Transcript, hex};
use std::fmt::Write;

/// The bytes of an entry that JSON has.
const MOST_BYTES: usize = 1024;

/// The lines of the server's output.
const MOST_LINES: usize = 15;

/// The width of the names of the stages.
const NAME_WIDTH: usize = 26;

/// The width of a row's bytes.
const HEX_WIDTH: usize = 35;

/// How a stage ended.
pub enum Outcome {
    Passed,
    Failed(Box<Details>),
    Skipped,
    NotRun,
}

/// All about a failed stage.
pub struct Details {
    pub failure: Failure,
    pub transcript: Transcript,
    /// What became of the server, if it isn't running any more.
    pub state: Option<String>,
    /// The last lines that the server printed.
    pub output: Vec<String>,
}

impl Outcome {
    pub fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::Skipped => "skipped",
            Self::NotRun => "not run",
        }
    }
}

impl Details {
    fn hint(&self, stage: &Stage) -> &'static str {
        if self.failure.hint.is_empty() { stage.hint } else { self.failure.hint }
    }

    fn last_output(&self) -> &[String] {
        &self.output[self.output.len().saturating_sub(MOST_LINES)..]
    }
}

/// The stages, for `--list`.
pub fn list() -> String {
    let line = |(index, stage): (usize, &Stage)| {
        format!(
            "{:2}  {:NAME_WIDTH$}  {}\n    {:NAME_WIDTH$}  {}\n",
            index + 1,
            stage.name,
            stage.proves,
            "",
            stage.rfc
        )
    };
    STAGES.iter().enumerate().map(line).collect()
}

/// A stage that has been run, in a line, with the details of a failure.
pub fn stage(index: usize, outcome: &Outcome) -> String {
    let stage = &STAGES[index];
    let line = |end: &str| format!("{:2}  {:NAME_WIDTH$}  {end}\n", index + 1, stage.name);
    match outcome {
        Outcome::Passed => line(&format!("passed  {}", stage.proves)),
        Outcome::Failed(details) => format!("{}\n{}\n", line("FAILED"), self::details(stage, details)),
        Outcome::Skipped => line("skipped"),
        Outcome::NotRun => String::new(),
    }
}

fn details(stage: &Stage, details: &Details) -> String {
    let Failure { expected, came, .. } = &details.failure;
    let see = match details.failure.cause {
        Cause::NoServer => String::new(),
        _ => format!("    see       {}\n", stage.rfc),
    };
    let hint = details.hint(stage);
    let mut text = format!("    expected  {expected}\n    came      {came}\n{see}    hint      {hint}\n");
    for (index, entry) in details.transcript.entries.iter().enumerate() {
        text += &self::entry(entry);
        if index == 0 && details.transcript.left_out > 0 {
            // Writing to a String doesn't fail.
            let _ = write!(text, "\n    ... {} more, left out\n", details.transcript.left_out);
        }
    }
    if let Some(state) = details.state.as_ref().filter(|_| details.failure.cause != Cause::NoServer) {
        text += &format!("\n    {state}\n");
    }
    if !details.output.is_empty() {
        text += "\n    The last lines that the server printed:\n";
        details.last_output().iter().for_each(|line| text += &format!("    | {line}\n"));
    }
    text
}

fn verb(direction: Direction) -> &'static str {
    match direction {
        Direction::Sent => "sent",
        Direction::Came => "received",
        Direction::Joined => "joined",
    }
}

fn entry(entry: &Entry) -> String {
    let verb = verb(entry.direction);
    if entry.direction == Direction::Joined {
        return format!("\n    Client {} {verb}: its opening handshake got a 101.\n", entry.client);
    }
    let bytes = match entry.bytes.len() {
        1 => "1 byte".into(),
        length => format!("{length} bytes"),
    };
    let rows = entry.rows().into_iter().map(|row| format!("      {:HEX_WIDTH$}  {}\n", row.hex, row.text));
    format!("\n    Client {} {verb} {bytes}{}:\n{}", entry.client, entry.note, rows.collect::<String>())
}

/// The last line, after an empty one.
pub fn summary(outcomes: &[Outcome]) -> String {
    // The details of a failure end with an empty line.
    let last = outcomes.iter().rfind(|outcome| !matches!(outcome, Outcome::NotRun));
    let gap = if last.is_some_and(Outcome::is_failed) { "" } else { "\n" };
    let count = |word| outcomes.iter().filter(|outcome| outcome.word() == word).count();
    let run = count("passed") + count("failed");
    let skipped = match count("skipped") {
        0 => String::new(),
        skipped => format!(", {skipped} skipped"),
    };
    let not_run = match count("not run") {
        0 => String::new(),
        not_run => format!(", {not_run} not run"),
    };
    format!("{gap}{} of {run} stages passed{skipped}{not_run}\n", count("passed"))
}

/// All of it, as one JSON object.
pub fn json(url: &str, outcomes: &[Outcome]) -> Json {
    let stages = STAGES.iter().zip(outcomes).enumerate().map(|(index, (stage, outcome))| {
        Json::Object(vec![
            ("stage", number(index + 1)),
            ("name", Json::text(stage.name)),
            ("rfc", Json::text(stage.rfc)),
            ("proves", Json::text(stage.proves)),
            ("result", Json::text(outcome.word())),
            ("failure", if let Outcome::Failed(details) = outcome { failure(stage, details) } else { Json::Null }),
        ])
    });
    Json::Object(vec![
        ("url", Json::text(url)),
        ("passed", Json::Bool(!outcomes.iter().any(Outcome::is_failed))),
        ("stages", Json::List(stages.collect())),
    ])
}

fn number(number: usize) -> Json {
    Json::Number(number as u64)
}

fn failure(stage: &Stage, details: &Details) -> Json {
    Json::Object(vec![
        ("expected", Json::text(&details.failure.expected)),
        ("came", Json::text(&details.failure.came)),
        ("hint", Json::text(details.hint(stage))),
        ("left_out", number(details.transcript.left_out)),
        ("transcript", Json::List(details.transcript.entries.iter().map(entry_as_json).collect())),
        ("server", details.state.as_ref().map_or(Json::Null, Json::text)),
        ("output", Json::List(details.output.iter().map(Json::text).collect())),
    ])
}

fn entry_as_json(entry: &Entry) -> Json {
    let rows = entry
        .rows()
        .into_iter()
        .map(|row| Json::Object(vec![("hex", Json::text(row.hex)), ("text", Json::text(row.text))]));
    Json::Object(vec![
        ("client", Json::Number(entry.client.unsigned_abs())),
        ("direction", Json::text(verb(entry.direction))),
        ("length", number(entry.bytes.len())),
        ("hex", Json::text(hex(&entry.bytes[..entry.bytes.len().min(MOST_BYTES)]))),
        ("decoded", Json::List(rows.collect())),
    ])
}
