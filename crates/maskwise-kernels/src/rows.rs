//! Operations on the rows of a matrix: softmax, layer normalisation, RMS normalisation.

use crate::work::{Fma, fold, fold2, is_shared, largest, vectorized, vectorized_with_fma};
use rayon::prelude::*;

/// Rows that one parallel task takes: about 64 KiB of input.
fn rows_per_task(columns: usize) -> usize {
    (16_384 / columns.max(1)).max(1)
}

/// Softmax of each row of `columns` values. A row that is `-inf` throughout gives NaN, as in PyTorch.
///
/// # Panics
/// When the slices differ in length or `columns` does not divide it.
pub fn softmax(input: &[f32], output: &mut [f32], columns: usize) {
    for_each_row(
        input,
        output,
        columns,
        #[inline(always)]
        |fma, input, output| {
            let maximum = largest(input);
            if maximum == f32::NEG_INFINITY {
                output.fill(f32::NAN);
                return;
            }
            // What is no number makes the sum none, and with it the row.
            for (output, &input) in output.iter_mut().zip(input) {
                *output = fma.exp(input - maximum);
            }
            let scale = 1.0 / sum(output);
            output.iter_mut().for_each(|value| *value *= scale);
        },
    );
}

/// The gradient of [`softmax`] for its `result` and the `gradient` of that: `y·(g − Σ g·y)` of each row.
///
/// # Panics
/// When the slices differ in length or `columns` does not divide it.
pub fn softmax_backward(result: &[f32], gradient: &[f32], output: &mut [f32], columns: usize) {
    assert_eq!(result.len(), gradient.len());
    assert_eq!(result.len(), output.len());
    assert!(columns > 0 && result.len().is_multiple_of(columns));
    let some = |output: &mut [f32], result: &[f32], gradient: &[f32]| {
        vectorized(
            #[inline(always)]
            || {
                let rows = result.chunks_exact(columns).zip(gradient.chunks_exact(columns));
                for ((result, gradient), output) in rows.zip(output.chunks_exact_mut(columns)) {
                    let along = fold2(result, gradient, |y, g| y * g);
                    for ((output, y), g) in output.iter_mut().zip(result).zip(gradient) {
                        *output = y * (g - along);
                    }
                }
            },
        );
    };
    if !is_shared(result.len()) {
        return some(output, result, gradient);
    }
    let task = rows_per_task(columns) * columns;
    let parts = output.par_chunks_mut(task).zip(result.par_chunks(task)).zip(gradient.par_chunks(task));
    parts.for_each(|((output, result), gradient)| some(output, result, gradient));
}

/// Layer normalisation of each row: `(x - mean) / sqrt(variance + epsilon) * weight + bias`.
///
/// # Panics
/// When the slices do not fit each other.
pub fn layer_norm(input: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, output: &mut [f32]) {
    let columns = weight.len();
    assert_eq!(bias.len(), columns);
    for_each_row(
        input,
        output,
        columns,
        #[inline(always)]
        |_, input, output| {
            let mean = sum(input) / columns as f32;
            for (output, &input) in output.iter_mut().zip(input) {
                *output = input - mean;
            }
            let inverse = 1.0 / (sum_of_squares(output) / columns as f32 + epsilon).sqrt();
            for ((output, weight), bias) in output.iter_mut().zip(weight).zip(bias) {
                *output = *output * inverse * weight + bias;
            }
        },
    );
}

/// RMS normalisation of each row: `x / sqrt(mean(x²) + epsilon) * weight`.
///
/// # Panics
/// When the slices do not fit each other.
pub fn rms_norm(input: &[f32], weight: &[f32], epsilon: f32, output: &mut [f32]) {
    let columns = weight.len();
    for_each_row(
        input,
        output,
        columns,
        #[inline(always)]
        |_, input, output| {
            let inverse = 1.0 / (sum_of_squares(input) / columns as f32 + epsilon).sqrt();
            for ((output, input), weight) in output.iter_mut().zip(input).zip(weight) {
                *output = input * inverse * weight;
            }
        },
    );
}

