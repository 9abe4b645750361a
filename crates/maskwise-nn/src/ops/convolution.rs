use super::matmul::swap_pairs;
use super::{
    f32_slice, f32_tensor, f32_values, in_f32, linear, on_cpu_in_f32, product_plus_bias,
    rounds_like_reference,
};
use candle_core::{CpuStorage, CustomOp2, DType, Device, Layout, Result, Shape, Tensor};
use maskwise_kernels::convolution::{self as kernel, Sizes};

/// A convolution with stride 1 and `padding` zeros on each side: `x` `[batch, in, height, width]`, `weight`
/// `[out, in, kernel, kernel]`, result `[batch, out, ..]`.
///
/// On the CPU, where candle convolves in f32 only, half precision is computed in f32 and rounded once.
pub fn conv2d(x: &Tensor, weight: &Tensor, padding: usize) -> Result<Tensor> {
    if on_cpu_in_f32(x)
        && on_cpu_in_f32(weight)
        && let Some(sizes) = sizes_of(x, weight, padding)?
    {
        return x.contiguous()?.apply_op2(&weight.contiguous()?, Convolution(sizes));
    }
    if matches!(x.device(), Device::Cpu) {
        return in_f32(x, |x| x.conv2d(&weight.to_dtype(x.dtype())?, padding, 1, 1, 1));
    }
    x.conv2d(weight, padding, 1, 1, 1)
}

/// The sizes that the kernel takes; none for what candle's convolution is left to refuse.
fn sizes_of(x: &Tensor, weight: &Tensor, padding: usize) -> Result<Option<Sizes>> {
    let ((batch, channels, height, width), (output, depth, kernel, across)) = (x.dims4()?, weight.dims4()?);
    let sizes = Sizes { batch, channels, height, width, output, kernel, padding };
    let fits = depth == channels && kernel == across && kernel > 0 && x.elem_count() > 0 && output > 0;
    Ok((fits && sizes.result().is_some()).then_some(sizes))
}

struct Convolution(Sizes);

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Some((height, width)) = self.0.result() else {
            candle_core::bail!("a convolution of {:?} has no result", self.0);
        };
        let shape = Shape::from((self.0.batch, self.0.output, height, width));
        let mut result = vec![0.0; shape.elem_count()];
        let weight = f32_slice(weight, weight_layout, self.name())?;
        kernel::forward(f32_slice(x, x_layout, self.name())?, weight, &self.0, &mut result);
        Ok((CpuStorage::F32(result), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let gradient = f32_values(&gradient)?;
        let for_x = if x.track_op() {
            Some(f32_tensor(kernel::backward_input(&f32_values(weight)?, &gradient, &self.0), x)?)
        } else {
            None
        };
        let for_weight = if weight.track_op() {
            Some(f32_tensor(kernel::backward_weight(&f32_values(x)?, &gradient, &self.0), weight)?)
        } else {
            None
        };
        Ok((for_x, for_weight))
    }
}

/// A convolution whose stride is its kernel size, as a product: `x` `[batch, in, height, width]`, `weight`
/// `[out, in, kernel, kernel]`, result `[batch, height/kernel, width/kernel, out]` (channels last).
///
/// Rows and columns beyond the last whole patch are left out, as a strided convolution does.
pub fn patch_embedding(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (out, channels, kernel, _) = weight.dims4()?;
    let (batch, _, height, width) = x.dims4()?;
    let (rows, columns) = (height / kernel, width / kernel);
    let x = x.narrow(2, 0, rows * kernel)?.narrow(3, 0, columns * kernel)?;
    let x = x.reshape(&[batch, channels, rows, kernel, columns, kernel])?;
    if rounds_like_reference(&x) {
        return ordered_patch_embedding(&x, weight, bias);
    }
    // [batch, in, row, y, column, x] -> [batch, row, column, in, y, x]
    let patches = x.permute([0, 2, 4, 1, 3, 5])?;
    let patches = patches.reshape((batch * rows * columns, channels * kernel * kernel))?;
    let weight = weight.reshape((out, channels * kernel * kernel))?.t()?;
    let product = match bias {
        Some(bias) => product_plus_bias(&patches, &weight, bias)?,
        None => patches.matmul(&weight)?,
    };
    product.reshape((batch, rows, columns, out))
}

