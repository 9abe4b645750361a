use super::{add, divide, f32_slice, f32_tensor, f32_values, in_f32, on_cpu_in_f32};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, D, DType, Layout, Result, Shape, Tensor};
use maskwise_kernels::{norms, rows};

/// Layer normalisation over the last dimension: `(x − mean)/√(variance + epsilon)·weight + bias`.
///
/// `x` is `[.., dim]`, `weight` and `bias` are `[dim]`. Computed in f32, rounded once.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    if on_cpu_in_f32(x) {
        return x.contiguous()?.apply_op3(weight, bias, LayerNorm { epsilon });
    }
    let (wide_weight, wide_bias) = (weight.to_dtype(DType::F32)?, bias.to_dtype(DType::F32)?);
    in_f32(x, |x| standardize(x, epsilon)?.broadcast_mul(&wide_weight)?.broadcast_add(&wide_bias))
}

/// Layer normalisation over the channels of `x` `[batch, channels, height, width]` (SAM's LayerNorm2d).
///
/// Every step is rounded to the tensor's dtype, as the reference's step-by-step module does.
pub fn layer_norm_2d(x: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    if x.dtype() == DType::F32 {
        let last = x.permute((0, 2, 3, 1))?;
        return layer_norm(&last, weight, bias, epsilon)?.permute((0, 3, 1, 2))?.contiguous();
    }
    let channels = weight.dim(0)?;
    // The sum is rounded before it is divided.
    let average = |x: &Tensor| divide(&in_f32(x, |x| x.sum_keepdim(1))?, channels as f64);
    let centred = x.broadcast_sub(&average(x)?)?;
    let variance = average(&centred.sqr()?)?;
    let deviation = in_f32(&add(&variance, epsilon)?, Tensor::sqrt)?;
    let shape = (1, channels, 1, 1);
    let normalized = centred.broadcast_div(&deviation)?;
    normalized.broadcast_mul(&weight.reshape(shape)?)?.broadcast_add(&bias.reshape(shape)?)
}

/// RMS normalisation over the last dimension: `x/√(mean(x²) + epsilon)·weight`.
///
/// `x` is `[.., dim]`, `weight` is `[dim]`. In half precision the normalised value is rounded before the weight
/// is applied (spec 1.10).
pub fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
    if on_cpu_in_f32(x) {
        return x.contiguous()?.apply_op2(weight, RmsNorm { epsilon });
    }
    let normalized = in_f32(x, |x| root_mean_square_normalize(x, epsilon))?;
    normalized.broadcast_mul(weight)
}

/// `(x − mean)/√(variance + epsilon)`.
fn standardize(x: &Tensor, epsilon: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let inverse = (centred.sqr()?.mean_keepdim(D::Minus1)? + epsilon)?.sqrt()?.recip()?;
    centred.broadcast_mul(&inverse)
}

fn root_mean_square_normalize(x: &Tensor, epsilon: f64) -> Result<Tensor> {
    let inverse = (x.sqr()?.mean_keepdim(D::Minus1)? + epsilon)?.sqrt()?.recip()?;
    x.broadcast_mul(&inverse)
}

