//! Exponential and error function as polynomials that the compiler can vectorise, and the activations built on them.

use crate::work::{Fma, is_shared, vectorized, vectorized_with_fma};
use rayon::prelude::*;

/// Elements per parallel task: large enough to hide the cost of a task, small enough to balance.
const CHUNK: usize = 1 << 14;

/// `exp(x)`, relative error below 3e-7 on [-87, 88]; 0 below.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    Fma::NONE.exp(x)
}

/// The error function, absolute error below 5e-7 (Abramowitz and Stegun, formula 7.1.26).
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    Fma::NONE.erf(x)
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    Fma::NONE.sigmoid(x)
}

impl Fma {
    /// As [`exp`].
    #[inline(always)]
    pub(crate) fn exp(self, x: f32) -> f32 {
        const LOG2_E: f32 = std::f32::consts::LOG2_E;
        const LN2_HIGH: f32 = 0.693_359_4;
        const LN2_LOW: f32 = -2.121_944_4e-4;
        // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer without a library call.
        const ROUND: f32 = 12_582_912.0;
        let clamped = x.clamp(-87.3, 88.3);
        let rounded = self.mul_add(clamped, LOG2_E, ROUND);
        let power = rounded - ROUND;
        let rest = self.mul_add(power, -LN2_LOW, self.mul_add(power, -LN2_HIGH, clamped));
        let polynomial = 1.987_569_1e-4_f32;
        let polynomial = self.mul_add(polynomial, rest, 1.398_2e-3);
        let polynomial = self.mul_add(polynomial, rest, 8.333_452e-3);
        let polynomial = self.mul_add(polynomial, rest, 4.166_579_6e-2);
        let polynomial = self.mul_add(polynomial, rest, 1.666_666_5e-1);
        let polynomial = self.mul_add(polynomial, rest, 0.5);
        let fraction = self.mul_add(polynomial * rest, rest, rest) + 1.0;
        // The low bits of the rounded sum are the integer, and those of ROUND above them fall out of the shift.
        let scale = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
        if x < -87.3 { 0.0 } else { fraction * scale }
    }

    /// As [`erf`].
    #[inline(always)]
    pub(crate) fn erf(self, x: f32) -> f32 {
        let magnitude = x.abs();
        let t = 1.0 / self.mul_add(0.327_591_1, magnitude, 1.0);
        let polynomial = 1.061_405_4_f32;
        let polynomial = self.mul_add(polynomial, t, -1.453_152);
        let polynomial = self.mul_add(polynomial, t, 1.421_413_8);
        let polynomial = self.mul_add(polynomial, t, -0.284_496_74);
        let polynomial = self.mul_add(polynomial, t, 0.254_829_6);
        let value = 1.0 - polynomial * t * self.exp(-magnitude * magnitude);
        value.copysign(x)
    }

    /// As [`sigmoid`].
    #[inline(always)]
    pub(crate) fn sigmoid(self, x: f32) -> f32 {
        1.0 / (1.0 + self.exp(-x))
    }
}

/// A function of one value with a gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Exact GELU, `x·Φ(x)` by the error function.
    GeluErf,
    /// CLIP's quick GELU, `x·sigmoid(1.702·x)`.
    QuickGelu,
    /// `x·sigmoid(x)`.
    Silu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// The function of every element.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn forward(self, input: &[f32], output: &mut [f32]) {
        assert_eq!(input.len(), output.len());
        if !is_shared(input.len()) {
            return self.some(Some(input), output);
        }
        let parts = output.par_chunks_mut(CHUNK).zip(input.par_chunks(CHUNK));
        parts.for_each(|(output, input)| self.some(Some(input), output));
    }

    /// The function of every element in its own place.
    pub fn forward_in_place(self, values: &mut [f32]) {
        if !is_shared(values.len()) {
            return self.some(None, values);
        }
        values.par_chunks_mut(CHUNK).for_each(|values| self.some(None, values));
    }

    fn some(self, input: Option<&[f32]>, output: &mut [f32]) {
        match self {
            Self::GeluErf => apply(
                input,
                output,
                #[inline(always)]
                |fma, x| 0.5 * x * (1.0 + fma.erf(x * std::f32::consts::FRAC_1_SQRT_2)),
            ),
            Self::QuickGelu => apply(
                input,
                output,
                #[inline(always)]
                |fma, x| x * fma.sigmoid(1.702 * x),
            ),
            Self::Silu => apply(
                input,
                output,
                #[inline(always)]
                |fma, x| x * fma.sigmoid(x),
            ),
            Self::Sigmoid => apply(
                input,
                output,
                #[inline(always)]
                |fma, x| fma.sigmoid(x),
            ),
            Self::Relu => apply(
                input,
                output,
                #[inline(always)]
                |_, x| if x < 0.0 { 0.0 } else { x },
            ),
        }
    }

    /// The gradient of the input: the slope at every element times `gradient`.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn backward(self, input: &[f32], gradient: &[f32], output: &mut [f32]) {
        match self {
            Self::GeluErf => map2(
                input,
                gradient,
                output,
                #[inline(always)]
                |_, x, g| {
                    let density = exp(-0.5 * x * x)
                        * (0.5 * std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2);
                    g * (0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)) + x * density)
                },
            ),
            Self::QuickGelu => map2(
                input,
                gradient,
                output,
                #[inline(always)]
                |_, x, g| {
                    let gate = sigmoid(1.702 * x);
                    g * gate * (1.0 + 1.702 * x * (1.0 - gate))
                },
            ),
            Self::Silu => map2(
                input,
                gradient,
                output,
                #[inline(always)]
                |_, x, g| g * silu_slope(x),
            ),
            Self::Sigmoid => map2(
                input,
                gradient,
                output,
                #[inline(always)]
                |_, x, g| {
                    let gate = sigmoid(x);
                    g * gate * (1.0 - gate)
                },
            ),
            Self::Relu => map2(
                input,
                gradient,
                output,
                #[inline(always)]
                |_, x, g| if x > 0.0 { g } else { 0.0 },
            ),
        }
    }
}