/// [`patch_embedding`] of bf16 `x` `[batch, in, row, y, column, x]`, summed in the order of the reference's convolution: pixel by pixel,
/// the channels of each in pairs of which the second comes first.
fn ordered_patch_embedding(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (out, channels, kernel, _) = weight.dims4()?;
    let (batch, rows, columns) = (x.dim(0)?, x.dim(2)?, x.dim(4)?);
    let ordered = |x: Tensor, channels: usize| swap_pairs(&x, channels)?.to_dtype(DType::F32);
    let patches = ordered(x.permute([0, 2, 4, 3, 5, 1])?, 5)?;
    let weight = ordered(weight.permute([0, 2, 3, 1])?, 3)?;
    let depth = channels * kernel * kernel;
    let sum = patches.reshape(((), depth))?.matmul(&weight.reshape((out, depth))?.t()?)?;
    let sum = match bias {
        Some(bias) => sum.broadcast_add(&bias.to_dtype(DType::F32)?)?,
        None => sum,
    };
    sum.to_dtype(x.dtype())?.reshape((batch, rows, columns, out))
}

/// A transposed convolution with kernel 2 and stride 2, as a product: `x` `[batch, in, height, width]`, `weight`
/// `[in, out, 2, 2]`, `bias` `[out]`, result `[batch, out, 2·height, 2·width]`.
pub fn conv_transpose_2x2(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (channels, out, _, _) = weight.dims4()?;
    let (batch, _, height, width) = x.dims4()?;
    let rows = x.permute((0, 2, 3, 1))?.reshape((batch * height * width, channels))?;
    // Each of the four pixels that come out of one is a product of its own.
    let bias = bias.reshape((out, 1))?.broadcast_as((out, 4))?.reshape(out * 4)?;
    let product = product_plus_bias(&rows, &weight.reshape((channels, out * 4))?, &bias)?;
    // [batch, y, x, out, 2, 2] -> [batch, out, y, 2, x, 2]
    let product = product.reshape(&[batch, height, width, out, 2, 2])?.permute([0, 3, 1, 4, 2, 5])?;
    product.reshape((batch, out, 2 * height, 2 * width))
}

