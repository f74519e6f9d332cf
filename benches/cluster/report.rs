//! The tables, in Markdown. A cell is the median of the rounds, followed by the minimum and the maximum.

use crate::Row;
use crate::measure::Measure;

/// Units with their sizes, largest first.
pub type Scale = &'static [(f64, &'static str)];

pub const COUNT: Scale = &[(1e6, " M"), (1e3, " k"), (1.0, "")];
pub const SECONDS: Scale = &[(1.0, " s"), (1e-3, " ms"), (1e-6, " µs")];
pub const BYTES: Scale = &[(1_048_576.0, " MiB"), (1_024.0, " KiB"), (1.0, " B")];
pub const SHARE: Scale = &[(0.01, "%")];
/// Numbers in full.
pub const EXACT: Scale = &[];

pub fn print(measure: &Measure, rows: &[Row]) {
    println!("\n**{}**: {}\n", measure.name, (measure.description)());
    let heads: Vec<&str> = measure.columns.iter().map(|(head, _)| *head).collect();
    println!("| server, appendfsync | {} | one order |", heads.join(" | "));
    println!("|---|{}--:|", "--:|".repeat(heads.len()));
    for row in rows {
        print!("| {}, {} |", row.setup.name, row.fsync);
        for (column, (_, scale)) in measure.columns.iter().enumerate() {
            print!(" {} |", cell(row.runs.iter().map(|run| run.values[column]), scale));
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

/// Values that are not a number are absent.
fn cell(values: impl Iterator<Item = f64>, scale: Scale) -> String {
    let mut values: Vec<f64> = values.filter(|value| !value.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    let (Some(&median), Some(min), Some(max)) = (values.get(values.len() / 2), values.first(), values.last()) else {
        return "-".to_owned();
    };
    let fits = |(size, _): &&(f64, &str)| median >= *size;
    let (size, unit) = scale.iter().find(fits).or(scale.last()).unwrap_or(&(1.0, ""));
    let digits = match median / size {
        _ if scale.is_empty() => 0,
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    let range = format!(" ({:.digits$}–{:.digits$})", min / size, max / size);
    format!("{:.digits$}{unit}{}", median / size, if values.len() > 1 { &range } else { "" })
}