#[inline(always)]
fn silu_slope(x: f32) -> f32 {
    let gate = sigmoid(x);
    gate * (1.0 + x * (1.0 - gate))
}

/// `silu(gate)·up`, element by element.
///
/// # Panics
/// When the slices differ in length.
pub fn silu_times(gate: &[f32], up: &[f32], output: &mut [f32]) {
    map2(
        gate,
        up,
        output,
        #[inline(always)]
        |fma, gate, up| gate * fma.sigmoid(gate) * up,
    );
}

/// The gradients of [`silu_times`] for `gradient` of its output: that of the gate into `for_gate`, that of the other side into `for_up`.
///
/// # Panics
/// When the slices differ in length.
pub fn silu_times_backward(
    gate: &[f32],
    up: &[f32],
    gradient: &[f32],
    for_gate: &mut [f32],
    for_up: &mut [f32],
) {
    let length = gate.len();
    assert!([up.len(), gradient.len(), for_gate.len(), for_up.len()].iter().all(|&other| other == length));
    let some = |for_gate: &mut [f32], for_up: &mut [f32], [gate, up, gradient]: [&[f32]; 3]| {
        vectorized(
            #[inline(always)]
            || {
                let inputs = gate.iter().zip(up).zip(gradient);
                for (((&gate, &up), &g), (for_gate, for_up)) in inputs.zip(for_gate.iter_mut().zip(for_up)) {
                    *for_gate = g * up * silu_slope(gate);
                    *for_up = g * gate * sigmoid(gate);
                }
            },
        );
    };
    if !is_shared(length) {
        return some(for_gate, for_up, [gate, up, gradient]);
    }
    let inputs = gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)).zip(gradient.par_chunks(CHUNK));
    let targets = for_gate.par_chunks_mut(CHUNK).zip(for_up.par_chunks_mut(CHUNK));
    targets.zip(inputs).for_each(|((for_gate, for_up), ((gate, up), gradient))| {
        some(for_gate, for_up, [gate, up, gradient]);
    });
}

/// The function of `input`, or of what the output holds.
fn apply(input: Option<&[f32]>, output: &mut [f32], function: impl Fn(Fma, f32) -> f32) {
    vectorized_with_fma(
        #[inline(always)]
        |fma| match input {
            Some(input) => {
                for (output, &input) in output.iter_mut().zip(input) {
                    *output = function(fma, input);
                }
            }
            None => {
                for value in output {
                    *value = function(fma, *value);
                }
            }
        },
    );
}

fn map2(left: &[f32], right: &[f32], output: &mut [f32], function: impl Fn(Fma, f32, f32) -> f32 + Sync) {
    assert_eq!(left.len(), output.len());
    assert_eq!(right.len(), output.len());
    let some = |output: &mut [f32], left: &[f32], right: &[f32]| {
        vectorized_with_fma(
            #[inline(always)]
            |fma| {
                for ((output, &left), &right) in output.iter_mut().zip(left).zip(right) {
                    *output = function(fma, left, right);
                }
            },
        );
    };
    if !is_shared(output.len()) {
        return some(output, left, right);
    }
    let parts = output.par_chunks_mut(CHUNK).zip(left.par_chunks(CHUNK)).zip(right.par_chunks(CHUNK));
    parts.for_each(|((output, left), right)| some(output, left, right));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_over_its_range() {
        for step in -8700..8800 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x).exp();
            for found in [exp(x), vectorized_with_fma(|fma| fma.exp(x))] {
                assert!(((f64::from(found) - exact) / exact).abs() < 3e-7, "exp({x})");
            }
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
            assert!((vectorized_with_fma(|fma| fma.erf(x)) - expected).abs() < 5e-7, "erf({x}), fused");
            assert!((erf(x) - expected).abs() < 5e-7, "erf({x})");
            assert!((erf(-x) + expected).abs() < 5e-7, "erf(-{x})");
        }
    }

    // Values from Python: x * 0.5 * (1 + math.erf(x / sqrt(2))) and x / (1 + math.exp(-1.702 * x)).
    #[test]
    fn activations_match_python() {
        let input = [-3.0, -1.0, 0.0, 0.5, 2.0];
        let mut output = [0.0; 5];
        Activation::GeluErf.forward(&input, &mut output);
        for (found, expected) in
            output.iter().zip([-0.004_049_7, -0.158_655_25, 0.0, 0.345_731_23, 1.954_499_7])
        {
            assert!((found - expected).abs() < 2e-6, "{found} {expected}");
        }
        let mut in_place = input;
        Activation::GeluErf.forward_in_place(&mut in_place);
        assert_eq!(in_place, output);
        Activation::QuickGelu.forward(&input, &mut output);
        for (found, expected) in
            output.iter().zip([-0.018_071_31, -0.154_204_23, 0.0, 0.350_388_44, 1.935_658_6])
        {
            assert!((found - expected).abs() < 2e-6, "{found} {expected}");
        }
    }
}
