use super::{
    activate_in_place, f32_slice, f32_tensor, f32_values, on_cpu_in_f32, product, product_plus_bias,
};
use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp2, CustomOp3, D, Layout, MetalStorage, Result, Shape, Tensor,
};
use maskwise_kernels::elementwise::Activation;
use maskwise_kernels::matmul::{Epilogue, Matrix, MatrixMut, Write, matmul, product_with};
use maskwise_kernels::norms::sum_rows;

/// `x·weightᵀ + bias` for `x` `[.., in]`, `weight` `[out, in]` and `bias` `[out]`: `[.., out]`.
///
/// The gradient of what is not trained is not computed.
///
/// # Errors
/// When the sizes do not fit each other.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (output, input) = weight.dims2()?;
    if x.dim(D::Minus1)? != input || bias.is_some_and(|bias| bias.dims() != [output]) {
        candle_core::bail!(
            "a linear layer of weight {:?} and bias {:?} cannot take {:?}",
            weight.dims(),
            bias.map(Tensor::dims),
            x.dims()
        );
    }
    if on_cpu_in_f32(x) && on_cpu_in_f32(weight) && bias.is_none_or(on_cpu_in_f32) {
        let (x, weight) = (x.contiguous()?, weight.contiguous()?);
        return match bias {
            Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, Linear::default()),
            None => x.apply_op2(&weight, Linear::default()),
        };
    }
    let mut shape = x.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = output;
    }
    let forward = |x: &Tensor| {
        let rows = x.reshape(((), input))?;
        let product = match bias {
            Some(bias) => product_plus_bias(&rows, &weight.t()?, bias)?,
            None => product(&rows, &weight.t()?)?,
        };
        product.reshape(shape)
    };
    with_gradient_to_input(x, weight, bias, forward)
}

/// The activation of [`linear`], with a bias. In f32 on the CPU, where nothing has a gradient, it is taken as the product is written.
///
/// # Errors
/// As [`linear`].
pub fn linear_then(x: &Tensor, weight: &Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
    let fits = x.dim(D::Minus1)? == weight.dim(D::Minus1)? && bias.dims() == [weight.dim(0)?];
    let takes = |tensor: &Tensor| on_cpu_in_f32(tensor) && !tensor.track_op();
    if !fits || ![x, weight, bias].into_iter().all(takes) {
        return activate_in_place(linear(x, weight, Some(bias))?, activation);
    }
    let op = Linear { activation: Some(activation) };
    x.contiguous()?.apply_op3_no_bwd(&weight.contiguous()?, &bias.contiguous()?, &op)
}

/// `forward(x)`, a linear layer of `weight` `[out, in]`; where weight and bias are not trained, only the gradient of `x` is computed.
pub(crate) fn with_gradient_to_input(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    forward: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let trained = weight.track_op() || bias.is_some_and(Tensor::track_op);
    if trained || !x.track_op() {
        return forward(x);
    }
    let result = forward(&x.detach())?;
    x.apply_op2(&result, Frozen { weight: weight.clone() })
}

#[derive(Default)]
struct Linear {
    /// Only where nothing has a gradient.
    activation: Option<Activation>,
}

impl Linear {
    fn forward(
        &self,
        x: (&CpuStorage, &Layout),
        weight: (&CpuStorage, &Layout),
        bias: Option<&[f32]>,
    ) -> Result<(CpuStorage, Shape)> {
        let mut shape = x.1.dims().to_vec();
        let (outputs, inputs) = weight.1.shape().dims2()?;
        let rows = shape.iter().rev().skip(1).product();
        if let Some(last) = shape.last_mut() {
            *last = outputs;
        }
        let x = Matrix::new(f32_slice(x.0, x.1, "linear")?, rows, inputs);
        let weight = Matrix::new(f32_slice(weight.0, weight.1, "linear")?, outputs, inputs);
        let epilogue = Epilogue { bias, activation: self.activation };
        let output = product_with(x, weight.t(), epilogue);
        Ok((CpuStorage::F32(output), Shape::from(shape)))
    }

    /// The gradients of `x`, weight and bias, of those that are trained.
    fn backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let (outputs, inputs) = weight.dims2()?;
        let gradient = gradient.contiguous()?;
        let gradient = f32_values(&gradient)?;
        let rows = x.elem_count().checked_div(inputs).unwrap_or(0);
        let of_output = Matrix::new(&gradient, rows, outputs);
        let product = |left: Matrix, right: Matrix, like: &Tensor, rows: usize| {
            let mut output = vec![0.0; like.elem_count()];
            matmul(left, right, MatrixMut::new(&mut output, rows, inputs), 1.0, Write::Replace);
            f32_tensor(output, like)
        };
        let for_x = if x.track_op() {
            let weight = f32_values(weight)?;
            Some(product(of_output, Matrix::new(&weight, outputs, inputs), x, rows)?)
        } else {
            None
        };
        let for_weight = if weight.track_op() {
            let x = f32_values(x)?;
            Some(product(of_output.t(), Matrix::new(&x, rows, inputs), weight, outputs)?)
        } else {
            None
        };
        let for_bias = match bias.filter(|bias| bias.track_op()) {
            Some(bias) if outputs > 0 => Some(f32_tensor(sum_rows(&gradient, outputs), bias)?),
            _ => None,
        };
        Ok([for_x, for_weight, for_bias])
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((x, x_layout), (weight, weight_layout), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [for_x, for_weight, _] = self.backward(x, weight, None, gradient)?;
        Ok((for_x, for_weight))
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
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
        let bias = f32_slice(bias, bias_layout, "linear")?;
        self.forward((x, x_layout), (weight, weight_layout), Some(bias))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [for_x, for_weight, for_bias] = self.backward(x, weight, Some(bias), gradient)?;
        Ok((for_x, for_weight, for_bias))
    }
}

