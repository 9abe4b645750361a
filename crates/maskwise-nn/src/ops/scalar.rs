use super::in_f32;
use candle_core::{DType, Device, Result, Tensor};

/// `tensor · factor` with the factor kept in f32, as PyTorch does for half-precision tensors (candle rounds
/// the factor to the tensor's dtype first).
pub fn multiply(tensor: &Tensor, factor: f64) -> Result<Tensor> {
    in_f32(tensor, |tensor| tensor.affine(factor, 0.0))
}

/// `tensor / divisor`.
///
/// In half precision on the CPU the divisor is rounded to the tensor's dtype first, as PyTorch 2.0 does there (√24 becomes
/// 4.90625, and every attention score with it); elsewhere it is kept in f32.
pub fn divide(tensor: &Tensor, divisor: f64) -> Result<Tensor> {
    let divisor = scalar_like(tensor, divisor)?;
    in_f32(tensor, |tensor| tensor.affine(1.0 / divisor, 0.0))
}

/// `value` as the reference's arithmetic sees it beside `tensor`.
fn scalar_like(tensor: &Tensor, value: f64) -> Result<f64> {
    if !matches!(tensor.device(), Device::Cpu) {
        return Ok(value);
    }
    Tensor::new(value, tensor.device())?.to_dtype(tensor.dtype())?.to_dtype(DType::F64)?.to_scalar()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_divisor_is_rounded_like_the_tensor() {
        let one = Tensor::new(&[10.0_f32, 100.0], &Device::Cpu).unwrap();
        let half = divide(&one.to_dtype(DType::BF16).unwrap(), 24f64.sqrt()).unwrap();
        let half = half.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(
            half,
            [half::bf16::from_f32(10.0 / 4.90625).to_f32(), half::bf16::from_f32(100.0 / 4.90625).to_f32()]
        );
        let full = divide(&one, 24f64.sqrt()).unwrap().to_vec1::<f32>().unwrap();
        assert!((full[0] - 2.041_241_5).abs() < 1e-6, "{full:?}");
    }
}