fn for_each_row(
    input: &[f32],
    output: &mut [f32],
    columns: usize,
    row: impl Fn(Fma, &[f32], &mut [f32]) + Sync,
) {
    assert_eq!(input.len(), output.len());
    assert!(columns > 0 && input.len().is_multiple_of(columns));
    let some = |output: &mut [f32], input: &[f32]| {
        vectorized_with_fma(
            #[inline(always)]
            |fma| {
                for (output, input) in output.chunks_exact_mut(columns).zip(input.chunks_exact(columns)) {
                    row(fma, input, output);
                }
            },
        );
    };
    if !is_shared(input.len()) {
        return some(output, input);
    }
    let task = rows_per_task(columns) * columns;
    output.par_chunks_mut(task).zip(input.par_chunks(task)).for_each(|(output, input)| some(output, input));
}

#[inline(always)]
fn sum(values: &[f32]) -> f32 {
    fold(values, |value| value)
}

#[inline(always)]
fn sum_of_squares(values: &[f32]) -> f32 {
    fold(values, |value| value * value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reference(input: &[f32], columns: usize, row: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f32> {
        let rows =
            input.chunks(columns).map(|row| row.iter().map(|&value| f64::from(value)).collect::<Vec<_>>());
        rows.flat_map(|values| row(&values)).map(|value| value as f32).collect()
    }

    fn assert_close(found: &[f32], expected: &[f32]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= 2e-6 * (1.0 + expected.abs()), "{found} {expected}");
        }
    }

    proptest! {
        #[test]
        fn rows_match_double_precision(values in prop::collection::vec(-20.0_f32..20.0, 3..300), columns in 1_usize..40) {
            let columns = columns.min(values.len());
            let input = &values[..values.len() / columns * columns];
            let weight: Vec<f32> = (0..columns).map(|column| 0.5 + column as f32 / 10.0).collect();
            let mut output = vec![0.0; input.len()];

            softmax(input, &mut output, columns);
            assert_close(&output, &reference(input, columns, |row| {
                let maximum = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = row.iter().map(|x| (x - maximum).exp()).sum();
                row.iter().map(|x| (x - maximum).exp() / total).collect()
            }));

            rms_norm(input, &weight, 1e-5, &mut output);
            assert_close(&output, &reference(input, columns, |row| {
                let inverse = 1.0 / (row.iter().map(|x| x * x).sum::<f64>() / columns as f64 + 1e-5).sqrt();
                row.iter().zip(&weight).map(|(x, w)| x * inverse * f64::from(*w)).collect()
            }));
        }

        #[test]
        fn layer_norm_matches_double_precision(values in prop::collection::vec(-2.0_f32..2.0, 8..200), columns in 4_usize..40) {
            let columns = columns.min(values.len());
            let input = &values[..values.len() / columns * columns];
            let weight: Vec<f32> = (0..columns).map(|column| 0.5 + column as f32 / 10.0).collect();
            let bias: Vec<f32> = (0..columns).map(|column| column as f32 / 7.0 - 1.0).collect();
            let mut output = vec![0.0; input.len()];
            layer_norm(input, &weight, &bias, 1e-2, &mut output);
            assert_close(&output, &reference(input, columns, |row| {
                let mean = row.iter().sum::<f64>() / columns as f64;
                let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / columns as f64;
                let inverse = 1.0 / (variance + 1e-2).sqrt();
                row.iter().zip(&weight).zip(&bias)
                    .map(|((x, w), b)| (x - mean) * inverse * f64::from(*w) + f64::from(*b)).collect()
            }));
        }
    }

    #[test]
    fn masked_entries_get_exactly_nothing_and_masked_rows_are_nan() {
        let mut output = [0.0; 4];
        softmax(&[1.0, f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY], &mut output, 4);
        assert_eq!(output, [0.5, 0.0, 0.5, 0.0]);
        softmax(&[f32::NEG_INFINITY; 2], &mut output[..2], 2);
        assert!(output[0].is_nan() && output[1].is_nan());
        for place in [0, 3, 18, 19] {
            let mut row = [0.5; 20];
            row[place] = f32::NAN;
            let mut output = [0.0; 20];
            softmax(&row, &mut output, 20);
            assert!(output.iter().all(|value| value.is_nan()));
        }
    }
}
