//! The tables, in Markdown. A cell is the median of the rounds, followed by the minimum and the maximum.

use crate::Row;
use crate::measure::Measure;
use crate::spread::Spread;

pub fn print(measure: &Measure, rows: &[Row]) {
    println!("\n**{}**: {}\n", measure.name, (measure.description)());
    let heads: Vec<&str> = measure.columns.iter().map(|(head, _)| *head).collect();
    println!("| server, appendfsync | {} | one order |", heads.join(" | "));
    println!("|---|{}--:|", "--:|".repeat(heads.len()));
    for row in rows {
        print!("| {}, {} |", row.setup.name, row.fsync);
        for (column, (_, scale)) in measure.columns.iter().enumerate() {
            let cell = Spread::of(row.runs.iter().map(|run| run.values[column])).map(|spread| spread.format(scale));
            print!(" {} |", cell.as_deref().unwrap_or("-"));
        }
        let one_order = row.runs.iter().all(|run| run.one_order);
        println!(
            " {} |",
            if row.runs.is_empty() {
                "-"
            } else if one_order {
                "yes"
            } else {
                "no"
            }
        );
    }
    for row in rows {
        for fault in &row.faults {
            println!("\n{}, {}: {fault}", row.setup.name, measure.name);
        }
    }
}