/// Takes a layer's input and its result, which was computed apart, and passes the gradient on to the input: `g·W`.
struct Frozen {
    weight: Tensor,
}

impl CustomOp2 for Frozen {
    fn name(&self) -> &'static str {
        "frozen_linear"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        result: &CpuStorage,
        layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok((result.try_clone(layout)?, layout.shape().clone()))
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        result: &CudaStorage,
        layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        Ok((result.try_clone(layout)?, layout.shape().clone()))
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        result: &MetalStorage,
        layout: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        Ok((result.try_clone(layout)?, layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let weight = self.weight.to_dtype(gradient.dtype())?;
        let rows = gradient.contiguous()?.reshape(((), weight.dim(0)?))?;
        Ok((Some(rows.matmul(&weight)?.reshape(x.shape())?.to_dtype(x.dtype())?), None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_gradient, varied};
    use candle_core::{DType, Var};

    #[test]
    fn gradients_match_finite_differences() {
        let (x, weight, bias) = (varied(&[2, 3, 5], 1), varied(&[4, 5], 2), varied(&[4], 3));
        assert_gradient("linear of x", &[2, 3, 5], |x| linear(x, &weight, Some(&bias)));
        assert_gradient("linear of weight", &[4, 5], |weight| linear(&x, weight, Some(&bias)));
        assert_gradient("linear of bias", &[4], |bias| linear(&x, &weight, Some(bias)));
        assert_gradient("linear of x alone", &[2, 3, 5], |x| linear(x, &weight, None));
    }

    #[test]
    fn equals_the_composition_at_odd_sizes() {
        for (rows, input, output) in [(0, 3, 2), (1, 1, 1), (1, 63, 65), (7, 65, 63), (130, 160, 7)] {
            let (x, weight, bias) =
                (varied(&[rows, input], 1), varied(&[output, input], 2), varied(&[output], 3));
            let found = linear(&x, &weight, Some(&bias)).unwrap();
            assert_eq!(found.dims(), &[rows, output]);
            if rows > 0 {
                let expected = x.matmul(&weight.t().unwrap()).unwrap().broadcast_add(&bias).unwrap();
                let difference = (found - expected).unwrap().abs().unwrap().max_all().unwrap();
                assert!(difference.to_scalar::<f32>().unwrap() < 1e-5);
            }
        }
    }

    #[test]
    fn what_is_frozen_gets_no_gradient() {
        for dtype in [DType::F32, DType::BF16] {
            let variable =
                |shape: &[usize]| Var::from_tensor(&varied(shape, 1).to_dtype(dtype).unwrap()).unwrap();
            let (x, weight, bias) = (variable(&[3, 5]), variable(&[4, 5]), variable(&[4]));
            let gradients = |x: &Tensor, weight: &Tensor, bias: &Tensor| {
                let y = linear(x, weight, Some(bias)).unwrap().to_dtype(DType::F32).unwrap();
                y.sqr().unwrap().sum_all().unwrap().backward().unwrap()
            };
            let all = gradients(&x, &weight, &bias);
            let only_x = gradients(&x, &weight.detach(), &bias.detach());
            assert!(only_x.get(&weight).is_none() && only_x.get(&bias).is_none());
            let wide = |gradient: &Tensor| gradient.to_dtype(DType::F32).unwrap();
            let difference = (wide(all.get(&x).unwrap()) - wide(only_x.get(&x).unwrap())).unwrap();
            let difference = difference.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(difference < if dtype == DType::F32 { 1e-6 } else { 0.05 }, "{difference}");
            if dtype == DType::F32 {
                let only_weight = gradients(&x.detach(), &weight, &bias.detach());
                assert!(only_weight.get(&x).is_none() && only_weight.get(&weight).is_some());
            }
        }
    }

    #[test]
    fn an_activation_is_that_of_the_product() {
        let (x, weight, bias) = (varied(&[2, 33, 65], 1), varied(&[70, 65], 2), varied(&[70], 3));
        let values = |x: Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for activation in [Activation::GeluErf, Activation::QuickGelu] {
            let apart = activate_in_place(linear(&x, &weight, Some(&bias)).unwrap(), activation).unwrap();
            let fused = linear_then(&x, &weight, &bias, activation).unwrap();
            assert_eq!(fused.dims(), &[2, 33, 70]);
            assert_eq!(values(fused), values(apart.clone()));
            let trained = Var::from_tensor(&x).unwrap();
            let found = linear_then(&trained, &weight, &bias, activation).unwrap();
            assert!(found.sum_all().unwrap().backward().unwrap().get(&trained).is_some());
            assert_eq!(values(found), values(apart));
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_an_error() {
        assert!(
            linear_then(&varied(&[2, 3], 1), &varied(&[4, 5], 2), &varied(&[4], 3), Activation::GeluErf)
                .is_err()
        );
        assert!(linear(&varied(&[2, 3], 1), &varied(&[4, 5], 2), None).is_err());
        assert!(linear(&varied(&[2, 5], 1), &varied(&[4, 5], 2), Some(&varied(&[5], 3))).is_err());
    }
}
