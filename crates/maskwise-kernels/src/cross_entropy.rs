//! Cross-entropy of rows of logits with one target each.

use crate::elementwise::exp;
use crate::work::{fold, is_shared, largest, vectorized};
use rayon::prelude::*;

/// Rows of one parallel task.
const ROWS: usize = 16;

/// Sum over the rows that have a target of `ln Σ exp(logits) − logits[target]`, for `logits` of rows of `columns`; `sums`, one for each
/// row, gets the logarithm of the row's sum of powers.
///
/// # Panics
/// When sizes do not fit each other or a target is not below `columns`.
pub fn forward(logits: &[f32], columns: usize, targets: &[Option<u32>], sums: &mut [f32]) -> f64 {
    check(logits, columns, targets);
    assert_eq!(sums.len(), targets.len());
    let some = |logits: &[f32], sums: &mut [f32]| {
        vectorized(
            #[inline(always)]
            || {
                for (row, sum) in logits.chunks_exact(columns).zip(sums) {
                    let largest = largest(row);
                    *sum = largest
                        + fold(
                            row,
                            #[inline(always)]
                            |logit| exp(logit - largest),
                        )
                        .ln();
                }
            },
        );
    };
    if is_shared(logits.len()) {
        let parts = logits.par_chunks(ROWS * columns).zip(sums.par_chunks_mut(ROWS));
        parts.for_each(|(logits, sums)| some(logits, sums));
    } else {
        some(logits, sums);
    }
    let rows = logits.chunks_exact(columns).zip(targets).zip(&*sums);
    rows.filter_map(|((row, target), sum)| target.map(|target| f64::from(sum - row[target as usize]))).sum()
}

/// The gradient of [`forward`] times `scale`: `scale·(softmax − one-hot)` in rows that have a target, zeros in the others.
///
/// # Panics
/// As [`forward`].
pub fn backward(
    logits: &[f32],
    columns: usize,
    targets: &[Option<u32>],
    sums: &[f32],
    scale: f32,
) -> Vec<f32> {
    check(logits, columns, targets);
    assert_eq!(sums.len(), targets.len());
    let mut output = vec![0.0; logits.len()];
    let some = |output: &mut [f32], logits: &[f32], targets: &[Option<u32>], sums: &[f32]| {
        vectorized(
            #[inline(always)]
            || {
                let rows = output.chunks_exact_mut(columns).zip(logits.chunks_exact(columns));
                for ((output, logits), (target, &sum)) in rows.zip(targets.iter().zip(sums)) {
                    let Some(target) = target else { continue };
                    for (output, &logit) in output.iter_mut().zip(logits) {
                        *output = scale * exp(logit - sum);
                    }
                    output[*target as usize] -= scale;
                }
            },
        );
    };
    if is_shared(logits.len()) {
        let rows = output.par_chunks_mut(ROWS * columns).zip(logits.par_chunks(ROWS * columns));
        rows.zip(targets.par_chunks(ROWS).zip(sums.par_chunks(ROWS)))
            .for_each(|((output, logits), (targets, sums))| some(output, logits, targets, sums));
    } else {
        some(&mut output, logits, targets, sums);
    }
    output
}

fn check(logits: &[f32], columns: usize, targets: &[Option<u32>]) {
    assert!(columns > 0);
    assert_eq!(logits.len(), targets.len() * columns);
    assert!(targets.iter().flatten().all(|target| (*target as usize) < columns));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_definition() {
        for (rows, columns) in [(1, 1), (7, 63), (65, 1031)] {
            let logits: Vec<f32> =
                (0..rows * columns).map(|i| ((i * 7919) % 1009) as f32 / 60.0 - 8.0).collect();
            let target = |row: usize| (row % 3 != 1).then_some((row * 31 % columns) as u32);
            let targets: Vec<Option<u32>> = (0..rows).map(target).collect();
            let mut sums = vec![0.0; rows];
            let total = forward(&logits, columns, &targets, &mut sums);
            let gradient = backward(&logits, columns, &targets, &sums, 0.5);
            let mut expected = 0.0;
            for (row, target) in targets.iter().enumerate() {
                let of_row = &logits[row * columns..(row + 1) * columns];
                let sum: f64 = of_row.iter().map(|&x| f64::from(x).exp()).sum();
                for (column, &logit) in of_row.iter().enumerate() {
                    let hot = f64::from(u8::from(*target == Some(column as u32)));
                    let slope =
                        if target.is_some() { 0.5 * (f64::from(logit).exp() / sum - hot) } else { 0.0 };
                    assert!((f64::from(gradient[row * columns + column]) - slope).abs() < 1e-6);
                }
                expected += target.map_or(0.0, |target| sum.ln() - f64::from(of_row[target as usize]));
            }
            assert!((total - expected).abs() < 1e-5 * expected.max(1.0), "{total} {expected}");
        }
    }
}
