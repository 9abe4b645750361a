use super::{in_f32, rounds_like_reference};
use candle_core::{DType, Device, Result, Tensor};

/// `tensor · factor`, rounded once to the tensor's dtype.
///
/// In bf16 on the CPU the factor itself is rounded first, as PyTorch 2.0 does there (1.702 becomes 1.703125); elsewhere it
/// is kept in f32 (candle would round it on every device).
pub fn multiply(tensor: &Tensor, factor: f64) -> Result<Tensor> {
    let factor = scalar_like(tensor, factor)?;
    in_f32(tensor, |tensor| tensor.affine(factor, 0.0))
}

/// `tensor / divisor`, with the rounding of [`multiply`] (√24 becomes 4.90625, and every attention score with it).
pub fn divide(tensor: &Tensor, divisor: f64) -> Result<Tensor> {
    if rounds_like_reference(tensor) {
        // A true division: the product with the rounded inverse is another number now and then.
        let divisor = Tensor::new(scalar_like(tensor, divisor)? as f32, tensor.device())?;
        return in_f32(tensor, |tensor| tensor.broadcast_div(&divisor));
    }
    in_f32(tensor, |tensor| tensor.affine(1.0 / divisor, 0.0))
}

/// `tensor + addend`, with the rounding of [`multiply`].
pub fn add(tensor: &Tensor, addend: f64) -> Result<Tensor> {
    let addend = scalar_like(tensor, addend)?;
    in_f32(tensor, |tensor| tensor.affine(1.0, addend))
}

/// `value` as the reference's arithmetic sees it beside `tensor`.
fn scalar_like(tensor: &Tensor, value: f64) -> Result<f64> {
    if !rounds_like_reference(tensor) {
        return Ok(value);
    }
    Tensor::new(value as f32, &Device::Cpu)?.to_dtype(tensor.dtype())?.to_dtype(DType::F64)?.to_scalar()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scalar_is_rounded_like_the_tensor() {
        let full = Tensor::new(&[10.0_f32, 100.0], &Device::Cpu).unwrap();
        let half = full.to_dtype(DType::BF16).unwrap();
        let values = |tensor: Tensor| tensor.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
        let rounded = |value: f32| half::bf16::from_f32(value).to_f32();
        let root = 24f64.sqrt();
        assert_eq!(values(divide(&half, root).unwrap()), [10.0, 100.0].map(|x| rounded(x / 4.90625)));
        assert_eq!(values(multiply(&half, 1.702).unwrap()), [10.0, 100.0].map(|x| rounded(x * 1.703125)));
        assert_eq!(values(add(&half, 1.702).unwrap()), [10.0, 100.0].map(|x| rounded(x + 1.703125)));
        assert!((values(divide(&full, root).unwrap())[0] - 2.041_241_5).abs() < 1e-6);
    }
}
