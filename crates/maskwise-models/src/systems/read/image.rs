use maskwise_data::image::clip::ClipPreprocessor;
use maskwise_data::image::sam::SamPreprocessor;
use maskwise_data::image::{PixelValues, PreprocessError, RgbImage};

/// The two preprocessors of a system.
#[derive(Debug, Clone)]
pub struct ImageInputs {
    /// What the language model sees: the central square.
    pub clip: ClipPreprocessor,
    /// What SAM sees: the whole image.
    pub sam: SamPreprocessor,
}

/// SAM's input with the sizes that its masks are brought back by.
#[derive(Debug, Clone)]
pub struct SamInputs {
    /// Normalised pixels of the padded square.
    pub pixels: PixelValues,
    /// (height, width) of the resized image within the square.
    pub input_size: (usize, usize),
    /// (height, width) of the image.
    pub original_size: (usize, usize),
}

impl ImageInputs {
    /// CLIP's pixels.
    ///
    /// # Errors
    /// When the image has no pixel.
    pub fn for_language(&self, image: &RgbImage) -> Result<PixelValues, PreprocessError> {
        self.clip.preprocess(image)
    }

    /// SAM's pixels.
    ///
    /// # Errors
    /// When the image has no pixel, or is so thin that a side vanishes.
    pub fn for_masks(&self, image: &RgbImage) -> Result<SamInputs, PreprocessError> {
        let (pixels, input_size) = self.sam.preprocess(image)?;
        let original_size = (image.height() as usize, image.width() as usize);
        Ok(SamInputs { pixels, input_size, original_size })
    }
}
