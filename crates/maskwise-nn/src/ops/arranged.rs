//! Products with a weight that was rounded to bf16 and arranged for the processor once.

use super::{f32_slice, f32_values, on_cpu_in_f32};
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};
use maskwise_kernels::elementwise::Activation;
use maskwise_kernels::matmul::{Epilogue, Matrix, PackedRight, product_packed};
use std::sync::Arc;

/// `activation(x·weightᵀ + bias)` for `x` `[.., in]` in f32 on the CPU, `weight` holding `[in, out]` and `bias` `[out]`: `[.., out]`. `x` is rounded to bf16, as the
/// weight is, where it has more than two rows. Nothing has a gradient.
///
/// # Errors
/// When the sizes do not fit each other, or for another type or device.
pub fn arranged_product(
    x: &Tensor,
    weight: &Arc<PackedRight>,
    bias: Option<&Tensor>,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let outputs = weight.columns();
    if !on_cpu_in_f32(x)
        || x.dim(D::Minus1)? != weight.rows()
        || bias.is_some_and(|bias| bias.dims() != [outputs] || !on_cpu_in_f32(bias))
    {
        candle_core::bail!(
            "an arranged weight of {outputs}x{} takes f32 on the cpu of that width, not {:?} {:?}",
            weight.rows(),
            x.dtype(),
            x.dims()
        );
    }
    let bias = bias.map(f32_values).transpose()?.map(|bias| bias.to_vec());
    x.contiguous()?.apply_op1_no_bwd(&ArrangedProduct { weight: weight.clone(), bias, activation })
}

struct ArrangedProduct {
    weight: Arc<PackedRight>,
    bias: Option<Vec<f32>>,
    activation: Option<Activation>,
}

impl CustomOp1 for ArrangedProduct {
    fn name(&self) -> &'static str {
        "arranged_product"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = f32_slice(x, layout, self.name())?;
        let (inputs, outputs) = (self.weight.rows(), self.weight.columns());
        let mut shape = layout.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = outputs;
        }
        let rows = shape.iter().rev().skip(1).product();
        let epilogue = Epilogue { bias: self.bias.as_deref(), activation: self.activation };
        let output = product_packed(Matrix::new(x, rows, inputs), &self.weight, epilogue);
        Ok((CpuStorage::F32(output), Shape::from(shape)))
    }
}
