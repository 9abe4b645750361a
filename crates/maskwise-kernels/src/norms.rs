//! The gradients of the normalisations of rows, and layer normalisation over the channels of an image.

use crate::work::{fold, fold2, is_shared, vectorized};
use rayon::prelude::*;

/// Rows whose parts of the gradient of weight and bias are summed apart, whatever the number of threads.
const ROWS: usize = 64;

/// The gradients of a normalisation.
#[derive(Debug)]
pub struct Gradients {
    /// Of the input, in its shape.
    pub input: Vec<f32>,
    /// Of weight and bias `[dim]` each; empty where they were not asked for (and the bias, where there is none).
    pub weight: Vec<f32>,
    /// See `weight`.
    pub bias: Vec<f32>,
}

/// The gradients of [`crate::rows::layer_norm`] for `gradient` of its output; those of weight and bias only if `with_parameters`.
///
/// # Panics
/// When the slices do not fit each other.
pub fn layer_norm_backward(
    input: &[f32],
    weight: &[f32],
    epsilon: f32,
    gradient: &[f32],
    with_parameters: bool,
) -> Gradients {
    let columns = weight.len();
    let count = columns as f32;
    by_rows(input, weight, gradient, if with_parameters { 2 } else { 0 }, |input, gradient, output, sums| {
        let mean = fold(input, |x| x) / count;
        let variance = fold(input, |x| (x - mean) * (x - mean)) / count;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        if let Some((for_weight, for_bias)) = sums.split_at_mut_checked(columns) {
            for (((sum, total), &x), &g) in for_weight.iter_mut().zip(for_bias).zip(input).zip(gradient) {
                *sum += g * ((x - mean) * inverse);
                *total += g;
            }
        }
        for ((output, g), w) in output.iter_mut().zip(gradient).zip(weight) {
            *output = g * w;
        }
        let average = fold(output, |g| g) / count;
        let along = fold2(output, input, |g, x| g * (x - mean)) / count * inverse * inverse;
        for (output, &x) in output.iter_mut().zip(input) {
            *output = (*output - average - (x - mean) * along) * inverse;
        }
    })
}

/// The gradients of [`crate::rows::rms_norm`] for `gradient` of its output; that of the weight only if `with_weight`.
///
/// # Panics
/// When the slices do not fit each other.
pub fn rms_norm_backward(
    input: &[f32],
    weight: &[f32],
    epsilon: f32,
    gradient: &[f32],
    with_weight: bool,
) -> Gradients {
    let count = weight.len() as f32;
    by_rows(input, weight, gradient, usize::from(with_weight), |input, gradient, output, sums| {
        let inverse = 1.0 / (fold(input, |x| x * x) / count + epsilon).sqrt();
        for ((sum, &x), &g) in sums.iter_mut().zip(input).zip(gradient) {
            *sum += g * (x * inverse);
        }
        for ((output, g), w) in output.iter_mut().zip(gradient).zip(weight) {
            *output = g * w;
        }
        let along = fold2(output, input, |g, x| g * x) / count * inverse * inverse;
        for (output, &x) in output.iter_mut().zip(input) {
            *output = (*output - x * along) * inverse;
        }
    })
}

/// Calls `row(input, gradient, output, sums)` for each row, `sums` holding `parameters` rows, and adds up the sums.
fn by_rows(
    input: &[f32],
    weight: &[f32],
    gradient: &[f32],
    parameters: usize,
    row: impl Fn(&[f32], &[f32], &mut [f32], &mut [f32]) + Sync,
) -> Gradients {
    let columns = weight.len();
    assert_eq!(input.len(), gradient.len());
    assert!(columns > 0 && input.len().is_multiple_of(columns));
    let part = ROWS * columns;
    let mut output = vec![0.0; input.len()];
    let mut sums = vec![0.0; input.len().div_ceil(part) * parameters * columns];
    let run = |((output, input), gradient): ((&mut [f32], &[f32]), &[f32]), sums: &mut [f32]| {
        vectorized(
            #[inline(always)]
            || {
                let rows = input.chunks_exact(columns).zip(gradient.chunks_exact(columns));
                for ((input, gradient), output) in rows.zip(output.chunks_exact_mut(columns)) {
                    row(input, gradient, output, sums);
                }
            },
        );
    };
    let shared = is_shared(input.len());
    if parameters == 0 && shared {
        let parts = output.par_chunks_mut(part).zip(input.par_chunks(part)).zip(gradient.par_chunks(part));
        parts.for_each(|slices| run(slices, &mut []));
    } else if parameters == 0 {
        run(((&mut output, input), gradient), &mut []);
    } else if shared {
        let parts = output.par_chunks_mut(part).zip(input.par_chunks(part)).zip(gradient.par_chunks(part));
        parts.zip(sums.par_chunks_mut(parameters * columns)).for_each(|(slices, sums)| run(slices, sums));
    } else {
        let parts = output.chunks_mut(part).zip(input.chunks(part)).zip(gradient.chunks(part));
        parts.zip(sums.chunks_mut(parameters * columns)).for_each(|(slices, sums)| run(slices, sums));
    }
    let totals = if parameters == 0 { Vec::new() } else { sum_rows(&sums, parameters * columns) };
    let (for_weight, for_bias) = totals.split_at(columns.min(totals.len()));
    Gradients { input: output, weight: for_weight.to_vec(), bias: for_bias.to_vec() }
}

/// The sum of the rows of `columns` values: the gradient of a bias. Blocks of rows are summed apart, which rounds less.
///
/// # Panics
/// When `columns` is zero or does not divide the values.
pub fn sum_rows(values: &[f32], columns: usize) -> Vec<f32> {
    assert!(columns > 0 && values.len().is_multiple_of(columns));
    let mut total = vec![0.0; columns];
    let mut partial = vec![0.0_f32; columns];
    vectorized(
        #[inline(always)]
        || {
            for block in values.chunks(ROWS * columns) {
                partial.fill(0.0);
                for row in block.chunks_exact(columns) {
                    partial.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                }
                total.iter_mut().zip(&partial).for_each(|(sum, value)| *sum += value);
            }
        },
    );
    total
}
