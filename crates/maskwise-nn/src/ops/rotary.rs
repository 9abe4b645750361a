use candle_core::{D, DType, Device, Result, Tensor};

/// Cosines and sines of the rotary position embedding, `[positions, head_dim]` each, half-split layout.
#[derive(Debug, Clone)]
pub struct RotaryTables {
    /// `cos(position · frequency)`, the frequencies repeated for both halves.
    pub cos: Tensor,
    /// `sin(position · frequency)`, likewise.
    pub sin: Tensor,
}

impl RotaryTables {
    /// Tables for positions `0..positions`; computed in f32, then rounded to `dtype` (spec 1.10).
    pub fn new(positions: usize, head_dim: usize, base: f64, dtype: DType, device: &Device) -> Result<Self> {
        let half = head_dim / 2;
        // In half precision as the reference does it, where f32 values that differ in the last bit may round to another entry.
        let frequency = |index: usize| {
            let exponent = 2.0 * index as f64 / head_dim as f64;
            if dtype == DType::F32 {
                (1.0 / base.powf(exponent)) as f32
            } else {
                1.0 / base.powf(f64::from(exponent as f32)) as f32
            }
        };
        let frequencies: Vec<f32> = (0..half).map(frequency).collect();
        let frequencies = Tensor::from_vec(frequencies, (1, half), &Device::Cpu)?;
        let steps = Tensor::arange(0u32, positions as u32, &Device::Cpu)?.to_dtype(DType::F32)?;
        let angles = steps.reshape((positions, 1))?.matmul(&frequencies)?;
        let angles = Tensor::cat(&[&angles, &angles], 1)?;
        let place = |table: Tensor| table.to_dtype(dtype)?.to_device(device);
        Ok(Self { cos: place(angles.cos()?)?, sin: place(angles.sin()?)? })
    }
}

/// Rotates `x` `[batch, heads, tokens, head_dim]`, whose first token stands at position `start`:
/// `x·cos + rotate_half(x)·sin`.
pub fn apply_rotary(x: &Tensor, tables: &RotaryTables, start: usize) -> Result<Tensor> {
    let (tokens, head_dim) = (x.dim(2)?, x.dim(3)?);
    let cos = tables.cos.narrow(0, start, tokens)?;
    let sin = tables.sin.narrow(0, start, tokens)?;
    let half = head_dim / 2;
    let low = x.narrow(D::Minus1, 0, half)?;
    let high = x.narrow(D::Minus1, half, half)?;
    let rotated = Tensor::cat(&[&high.neg()?, &low], D::Minus1)?;
    x.broadcast_mul(&cos)? + rotated.broadcast_mul(&sin)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_gradient;

    #[test]
    fn gradient_matches_finite_differences() {
        let tables = RotaryTables::new(8, 4, 10_000.0, DType::F32, &Device::Cpu).unwrap();
        assert_gradient("apply_rotary", &[1, 2, 3, 4], |x| apply_rotary(x, &tables, 2));
    }

    #[test]
    fn a_later_start_is_a_later_row() {
        let tables = RotaryTables::new(8, 4, 10_000.0, DType::F32, &Device::Cpu).unwrap();
        let x = crate::testing::varied(&[1, 1, 3, 4], 1);
        let whole = apply_rotary(&x, &tables, 0).unwrap().narrow(2, 2, 1).unwrap();
        let last = apply_rotary(&x.narrow(2, 2, 1).unwrap(), &tables, 2).unwrap();
        let difference =
            (whole - last).unwrap().abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        assert_eq!(difference, 0.0);
    }
}
