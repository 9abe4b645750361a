use super::in_f32;
use candle_core::{Device, Result, Tensor};

/// The matrix `[output, input]` whose product with a column of `input` values is their bilinear interpolation
/// to `output` values, as PyTorch's `interpolate(mode="bilinear", align_corners=False)` without antialiasing.
///
/// A product is used rather than a loop because it is differentiable on every device.
pub fn bilinear_matrix(input: usize, output: usize, device: &Device) -> Result<Tensor> {
    let scale = input as f32 / output as f32;
    let mut weights = vec![0.0_f32; output * input];
    for (position, row) in weights.chunks_exact_mut(input.max(1)).enumerate() {
        let source = ((position as f32 + 0.5) * scale - 0.5).max(0.0);
        let low = (source as usize).min(input - 1);
        let high = (low + 1).min(input - 1);
        let fraction = (source - low as f32).clamp(0.0, 1.0);
        row[low] += 1.0 - fraction;
        row[high] += fraction;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_gradient;

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
