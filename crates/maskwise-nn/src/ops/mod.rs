//! Operations with gradients.
//!
//! On the CPU, f32 tensors go through the fused kernels of `maskwise-kernels`, each a candle `CustomOp`
//! with a backward of its own; every other dtype and device takes candle's differentiable operations, with
//! the rounding of PyTorch: computed in f32, rounded once to the tensor's dtype.
//!
//! bf16 on the CPU goes further and reproduces the reference (PyTorch 2.0.1, whose CPU kernels were measured value by
//! value; `tests/golden/bf16_ops` holds what they returned):
//! - linear layers and convolutions, bias included, softmax, layer norms, GELU, SiLU, sigmoid, sine and cosine: one rounding;
//! - a number beside a tensor (`x·s`, `x/s`, `x + s`) is rounded to the tensor's dtype first ([`multiply`], [`divide`], [`add`]);
//! - a mean rounds the sum before it divides;
//! - products of activations of at most 16³ multiplications round every product and every partial sum ([`matmul`]).

mod activation;
mod arranged;
mod attention;
#[cfg(test)]
mod bf16_tests;
mod convolution;
mod linear;
mod losses;
mod matmul;
mod normalization;
mod quantized;
mod ranged_attention;
mod relative_attention;
mod resize;
mod rotary;
mod scalar;
mod softmax;

pub use activation::{activate_in_place, gelu_erf, quick_gelu, relu, sigmoid, silu, silu_times};
pub use arranged::arranged_product;
pub use attention::{AdjustScores, attention, causal_mask, repeat_key_value};
pub use convolution::{conv_transpose_2x2, conv_transpose_2x2_rows, conv2d, patch_embedding};
pub(crate) use linear::with_gradient_to_input;
pub use linear::{linear, linear_then};
pub use losses::{cross_entropy, mask_losses};
pub use maskwise_kernels::attention::KeyRanges;
pub use maskwise_kernels::elementwise::Activation;
pub use maskwise_kernels::matmul::{Precision, with_precision};
pub use matmul::matmul;
pub use normalization::{layer_norm, layer_norm_2d, rms_norm};
pub use quantized::quantized_product;
pub use ranged_attention::ranged_attention;
pub use relative_attention::relative_attention;
pub use resize::{bilinear_matrix, bilinear_resize};
pub use rotary::{RotaryTables, apply_rotary, rotate_tokens};
pub use scalar::{add, divide, multiply};
pub use softmax::softmax;

use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor};
use std::ops::Deref;

/// Refuses a `MASKWISE_ISA` that names no instructions.
///
/// # Errors
/// What is wrong with it, in words.
pub fn check_instructions() -> std::result::Result<(), String> {
    maskwise_kernels::matmul::Path::check_wish().map(|_| ())
}

/// Whether rounding the operands of f32 products to bf16 makes them quicker on this processor: where it has tiles for that.
pub fn bf16_products_pay() -> bool {
    maskwise_kernels::matmul::Path::current() == maskwise_kernels::matmul::Path::Amx
}

/// Whether the CPU kernels take this tensor.
pub fn on_cpu_in_f32(tensor: &Tensor) -> bool {
    tensor.dtype() == DType::F32 && matches!(tensor.device(), Device::Cpu)
}

/// Whether the roundings of the reference on the CPU are reproduced for this tensor.
fn rounds_like_reference(tensor: &Tensor) -> bool {
    tensor.dtype() == DType::BF16 && matches!(tensor.device(), Device::Cpu)
}

/// Runs `function` in f32 and rounds its result once to the dtype of `tensor`.
fn in_f32(tensor: &Tensor, function: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    if tensor.dtype() == DType::F32 || tensor.dtype() == DType::F64 {
        return function(tensor);
    }
    function(&tensor.to_dtype(DType::F32)?)?.to_dtype(tensor.dtype())
}

/// `left · right + bias` for matrices and a row of biases; in half precision on the CPU rounded once, after the sum, as PyTorch's
/// linear layers and convolutions do.
pub(crate) fn product_plus_bias(left: &Tensor, right: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if rounds_like_reference(left) {
        return matmul::sum_of_products(left, right)?
            .broadcast_add(&bias.to_dtype(DType::F32)?)?
            .to_dtype(left.dtype());
    }
    if matches!(left.device(), Device::Cpu) {
        return in_f32(left, |left| {
            let wide = |tensor: &Tensor| tensor.to_dtype(left.dtype());
            left.matmul(&wide(right)?)?.broadcast_add(&wide(bias)?)
        });
    }
    left.matmul(right)?.broadcast_add(bias)
}

/// `left · right` with the right side a weight.
pub(crate) fn product(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    if rounds_like_reference(left) {
        return matmul::sum_of_products(left, right)?.to_dtype(left.dtype());
    }
    left.matmul(right)
}

/// The f32 values of a contiguous CPU tensor, as a candle custom operation receives them.
fn f32_slice<'a>(
    storage: &'a candle_core::CpuStorage,
    layout: &candle_core::Layout,
    operation: &'static str,
) -> Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => Err(candle_core::Error::RequiresContiguous { op: operation }.bt()),
    }
}

/// The values of a contiguous f32 tensor on the CPU, read in place; what the backward passes read.
fn f32_values(tensor: &Tensor) -> Result<impl Deref<Target = [f32]> + '_> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        return Err(candle_core::Error::RequiresContiguous { op: "a kernel" }.bt());
    };
    if !matches!(&*storage, Storage::Cpu(CpuStorage::F32(_))) {
        candle_core::bail!(
            "a kernel takes f32 on the CPU and got {:?} on {:?}",
            tensor.dtype(),
            tensor.device()
        );
    }
    Ok(Values { storage, start, end })
}

struct Values<S> {
    storage: S,
    start: usize,
    end: usize,
}

impl<S: Deref<Target = Storage>> Deref for Values<S> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.start..self.end],
            // Not reached: checked when it was made.
            _ => &[],
        }
    }
}

/// A gradient in the shape of `like`.
fn f32_tensor(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), &Device::Cpu)
}
