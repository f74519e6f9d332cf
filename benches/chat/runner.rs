//! Runs every server under every load of a scenario, interleaved in rounds, and prints the table in Markdown.

use anyhow::{Error, Result};
use comfy_table::{CellAlignment, Table, presets};
use test_client::started::free_port;

use crate::figures::{Figure, Run};
use crate::options::Options;
use crate::process::Process;
use crate::scenarios::{Row, Scenario};
use crate::spread::Spread;
use crate::system;

/// The first figures of a run, each of which has a further column that compares the servers.
const COMPARED: usize = 2;

/// One server's results under one load.
struct Entry<'a> {
    /// The server, after the row's label.
    title: String,
    row: &'a Row,
    /// The shell command that starts the server.
    command: String,
    runs: Vec<Run>,
    /// The fault that ended the last run. The server is not run again under this load.
    fault: Option<Error>,
}

/// Runs a scenario: in each round, each server once under each load. Returns whether none failed.
pub fn run(scenario: &Scenario, options: &Options, cores: &[usize]) -> bool {
    println!("\n**{}**: {}\n", scenario.name, scenario.description);
    let (for_server, for_load) =
        if scenario.is_pinned && cores.len() > 1 { (&cores[..1], &cores[1..2]) } else { (cores, cores) };
    let mut entries: Vec<Entry> = scenario.rows.iter().flat_map(|row| entries(scenario, row, options)).collect();
    for round in 0..options.rounds {
        // Each one is first in turn: whichever is first may find the machine in a different state.
        let turn = round % entries.len();
        let (last, first) = entries.split_at_mut(turn);
        for entry in first.iter_mut().chain(last).filter(|entry| entry.fault.is_none()) {
            match entry.run(options, for_server, for_load) {
                Ok(run) => entry.runs.push(run),
                Err(fault) => entry.fault = Some(fault),
            }
        }
    }
    print_table(scenario, &entries);
    for Entry { title, runs, fault, .. } in &entries {
        let cut_short = runs.iter().filter(|run| run.is_cut_short).count();
        if cut_short > 0 {
            let runs = format!("{cut_short} of {} runs", runs.len());
            println!("\n{title}, {}: time ran out in {runs} before everything was delivered", scenario.name);
        }
        if let Some(fault) = fault {
            println!("\nFAILED: {title}, {}: {fault:#}", scenario.name);
        }
    }
    entries.iter().all(|entry| entry.fault.is_none())
}

/// The entries of a row: the same servers, in the same order, in every row.
fn entries<'a>(scenario: &Scenario, row: &'a Row, options: &Options) -> Vec<Entry<'a>> {
    let others = options.others.iter().filter(|_| !scenario.is_for_switchboard);
    let entry = |(server, command): &(String, String)| {
        let title = if row.label.is_empty() { server.clone() } else { format!("{}, {server}", row.label) };
        Entry { title, row, command: format!("{command} {}", row.options), runs: Vec::new(), fault: None }
    };
    options.builds.iter().chain(others).map(entry).collect()
}

impl Entry<'_> {
    fn run(&self, options: &Options, for_server: &[usize], for_load: &[usize]) -> Result<Run> {
        system::pin(for_server);
        let server = Process::start(&self.command, free_port()?);
        system::pin(for_load);
        let mut server = server?;
        server.wait_until_it_listens()?;
        self.row.load.run(&server, options.time)
    }

    /// The value of a figure in each round.
    fn values(&self, head: &str) -> impl Iterator<Item = f64> {
        let figures = self.runs.iter().flat_map(|run| &run.figures);
        figures.filter(move |figure| figure.head == head).map(|figure| figure.value)
    }
}

fn print_table(scenario: &Scenario, entries: &[Entry]) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let first_run = entries.iter().flat_map(|entry| &entry.runs).next();
    let first_row = &entries[..entries.len() / scenario.rows.len()];
    for (index, entry) in entries.iter().enumerate() {
        let (row, server) = (index / first_row.len(), index % first_row.len());
        let first_server = &entries[row * first_row.len()];
        let mut cells = vec![("server", entry.title.clone())];
        for (number, Figure { head, scale, .. }) in first_run.iter().flat_map(|run| &run.figures).enumerate() {
            cells.push((head, cell(entry.values(head), |spread| spread.format(scale))));
            if number < COMPARED && first_row.len() > 1 {
                cells.push(("ratio", ratio(first_server, entry, head)));
            }
        }
        cells.extend(scenario.growth.iter().map(|&(title, head)| (title, ratio(entry, &first_row[server], head))));
        let (heads, cells): (Vec<_>, Vec<_>) = cells.into_iter().unzip();
        table.set_header(heads).add_row(cells);
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    println!("{table}");
}

/// The median of the rounds' ratios. Values are compared round by round because the machine's speed may change.
fn ratio(dividend: &Entry, divisor: &Entry, head: &str) -> String {
    let ratios = dividend.values(head).zip(divisor.values(head)).map(|(dividend, divisor)| dividend / divisor);
    cell(ratios, |spread| match spread.median {
        // Two decimals are all the noise allows; far from 1, only the magnitude matters.
        ratio @ 10.0.. => format!("{ratio:.0}"),
        ratio @ 0.1.. => format!("{ratio:.2}"),
        ratio => format!("{ratio:.4}"),
    })
}

fn cell(values: impl IntoIterator<Item = f64>, format: impl Fn(Spread) -> String) -> String {
    Spread::of(values).map_or_else(|| "-".to_owned(), format)
}
