use super::{f32_slice, f32_tensor, f32_values, in_f32, on_cpu_in_f32};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, InplaceOp1, Layout, Result, Shape, Tensor};
use maskwise_kernels::elementwise::{self, Activation};

/// Exact GELU, `x·Φ(x)` by the error function (not the tanh approximation); any shape.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    if on_cpu_in_f32(x) {
        return apply(x, Activation::GeluErf);
    }
    in_f32(x, Tensor::gelu_erf)
}

/// CLIP's quick GELU, `x·sigmoid(1.702·x)`; any shape.
///
/// In half precision each step is rounded, as in the reference, which evaluates it step by step.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    if on_cpu_in_f32(x) {
        return apply(x, Activation::QuickGelu);
    }
    x * sigmoid(&super::multiply(x, 1.702)?)?
}

/// `1 / (1 + exp(-x))`; any shape.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    if on_cpu_in_f32(x) {
        return apply(x, Activation::Sigmoid);
    }
    in_f32(x, |x| (x.neg()?.exp()? + 1.0)?.recip())
}

/// `x·sigmoid(x)`; any shape.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    if on_cpu_in_f32(x) {
        return apply(x, Activation::Silu);
    }
    in_f32(x, Tensor::silu)
}

/// `max(x, 0)`; any shape.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    if on_cpu_in_f32(x) {
        return apply(x, Activation::Relu);
    }
    x.relu()
}

/// `silu(gate)·up` of two tensors of one shape: the inside of LLaMA's MLP.
///
/// # Errors
/// When the shapes differ.
pub fn silu_times(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if on_cpu_in_f32(gate) && on_cpu_in_f32(up) && gate.shape() == up.shape() {
        return gate.contiguous()?.apply_op2(&up.contiguous()?, SiluTimes);
    }
    silu(gate)? * up
}

fn apply(x: &Tensor, activation: Activation) -> Result<Tensor> {
    x.contiguous()?.apply_op1(OfEach(activation))
}

/// An activation; in the memory of `x` where it is f32 on the CPU and has no gradient: nothing else may use that.
pub fn activate_in_place(x: Tensor, activation: Activation) -> Result<Tensor> {
    if on_cpu_in_f32(&x) && !x.track_op() && x.is_contiguous() {
        x.inplace_op1(&OfEach(activation))?;
        return Ok(x);
    }
    match activation {
        Activation::GeluErf => gelu_erf(&x),
        Activation::QuickGelu => quick_gelu(&x),
        Activation::Silu => silu(&x),
        Activation::Sigmoid => sigmoid(&x),
        Activation::Relu => relu(&x),
    }
}

struct OfEach(Activation);

impl InplaceOp1 for OfEach {
    fn name(&self) -> &'static str {
        CustomOp1::name(self)
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            candle_core::bail!("{} in place takes adjacent f32", CustomOp1::name(self));
        };
        self.0.forward_in_place(&mut values[start..end]);
        Ok(())
    }
}

impl CustomOp1 for OfEach {
    fn name(&self) -> &'static str {
        match self.0 {
            Activation::GeluErf => "gelu_erf",
            Activation::QuickGelu => "quick_gelu",
            Activation::Silu => "silu",
            Activation::Sigmoid => "sigmoid",
            Activation::Relu => "relu",
        }
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let input = f32_slice(storage, layout, CustomOp1::name(self))?;
        let mut output = vec![0.0; input.len()];
        self.0.forward(input, &mut output);
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let mut output = vec![0.0; x.elem_count()];
        self.0.backward(&f32_values(x)?, &f32_values(&gradient.contiguous()?)?, &mut output);
        Ok(Some(f32_tensor(output, x)?))
    }
}

struct SiluTimes;

impl CustomOp2 for SiluTimes {
    fn name(&self) -> &'static str {
        "silu_times"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let gate = f32_slice(gate, gate_layout, self.name())?;
        let mut output = vec![0.0; gate.len()];
        elementwise::silu_times(gate, f32_slice(up, up_layout, self.name())?, &mut output);
        Ok((CpuStorage::F32(output), gate_layout.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (mut for_gate, mut for_up) = (vec![0.0; gate.elem_count()], vec![0.0; gate.elem_count()]);
        let gradient = gradient.contiguous()?;
        elementwise::silu_times_backward(
            &f32_values(gate)?,
            &f32_values(up)?,
            &f32_values(&gradient)?,
            &mut for_gate,
            &mut for_up,
        );
        Ok((Some(f32_tensor(for_gate, gate)?), Some(f32_tensor(for_up, up)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_gradient, varied};

    #[test]
    fn gradients_match_finite_differences() {
        assert_gradient("gelu_erf", &[3, 5], gelu_erf);
        assert_gradient("quick_gelu", &[3, 5], quick_gelu);
        assert_gradient("silu", &[3, 5], silu);
        assert_gradient("sigmoid", &[3, 5], sigmoid);
        assert_gradient("relu", &[3, 5], relu);
        let other = varied(&[3, 5], 4);
        assert_gradient("silu_times of gate", &[3, 5], |gate| silu_times(gate, &other));
        assert_gradient("silu_times of up", &[3, 5], |up| silu_times(&other, up));
    }

    /// With a gradient to be had, the input stays what it was.
    #[test]
    fn in_place_is_the_same() {
        let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        type Apart = fn(&Tensor) -> Result<Tensor>;
        let all: [(Apart, Activation); 5] = [
            (gelu_erf, Activation::GeluErf),
            (quick_gelu, Activation::QuickGelu),
            (silu, Activation::Silu),
            (sigmoid, Activation::Sigmoid),
            (relu, Activation::Relu),
        ];
        for (apart, activation) in all {
            let in_place = |x| activate_in_place(x, activation);
            let x = varied(&[5, 63], 1);
            let expected = values(&apart(&x).unwrap());
            let middle = x.narrow(0, 1, 3).unwrap();
            let trained = candle_core::Var::from_tensor(&x).unwrap();
            assert_eq!(values(&in_place(trained.as_tensor().clone()).unwrap()), expected);
            assert_eq!(values(&trained), values(&x));
            assert_eq!(values(&in_place(middle).unwrap()), expected[63..4 * 63]);
            assert_eq!(values(&x)[63..4 * 63], expected[63..4 * 63], "in the memory of the input");
        }
        let half = varied(&[4], 2).to_dtype(candle_core::DType::BF16).unwrap();
        let half = activate_in_place(half, Activation::GeluErf).unwrap();
        assert_eq!(half.dtype(), candle_core::DType::BF16);
    }

    #[test]
    fn kernels_agree_with_candle() {
        for shape in [&[0, 3][..], &[1], &[7, 63], &[65, 1031]] {
            let (x, y) = ((varied(shape, 1) * 9.0).unwrap(), varied(shape, 2));
            let pairs = [
                (silu(&x), x.silu()),
                (relu(&x), x.relu()),
                (gelu_erf(&x), x.gelu_erf()),
                (silu_times(&x, &y), x.silu().unwrap() * &y),
            ];
            for (ours, theirs) in pairs {
                let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
                assert_eq!(ours.dims(), theirs.dims());
                let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                for (ours, theirs) in values(&ours).iter().zip(values(&theirs)) {
                    assert!((ours - theirs).abs() < 3e-6, "{ours} {theirs}");
                }
            }
        }
    }
}
