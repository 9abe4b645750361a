use super::in_f32;
use candle_core::{Result, Tensor};

/// `tensor · factor` with the factor kept in f32, as PyTorch does for half-precision tensors (candle rounds
/// the factor to the tensor's dtype first).
pub fn multiply(tensor: &Tensor, factor: f64) -> Result<Tensor> {
    in_f32(tensor, |tensor| tensor.affine(factor, 0.0))
}

/// `tensor / divisor`, the divisor kept in f32.
pub fn divide(tensor: &Tensor, divisor: f64) -> Result<Tensor> {
    multiply(tensor, 1.0 / divisor)
}
