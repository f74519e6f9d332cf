//! The tables, in Markdown.

use comfy_table::{CellAlignment, Table, presets};

use crate::figures::{COMPARED, Run};
use crate::runner::Entry;
use crate::scenarios::Scenario;
use crate::spread::Spread;

pub fn print(scenario: &Scenario, rows: &[Vec<Entry>]) {
    println!("\n**{}**: {}\n", scenario.name, scenario.description);
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    for (row, entries) in scenario.rows.iter().zip(rows) {
        for (entry, in_first_row) in entries.iter().zip(&rows[0]) {
            let mut line = vec![("server", title(row.label, entry))];
            line.extend(figures(entry, entries, any_run(rows)));
            line.extend(growth(entry, in_first_row, scenario));
            let (heads, cells): (Vec<_>, Vec<_>) = line.into_iter().unzip();
            table.set_header(heads).add_row(cells);
        }
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    println!("{table}");
    for (row, entries) in scenario.rows.iter().zip(rows) {
        entries.iter().for_each(|entry| print_notes(&format!("{}, {}", title(row.label, entry), scenario.name), entry));
    }
}

fn title(label: &str, entry: &Entry) -> String {
    if label.is_empty() { entry.server.clone() } else { format!("{label}, {}", entry.server) }
}

type Cell = (&'static str, String);

/// Each figure, and the first server's value divided by this one's under the same load.
fn figures(entry: &Entry, servers: &[Entry], run: Option<&Run>) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (number, figure) in run.iter().flat_map(|run| &run.figures).enumerate() {
        let values = values(entry, figure.head);
        cells.push((figure.head, cell(Spread::of(values.clone()).map(|spread| spread.format(figure.scale)))));
        if number < COMPARED && servers.len() > 1 {
            cells.push(("ratio", ratio(&self::values(&servers[0], figure.head), &values)));
        }
    }
    cells
}

/// Figures divided by those of the same server in the first row.
fn growth(entry: &Entry, in_first_row: &Entry, scenario: &Scenario) -> Vec<Cell> {
    let ratio = |head| ratio(&values(entry, head), &values(in_first_row, head));
    scenario.growth.iter().map(|&(title, head)| (title, ratio(head))).collect()
}

fn any_run(rows: &[Vec<Entry>]) -> Option<&Run> {
    rows.iter().flatten().find_map(|entry| entry.runs.first())
}

/// The value of a figure in each round.
fn values(entry: &Entry, head: &str) -> Vec<f64> {
    let figures = entry.runs.iter().flat_map(|run| &run.figures);
    figures.filter(|figure| figure.head == head).map(|figure| figure.value).collect()
}

/// The median of the rounds' ratios: the machine's speed may change while the benchmark runs, so values are compared round by
/// round.
fn ratio(dividends: &[f64], divisors: &[f64]) -> String {
    let ratios = dividends.iter().zip(divisors).map(|(dividend, divisor)| dividend / divisor);
    cell(Spread::of(ratios).map(|spread| match spread.median {
        // Two decimals are all the noise allows; far from 1, only the magnitude matters.
        ratio @ 10.0.. => format!("{ratio:.0}"),
        ratio @ 0.1.. => format!("{ratio:.2}"),
        ratio => format!("{ratio:.4}"),
    }))
}

fn cell(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

fn print_notes(name: &str, entry: &Entry) {
    let (cut_short, runs) = (entry.runs.iter().filter(|run| run.is_cut_short).count(), entry.runs.len());
    if cut_short > 0 {
        println!("\n{name}: time ran out in {cut_short} of {runs} runs before everything was delivered");
    }
    if let Some(fault) = &entry.fault {
        println!("\nFAILED: {name}: {fault:#}");
    }
}