struct LayerNorm {
    epsilon: f64,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let input = f32_slice(x, x_layout, self.name())?;
        let weight = f32_slice(weight, weight_layout, self.name())?;
        let bias = f32_slice(bias, bias_layout, self.name())?;
        let mut output = vec![0.0; input.len()];
        rows::layer_norm(input, weight, bias, self.epsilon as f32, &mut output);
        Ok((CpuStorage::F32(output), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let with_parameters = weight.track_op() || bias.track_op();
        let gradients = norms::layer_norm_backward(
            &f32_values(x)?,
            &f32_values(weight)?,
            self.epsilon as f32,
            &f32_values(&gradient.contiguous()?)?,
            with_parameters,
        );
        let for_x = f32_tensor(gradients.input, x)?;
        if !with_parameters {
            return Ok((Some(for_x), None, None));
        }
        let (for_weight, for_bias) =
            (f32_tensor(gradients.weight, weight)?, f32_tensor(gradients.bias, bias)?);
        Ok((Some(for_x), Some(for_weight), Some(for_bias)))
    }
}

struct RmsNorm {
    epsilon: f64,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let input = f32_slice(x, x_layout, self.name())?;
        let weight = f32_slice(weight, weight_layout, self.name())?;
        let mut output = vec![0.0; input.len()];
        rows::rms_norm(input, weight, self.epsilon as f32, &mut output);
        Ok((CpuStorage::F32(output), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradients = norms::rms_norm_backward(
            &f32_values(x)?,
            &f32_values(weight)?,
            self.epsilon as f32,
            &f32_values(&gradient.contiguous()?)?,
            weight.track_op(),
        );
        let for_weight = if weight.track_op() { Some(f32_tensor(gradients.weight, weight)?) } else { None };
        Ok((Some(f32_tensor(gradients.input, x)?), for_weight))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_gradient, varied};

    #[test]
    fn kernels_agree_with_candle_whatever_is_frozen() {
        for (rows, columns) in [(1, 1), (1, 7), (7, 63), (130, 65), (600, 160)] {
            let x = candle_core::Var::from_tensor(&varied(&[rows, columns], 1)).unwrap();
            let weight = candle_core::Var::from_tensor(&varied(&[columns], 2)).unwrap();
            let bias = candle_core::Var::from_tensor(&varied(&[columns], 3)).unwrap();
            let cotangent = varied(&[rows, columns], 4);
            let composed = |x: &Tensor, weight: &Tensor| -> Result<Tensor> {
                standardize(x, 1e-2)?.broadcast_mul(weight)?.broadcast_add(&bias)
            };
            let composed_rms = |x: &Tensor, weight: &Tensor| -> Result<Tensor> {
                root_mean_square_normalize(x, 1e-2)?.broadcast_mul(weight)
            };
            let frozen = weight.detach();
            let frozen_bias = bias.detach();
            let cases = [
                (layer_norm(&x, &weight, &bias, 1e-2), composed(&x, &weight), true),
                (layer_norm(&x, &frozen, &frozen_bias, 1e-2), composed(&x, &frozen), false),
                (rms_norm(&x, &weight, 1e-2), composed_rms(&x, &weight), true),
                (rms_norm(&x, &frozen, 1e-2), composed_rms(&x, &frozen), false),
            ];
            for (ours, theirs, trained) in cases {
                let gradients = |y: &Tensor| (y * &cotangent).unwrap().sum_all().unwrap().backward().unwrap();
                let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
                let (our_gradients, their_gradients) = (gradients(&ours), gradients(&theirs));
                let close = |a: &Tensor, b: &Tensor| {
                    let difference = (a - b).unwrap().abs().unwrap().max_all().unwrap();
                    let scale = b.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                    assert!(
                        difference.to_scalar::<f32>().unwrap() <= 2e-5 * (1.0 + scale),
                        "{rows}x{columns}"
                    );
                };
                close(&ours, &theirs);
                close(our_gradients.get(&x).unwrap(), their_gradients.get(&x).unwrap());
                assert_eq!(our_gradients.get(&weight).is_some(), trained);
                if trained {
                    close(our_gradients.get(&weight).unwrap(), their_gradients.get(&weight).unwrap());
                }
            }
        }
    }

    #[test]
    fn gradients_match_finite_differences() {
        let (weight, bias) = (varied(&[6], 3), varied(&[6], 4));
        let x = varied(&[2, 3, 6], 5);
        assert_gradient("layer_norm of x", &[2, 3, 6], |x| layer_norm(x, &weight, &bias, 1e-5));
        assert_gradient("layer_norm of weight", &[6], |weight| layer_norm(&x, weight, &bias, 1e-5));
        assert_gradient("layer_norm of bias", &[6], |bias| layer_norm(&x, &weight, bias, 1e-5));
        assert_gradient("rms_norm of x", &[2, 3, 6], |x| rms_norm(x, &weight, 1e-5));
        assert_gradient("rms_norm of weight", &[6], |weight| rms_norm(&x, weight, 1e-5));
        assert_gradient("layer_norm_2d of x", &[2, 6, 3, 2], |x| layer_norm_2d(x, &weight, &bias, 1e-6));
    }
}
