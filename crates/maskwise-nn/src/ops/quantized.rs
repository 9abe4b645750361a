//! Products with a weight in few bits.

use super::{f32_slice, f32_values, on_cpu_in_f32};
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};
use maskwise_kernels::quantized::QuantizedWeight;
use std::sync::Arc;

/// `x·weightᵀ + bias` for `x` `[.., in]` in f32 on the CPU and a quantized weight `[out, in]`: `[.., out]`. The rows of `x` are rounded to eight bits
/// too; the gradient takes no note of that, and the weight has none.
///
/// # Errors
/// When the sizes do not fit each other, or for another type or device.
pub fn quantized_product(x: &Tensor, weight: &Arc<QuantizedWeight>, bias: Option<&Tensor>) -> Result<Tensor> {
    if !on_cpu_in_f32(x) || x.dim(D::Minus1)? != weight.inputs() {
        candle_core::bail!(
            "a quantized weight of {}x{} takes f32 on the cpu of that width, not {:?} {:?}",
            weight.outputs(),
            weight.inputs(),
            x.dtype(),
            x.dims()
        );
    }
    let Some(bias) = bias else {
        return x.contiguous()?.apply_op1(QuantizedProduct { weight: weight.clone(), bias: None });
    };
    if bias.track_op() || !on_cpu_in_f32(bias) || bias.dims() != [weight.outputs()] {
        return quantized_product(x, weight, None)?.broadcast_add(bias);
    }
    let bias = Some(f32_values(bias)?.to_vec());
    x.contiguous()?.apply_op1(QuantizedProduct { weight: weight.clone(), bias })
}

struct QuantizedProduct {
    weight: Arc<QuantizedWeight>,
    bias: Option<Vec<f32>>,
}

impl CustomOp1 for QuantizedProduct {
    fn name(&self) -> &'static str {
        "quantized_product"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = f32_slice(x, layout, self.name())?;
        let mut shape = layout.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = self.weight.outputs();
        }
        let mut output = vec![0.0; shape.iter().product()];
        self.weight.matmul(x, self.bias.as_deref(), &mut output);
        Ok((CpuStorage::F32(output), Shape::from(shape)))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let (outputs, inputs) = (self.weight.outputs(), self.weight.inputs());
        let weight = Tensor::from_vec(self.weight.dequantize(), (outputs, inputs), x.device())?;
        let gradient = gradient.reshape(((), outputs))?.matmul(&weight)?;
        Ok(Some(gradient.reshape(x.shape())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::varied;
    use candle_core::{Device, Var};
    use maskwise_kernels::quantized::Bits;

    /// Rounding makes steps of the product, so the gradient is that of the product with the rounded weight, not a finite difference.
    #[test]
    fn the_gradient_is_that_of_the_rounded_weight() {
        for bits in [Bits::Eight, Bits::Four] {
            let values: Vec<f32> = varied(&[7 * 5], 1).to_vec1().unwrap();
            let weight = Arc::new(QuantizedWeight::quantize(bits, &values, 7, 5));
            let x = Var::from_tensor(&varied(&[2, 3, 5], 2)).unwrap();
            let seed = varied(&[2, 3, 7], 3);
            let gradient = |y: Tensor| {
                let gradients = (y * &seed).unwrap().sum_all().unwrap().backward().unwrap();
                gradients.get(x.as_tensor()).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
            };
            let rounded = Tensor::from_vec(weight.dequantize(), (7, 5), &Device::Cpu).unwrap();
            let plain = x.reshape((6, 5)).unwrap().matmul(&rounded.t().unwrap()).unwrap();
            let expected = gradient(plain.reshape((2, 3, 7)).unwrap());
            let found = gradient(quantized_product(x.as_tensor(), &weight, None).unwrap());
            assert!(
                expected.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-5),
                "{bits:?} {expected:?} {found:?}"
            );
            assert!(quantized_product(&varied(&[2, 4], 1), &weight, None).is_err());
        }
    }
}
