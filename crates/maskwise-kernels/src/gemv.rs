//! Products of a few rows with a large bf16 weight: what a decoding step of a language model spends its time in.

use crate::dots::STREAMS;
use crate::work::vectorized;
use half::bf16;
use rayon::prelude::*;

/// Output values per parallel task.
const OUTPUTS: usize = 64;
/// Numbers that are added side by side.
const LANES: usize = 32;

/// `output[m, n] = input[m, k] · weight[n, k]ᵀ` with bf16 operands, f32 accumulation and one rounding at the end.
///
/// The weight is read once per call, in its own type; meant for few rows (`m` up to about 8).
///
/// # Panics
/// When the slices do not fit `m`, `n` and `k`.
pub fn bf16_rows(input: &[bf16], weight: &[bf16], output: &mut [bf16], m: usize, n: usize, k: usize) {
    assert_eq!(input.len(), m * k);
    assert_eq!(weight.len(), n * k);
    assert_eq!(output.len(), m * n);
    let wide: Vec<f32> = input.iter().map(|value| value.to_f32()).collect();
    for (input, output) in wide.chunks_exact(k).zip(output.chunks_exact_mut(n)) {
        output.par_chunks_mut(OUTPUTS).zip(weight.par_chunks(OUTPUTS * k)).for_each(|(output, weight)| {
            vectorized(
                #[inline(always)]
                || {
                    let (outputs, rest) = output.as_chunks_mut::<STREAMS>();
                    let (weights, last) = weight.split_at(outputs.len() * STREAMS * k);
                    for (outputs, weights) in outputs.iter_mut().zip(weights.chunks_exact(STREAMS * k)) {
                        let rows = std::array::from_fn(|row| &weights[row * k..][..k]);
                        *outputs = dots::<STREAMS>(input, rows).map(bf16::from_f32);
                    }
                    for (output, row) in rest.iter_mut().zip(last.chunks_exact(k)) {
                        *output = bf16::from_f32(dots(input, [row])[0]);
                    }
                },
            );
        });
    }
}

/// The sums of products with each of some rows.
#[inline(always)]
fn dots<const ROWS: usize>(input: &[f32], rows: [&[bf16]; ROWS]) -> [f32; ROWS] {
    let mut partial = [[0.0_f32; LANES]; ROWS];
    let (inputs, tail) = input.as_chunks::<LANES>();
    let widen = |value: bf16| f32::from_bits(u32::from(value.to_bits()) << 16);
    let wide = rows.map(|row| row[..input.len()].as_chunks::<LANES>());
    for (number, inputs) in inputs.iter().enumerate() {
        for (partial, row) in partial.iter_mut().zip(&wide) {
            for lane in 0..LANES {
                partial[lane] += inputs[lane] * widen(row.0[number][lane]);
            }
        }
    }
    let mut sums = [0.0; ROWS];
    for (index, sum) in sums.iter_mut().enumerate() {
        let tail: f32 = tail.iter().zip(wide[index].1).map(|(x, w)| x * widen(*w)).sum();
        *sum = partial[index].iter().sum::<f32>() + tail;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn matches_a_plain_sum(m in 1_usize..4, n in 1_usize..150, k in 1_usize..100, seed in 0_u32..1000) {
            let value = |index: usize| bf16::from_f32((((index as u32).wrapping_mul(2_654_435_761) ^ seed) % 997) as f32 / 500.0 - 1.0);
            let input: Vec<bf16> = (0..m * k).map(value).collect();
            let weight: Vec<bf16> = (0..n * k).map(|index| value(index + 77)).collect();
            let mut output = vec![bf16::ZERO; m * n];
            bf16_rows(&input, &weight, &mut output, m, n, k);
            for row in 0..m {
                for column in 0..n {
                    let exact: f64 = (0..k).map(|i| input[row * k + i].to_f64() * weight[column * k + i].to_f64()).sum();
                    let found = output[row * n + column].to_f64();
                    prop_assert!((found - exact).abs() <= 0.004 * exact.abs() + 1e-4 * k as f64, "{found} {exact}");
                }
            }
        }
    }
}
