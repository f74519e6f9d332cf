//! The tables, in Markdown.

use comfy_table::{CellAlignment, Table, presets};

use crate::figures::COMPARED;
use crate::runner::Entry;
use crate::scenarios::Scenario;
use crate::spread::Spread;

pub fn print(scenario: &Scenario, entries: &[Entry]) {
    println!("\n**{}**: {}\n", scenario.name, scenario.description);
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    for index in 0..entries.len() {
        let (heads, cells): (Vec<_>, Vec<_>) = line(scenario, entries, index).into_iter().unzip();
        table.set_header(heads).add_row(cells);
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    println!("{table}");
    for entry in entries {
        let name = format!("{}, {}", entry.title(), scenario.name);
        let (cut_short, runs) = (entry.runs.iter().filter(|run| run.is_cut_short).count(), entry.runs.len());
        if cut_short > 0 {
            println!("\n{name}: time ran out in {cut_short} of {runs} runs before everything was delivered");
        }
        if let Some(fault) = &entry.fault {
            println!("\nFAILED: {name}: {fault:#}");
        }
    }
}

/// The cells of one entry, each with the head of its column.
fn line(scenario: &Scenario, entries: &[Entry], index: usize) -> Vec<(&'static str, String)> {
    let servers = entries.len() / scenario.rows.len();
    let (entry, first_server, in_first_row) =
        (&entries[index], &entries[index / servers * servers], &entries[index % servers]);
    let mut cells = vec![("server", entry.title())];
    let figures = entries.iter().flat_map(|entry| &entry.runs).map(|run| &run.figures).next();
    for (number, figure) in figures.into_iter().flatten().enumerate() {
        let spread = Spread::of(values(entry, figure.head));
        cells.push((figure.head, cell(spread.map(|spread| spread.format(figure.scale)))));
        if number < COMPARED && servers > 1 {
            cells.push(("ratio", ratio(first_server, entry, figure.head)));
        }
    }
    cells.extend(scenario.growth.iter().map(|&(title, head)| (title, ratio(entry, in_first_row, head))));
    cells
}

/// The value of a figure in each round.
fn values(entry: &Entry, head: &str) -> impl Iterator<Item = f64> {
    let figures = entry.runs.iter().flat_map(|run| &run.figures);
    figures.filter(move |figure| figure.head == head).map(|figure| figure.value)
}

/// The median of the rounds' ratios. Values are compared round by round because the machine's speed may change.
fn ratio(dividend: &Entry, divisor: &Entry, head: &str) -> String {
    let ratios = values(dividend, head).zip(values(divisor, head)).map(|(dividend, divisor)| dividend / divisor);
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
