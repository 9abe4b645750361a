//! AdamW's state of one parameter.

use crate::gradients::{f32_slice, f32_slice_mut};
use candle_core::{CpuStorage, InplaceOp1, Layout, Storage, Tensor, Var};
use maskwise_kernels::optimizer;
use std::cell::RefCell;

/// Running means of the gradient and of its square.
#[derive(Debug)]
pub(super) enum Moments {
    Cpu { first: Vec<f32>, second: Vec<f32> },
    Device { first: Tensor, second: Tensor },
}

impl Moments {
    pub(super) fn zeros(variable: &Var) -> candle_core::Result<Self> {
        if variable.device().is_cpu() {
            let zeros = || vec![0.0; variable.elem_count()];
            return Ok(Self::Cpu { first: zeros(), second: zeros() });
        }
        Ok(Self::Device { first: variable.zeros_like()?.detach(), second: variable.zeros_like()?.detach() })
    }

    /// One update with `gradient` times `scale`.
    pub(super) fn update(
        &mut self,
        variable: &Var,
        gradient: &Tensor,
        update: optimizer::AdamW,
        scale: f64,
    ) -> candle_core::Result<()> {
        match self {
            Self::Cpu { first, second } => {
                let (storage, layout) = gradient.storage_and_layout();
                let Storage::Cpu(storage) = &*storage else {
                    candle_core::bail!("the gradient left the CPU")
                };
                let gradient = f32_slice(storage, layout)?;
                let moments = RefCell::new((first.as_mut_slice(), second.as_mut_slice()));
                variable.inplace_op1(&UpdateInPlace { update, gradient, scale: scale as f32, moments })
            }
            Self::Device { first, second } => {
                let optimizer::AdamW { learning_rate, beta1, beta2, epsilon, weight_decay, step } = update;
                // The exponent passes an f64 exactly up to 2^53 steps.
                let correction = |beta: f64| 1.0 - beta.powf(step as f64);
                let gradient = (gradient * scale)?;
                *first = ((&*first * beta1)? + (&gradient * (1.0 - beta1))?)?;
                *second = ((&*second * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
                let denominator = ((second.sqrt()? / correction(beta2).sqrt())? + epsilon)?;
                let change = (first.div(&denominator)? * (learning_rate / correction(beta1)))?;
                let kept = (variable.as_detached_tensor() * (1.0 - learning_rate * weight_decay))?;
                variable.set(&(kept - change)?)
            }
        }
    }
}

struct UpdateInPlace<'a> {
    update: optimizer::AdamW,
    gradient: &'a [f32],
    scale: f32,
    moments: RefCell<(&'a mut [f32], &'a mut [f32])>,
}

impl InplaceOp1 for UpdateInPlace<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let parameters = f32_slice_mut(storage, layout)?;
        let (first, second) = &mut *self.moments.borrow_mut();
        self.update.update(parameters, first, second, self.gradient, self.scale);
        Ok(())
    }
}