/// [`conv_transpose_2x2`] of cells with their channels last, without moving anything: `x` `[.., in]` to `[.., 4·out]`, the four pixels that
/// come out of each cell, upper ones first, left ones first.
pub fn conv_transpose_2x2_rows(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (channels, out, _, _) = weight.dims4()?;
    let weight = weight.permute((2, 3, 1, 0))?.reshape((4 * out, channels))?;
    linear(x, &weight, Some(&Tensor::cat(&[bias, bias, bias, bias], 0)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_gradient, varied};

    fn difference(left: &Tensor, right: &Tensor) -> f32 {
        (left - right).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn patch_embedding_is_a_strided_convolution() {
        let (x, weight, bias) = (varied(&[2, 3, 7, 9], 1), varied(&[5, 3, 2, 2], 2), varied(&[5], 3));
        let expected = x.conv2d(&weight, 0, 2, 1, 1).unwrap();
        let expected = expected.broadcast_add(&bias.reshape((1, 5, 1, 1)).unwrap()).unwrap();
        let found = patch_embedding(&x, &weight, Some(&bias)).unwrap().permute((0, 3, 1, 2)).unwrap();
        assert!(difference(&found, &expected) < 1e-5);
    }

    #[test]
    fn conv_transpose_matches_candle() {
        let (x, weight, bias) = (varied(&[2, 3, 4, 5], 1), varied(&[3, 6, 2, 2], 2), varied(&[6], 3));
        let expected = x.conv_transpose2d(&weight, 0, 0, 2, 1).unwrap();
        let expected = expected.broadcast_add(&bias.reshape((1, 6, 1, 1)).unwrap()).unwrap();
        assert!(difference(&conv_transpose_2x2(&x, &weight, &bias).unwrap(), &expected) < 1e-5);
    }

    #[test]
    fn half_precision_is_rounded_once() {
        let (x, weight) = (varied(&[1, 3, 5, 4], 1), varied(&[2, 3, 3, 3], 2));
        let half = |tensor: &Tensor| tensor.to_dtype(DType::BF16).unwrap();
        let wide = |tensor: &Tensor| tensor.to_dtype(DType::F32).unwrap();
        let found = conv2d(&half(&x), &half(&weight), 1).unwrap();
        let expected = conv2d(&wide(&half(&x)), &wide(&half(&weight)), 1).unwrap();
        assert_eq!((found.dtype(), found.dims()), (DType::BF16, &[1, 2, 5, 4][..]));
        assert_eq!(difference(&wide(&found), &wide(&half(&expected))), 0.0);
    }

    #[test]
    fn conv2d_matches_candle() {
        for (kernel, padding, height, width) in
            [(1, 0, 1, 1), (3, 1, 7, 5), (3, 0, 3, 9), (5, 3, 2, 1), (3, 1, 17, 65)]
        {
            let (x, weight) = (varied(&[2, 3, height, width], 1), varied(&[4, 3, kernel, kernel], 2));
            let expected = x.conv2d(&weight, padding, 1, 1, 1).unwrap();
            let found = conv2d(&x, &weight, padding).unwrap();
            assert_eq!(found.dims(), expected.dims());
            assert!(difference(&found, &expected) < 1e-5, "{kernel} {padding}");
        }
        let (small, large) = (varied(&[1, 3, 2, 2], 1), varied(&[4, 3, 5, 5], 2));
        assert!(sizes_of(&small, &large, 1).unwrap().is_none());
    }

    #[test]
    fn gradients_match_finite_differences() {
        let x = varied(&[2, 3, 4, 3], 6);
        assert_gradient("conv2d of weight", &[2, 3, 3, 3], |weight| conv2d(&x, weight, 1));
        assert_gradient("conv2d of wide padding", &[1, 2, 3, 2], |x| conv2d(x, &varied(&[2, 2, 3, 3], 7), 2));
        let kernel = varied(&[2, 3, 3, 3], 5);
        assert_gradient("conv2d", &[1, 3, 4, 3], |x| conv2d(x, &kernel, 1));
        let (weight, bias) = (varied(&[3, 2, 2, 2], 2), varied(&[2], 3));
        assert_gradient("conv_transpose_2x2", &[1, 3, 2, 2], |x| conv_transpose_2x2(x, &weight, &bias));
        let patch = varied(&[4, 3, 2, 2], 4);
        assert_gradient("patch_embedding", &[1, 3, 4, 4], |x| patch_embedding(x, &patch, None));
    }

    #[test]
    fn the_rows_of_a_transposed_convolution_are_its_pixels() {
        let (x, weight, bias) = (varied(&[2, 3, 2, 4], 1), varied(&[3, 5, 2, 2], 2), varied(&[5], 3));
        let expected = conv_transpose_2x2(&x, &weight, &bias).unwrap();
        let rows = x.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap();
        let found = conv_transpose_2x2_rows(&rows, &weight, &bias).unwrap();
        // [batch, y, x, dy, dx, out] -> [batch, out, y, dy, x, dx]
        let found = found.reshape(&[2, 2, 4, 2, 2, 5]).unwrap().permute([0, 5, 1, 3, 2, 4]).unwrap();
        assert!(difference(&found.reshape((2, 5, 4, 8)).unwrap(), &expected) < 1e-6);
        assert_gradient("rows of a transposed convolution", &[3, 5, 2, 2], |weight| {
            conv_transpose_2x2_rows(&rows, weight, &bias)
        });
    }
}
