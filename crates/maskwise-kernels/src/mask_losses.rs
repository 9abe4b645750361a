//! Binary cross-entropy and DICE of mask logits (spec 5.1), one pass over the pixels each way.

use crate::elementwise::exp;
use crate::work::{is_shared, vectorized};
use rayon::prelude::*;

/// Pixels whose sums are taken apart, whatever the number of threads.
const PIXELS: usize = 1 << 14;
/// Running sums side by side.
const LANES: usize = 16;
/// Factors `1 + exp(−|x|)` ≤ 2 that are multiplied before a logarithm is taken of their product, in f64.
const FACTORS: usize = 64;
/// What the reference divides probabilities and targets by, and adds to both sides of its fraction.
const DICE_SCALE: f64 = 1000.0;
const DICE_EPSILON: f64 = 1e-6;

/// What is summed over the pixels of one mask.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sums {
    /// Σ binary cross-entropy.
    pub cross_entropy: f64,
    /// Σ probability · target.
    pub overlap: f64,
    /// Σ probability.
    pub probability: f64,
    /// Σ target.
    pub target: f64,
}

impl Sums {
    fn plus(self, other: Self) -> Self {
        Self {
            cross_entropy: self.cross_entropy + other.cross_entropy,
            overlap: self.overlap + other.overlap,
            probability: self.probability + other.probability,
            target: self.target + other.target,
        }
    }

    /// `1 − (2·Σ(p·t)/1000 + ε) / (Σp/1000 + Σt/1000 + ε)`.
    pub fn dice(&self) -> f64 {
        1.0 - self.numerator() / self.denominator()
    }

    fn numerator(&self) -> f64 {
        2.0 * self.overlap / DICE_SCALE + DICE_EPSILON
    }

    fn denominator(&self) -> f64 {
        (self.probability + self.target) / DICE_SCALE + DICE_EPSILON
    }
}

/// The sums of each mask of `pixels` logits; a target is 1 where it is not 0.
///
/// # Panics
/// When the sizes do not fit each other or a mask has no pixel.
pub fn forward(logits: &[f32], targets: &[u8], pixels: usize) -> Vec<Sums> {
    check(logits, targets, pixels);
    let of_part = |(logits, targets): (&[f32], &[u8])| {
        vectorized(
            #[inline(always)]
            || sum(logits, targets),
        )
    };
    let of_mask = |(logits, targets): (&[f32], &[u8])| {
        let parts = logits.chunks(PIXELS).zip(targets.chunks(PIXELS));
        let sums: Vec<Sums> = if is_shared(pixels) {
            parts.collect::<Vec<_>>().into_par_iter().map(of_part).collect()
        } else {
            parts.map(of_part).collect()
        };
        sums.into_iter().fold(Sums::default(), Sums::plus)
    };
    logits.chunks_exact(pixels).zip(targets.chunks_exact(pixels)).map(of_mask).collect()
}

#[inline(always)]
fn sum(logits: &[f32], targets: &[u8]) -> Sums {
    let mut sums = Sums::default();
    for (logits, targets) in logits.chunks(LANES * FACTORS).zip(targets.chunks(LANES * FACTORS)) {
        let (mut products, mut linear) = ([1.0_f64; LANES], [0.0_f32; LANES]);
        let (mut overlap, mut probability, mut count) =
            ([0.0_f32; LANES], [0.0_f32; LANES], [0.0_f32; LANES]);
        for (logits, targets) in logits.chunks(LANES).zip(targets.chunks(LANES)) {
            for (lane, (&x, &target)) in logits.iter().zip(targets).enumerate() {
                let t = if target != 0 { 1.0 } else { 0.0 };
                let power = exp(-x.abs());
                let p = if x >= 0.0 { 1.0 } else { power } / (1.0 + power);
                // max(x, 0) − x·t + ln(1 + exp(−|x|)), the logarithms taken together below.
                linear[lane] += if x > 0.0 { x } else { 0.0 * x } - x * t;
                products[lane] *= 1.0 + f64::from(power);
                overlap[lane] += p * t;
                probability[lane] += p;
                count[lane] += t;
            }
        }
        let total = |lanes: [f32; LANES]| lanes.iter().map(|&value| f64::from(value)).sum::<f64>();
        let logarithms: f64 = products.iter().map(|product| product.ln()).sum();
        sums = sums.plus(Sums {
            cross_entropy: total(linear) + logarithms,
            overlap: total(overlap),
            probability: total(probability),
            target: total(count),
        });
    }
    sums
}

