//! Exponential and error function as polynomials that the compiler can vectorise, and the activations built on them.

use rayon::prelude::*;

/// Elements per parallel task: large enough to hide the cost of a task, small enough to balance.
const CHUNK: usize = 1 << 14;

/// `exp(x)`, relative error below 3e-7 on [-87, 88]; 0 below.
#[inline]
pub fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer without a library call.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.3, 88.3);
    let power = (clamped * LOG2_E + ROUND) - ROUND;
    let rest = clamped - power * LN2_HIGH - power * LN2_LOW;
    let polynomial = 1.987_569_1e-4_f32;
    let polynomial = polynomial * rest + 1.398_2e-3;
    let polynomial = polynomial * rest + 8.333_452e-3;
    let polynomial = polynomial * rest + 4.166_579_6e-2;
    let polynomial = polynomial * rest + 1.666_666_5e-1;
    let polynomial = polynomial * rest + 0.5;
    let fraction = polynomial * rest * rest + rest + 1.0;
    let scale = f32::from_bits(((power as i32 + 127) << 23) as u32);
    if x < -87.3 { 0.0 } else { fraction * scale }
}

/// The error function, absolute error below 5e-7 (Abramowitz and Stegun, formula 7.1.26).
#[inline]
pub fn erf(x: f32) -> f32 {
    let magnitude = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * magnitude);
    let polynomial = 1.061_405_4_f32;
    let polynomial = polynomial * t - 1.453_152;
    let polynomial = polynomial * t + 1.421_413_8;
    let polynomial = polynomial * t - 0.284_496_74;
    let polynomial = polynomial * t + 0.254_829_6;
    let value = 1.0 - polynomial * t * exp(-magnitude * magnitude);
    value.copysign(x)
}

/// Exact GELU, `x·Φ(x)` by the error function, of every element.
///
/// # Panics
/// When the slices differ in length.
pub fn gelu_erf(input: &[f32], output: &mut [f32]) {
    map(input, output, |x| 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)));
}

/// CLIP's quick GELU, `x·sigmoid(1.702·x)`, of every element.
///
/// # Panics
/// When the slices differ in length.
pub fn quick_gelu(input: &[f32], output: &mut [f32]) {
    map(input, output, |x| x / (1.0 + exp(-1.702 * x)));
}

fn map(input: &[f32], output: &mut [f32], function: impl Fn(f32) -> f32 + Sync) {
    assert_eq!(input.len(), output.len());
    output.par_chunks_mut(CHUNK).zip(input.par_chunks(CHUNK)).for_each(|(output, input)| {
        for (output, &input) in output.iter_mut().zip(input) {
            *output = function(input);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_over_its_range() {
        for step in -8700..8800 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!(((f64::from(exp(x)) - exact) / exact).abs() < 3e-7, "exp({x})");
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
    }

    // Values from Python's math.erf.
    #[test]
    fn erf_matches_python() {
        let cases =
            [(0.0, 0.0), (0.1, 0.112_462_92), (0.5, 0.520_499_9), (1.0, 0.842_700_8), (2.5, 0.999_593)];
        for (x, expected) in cases {
            assert!((erf(x) - expected).abs() < 5e-7, "erf({x})");
            assert!((erf(-x) + expected).abs() < 5e-7, "erf(-{x})");
        }
    }

    // Values from Python: x * 0.5 * (1 + math.erf(x / sqrt(2))) and x / (1 + math.exp(-1.702 * x)).
    #[test]
    fn activations_match_python() {
        let input = [-3.0, -1.0, 0.0, 0.5, 2.0];
        let mut output = [0.0; 5];
        gelu_erf(&input, &mut output);
        for (found, expected) in
            output.iter().zip([-0.004_049_7, -0.158_655_25, 0.0, 0.345_731_23, 1.954_499_7])
        {
            assert!((found - expected).abs() < 2e-6, "{found} {expected}");
        }
        quick_gelu(&input, &mut output);
        for (found, expected) in
            output.iter().zip([-0.018_071_31, -0.154_204_23, 0.0, 0.350_388_44, 1.935_658_6])
        {
            assert!((found - expected).abs() < 2e-6, "{found} {expected}");
        }
    }
}
