//! Decoding of images and the preprocessors of the vision towers.
//!
//! - [`decode`]: a file or bytes to 8-bit RGB, with limits, never a panic.
//! - [`clip`]: what the CLIP tower sees (shortest edge, centre crop, normalised).
//! - [`sam`]: what SAM sees (longest side, normalised, padded to a square).

pub mod clip;
mod convert;
pub mod decode;
mod jpeg_end;
pub mod sam;

pub use ::image::{RgbImage, imageops};
pub use decode::{DecodeOptions, ImageError, decode_bytes, decode_path};

/// A normalised image for a network: `data[(channel * height + y) * width + x]`, channels R, G, B.
#[derive(Clone, Debug, PartialEq)]
pub struct PixelValues {
    /// `channels * height * width` values in CHW order.
    pub data: Vec<f32>,
    /// Number of channels, 3.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// Why an image could not be brought into the form that a vision tower needs.
#[derive(Debug, thiserror::Error)]
pub enum PreprocessError {
    /// The image has no pixel.
    #[error("the image is {width}x{height}: it has no pixel")]
    Empty {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// After resizing, the shorter side would have no pixel.
    #[error(
        "the image of {width}x{height} is too thin: resized to {long_side} on the longer side, the shorter one \
         vanishes; crop the image first"
    )]
    TooThin {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Target length of the longer side.
        long_side: usize,
    },
    /// A value of the preprocessor's configuration cannot be used.
    #[error("preprocessor configuration: {0}")]
    Config(String),
    /// The resize itself refused.
    #[error(transparent)]
    Resize(#[from] maskwise_kernels::resize::ResizeError),
}

/// `(x - mean) / std` per channel in f32 for interleaved RGB values, written as planes of `stride` × `rows`.
///
/// `value` maps a sample to f32 before the normalisation. Only the first `width` of the `stride` columns are
/// written, so that `planes` may be larger than the image (padding keeps its value).
fn write_normalised(
    samples: &[u8],
    width: usize,
    planes: &mut PixelValues,
    mean: [f32; 3],
    std: [f32; 3],
    value: impl Fn(u8) -> f32,
) {
    for channel in 0..3 {
        // 256 possible samples: the arithmetic is done once for each.
        let table: Vec<f32> =
            (0..=255u8).map(|sample| (value(sample) - mean[channel]) / std[channel]).collect();
        let plane = &mut planes.data[channel * planes.height * planes.width..];
        for (row, out) in samples.chunks_exact(width * 3).zip(plane.chunks_exact_mut(planes.width)) {
            for (pixel, out) in row.chunks_exact(3).zip(out) {
                *out = table[usize::from(pixel[channel])];
            }
        }
    }
}
