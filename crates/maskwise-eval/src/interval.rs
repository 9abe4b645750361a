use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};

/// A figure with its 95 % bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The figure.
    pub mean: f64,
    /// 2.5 % of the resampled figures lie below.
    pub low: f64,
    /// 2.5 % of the resampled figures lie above.
    pub high: f64,
}

/// Resamples of an interval.
const RESAMPLES: usize = 1000;

impl Interval {
    /// The mean of `values` and the percentiles of its bootstrap distribution; the same values, the same interval. NaN for no values.
    pub fn of(values: &[f64]) -> Self {
        let rows: Vec<[f64; 2]> = values.iter().map(|value| [*value, 1.0]).collect();
        Self::of_ratio(&rows)
    }

    /// The sum of the first over the sum of the second of all pairs, which are resampled together; NaN over 0.
    pub fn of_ratio(pairs: &[[f64; 2]]) -> Self {
        Self::of_statistic(pairs, &|[above, below]| above / below)
    }

    /// The ratio of the summed parts of the second of each pair minus that of the first; the pairs are resampled together.
    pub(crate) fn of_difference<T>(pairs: &[(T, T)], parts: &dyn Fn(&T) -> (f64, f64)) -> Self {
        let rows: Vec<[f64; 4]> = pairs
            .iter()
            .map(|(first, second)| {
                let ((a, b), (c, d)) = (parts(first), parts(second));
                [a, b, c, d]
            })
            .collect();
        Self::of_statistic(&rows, &|[a, b, c, d]| c / d.max(1.0) - a / b.max(1.0))
    }

    /// The statistic of the sums of `rows`.
    pub(crate) fn of_statistic<const N: usize>(
        rows: &[[f64; N]],
        statistic: &dyn Fn([f64; N]) -> f64,
    ) -> Self {
        let add = |mut sums: [f64; N], row: &[f64; N]| {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            sums
        };
        let mut generator = Pcg64Mcg::seed_from_u64(rows.len() as u64);
        let mut figures: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                let draw = |_| rows.get(generator.random_range(0..rows.len().max(1)));
                statistic((0..rows.len()).filter_map(draw).fold([0.0; N], add))
            })
            .collect();
        figures.sort_by(f64::total_cmp);
        let at = |share: f64| figures[(share * (RESAMPLES - 1) as f64).round() as usize];
        Self { mean: statistic(rows.iter().fold([0.0; N], add)), low: at(0.025), high: at(0.975) }
    }

    /// Whether 0 lies outside.
    pub fn excludes_zero(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

impl Display for Interval {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.3} [{:.3}, {:.3}]", self.mean, self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_ratio_weighs_its_pairs() {
        let interval = Interval::of_ratio(&[[90.0, 100.0], [0.0, 10.0]]);
        assert!((interval.mean - 90.0 / 110.0).abs() < 1e-12);
        assert!(interval.low < interval.mean && interval.mean < interval.high);
    }
}
