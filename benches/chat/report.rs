//! The tables, in Markdown. A figure is the median of the rounds, with the least and the greatest behind it.

use crate::contest::{Entry, Heat};
use crate::load::Figures;
use crate::scenario::{Scenario, Unit};

/// Units, each with how many of the base unit it is, from the largest.
type Scale = &'static [(f64, &'static str)];

const COUNT: Scale = &[(1e6, " M"), (1e3, " k"), (1.0, "")];
const SECONDS: Scale = &[(1.0, " s"), (1e-3, " ms"), (1e-6, " µs"), (1e-9, " ns")];
const BYTES: Scale = &[(1_048_576.0, " MiB"), (1_024.0, " KiB"), (1.0, " B")];

const SHARE: Scale = &[(0.01, "%")];

const ABSENT: &str = "-";

/// A column: its head, and its cell in an entry's line, given the entry that the ratios compare.
type Column = (String, Box<dyn Fn(&Entry, &Entry) -> String>);

pub fn print(scenario: &Scenario, heats: &[Heat]) {
    println!("\n**{}**: {}\n", scenario.name, scenario.what);
    let columns = columns(scenario);
    let heads = columns.iter().map(|(head, _)| head.clone());
    let mut lines = vec![std::iter::once("server".to_owned()).chain(heads).collect()];
    for heat in heats {
        for entry in &heat.entries {
            let cells = columns.iter().map(|(_, cell)| cell(entry, &heat.entries[0]));
            lines.push(std::iter::once(title(heat, entry)).chain(cells).collect());
        }
    }
    print_table(&lines);
    for heat in heats {
        print_notes(scenario, heat);
    }
    if let [without, with] = heats
        && scenario.measures_stuck()
    {
        print_harm(without, with);
    }
}

fn title(heat: &Heat, entry: &Entry) -> String {
    match heat.label {
        "" => entry.server.name.clone(),
        label => format!("{label}, {}", entry.server.name),
    }
}

fn columns(scenario: &Scenario) -> Vec<Column> {
    let (rate_head, cpu_head) = match scenario.unit {
        Unit::Delivery => ("deliveries/s", "CPU a delivery"),
        Unit::Handshake => ("handshakes/s", "CPU a handshake"),
    };
    let mut columns = vec![
        column(rate_head, |figures| Some(rate(figures)), COUNT),
        ratio_column(|figures| Some(rate(figures))),
        column(cpu_head, cpu, SECONDS),
        ratio_column(cpu),
        column("p50", |figures| Some(figures.p50.as_secs_f64()), SECONDS),
        column("p99", |figures| Some(figures.p99.as_secs_f64()), SECONDS),
        column("peak memory", |figures| figures.peak_bytes.map(|bytes| bytes as f64), BYTES),
        column("load busy", load_busy, SHARE),
    ];
    if scenario.measures_idle() {
        columns.push(column("memory a connection", |figures| figures.idle_bytes, BYTES));
    }
    columns
}

fn column(head: &str, figure: fn(&Figures) -> Option<f64>, scale: Scale) -> Column {
    let cell = move |entry: &Entry, _: &Entry| {
        Spread::of(entry.runs.iter().map(figure)).map_or(ABSENT.to_owned(), |spread| spread.print(scale))
    };
    (head.to_owned(), Box::new(cell))
}

/// What the first entry has, divided by what this one has. Machines change their pace while they run, so each round is
/// compared with itself.
fn ratio_column(figure: fn(&Figures) -> Option<f64>) -> Column {
    let cell = move |entry: &Entry, first: &Entry| {
        let pairs = first.runs.iter().zip(&entry.runs);
        let ratios = pairs.map(|(first, this)| Some(figure(first)? / figure(this)?));
        Spread::of(ratios).map_or(ABSENT.to_owned(), |spread| print_ratio(spread.median))
    };
    ("ratio".to_owned(), Box::new(cell))
}

/// Two decimals are what the noise leaves; far from 1, what matters is how far.
fn print_ratio(ratio: f64) -> String {
    match ratio {
        10.0.. => format!("{ratio:.0}"),
        0.1.. => format!("{ratio:.2}"),
        _ => format!("{ratio:.4}"),
    }
}

fn rate(figures: &Figures) -> f64 {
    figures.count as f64 / figures.took.as_secs_f64()
}

fn cpu(figures: &Figures) -> Option<f64> {
    (figures.count > 0).then_some(figures.cpu?.as_secs_f64() / figures.count as f64)
}

/// The load's share of its core.
fn load_busy(figures: &Figures) -> Option<f64> {
    Some(figures.load_cpu?.as_secs_f64() / figures.took.as_secs_f64())
}

fn print_notes(scenario: &Scenario, heat: &Heat) {
    for entry in &heat.entries {
        let name = title(heat, entry);
        let cut_short = entry.runs.iter().filter(|run| run.cut_short).count();
        if cut_short > 0 {
            let runs = entry.runs.len();
            println!("\n{name}, {}: out of time before all had all in {cut_short} of {runs} runs", scenario.name);
        }
        if let Some(fault) = &entry.fault {
            println!("\nFAILED: {name}, {}: {fault}", scenario.name);
        }
    }
}

/// What stuck clients do to the others, server by server.
fn print_harm(without: &Heat, with: &Heat) {
    println!();
    for (without, with) in without.entries.iter().zip(&with.entries) {
        let median = |entry: &Entry, figure: fn(&Figures) -> Option<f64>| {
            Spread::of(entry.runs.iter().map(figure)).map(|spread| spread.median)
        };
        let p99 = |figures: &Figures| Some(figures.p99.as_secs_f64());
        let peak = |figures: &Figures| figures.peak_bytes.map(|bytes| bytes as f64);
        if let (Some(p99_before), Some(p99_after)) = (median(without, p99), median(with, p99)) {
            let memory = median(without, peak).zip(median(with, peak)).map(|(before, after)| after - before);
            let memory = memory.map_or(ABSENT.to_owned(), |bytes| format!("{:+.1} MiB", bytes / 1_048_576.0));
            println!(
                "- {}: with stuck clients, p99 of the others is {:.2} times what it is without, peak memory {memory}",
                with.server.name,
                p99_after / p99_before
            );
        }
    }
}

/// The median of some figures, and how far they go.
struct Spread {
    least: f64,
    median: f64,
    greatest: f64,
}

impl Spread {
    /// `None` when there are no figures.
    fn of(figures: impl Iterator<Item = Option<f64>>) -> Option<Spread> {
        let mut figures: Vec<f64> = figures.flatten().collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let median = match figures.as_slice() {
            [] => return None,
            figures if figures.len() % 2 == 1 => figures[middle],
            figures => (figures[middle - 1] + figures[middle]) / 2.0,
        };
        Some(Spread { least: figures[0], median, greatest: figures[figures.len() - 1] })
    }

    /// All three in the unit that suits the median.
    fn print(&self, scale: Scale) -> String {
        let fits = |(size, _): &&(f64, &str)| self.median.abs() >= *size;
        let (size, unit) = scale.iter().find(fits).unwrap_or(&scale[scale.len() - 1]);
        let median = self.median / size;
        let digits = match median.abs() {
            100.0.. => 0,
            10.0.. => 1,
            _ => 2,
        };
        let (least, greatest) = (self.least / size, self.greatest / size);
        format!("{median:.digits$}{unit} ({least:.digits$}–{greatest:.digits$})")
    }
}

/// Names to the left, figures to the right.
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
