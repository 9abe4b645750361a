use super::{f32_slice, f32_tensor, f32_values, in_f32, on_cpu_in_f32, rounds_like_reference};
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};
use maskwise_kernels::rows;

/// Softmax over the last dimension of any shape; computed in f32, rounded once to the tensor's dtype.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    if rounds_like_reference(x) {
        return x.contiguous()?.apply_op1(Bf16Softmax);
    }
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
        let mut output = vec![0.0; result.elem_count()];
        if !output.is_empty() {
            let (result, gradient) = (f32_values(result)?, gradient.contiguous()?);
            let columns = gradient.dim(D::Minus1)?;
            rows::softmax_backward(&result, &f32_values(&gradient)?, &mut output, columns);
        }
        Ok(Some(f32_tensor(output, result)?))
    }
}

/// The softmax of bf16 on the CPU, as the reference computes it: its approximation of the exponential, its order of the sum and a
/// product with the inverse of that. Another f32 softmax rounds one value in 10⁵ differently, which deep layers multiply.
struct Bf16Softmax;

impl CustomOp1 for Bf16Softmax {
    fn name(&self) -> &'static str {
        "bf16_softmax"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            return Err(candle_core::Error::RequiresContiguous { op: self.name() }.bt());
        };
        let input = &storage.as_slice::<half::bf16>()?[start..end];
        let columns = layout.shape().dim(D::Minus1)?.max(1);
        let mut output = vec![half::bf16::ZERO; input.len()];
        let mut powers = vec![0.0_f32; columns];
        for (input, output) in input.chunks_exact(columns).zip(output.chunks_exact_mut(columns)) {
            let maximum = input.iter().map(|value| value.to_f32()).fold(f32::NEG_INFINITY, f32::max);
            for (power, input) in powers.iter_mut().zip(input) {
                *power = exp(input.to_f32() - maximum);
            }
            let scale = 1.0 / sum_in_lanes(&powers);
            for (output, power) in output.iter_mut().zip(&powers) {
                *output = half::bf16::from_f32(power * scale);
            }
        }
        Ok((CpuStorage::BF16(output), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        // y ⊙ (g − Σ g·y)
        let product = (gradient * result)?;
        let total = product.sum_keepdim(D::Minus1)?;
        Ok(Some((product - result.broadcast_mul(&total)?)?))
    }
}

/// Eight running sums, folded in halves; what is left over is added at the end.
fn sum_in_lanes(values: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let steps = values.chunks_exact(8);
    let rest = steps.remainder();
    for step in steps {
        lanes.iter_mut().zip(step).for_each(|(lane, value)| *lane += value);
    }
    let fours = [0, 1, 2, 3].map(|lane| lanes[lane] + lanes[lane + 4]);
    let folded = (fours[0] + fours[2]) + (fours[1] + fours[3]);
    rest.iter().fold(folded, |sum, value| sum + value)
}

/// `e^x` for `x` ≤ 0 to within an ulp, with the rounding of the vector library that PyTorch uses: the range is reduced by a
/// two-part ln 2 and the rest is a polynomial of degree 7.
fn exp(x: f32) -> f32 {
    if x.is_nan() {
        return x;
    }
    if x < -104.0 {
        return 0.0;
    }
    // In f64, rounded after each step, this is a fused multiply-add without the processor's.
    let fused = |a: f32, b: f32, c: f32| (f64::from(a) * f64::from(b) + f64::from(c)) as f32;
    let count = (x * std::f32::consts::LOG2_E).round_ties_even();
    let rest = fused(count, -0.693_145_75, x);
    let rest = fused(count, -1.428_606_8e-6, rest);
    let coefficients = [1.393_043_6e-3, 8.333_361e-3, 4.166_648_5e-2, 1.666_666_7e-1, 0.5];
    let start = 1.985_276_2e-4_f32;
    let polynomial = coefficients.iter().fold(start, |sum, &coefficient| fused(sum, rest, coefficient));
    let power = 1.0 + fused(rest * rest, polynomial, rest);
    (f64::from(power) * 2f64.powi(count as i32)) as f32
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
