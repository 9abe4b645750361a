//! Products of a few rows with a large bf16 weight: what a decoding step of a language model spends its time in.

use half::bf16;
use rayon::prelude::*;

/// Output values per parallel task.
const OUTPUTS: usize = 64;

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
            for (output, row) in output.iter_mut().zip(weight.chunks_exact(k)) {
                *output = bf16::from_f32(dot(input, row));
            }
        });
    }
}

fn dot(input: &[f32], row: &[bf16]) -> f32 {
    let mut partial = [0.0_f32; 32];
    let (inputs, rows) = (input.chunks_exact(32), row.chunks_exact(32));
    let widen = |value: bf16| f32::from_bits(u32::from(value.to_bits()) << 16);
    let tail: f32 = inputs.remainder().iter().zip(rows.remainder()).map(|(x, w)| x * widen(*w)).sum();
    for (inputs, rows) in inputs.zip(rows) {
        for ((partial, &x), &w) in partial.iter_mut().zip(inputs).zip(rows) {
            *partial += x * widen(w);
        }
    }
    partial.iter().sum::<f32>() + tail
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
