//! The pictures that the official demos draw (spec 8), equal to the last bit.

use ::image::{Rgb, RgbImage};

use super::DrawError;
use crate::mask::Mask;

/// Red of the official demos.
const RED: [u8; 3] = [255, 0, 0];

/// The picture of READ's and SESAME's demo: `0.3 · image + 0.7 · red` inside the mask, truncated to 8 bits.
///
/// # Errors
/// [`DrawError::Size`] if the mask has another size than the image.
pub fn read_demo(image: &RgbImage, mask: &Mask) -> Result<RgbImage, DrawError> {
    blend(image, mask, RED, 0.3, 0.7)
}

/// The picture of LISA's chat: `0.5 · image + 0.5 · red` inside the mask, truncated to 8 bits.
///
/// # Errors
/// [`DrawError::Size`] if the mask has another size than the image.
pub fn lisa_chat(image: &RgbImage, mask: &Mask) -> Result<RgbImage, DrawError> {
    blend(image, mask, RED, 0.5, 0.5)
}

/// `image_weight · image + color_weight · color` inside the mask, in f64, truncated to 8 bits.
///
/// # Errors
/// [`DrawError::Size`] if the mask has another size than the image.
pub fn blend(
    image: &RgbImage,
    mask: &Mask,
    color: [u8; 3],
    image_weight: f64,
    color_weight: f64,
) -> Result<RgbImage, DrawError> {
    check_size(image, mask)?;
    let mut blended = image.clone();
    for (pixel, _) in blended.pixels_mut().zip(&mask.data).filter(|(_, value)| **value != 0) {
        let Rgb(samples) = *pixel;
        *pixel = Rgb([0, 1, 2].map(|channel| {
            let sum = f64::from(samples[channel]) * image_weight + f64::from(color[channel]) * color_weight;
            sum as u8
        }));
    }
    Ok(blended)
}

pub(super) fn check_size(image: &RgbImage, mask: &Mask) -> Result<(), DrawError> {
    let size = (image.width() as usize, image.height() as usize);
    if (mask.width, mask.height) == size {
        return Ok(());
    }
    Err(DrawError::Size { what: "a mask", found: (mask.width, mask.height), image: size })
}
