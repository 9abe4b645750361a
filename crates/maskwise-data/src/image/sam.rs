//! The preprocessor of SAM: `ResizeLongestSide`, normalise, pad.
//!
//! Steps, spec 3: scale so that the longer side has `image_size` pixels (each side
//! `int(side * scale + 0.5)`), Pillow bilinear with antialiasing on 8 bits, `(x - mean) / std` in f32, zeros
//! (in normalised space) on the right and below up to a square.

use maskwise_kernels::resize::{Filter, ImageView, resize};

use super::{PixelValues, PreprocessError, RgbImage, write_normalised};

/// Turns an RGB image into the input of SAM's image encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct SamPreprocessor {
    /// Side of the square that the encoder takes, 1024 in every published SAM.
    pub image_size: usize,
    /// Mean per channel (R, G, B) of 8-bit samples.
    pub mean: [f32; 3],
    /// Standard deviation per channel (R, G, B) of 8-bit samples.
    pub std: [f32; 3],
}

impl Default for SamPreprocessor {
    fn default() -> Self {
        SamPreprocessor::new(1024)
    }
}

/// Height and width that bring the longer side of `height` × `width` to `long_side`.
///
/// A side may come out as 0 when the image is more than twice `long_side` times longer than wide.
pub fn resize_longest_side_size(height: usize, width: usize, long_side: usize) -> (usize, usize) {
    let scale = long_side as f64 / height.max(width) as f64;
    let round = |side: usize| (side as f64 * scale + 0.5) as usize;
    (round(height), round(width))
}

impl SamPreprocessor {
    /// SAM's published normalisation for an encoder of `image_size` × `image_size` pixels.
    pub fn new(image_size: usize) -> Self {
        SamPreprocessor { image_size, mean: [123.675, 116.28, 103.53], std: [58.395, 57.12, 57.375] }
    }

    /// Height and width of `image` with its longer side brought to `image_size`.
    ///
    /// # Errors
    /// [`PreprocessError::Empty`] if the image has no pixel, [`PreprocessError::TooThin`] if its shorter side
    /// would vanish.
    pub fn resized_size(&self, image: &RgbImage) -> Result<(usize, usize), PreprocessError> {
        let (width, height) = image.dimensions();
        if width == 0 || height == 0 {
            return Err(PreprocessError::Empty { width, height });
        }
        let size = resize_longest_side_size(height as usize, width as usize, self.image_size);
        if size.0 == 0 || size.1 == 0 {
            return Err(PreprocessError::TooThin { width, height, long_side: self.image_size });
        }
        Ok(size)
    }

    /// The image with its longer side brought to `image_size`, 8-bit RGB.
    ///
    /// # Errors
    /// As [`SamPreprocessor::resized_size`].
    pub fn resize(&self, image: &RgbImage) -> Result<RgbImage, PreprocessError> {
        let (new_height, new_width) = self.resized_size(image)?;
        let (width, height) = image.dimensions();
        let source =
            ImageView { data: image.as_raw(), width: width as usize, height: height as usize, channels: 3 };
        let data = resize(source, new_width, new_height, Filter::Bilinear)?;
        let refused = PreprocessError::TooThin { width, height, long_side: self.image_size };
        RgbImage::from_raw(new_width as u32, new_height as u32, data).ok_or(refused)
    }

    /// The normalised, padded image (`3 × image_size × image_size`) and the height and width of the part that
    /// holds the picture, in the upper left corner.
    ///
    /// # Errors
    /// As [`SamPreprocessor::resize`].
    pub fn preprocess(&self, image: &RgbImage) -> Result<(PixelValues, (usize, usize)), PreprocessError> {
        let resized = self.resize(image)?;
        let (width, height) = (resized.width() as usize, resized.height() as usize);
        let side = self.image_size;
        let mut pixels =
            PixelValues { data: vec![0.0; 3 * side * side], channels: 3, height: side, width: side };
        write_normalised(resized.as_raw(), width, &mut pixels, self.mean, self.std, f32::from);
        Ok((pixels, (height, width)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_right_and_below_with_zeros() {
        let preprocessor = SamPreprocessor::new(8);
        let image = RgbImage::from_pixel(4, 2, ::image::Rgb([255, 0, 7]));
        let (pixels, size) = preprocessor.preprocess(&image).unwrap();
        assert_eq!(size, (4, 8));
        let red = (255.0 - 123.675f32) / 58.395;
        assert!(pixels.data[..4 * 8].iter().all(|&value| value == red));
        assert!(pixels.data[4 * 8..8 * 8].iter().all(|&value| value == 0.0));
        assert_eq!(pixels.data[64], (0.0 - 116.28f32) / 57.12);
    }

    #[test]
    fn a_line_is_an_error_with_its_size() {
        let error = SamPreprocessor::default().preprocess(&RgbImage::new(5000, 1)).unwrap_err();
        assert!(matches!(error, PreprocessError::TooThin { width: 5000, height: 1, .. }), "{error}");
        assert!(SamPreprocessor::default().preprocess(&RgbImage::new(0, 0)).is_err());
        assert!(SamPreprocessor::default().preprocess(&RgbImage::new(1, 1)).is_ok());
    }
}