/// The gradient of the logits for the gradients of each mask's mean cross-entropy and of its DICE.
///
/// # Panics
/// As [`forward`], and when there are not as many sums and gradients as masks.
pub fn backward(
    logits: &[f32],
    targets: &[u8],
    pixels: usize,
    sums: &[Sums],
    gradients: &[(f32, f32)],
) -> Vec<f32> {
    check(logits, targets, pixels);
    assert_eq!((sums.len(), gradients.len()), (logits.len() / pixels, logits.len() / pixels));
    let mut output = vec![0.0; logits.len()];
    let masks =
        output.chunks_exact_mut(pixels).zip(logits.chunks_exact(pixels).zip(targets.chunks_exact(pixels)));
    for ((output, (logits, targets)), (sums, &(for_mean, for_dice))) in masks.zip(sums.iter().zip(gradients))
    {
        let for_entropy = (f64::from(for_mean) / pixels as f64) as f32;
        // dDICE/dp = (numerator/denominator − 2·t) / (1000·denominator)
        let slope = f64::from(for_dice) / (DICE_SCALE * sums.denominator());
        let (everywhere, on_target) =
            ((slope * sums.numerator() / sums.denominator()) as f32, (2.0 * slope) as f32);
        let some = |output: &mut [f32], logits: &[f32], targets: &[u8]| {
            vectorized(
                #[inline(always)]
                || {
                    for ((output, &x), &target) in output.iter_mut().zip(logits).zip(targets) {
                        let t = if target != 0 { 1.0 } else { 0.0 };
                        let power = exp(-x.abs());
                        let inverse = 1.0 / (1.0 + power);
                        let p = if x >= 0.0 { inverse } else { power * inverse };
                        *output = for_entropy * (p - t)
                            + (everywhere - on_target * t) * (power * inverse * inverse);
                    }
                },
            );
        };
        if is_shared(pixels) {
            let parts =
                output.par_chunks_mut(PIXELS).zip(logits.par_chunks(PIXELS)).zip(targets.par_chunks(PIXELS));
            parts.for_each(|((output, logits), targets)| some(output, logits, targets));
        } else {
            some(output, logits, targets);
        }
    }
    output
}

fn check(logits: &[f32], targets: &[u8], pixels: usize) {
    assert_eq!(logits.len(), targets.len());
    assert!(pixels > 0 && logits.len().is_multiple_of(pixels));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_definition_even_where_logits_saturate() {
        for (pixels, scale) in [(1, 1.0), (63, 3.0), (1031, 20.0), (40_000, 60.0)] {
            let logits: Vec<f32> =
                (0..2 * pixels).map(|i| scale * (((i * 7919) % 1009) as f32 / 500.0 - 1.0)).collect();
            let targets: Vec<u8> =
                (0..2 * pixels).map(|i| u8::from(logits[i] + (i % 5) as f32 > 2.0)).collect();
            for (mask, sums) in forward(&logits, &targets, pixels).iter().enumerate() {
                let mut expected = Sums::default();
                for i in mask * pixels..(mask + 1) * pixels {
                    let (x, t) = (f64::from(logits[i]), f64::from(targets[i]));
                    let p = 1.0 / (1.0 + (-x).exp());
                    expected = expected.plus(Sums {
                        cross_entropy: x.max(0.0) - x * t + (-x.abs()).exp().ln_1p(),
                        overlap: p * t,
                        probability: p,
                        target: t,
                    });
                }
                let close = |a: f64, b: f64| assert!((a - b).abs() <= 2e-6 * b.abs().max(1e-3), "{a} {b}");
                close(sums.cross_entropy, expected.cross_entropy);
                close(sums.overlap, expected.overlap);
                close(sums.probability, expected.probability);
                assert_eq!(sums.target, expected.target);
            }
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_sums() {
        let logits = [-3.0_f32, -0.4, 0.0, 0.7, 2.5, -90.0, 90.0];
        let targets = [0, 1, 0, 1, 1, 1, 0];
        let objective = |logits: &[f32]| {
            let sums = forward(logits, &targets, 7)[0];
            0.3 * sums.cross_entropy / 7.0 + 0.8 * sums.dice()
        };
        let gradient = backward(&logits, &targets, 7, &forward(&logits, &targets, 7), &[(0.3, 0.8)]);
        for (index, &analytic) in gradient.iter().enumerate() {
            let moved = |offset: f32| {
                let mut moved = logits;
                moved[index] += offset;
                objective(&moved)
            };
            let numeric = (moved(0.0625) - moved(-0.0625)) / 0.125;
            assert!((f64::from(analytic) - numeric).abs() < 1e-4, "{index}: {analytic} {numeric}");
        }
    }
}
