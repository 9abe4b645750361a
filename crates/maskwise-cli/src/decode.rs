//! Decoding images as the commands want it: a decoder that panics stays silent, and a refusal names the option.

use crate::panics;
use maskwise::image::{DecodeOptions, ImageError, RgbImage, decode_path};
use std::path::Path;

pub(crate) fn decode(path: &Path, options: &DecodeOptions) -> anyhow::Result<RgbImage> {
    panics::silenced(|| decode_path(path, options)).map_err(|error| match error {
        ImageError::TooManyPixels { .. } => anyhow::anyhow!("{error} (--max-pixels)"),
        error => error.into(),
    })
}
