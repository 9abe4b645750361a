//! Bilinear interpolation of f32 planes with half-pixel centres, and its transpose.

use crate::work::{is_shared, vectorized, with_scratch};
use rayon::prelude::*;

/// Where one output position reads: `values[low]·(1 − fraction) + values[high]·fraction`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tap {
    /// Index of the nearer value to the left.
    pub low: usize,
    /// Index of the next, or the same at the border.
    pub high: usize,
    /// Weight of the latter, 0..=1.
    pub fraction: f32,
}

/// The taps of an axis of `input` values resized to `output`, as PyTorch's `interpolate(mode="bilinear", align_corners=False)`.
///
/// # Panics
/// When `input` is zero.
pub fn taps(input: usize, output: usize) -> Vec<Tap> {
    assert!(input > 0);
    let scale = input as f32 / output as f32;
    let tap = |position: usize| {
        let source = ((position as f32 + 0.5) * scale - 0.5).max(0.0);
        let low = (source as usize).min(input - 1);
        let high = (low + 1).min(input - 1);
        Tap { low, high, fraction: (source - low as f32).clamp(0.0, 1.0) }
    };
    (0..output).map(tap).collect()
}

/// The sizes of a resize of planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Height and width of what is resized.
    pub input: (usize, usize),
    /// Height and width of the result.
    pub output: (usize, usize),
}

/// Resizes each plane of `input` `[planes, height, width]`.
///
/// # Panics
/// When the slices do not fit the sizes, or a size is zero.
pub fn forward(input: &[f32], sizes: Sizes, output: &mut [f32]) {
    planes(sizes, input.len(), output.len());
    let ((height, width), (new_height, new_width)) = (sizes.input, sizes.output);
    let (rows, columns) = (taps(height, new_height), taps(width, new_width));
    let of_plane = |input: &[f32], output: &mut [f32]| {
        with_scratch(height * new_width, |wide| {
            vectorized(
                #[inline(always)]
                || {
                    for (row, wide) in input.chunks_exact(width).zip(wide.chunks_exact_mut(new_width)) {
                        for (value, tap) in wide.iter_mut().zip(&columns) {
                            *value = row[tap.low] * (1.0 - tap.fraction) + row[tap.high] * tap.fraction;
                        }
                    }
                    for (row, tap) in output.chunks_exact_mut(new_width).zip(&rows) {
                        let of = |index: usize| &wide[index * new_width..(index + 1) * new_width];
                        for ((value, low), high) in row.iter_mut().zip(of(tap.low)).zip(of(tap.high)) {
                            *value = low * (1.0 - tap.fraction) + high * tap.fraction;
                        }
                    }
                },
            );
        });
    };
    each_plane(input, height * width, output, new_height * new_width, of_plane);
}

/// The transpose of [`forward`]: from `gradient` `[planes, new height, new width]` the gradient of the input, into `output`.
///
/// # Panics
/// As [`forward`].
pub fn backward(gradient: &[f32], sizes: Sizes, output: &mut [f32]) {
    planes(sizes, output.len(), gradient.len());
    let ((height, width), (new_height, new_width)) = (sizes.input, sizes.output);
    let (rows, columns) = (taps(height, new_height), taps(width, new_width));
    let of_plane = |gradient: &[f32], output: &mut [f32]| {
        with_scratch(height * new_width, |wide| {
            vectorized(
                #[inline(always)]
                || {
                    wide.fill(0.0);
                    for (row, tap) in gradient.chunks_exact(new_width).zip(&rows) {
                        for (index, weight) in [(tap.low, 1.0 - tap.fraction), (tap.high, tap.fraction)] {
                            let target = &mut wide[index * new_width..(index + 1) * new_width];
                            target.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
                        }
                    }
                    output.fill(0.0);
                    for (row, wide) in output.chunks_exact_mut(width).zip(wide.chunks_exact(new_width)) {
                        for (value, tap) in wide.iter().zip(&columns) {
                            row[tap.low] += value * (1.0 - tap.fraction);
                            row[tap.high] += value * tap.fraction;
                        }
                    }
                },
            );
        });
    };
    each_plane(gradient, new_height * new_width, output, height * width, of_plane);
}

fn planes(sizes: Sizes, input: usize, output: usize) {
    let (from, to) = (sizes.input.0 * sizes.input.1, sizes.output.0 * sizes.output.1);
    assert!(from > 0 && to > 0, "{sizes:?}");
    assert!(
        input.is_multiple_of(from) && output == input / from * to,
        "{input} to {output} values: {sizes:?}"
    );
}

fn each_plane(
    input: &[f32],
    from: usize,
    output: &mut [f32],
    to: usize,
    of_plane: impl Fn(&[f32], &mut [f32]) + Sync,
) {
    if is_shared(input.len().max(output.len())) {
        let planes = output.par_chunks_exact_mut(to).zip(input.par_chunks_exact(from));
        planes.for_each(|(output, input)| of_plane(input, output));
    } else {
        let planes = output.chunks_exact_mut(to).zip(input.chunks_exact(from));
        planes.for_each(|(output, input)| of_plane(input, output));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Σ (A·x)·y = Σ x·(Aᵀ·y)`, and a constant stays constant.
    #[test]
    fn backward_is_the_transpose() {
        for (input, output) in [((1, 1), (7, 5)), ((5, 4), (5, 9)), ((7, 9), (3, 2)), ((16, 16), (65, 63))] {
            let sizes = Sizes { input, output };
            let varied = |count: usize, seed: usize| -> Vec<f32> {
                (0..count).map(|i| ((i * 7919 + seed) % 1009) as f32 / 500.0 - 1.0).collect()
            };
            let (x, y) = (varied(3 * input.0 * input.1, 1), varied(3 * output.0 * output.1, 2));
            let (mut forth, mut back) = (vec![9.0; y.len()], vec![9.0; x.len()]);
            forward(&x, sizes, &mut forth);
            backward(&y, sizes, &mut back);
            let dot = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
            };
            assert!((dot(&forth, &y) - dot(&x, &back)).abs() < 1e-3);
            forward(&vec![0.7; x.len()], sizes, &mut forth);
            assert!(forth.iter().all(|value| (value - 0.7).abs() < 1e-6));
        }
    }
}
