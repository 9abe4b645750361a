use crate::Sample;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};

/// A mean with its 95 % bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// 2.5 % of the resampled means lie below.
    pub low: f64,
    /// 2.5 % of the resampled means lie above.
    pub high: f64,
}

/// Resamples of an interval.
const RESAMPLES: usize = 1000;

impl Interval {
    /// The mean of `values` and the percentiles of its bootstrap distribution; the same values, the same interval. NaN for no values.
    pub fn of(values: &[f64]) -> Self {
        let mean = |sum: f64| sum / values.len() as f64;
        let mut generator = Pcg64Mcg::seed_from_u64(values.len() as u64);
        let mut means: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                let draw = |_| values.get(generator.random_range(0..values.len().max(1))).copied();
                mean((0..values.len()).filter_map(draw).sum())
            })
            .collect();
        means.sort_by(f64::total_cmp);
        let at = |share: f64| means[(share * (RESAMPLES - 1) as f64).round() as usize];
        Self { mean: mean(values.iter().sum()), low: at(0.025), high: at(0.975) }
    }
}

impl Display for Interval {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.3} [{:.3}, {:.3}]", self.mean, self.low, self.high)
    }
}

/// A line of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The family of questions, or what the line sums up.
    pub name: String,
    /// Questions.
    pub count: usize,
    /// Mean IoU; a false premise that is declined counts 1 (spec 7.2).
    pub giou: Interval,
    /// Sum of intersections over sum of unions.
    pub ciou: f64,
    /// Share of questions whose answer says rightly whether what is asked for is there.
    pub see: Interval,
}

/// The table of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// A line for each family, then all questions, then those whose premise is true.
    pub rows: Vec<Row>,
}

impl Summary {
    /// Sums `samples` up, families in the order in which they first occur in `families`.
    pub fn new(samples: &[Sample], families: &[&str]) -> Self {
        let mut rows = Vec::new();
        let mut add = |name: &str, keep: &dyn Fn(&Sample) -> bool| {
            let kept: Vec<&Sample> = samples.iter().filter(|sample| keep(sample)).collect();
            if !kept.is_empty() {
                rows.push(row(name, &kept));
            }
        };
        for family in families {
            add(family, &|sample| sample.family == *family);
        }
        add("all", &|_| true);
        add("all that exists", &|sample| sample.exists);
        Self { rows }
    }
}

fn row(name: &str, samples: &[&Sample]) -> Row {
    let ious: Vec<f64> = samples.iter().map(|sample| sample.iou()).collect();
    let sees: Vec<f64> = samples.iter().map(|sample| f64::from(u8::from(sample.sees()))).collect();
    let intersection: u64 = samples.iter().map(|sample| sample.intersection).sum();
    let union: u64 = samples.iter().map(|sample| sample.union).sum();
    Row {
        name: name.to_owned(),
        count: samples.len(),
        giou: Interval::of(&ious),
        ciou: intersection as f64 / (union.max(1)) as f64,
        see: Interval::of(&sees),
    }
}

impl Display for Summary {
    /// As a Markdown table.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "| questions | n | gIoU [95 %] | cIoU | See [95 %] |")?;
        writeln!(formatter, "|---|---|---|---|---|")?;
        for row in &self.rows {
            writeln!(
                formatter,
                "| {} | {} | {} | {:.3} | {} |",
                row.name, row.count, row.giou, row.ciou, row.see
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(family: &str, exists: bool, intersection: u64, union: u64) -> Sample {
        Sample {
            id: String::new(),
            family: family.to_owned(),
            question: String::new(),
            answer: String::new(),
            exists,
            found: union > 0,
            intersection,
            union,
        }
    }

    #[test]
    fn families_and_totals() {
        let samples = [
            sample("direct", true, 50, 100),
            sample("direct", true, 100, 100),
            sample("false premise", false, 0, 0),
            sample("false premise", false, 0, 40),
        ];
        let summary = Summary::new(&samples, &["direct", "part", "false premise"]);
        let names: Vec<&str> = summary.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["direct", "false premise", "all", "all that exists"]);
        assert!(
            (summary.rows[0].giou.mean - 0.75).abs() < 1e-6 && (summary.rows[0].ciou - 0.75).abs() < 1e-9
        );
        assert!((summary.rows[1].giou.mean - 0.5).abs() < 1e-6 && summary.rows[1].see.mean == 0.5);
        assert!((summary.rows[2].ciou - 150.0 / 240.0).abs() < 1e-9 && summary.rows[2].see.mean == 0.75);
    }

    #[test]
    fn an_interval_holds_its_mean_and_narrows_with_more_values() {
        let values: Vec<f64> = (0..400).map(|index| f64::from(index % 2)).collect();
        let (few, many) = (Interval::of(&values[..40]), Interval::of(&values));
        assert!(few.low < 0.5 && 0.5 < few.high && many.mean == 0.5);
        // Of 400 fair coins the mean's deviation is 0.025, so that 95 % lie within ±0.049.
        assert!((many.high - many.low - 0.098).abs() < 0.02, "{many}");
        assert!(few.high - few.low > many.high - many.low);
        assert!(Interval::of(&[]).mean.is_nan());
    }
}
