use candle_core::{DType, Result, Tensor};
use maskwise_nn::ops;

/// Mask logits at the size of the original image (spec 1.9): `low_resolution` `[batch, masks, height, width]` is resized to
/// the padded square `image_size`, cropped to `input_size` (height, width) and resized to `original_size` (height, width),
/// bilinearly and in f32. A pixel belongs to the mask where its logit is above 0.
///
/// # Errors
/// When `input_size` is larger than the square, or a size is zero.
pub fn postprocess_masks(
    low_resolution: &Tensor,
    image_size: usize,
    input_size: (usize, usize),
    original_size: (usize, usize),
) -> Result<Tensor> {
    let logits = low_resolution.to_dtype(DType::F32)?;
    let square = ops::bilinear_resize(&logits, image_size, image_size)?;
    let cropped = square.narrow(2, 0, input_size.0)?.narrow(3, 0, input_size.1)?;
    ops::bilinear_resize(&cropped, original_size.0, original_size.1)
}
