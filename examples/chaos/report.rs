//! The table, with one row per fault.

use std::time::Duration;
use test_client::neighbours::Losses;

/// Longer answers are cut, in characters.
const WIDTH: usize = 110;

pub struct Row {
    pub name: &'static str,
    pub answer: String,
    pub took: Duration,
    pub losses: Losses,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The answer is the expected one, and the neighbours lost nothing.
    Good,
    /// No answer was expected, and the neighbours lost nothing.
    Unharmed,
    /// The answer is not the expected one.
    Differs(&'static str),
    /// The neighbours lost only time.
    Delayed,
    /// The neighbours lost messages, their order, or the connection.
    Harmed,
}

impl Verdict {
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Good | Self::Unharmed)
    }

    fn words(&self) -> String {
        match self {
            Self::Good => "good".into(),
            Self::Unharmed => "unharmed".into(),
            Self::Differs(expected) => format!("not as expected: {expected}"),
            Self::Delayed => "neighbours delayed".into(),
            Self::Harmed => "neighbours harmed".into(),
        }
    }
}

impl Row {
    /// Fault, answer, losses, verdict.
    fn cells(&self) -> [String; 4] {
        let mut answer: String = self.answer.chars().take(WIDTH).collect();
        if self.answer.chars().nth(WIDTH).is_some() {
            answer.push('…');
        }
        if self.took >= Duration::from_secs(1) {
            answer.push_str(&format!(", after {:.0} s", self.took.as_secs_f64()));
        }
        [self.name.into(), answer, self.losses.to_string(), self.verdict.words()]
    }
}

const HEAD: [&str; 4] = ["fault", "answer", "neighbours lost, delay p50 / max", "verdict"];

fn alone_line(alone: &Losses) -> String {
    format!("The neighbours alone: {alone}")
}

fn summary(rows: &[Row]) -> String {
    let felt = rows.iter().filter(|row| matches!(row.verdict, Verdict::Harmed | Verdict::Delayed)).count();
    let expected = match rows.iter().filter(|row| matches!(row.verdict, Verdict::Differs(_))).count() {
        0 => String::new(),
        differ => format!(", {differ} answers are not the expected ones"),
    };
    format!("{} faults, {felt} of them felt by the neighbours{expected}", rows.len())
}

/// For a terminal.
pub fn plain(rows: &[Row], alone: &Losses) -> String {
    let cells: Vec<_> = rows.iter().map(Row::cells).collect();
    let width = |column: usize| {
        let widths = cells.iter().map(|cells| cells[column].chars().count());
        widths.chain([HEAD[column].len()]).max().unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2)];
    let line = |cells: [&str; 4]| {
        let [name, answer, losses, verdict] = cells;
        let [one, two, three] = widths;
        format!("{name:one$}  {answer:two$}  {losses:three$}  {verdict}\n")
    };
    let lines = cells.iter().map(|cells| line(cells.each_ref().map(String::as_str)));
    let table: String = std::iter::once(line(HEAD)).chain(lines).collect();
    format!("{table}\n{}\n{}\n", alone_line(alone), summary(rows))
}

/// For the README.
pub fn markdown(rows: &[Row], alone: &Losses) -> String {
    let line = |cells: [&str; 4]| format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
    let lines = rows.iter().map(|row| line(row.cells().each_ref().map(String::as_str)));
    let table: String = [line(HEAD), line(["---"; 4])].into_iter().chain(lines).collect();
    format!("{table}\n{}\n\n{}\n", alone_line(alone), summary(rows))
}
