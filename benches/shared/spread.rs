//! A cell of a table: the median of some values, followed by the minimum and the maximum.

/// Units with their sizes, largest first.
pub type Scale = &'static [(f64, &'static str)];

pub const COUNT: Scale = &[(1e6, " M"), (1e3, " k"), (1.0, "")];
pub const SECONDS: Scale = &[(1.0, " s"), (1e-3, " ms"), (1e-6, " µs"), (1e-9, " ns")];
pub const BYTES: Scale = &[(1_048_576.0, " MiB"), (1_024.0, " KiB"), (1.0, " B")];
pub const SHARE: Scale = &[(0.01, "%")];
/// Numbers in full.
#[allow(dead_code)]
pub const EXACT: Scale = &[];

pub struct Spread {
    min: f64,
    pub median: f64,
    max: f64,
    is_one_value: bool,
}

impl Spread {
    /// Values that are not finite could not be measured. `None` if that holds for all.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let median = f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Spread { min, median, max, is_one_value: values.len() == 1 })
    }

    /// All three, in the unit that suits the median.
    pub fn format(&self, scale: Scale) -> String {
        let fits = |(size, _): &&(f64, &str)| self.median >= *size;
        let (size, unit) = scale.iter().find(fits).or(scale.last()).unwrap_or(&(1.0, ""));
        let [min, median, max] = [self.min, self.median, self.max].map(|value| value / size);
        let digits = match median {
            _ if scale.is_empty() => 0,
            100.0.. => 0,
            10.0.. => 1,
            _ => 2,
        };
        let range = format!(" ({min:.digits$}–{max:.digits$})");
        format!("{median:.digits$}{unit}{}", if self.is_one_value { "" } else { &range })
    }
}
