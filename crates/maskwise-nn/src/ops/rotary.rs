use super::{f32_slice, f32_tensor, f32_values, on_cpu_in_f32};
use candle_core::{CpuStorage, CustomOp1, D, DType, Device, Layout, Result, Shape, Tensor};
use maskwise_kernels::rotary::{self, Tables};

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

/// Rotates the heads that lie side by side in `x` `[batch, tokens, heads·head_dim]`, whose token `t` stands at `positions[t]`.
///
/// # Errors
/// When there are not as many positions as tokens, one is beyond the tables, or the width is no multiple of `head_dim`.
pub fn rotate_tokens(x: &Tensor, tables: &RotaryTables, positions: &[u32]) -> Result<Tensor> {
    let (batch, tokens, width) = x.dims3()?;
    let (rows, head_dim) = tables.cos.dims2()?;
    if positions.len() != tokens || head_dim == 0 || !width.is_multiple_of(head_dim) {
        candle_core::bail!(
            "cannot rotate {tokens} tokens of {width} values at {} positions in heads of {head_dim}",
            positions.len()
        );
    }
    if let Some(beyond) = positions.iter().find(|position| **position as usize >= rows) {
        candle_core::bail!("position {beyond} is beyond the {rows} of the rotary tables");
    }
    if on_cpu_in_f32(x) && on_cpu_in_f32(&tables.cos) {
        let rotation = Rotation { tables: tables.clone(), positions: positions.to_vec(), width };
        return x.contiguous()?.apply_op1(rotation);
    }
    let at = Tensor::new(positions, x.device())?;
    let tables =
        RotaryTables { cos: tables.cos.index_select(&at, 0)?, sin: tables.sin.index_select(&at, 0)? };
    let heads = x.reshape((batch, tokens, width / head_dim, head_dim))?.transpose(1, 2)?.contiguous()?;
    apply_rotary(&heads, &tables, 0)?.transpose(1, 2)?.contiguous()?.reshape((batch, tokens, width))
}

struct Rotation {
    tables: RotaryTables,
    positions: Vec<u32>,
    width: usize,
}

impl Rotation {
    fn turn(&self, input: &[f32], inverse: bool) -> Result<Vec<f32>> {
        let (cos, sin) = (f32_values(&self.tables.cos)?, f32_values(&self.tables.sin)?);
        let tables = Tables { cos: &cos, sin: &sin, head_dim: self.tables.cos.dim(1)? };
        let mut output = vec![0.0; input.len()];
        rotary::rotary(input, &mut output, tables, &self.positions, self.width, inverse);
        Ok(output)
    }
}

impl CustomOp1 for Rotation {
    fn name(&self) -> &'static str {
        "rotate_tokens"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let output = self.turn(f32_slice(storage, layout, self.name())?, false)?;
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(f32_tensor(self.turn(&f32_values(&gradient.contiguous()?)?, true)?, x)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_gradient;

    #[test]
    fn gradient_matches_finite_differences() {
        let tables = RotaryTables::new(8, 4, 10_000.0, DType::F32, &Device::Cpu).unwrap();
        assert_gradient("apply_rotary", &[1, 2, 3, 4], |x| apply_rotary(x, &tables, 2));
        assert_gradient("rotate_tokens", &[2, 3, 8], |x| rotate_tokens(x, &tables, &[5, 0, 5]));
    }

    #[test]
    fn tokens_turn_as_heads_do() {
        let tables = RotaryTables::new(80, 6, 10_000.0, DType::F32, &Device::Cpu).unwrap();
        for (batch, tokens, heads) in [(1, 1, 1), (2, 7, 3), (1, 65, 5)] {
            let x = crate::testing::varied(&[batch, tokens, heads * 6], 1);
            let positions: Vec<u32> = (3..3 + tokens as u32).collect();
            let split = x.reshape((batch, tokens, heads, 6)).unwrap().transpose(1, 2).unwrap();
            let expected = apply_rotary(&split, &tables, 3).unwrap().transpose(1, 2).unwrap();
            let expected = expected.reshape(x.shape()).unwrap();
            let difference = (rotate_tokens(&x, &tables, &positions).unwrap() - expected).unwrap();
            assert!(difference.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-6);
        }
    }

    #[test]
    fn wrong_positions_are_errors() {
        let tables = RotaryTables::new(4, 4, 10_000.0, DType::F32, &Device::Cpu).unwrap();
        let x = crate::testing::varied(&[1, 2, 4], 1);
        assert!(rotate_tokens(&x, &tables, &[0]).is_err());
        assert!(rotate_tokens(&x, &tables, &[0, 4]).unwrap_err().to_string().contains("position 4"));
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
