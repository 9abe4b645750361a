//! Label maps: PNG files whose samples are class numbers.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use png::{BitDepth, ColorType, Decoder, Limits, Transformations};

use crate::dataset::DatasetError;
use crate::dataset::files::unreadable;

/// Bound on the memory of the decoder and on the samples of a map.
const MAX_BYTES: usize = 100_000_000;

/// A class number for each pixel, row-major.
pub(super) struct Labels {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) values: Vec<u8>,
}

impl Labels {
    /// Reads an 8-bit grey or palette PNG; of the latter the indices.
    pub(super) fn read(path: &Path) -> Result<Self, DatasetError> {
        let wrong = |reason: String| unreadable(path, reason);
        let file = File::open(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let mut decoder = Decoder::new_with_limits(BufReader::new(file), Limits { bytes: MAX_BYTES });
        decoder.set_transformations(Transformations::IDENTITY);
        let damaged = |error: png::DecodingError| wrong(format!("is no label map: {error}"));
        let mut reader = decoder.read_info().map_err(damaged)?;
        let (color, depth) = reader.output_color_type();
        if !matches!(color, ColorType::Grayscale | ColorType::Indexed) || depth != BitDepth::Eight {
            return Err(wrong(format!(
                "is no label map: {color:?} with {depth:?} bits, not 8-bit grey or palette"
            )));
        }
        let size = reader.output_buffer_size().filter(|size| *size <= MAX_BYTES);
        let mut values = vec![0; size.ok_or_else(|| wrong(format!("has more than {MAX_BYTES} pixels")))?];
        let frame = reader.next_frame(&mut values).map_err(damaged)?;
        Ok(Self { width: frame.width as usize, height: frame.height as usize, values })
    }
}
