use super::{f32_slice, f32_tensor, f32_values, in_f32, on_cpu_in_f32};
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};
use maskwise_kernels::upsample::{self, Sizes};

/// The matrix `[output, input]` whose product with a column of `input` values is their bilinear interpolation
/// to `output` values, as PyTorch's `interpolate(mode="bilinear", align_corners=False)` without antialiasing.
///
/// A product is differentiable on every device.
///
/// # Panics
/// When `input` is zero.
pub fn bilinear_matrix(input: usize, output: usize, device: &Device) -> Result<Tensor> {
    let mut weights = vec![0.0_f32; output * input];
    for (row, tap) in weights.chunks_exact_mut(input.max(1)).zip(upsample::taps(input, output)) {
        row[tap.low] += 1.0 - tap.fraction;
        row[tap.high] += tap.fraction;
    }
    Tensor::from_vec(weights, (output, input), device)
}

/// Bilinear resize of `x` `[.., height, width]` to `[.., new_height, new_width]` (half-pixel centres, no antialiasing).
///
/// # Errors
/// When a size is zero or `x` has fewer than two dimensions.
pub fn bilinear_resize(x: &Tensor, new_height: usize, new_width: usize) -> Result<Tensor> {
    let rank = x.rank();
    let (height, width) = (x.dim(rank.wrapping_sub(2))?, x.dim(rank - 1)?);
    if height == 0 || width == 0 || new_height == 0 || new_width == 0 {
        candle_core::bail!("cannot resize {height}x{width} to {new_height}x{new_width}: no size may be zero");
    }
    if (height, width) == (new_height, new_width) {
        return Ok(x.clone());
    }
    if on_cpu_in_f32(x) {
        let resize = Resize(Sizes { input: (height, width), output: (new_height, new_width) });
        return x.contiguous()?.apply_op1(resize);
    }
    in_f32(x, |x| {
        let device = x.device();
        let wide = if width == new_width {
            x.clone()
        } else {
            x.contiguous()?.broadcast_matmul(&bilinear_matrix(width, new_width, device)?.t()?)?
        };
        if height == new_height {
            return Ok(wide);
        }
        bilinear_matrix(height, new_height, device)?.broadcast_matmul(&wide.contiguous()?)
    })
}

struct Resize(Sizes);

impl CustomOp1 for Resize {
    fn name(&self) -> &'static str {
        "bilinear_resize"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let input = f32_slice(storage, layout, self.name())?;
        let mut dims = layout.dims().to_vec();
        let rank = dims.len();
        (dims[rank - 2], dims[rank - 1]) = self.0.output;
        let shape = Shape::from(dims);
        let mut output = vec![0.0; shape.elem_count()];
        upsample::forward(input, self.0, &mut output);
        Ok((CpuStorage::F32(output), shape))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let mut output = vec![0.0; x.elem_count()];
        upsample::backward(&f32_values(&gradient.contiguous()?)?, self.0, &mut output);
        Ok(Some(f32_tensor(output, x)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_gradient, varied};

    #[test]
    fn equals_the_product_with_both_matrices() {
        for ((height, width), (rows, columns)) in
            [((1, 1), (3, 7)), ((7, 63), (65, 9)), ((16, 16), (64, 64)), ((5, 4), (5, 9))]
        {
            let x = varied(&[2, 3, height, width], 1);
            let [down, across] = [(height, rows), (width, columns)]
                .map(|(input, output)| bilinear_matrix(input, output, &Device::Cpu).unwrap());
            let expected = down.broadcast_matmul(&x.broadcast_matmul(&across.t().unwrap()).unwrap()).unwrap();
            let difference = (bilinear_resize(&x, rows, columns).unwrap() - expected).unwrap();
            assert!(difference.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-6);
        }
    }

    // Values from torch.nn.functional.interpolate(torch.arange(6.).view(1, 1, 2, 3), (4, 5), mode="bilinear").
    #[test]
    fn matches_pytorch() {
        let x = Tensor::arange(0f32, 6.0, &Device::Cpu).unwrap().reshape((1, 1, 2, 3)).unwrap();
        let found = bilinear_resize(&x, 4, 5).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let row = [0.0, 0.4, 1.0, 1.6, 2.0];
        let expected = [0.0, 0.75, 2.25, 3.0].map(|down| row.map(|across| across + down)).concat();
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn gradient_matches_finite_differences() {
        assert_gradient("bilinear_resize", &[2, 1, 3, 4], |x| bilinear_resize(x, 5, 2));
    }
}
