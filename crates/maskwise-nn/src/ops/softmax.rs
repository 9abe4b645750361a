use super::{f32_slice, in_f32, on_cpu_in_f32};
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};
use maskwise_kernels::rows;

/// Softmax over the last dimension of any shape; computed in f32, rounded once to the tensor's dtype.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    in_f32(x, |x| {
        if on_cpu_in_f32(x) {
            return x.contiguous()?.apply_op1(Softmax);
        }
        let powers = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?.exp()?;
        powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)
    })
}

struct Softmax;

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let input = f32_slice(storage, layout, self.name())?;
        let mut output = vec![0.0; input.len()];
        if !input.is_empty() {
            rows::softmax(input, &mut output, layout.shape().dim(D::Minus1)?);
        }
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        // y ⊙ (g − Σ g·y)
        let product = (gradient * result)?;
        let total = product.sum_keepdim(D::Minus1)?;
        Ok(Some((product - result.broadcast_mul(&total)?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_gradient;

    #[test]
    fn gradient_matches_finite_differences() {
        assert_gradient("softmax", &[2, 3, 4], softmax);
    }

    #[test]
    fn an_empty_tensor_stays_empty() {
        let empty = Tensor::zeros((0, 4), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        assert_eq!(softmax(&empty).unwrap().dims(), &[0, 4]);
    }
}
