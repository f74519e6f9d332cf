//! The tables, in Markdown. A cell is the median of the rounds, followed by the minimum and the maximum.

use crate::load::Figures;
use crate::runner::{Entry, RowResults};
use crate::scenario::{Extra, Scenario, Unit};

/// Units with their sizes in base units, largest first.
type Scale = &'static [(f64, &'static str)];

const COUNT: Scale = &[(1e6, " M"), (1e3, " k"), (1.0, "")];
const SECONDS: Scale = &[(1.0, " s"), (1e-3, " ms"), (1e-6, " µs"), (1e-9, " ns")];
const BYTES: Scale = &[(1_048_576.0, " MiB"), (1_024.0, " KiB"), (1.0, " B")];

const SHARE: Scale = &[(0.01, "%")];

const ABSENT: &str = "-";

/// What one line of a table shows, and what its ratios compare it with.
struct Line<'a> {
    entry: &'a Entry,
    /// The first server under the same load.
    first_server: &'a Entry,
    /// The same server under the first load.
    first_load: &'a Entry,
}

type Cell = Box<dyn Fn(&Line) -> String>;
type Column = (&'static str, Cell);

/// A value of one run, or `None` where this system can't measure it.
type Value = fn(&Figures) -> Option<f64>;

pub fn print(scenario: &Scenario, rows: &[RowResults]) {
    println!("\n**{}**: {}\n", scenario.name, scenario.description);
    let compares_servers = rows[0].entries.len() > 1;
    let columns = columns(scenario, compares_servers);
    let heads = columns.iter().map(|(head, _)| (*head).to_owned());
    let mut lines = vec![std::iter::once("server".to_owned()).chain(heads).collect()];
    for row in rows {
        for (entry, first_load) in row.entries.iter().zip(&rows[0].entries) {
            let line = Line { entry, first_server: &row.entries[0], first_load };
            let cells = columns.iter().map(|(_, cell)| cell(&line));
            lines.push(std::iter::once(title(row, entry)).chain(cells).collect());
        }
    }
    print_table(&lines);
    for row in rows {
        print_notes(scenario, row);
    }
}

fn title(row: &RowResults, entry: &Entry) -> String {
    match row.label {
        "" => entry.server.name.clone(),
        label => format!("{label}, {}", entry.server.name),
    }
}

fn columns(scenario: &Scenario, compares_servers: bool) -> Vec<Column> {
    let (rate_head, cpu_head) = match scenario.unit {
        Unit::Delivery => ("deliveries/s", "CPU/delivery"),
        Unit::Handshake => ("handshakes/s", "CPU/handshake"),
    };
    let to_first = |value| ("ratio", ratio(|line| (line.first_server, line.entry), value));
    let mut columns = vec![
        (rate_head, spread(rate, COUNT)),
        to_first(rate),
        (cpu_head, spread(cpu, SECONDS)),
        to_first(cpu),
        ("p50", spread(|figures| Some(figures.p50.as_secs_f64()), SECONDS)),
        ("p99", spread(p99, SECONDS)),
        ("peak memory", spread(peak_memory, BYTES)),
        ("load CPU", spread(load_cpu, SHARE)),
    ];
    if !compares_servers {
        columns.retain(|(head, _)| *head != "ratio");
    }
    let growth = |value| ratio(|line| (line.entry, line.first_load), value);
    match scenario.extra {
        Extra::IdleMemory => columns.push(("memory/connection", spread(|figures| figures.idle_bytes, BYTES))),
        Extra::CostOfWatching => columns.push(("CPU, times unwatched", growth(cpu))),
        Extra::Speedup => columns.push(("rate, times 1 thread", growth(rate))),
        Extra::EffectOfStuck => columns.push(("p99, times none stuck", growth(p99))),
        Extra::None => {}
    }
    columns
}

fn spread(value: Value, scale: Scale) -> Cell {
    Box::new(move |line| {
        Spread::of(line.entry.runs.iter().map(value)).map_or(ABSENT.to_owned(), |spread| spread.format(scale))
    })
}

/// The value of one entry divided by that of another. The machine's speed may change while the benchmark runs, so the
/// two are compared round by round.
fn ratio(operands: for<'a> fn(&Line<'a>) -> (&'a Entry, &'a Entry), value: Value) -> Cell {
    Box::new(move |line| {
        let (dividend, divisor) = operands(line);
        let rounds = dividend.runs.iter().zip(&divisor.runs);
        let ratios = rounds.map(|(dividend, divisor)| Some(value(dividend)? / value(divisor)?));
        Spread::of(ratios).map_or(ABSENT.to_owned(), |spread| format_ratio(spread.median))
    })
}

