//! AdamW on slices, and the norm of a gradient.

use crate::work::{is_shared, vectorized};
use rayon::prelude::*;

/// Values of one part; sums of parts are added in order, so that the number of threads does not matter.
const PART: usize = 1 << 14;

/// One AdamW update: the hyper-parameters of a parameter group and the number of the step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decay of the first moment, 0 ≤ β₁ < 1.
    pub beta1: f64,
    /// Decay of the second moment, 0 ≤ β₂ < 1.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay: parameters are multiplied by `1 − learning_rate·weight_decay`.
    pub weight_decay: f64,
    /// Which update this is, from 1; corrects the moments' bias.
    pub step: u64,
}

impl AdamW {
    /// Updates `parameters` and the two moments in place with `gradient`, of which `scale` is taken (the coefficient of clipping).
    ///
    /// As PyTorch's AdamW: the denominator is `√v/√(1 − β₂ᵗ) + ε`, the step size `learning_rate/(1 − β₁ᵗ)`.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn update(
        &self,
        parameters: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
        gradient: &[f32],
        scale: f32,
    ) {
        let length = parameters.len();
        assert!([first.len(), second.len(), gradient.len()].iter().all(|&other| other == length));
        let (beta1, beta2) = (self.beta1 as f32, self.beta2 as f32);
        let (rest1, rest2) = ((1.0 - self.beta1) as f32, (1.0 - self.beta2) as f32);
        let exponent = i32::try_from(self.step).unwrap_or(i32::MAX);
        let step_size = (self.learning_rate / (1.0 - self.beta1.powi(exponent))) as f32;
        let inverse_root = (1.0 / (1.0 - self.beta2.powi(exponent)).sqrt()) as f32;
        let kept = (1.0 - self.learning_rate * self.weight_decay) as f32;
        let epsilon = self.epsilon as f32;
        let some = |parameters: &mut [f32], first: &mut [f32], second: &mut [f32], gradient: &[f32]| {
            vectorized(
                #[inline(always)]
                || {
                    let moments = first.iter_mut().zip(second);
                    for ((parameter, (m, v)), g) in parameters.iter_mut().zip(moments).zip(gradient) {
                        let g = g * scale;
                        *m = *m * beta1 + g * rest1;
                        *v = *v * beta2 + g * g * rest2;
                        *parameter =
                            *parameter * kept - step_size * (*m / (v.sqrt() * inverse_root + epsilon));
                    }
                },
            );
        };
        if !is_shared(length) {
            return some(parameters, first, second, gradient);
        }
        let moments = first.par_chunks_mut(PART).zip(second.par_chunks_mut(PART));
        let parts = parameters.par_chunks_mut(PART).zip(moments).zip(gradient.par_chunks(PART));
        parts.for_each(|((parameters, (first, second)), gradient)| some(parameters, first, second, gradient));
    }
}

/// The sum of squares in f64, in an order that does not depend on the number of threads. The norm of several tensors is the root of the
/// sum of theirs.
pub fn sum_of_squares(values: &[f32]) -> f64 {
    let of_part = |values: &[f32]| -> f64 {
        vectorized(
            #[inline(always)]
            || {
                let mut lanes = [0.0_f64; 8];
                let steps = values.chunks_exact(8);
                let rest: f64 = steps.remainder().iter().map(|&value| f64::from(value).powi(2)).sum();
                for step in steps {
                    for (lane, &value) in lanes.iter_mut().zip(step) {
                        *lane += f64::from(value) * f64::from(value);
                    }
                }
                lanes.iter().sum::<f64>() + rest
            },
        )
    };
    if is_shared(values.len()) {
        values.par_chunks(PART).map(of_part).collect::<Vec<f64>>().into_iter().sum()
    } else {
        values.chunks(PART).map(of_part).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// torch.optim.AdamW's formula in f64, three steps.
    #[test]
    fn follows_the_formula() {
        let gradients =
            [[0.5_f32, -2.0, 1e-6, 0.0, 3.0], [0.1, -1.0, 2e-6, 0.0, -3.0], [-0.3, 4.0, 1e-6, 0.0, 1.0]];
        let (mut parameters, mut first, mut second) = ([1.0_f32, -1.0, 0.5, 2.0, 0.0], [0.0; 5], [0.0; 5]);
        let mut expected: Vec<(f64, f64, f64)> =
            parameters.iter().map(|&p| (f64::from(p), 0.0, 0.0)).collect();
        for (index, gradient) in gradients.iter().enumerate() {
            let step = index as u64 + 1;
            let adam = AdamW {
                learning_rate: 0.01,
                beta1: 0.9,
                beta2: 0.95,
                epsilon: 1e-8,
                weight_decay: 0.1,
                step,
            };
            adam.update(&mut parameters, &mut first, &mut second, gradient, 0.5);
            for ((p, m, v), &g) in expected.iter_mut().zip(gradient) {
                let g = 0.5 * f64::from(g);
                *p *= 1.0 - 0.01 * 0.1;
                *m = 0.9 * *m + 0.1 * g;
                *v = 0.95 * *v + 0.05 * g * g;
                let (bias1, bias2) = (1.0 - 0.9_f64.powi(step as i32), 1.0 - 0.95_f64.powi(step as i32));
                *p -= 0.01 / bias1 * *m / (v.sqrt() / bias2.sqrt() + 1e-8);
            }
            for (found, (expected, _, _)) in parameters.iter().zip(&expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let values: Vec<f32> = (0..100_003).map(|i| ((i * 7919) % 1009) as f32 / 500.0 - 1.0).collect();
        let exact: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (mut parameters, mut first, mut second) =
                    (values.clone(), values.clone(), vec![0.1; values.len()]);
                let adam = AdamW {
                    learning_rate: 0.1,
                    beta1: 0.9,
                    beta2: 0.9,
                    epsilon: 1e-8,
                    weight_decay: 0.0,
                    step: 4,
                };
                adam.update(&mut parameters, &mut first, &mut second, &values, 1.0);
                (sum_of_squares(&values), parameters)
            })
        };
        assert!(on(1) == on(3));
        assert!((on(1).0 - exact).abs() < 1e-9 * exact);
    }
}
