//! PNG files of masks and pictures. Never JPEG: masks must come back as they were written.

use std::io::{self, Write};
use std::path::Path;

use ::image::RgbImage;
use png::{BitDepth, ColorType, Compression, Encoder, EncodingError};

use super::{Mask, MaskError};
use crate::atomic::{WriteError, write_atomic};
use crate::draw::palette_color;

/// Writes a mask as 8-bit single-channel PNG, 0 outside and 255 inside.
///
/// # Errors
/// [`WriteError`], which names `path`; a mask without pixels cannot be a PNG.
pub fn write_mask(path: &Path, mask: &Mask) -> Result<(), WriteError> {
    let samples: Vec<u8> = mask.data.iter().map(|&value| value * 255).collect();
    write_atomic(path, |writer| encode(writer, mask.width, mask.height, ColorType::Grayscale, None, &samples))
}

/// Writes an RGB picture as PNG.
///
/// # Errors
/// [`WriteError`], which names `path`.
pub fn write_rgb(path: &Path, image: &RgbImage) -> Result<(), WriteError> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    write_atomic(path, |writer| encode(writer, width, height, ColorType::Rgb, None, image.as_raw()))
}

/// Writes an index map as palette PNG: sample `k` is index `k`, 0 is black, the others have the colours of
/// the overlay. Programs that read the palette indices (Pillow mode `P`) get the map back.
///
/// # Errors
/// [`WriteError`], which names `path`; `indices` must hold `width * height` values.
pub fn write_index(path: &Path, indices: &[u8], height: usize, width: usize) -> Result<(), WriteError> {
    let largest = usize::from(indices.iter().copied().max().unwrap_or(0));
    let palette: Vec<u8> = [0; 3].into_iter().chain((0..largest).flat_map(palette_color)).collect();
    write_atomic(path, |writer| encode(writer, width, height, ColorType::Indexed, Some(palette), indices))
}

/// An index map of several masks of one size: 0 where none lies, `k + 1` where mask `k` does. Where masks
/// overlap, the last one wins.
///
/// # Errors
/// [`MaskError::Size`] if the sizes differ, [`MaskError::TooMany`] above 255 masks.
pub fn index_map(masks: &[Mask]) -> Result<Vec<u8>, MaskError> {
    let Some(first) = masks.first() else { return Ok(Vec::new()) };
    let mut indices = vec![0; first.data.len()];
    for (number, mask) in masks.iter().enumerate() {
        let number = u8::try_from(number + 1).map_err(|_| MaskError::TooMany { count: masks.len() })?;
        if (mask.width, mask.height) != (first.width, first.height) {
            return Err(MaskError::Size {
                left: (first.width, first.height),
                right: (mask.width, mask.height),
            });
        }
        for (index, _) in indices.iter_mut().zip(&mask.data).filter(|(_, value)| **value != 0) {
            *index = number;
        }
    }
    Ok(indices)
}

fn encode(
    writer: &mut dyn Write,
    width: usize,
    height: usize,
    color: ColorType,
    palette: Option<Vec<u8>>,
    samples: &[u8],
) -> io::Result<()> {
    let side = |value: usize| u32::try_from(value).map_err(io::Error::other);
    let mut encoder = Encoder::new(writer, side(width)?, side(height)?);
    encoder.set_color(color);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Balanced);
    if let Some(palette) = palette {
        encoder.set_palette(palette);
    }
    let to_io = |error| match error {
        EncodingError::IoError(error) => error,
        other => io::Error::other(other),
    };
    let mut writer = encoder.write_header().map_err(to_io)?;
    writer.write_image_data(samples).map_err(to_io)?;
    writer.finish().map_err(to_io)
}
