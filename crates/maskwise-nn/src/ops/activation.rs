use super::{f32_slice, in_f32, on_cpu_in_f32};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use maskwise_kernels::elementwise;

/// Exact GELU, `x·Φ(x)` by the error function (not the tanh approximation); any shape.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    if on_cpu_in_f32(x) {
        return x.contiguous()?.apply_op1(Activation::GeluErf);
    }
    in_f32(x, Tensor::gelu_erf)
}

/// CLIP's quick GELU, `x·sigmoid(1.702·x)`; any shape.
///
/// In half precision each step is rounded, as in the reference, which evaluates it step by step.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    if on_cpu_in_f32(x) {
        return x.contiguous()?.apply_op1(Activation::QuickGelu);
    }
    x * sigmoid(&super::multiply(x, 1.702)?)?
}

/// `1 / (1 + exp(-x))`; any shape.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    in_f32(x, |x| (x.neg()?.exp()? + 1.0)?.recip())
}

/// `x·sigmoid(x)`; any shape.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    in_f32(x, Tensor::silu)
}

enum Activation {
    GeluErf,
    QuickGelu,
}

impl CustomOp1 for Activation {
    fn name(&self) -> &'static str {
        match self {
            Self::GeluErf => "gelu_erf",
            Self::QuickGelu => "quick_gelu",
        }
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let input = f32_slice(storage, layout, self.name())?;
        let mut output = vec![0.0; input.len()];
        match self {
            Self::GeluErf => elementwise::gelu_erf(input, &mut output),
            Self::QuickGelu => elementwise::quick_gelu(input, &mut output),
        }
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let slope = match self {
            // Φ(x) + x·φ(x)
            Self::GeluErf => {
                let distribution = ((x * std::f64::consts::FRAC_1_SQRT_2)?.erf()? * 0.5)?.affine(1.0, 0.5)?;
                let density =
                    ((x.sqr()? * -0.5)?.exp()? * (0.5 * std::f64::consts::FRAC_2_SQRT_PI / 2f64.sqrt()))?;
                (distribution + (x * density)?)?
            }
            // σ + 1.702·x·σ·(1 − σ)
            Self::QuickGelu => {
                let gate = sigmoid(&(x * 1.702)?)?;
                let bend = ((x * 1.702)? * (&gate * gate.affine(-1.0, 1.0)?)?)?;
                (gate + bend)?
            }
        };
        Ok(Some((gradient * slope)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_gradient;

    #[test]
    fn gradients_match_finite_differences() {
        assert_gradient("gelu_erf", &[3, 5], gelu_erf);
        assert_gradient("quick_gelu", &[3, 5], quick_gelu);
        assert_gradient("silu", &[3, 5], silu);
        assert_gradient("sigmoid", &[3, 5], sigmoid);
    }
}