/// Two decimals are all the noise allows; far from 1, only the magnitude matters.
fn format_ratio(ratio: f64) -> String {
    match ratio {
        10.0.. => format!("{ratio:.0}"),
        0.1.. => format!("{ratio:.2}"),
        _ => format!("{ratio:.4}"),
    }
}

fn rate(figures: &Figures) -> Option<f64> {
    Some(figures.count as f64 / figures.took.as_secs_f64())
}

fn cpu(figures: &Figures) -> Option<f64> {
    (figures.count > 0).then_some(figures.cpu?.as_secs_f64() / figures.count as f64)
}

fn p99(figures: &Figures) -> Option<f64> {
    Some(figures.p99.as_secs_f64())
}

fn peak_memory(figures: &Figures) -> Option<f64> {
    figures.peak_bytes.map(|bytes| bytes as f64)
}

/// The load's share of its core.
fn load_cpu(figures: &Figures) -> Option<f64> {
    Some(figures.load_cpu?.as_secs_f64() / figures.took.as_secs_f64())
}

fn print_notes(scenario: &Scenario, row: &RowResults) {
    for entry in &row.entries {
        let name = title(row, entry);
        let cut_short = entry.runs.iter().filter(|run| run.cut_short).count();
        if cut_short > 0 {
            let runs = entry.runs.len();
            println!(
                "\n{name}, {}: time ran out in {cut_short} of {runs} runs before everything was delivered",
                scenario.name
            );
        }
        if let Some(fault) = &entry.fault {
            println!("\nFAILED: {name}, {}: {fault}", scenario.name);
        }
    }
}

/// The median of some values, and their range.
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Spread {
    /// `None` if there are no values.
    fn of(values: impl Iterator<Item = Option<f64>>) -> Option<Spread> {
        let mut values: Vec<f64> = values.flatten().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.as_slice() {
            [] => return None,
            values if values.len() % 2 == 1 => values[middle],
            values => (values[middle - 1] + values[middle]) / 2.0,
        };
        Some(Spread { min: values[0], median, max: values[values.len() - 1] })
    }

    /// All three, in the unit that suits the median.
    fn format(&self, scale: Scale) -> String {
        let fits = |(size, _): &&(f64, &str)| self.median.abs() >= *size;
        let (size, unit) = scale.iter().find(fits).unwrap_or(&scale[scale.len() - 1]);
        let median = self.median / size;
        let digits = match median.abs() {
            100.0.. => 0,
            10.0.. => 1,
            _ => 2,
        };
        let (min, max) = (self.min / size, self.max / size);
        format!("{median:.digits$}{unit} ({min:.digits$}–{max:.digits$})")
    }
}

/// Aligns the first column to the left, the others to the right.
fn print_table(lines: &[Vec<String>]) {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    for (number, line) in lines.iter().enumerate() {
        print!("| {:<1$} |", line[0], widths[0]);
        for (cell, width) in line.iter().zip(&widths).skip(1) {
            print!(" {cell:>width$} |");
        }
        println!();
        if number == 0 {
            print!("|{:-<1$}|", "", widths[0] + 2);
            for width in &widths[1..] {
                print!("{:->1$}:|", "", width + 1);
            }
            println!();
        }
    }
}
