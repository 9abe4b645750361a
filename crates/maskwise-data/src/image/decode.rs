//! Files and bytes to 8-bit RGB images, safely.
//!
//! JPEG, PNG, WebP, BMP, TIFF, GIF (first frame), TGA and ICO, recognised by content; TGA has no signature at
//! its start and is recognised by its footer or by the file extension. The EXIF orientation is applied, as
//! OpenCV's `imread` does for the reference implementations. 16-bit samples keep their high byte, alpha is
//! dropped (see [`DecodeOptions::on_white`]), a CMYK JPEG is converted without its colour profile.
//!
//! JPEG is the one lossy step that differs between decoders: against libjpeg-turbo, which the reference uses,
//! single samples differ by up to 4 of 255 levels (inverse DCT and chroma upsampling round differently).
//! Lossless formats are equal to the last bit, except TIFF with 16 bits (one level, OpenCV rounds there) or
//! with straight alpha (OpenCV multiplies the colours by it; here alpha is dropped as in every other format).
//!
//! Hostile files: the dimensions are read from the header and checked before anything is allocated, the
//! decoders run under a memory limit, and a panic inside one becomes an error. The memory for one image stays
//! below 1 GiB.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ::image::metadata::Orientation;
use ::image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use thiserror::Error;

use super::convert::to_rgb8;
use super::jpeg_end::is_whole;

/// Limit on the samples as the file stores them (before they become 8-bit RGB) and on decoder buffers.
const MAX_DECODED_BYTES: u64 = 640 << 20;

/// Limit on the file itself; some decoders hold all of it in memory.
const MAX_FILE_BYTES: u64 = 512 << 20;

/// Signature in the last 18 bytes of a TGA 2.0 file.
const TGA_FOOTER: &[u8; 18] = b"TRUEVISION-XFILE.\0";

/// How to decode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Largest accepted `width * height`, checked on the header. Default 100 million.
    pub max_pixels: u64,
    /// Composite transparent pixels on white. Default `false`: alpha is dropped and the colour that the file
    /// stores under it shows, as in the reference implementations.
    pub on_white: bool,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        DecodeOptions { max_pixels: 100_000_000, on_white: false }
    }
}

/// Why an image was not decoded. Every message names the file (or says that the image came as bytes).
#[derive(Debug, Error)]
pub enum ImageError {
    /// The file could not be opened or read.
    #[error("cannot read image {name}: {source}")]
    Read {
        /// The file.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// A folder, a pipe or a device.
    #[error("cannot read image {name}: it is not a regular file")]
    NotAFile {
        /// The file.
        name: String,
    },
    /// The file has no bytes.
    #[error("cannot read image {name}: it is empty")]
    EmptyFile {
        /// The file.
        name: String,
    },
    /// The file is longer than any image within the limits.
    #[error("cannot read image {name}: it has {bytes} bytes, the limit is {MAX_FILE_BYTES}")]
    FileTooLarge {
        /// The file.
        name: String,
        /// Its length.
        bytes: u64,
    },
    /// The content is none of the supported formats.
    #[error("cannot read image {name}: not a JPEG, PNG, WebP, BMP, TIFF, GIF, TGA or ICO file")]
    UnknownFormat {
        /// The file.
        name: String,
    },
    /// The header claims an image without pixels.
    #[error("cannot read image {name}: its header says {width}x{height}, which holds no pixel")]
    ZeroSize {
        /// The file.
        name: String,
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// The header claims more pixels than allowed.
    #[error(
        "cannot read image {name}: its header says {width}x{height}, above the limit of {max_pixels} pixels; \
         reduce the image or raise the limit"
    )]
    TooManyPixels {
        /// The file.
        name: String,
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// The limit, [`DecodeOptions::max_pixels`].
        max_pixels: u64,
    },
    /// The decoder would need more memory than allowed.
    #[error("cannot read image {name}: decoding it needs more than {MAX_DECODED_BYTES} bytes of memory")]
    TooMuchMemory {
        /// The file.
        name: String,
    },
    /// The file ends before the image does.
    #[error("cannot read image {name}: the file ends too early; copy or download it again")]
    CutOff {
        /// The file.
        name: String,
    },
    /// The file is damaged or uses a feature that the decoder lacks.
    #[error("cannot read image {name}: {message}")]
    Malformed {
        /// The file.
        name: String,
        /// What the decoder said.
        message: String,
    },
}

/// Decodes the image file at `path`.
///
/// # Errors
/// [`ImageError`]; bad files never panic.
pub fn decode_path(path: &Path, options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let name = path.display().to_string();
    let read_error = |source| ImageError::Read { name: name.clone(), source };
    // Looked at before opening: opening a pipe would wait for its other end.
    let metadata = std::fs::metadata(path).map_err(read_error)?;
    if !metadata.is_file() {
        return Err(ImageError::NotAFile { name });
    }
    if metadata.len() == 0 {
        return Err(ImageError::EmptyFile { name });
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(ImageError::FileTooLarge { name, bytes: metadata.len() });
    }
    let file = File::open(path).map_err(read_error)?;
    let is_tga = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tga"));
    decode(BufReader::new(file), is_tga, options, &name)
}

/// Decodes an image that is already in memory.
///
/// # Errors
/// [`ImageError`]; bad bytes never panic.
pub fn decode_bytes(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    let name = format!("in memory ({} bytes)", bytes.len());
    if bytes.is_empty() {
        return Err(ImageError::EmptyFile { name });
    }
    decode(Cursor::new(bytes), false, options, &name)
}

fn decode<R: BufRead + Seek>(
    reader: R,
    is_tga: bool,
    options: &DecodeOptions,
    name: &str,
) -> Result<RgbImage, ImageError> {
    catch_unwind(AssertUnwindSafe(|| decode_unguarded(reader, is_tga, options, name))).unwrap_or_else(|_| {
        let message = "the decoder failed on it; the file is damaged".to_owned();
        Err(ImageError::Malformed { name: name.to_owned(), message })
    })
}

fn decode_unguarded<R: BufRead + Seek>(
    mut reader: R,
    is_tga: bool,
    options: &DecodeOptions,
    name: &str,
) -> Result<RgbImage, ImageError> {
    let read_error = |source| ImageError::Read { name: name.to_owned(), source };
    let decode_error = |error| from_decoder(error, name);

    let has_footer = has_tga_footer(&mut reader).map_err(read_error)?;
    let is_whole = is_whole(&mut reader).map_err(read_error)?;
    let mut reader = ImageReader::new(reader).with_guessed_format().map_err(read_error)?;
    if reader.format().is_none() {
        if !is_tga && !has_footer {
            return Err(ImageError::UnknownFormat { name: name.to_owned() });
        }
        reader.set_format(ImageFormat::Tga);
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(decode_error)?;

    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(ImageError::ZeroSize { name: name.to_owned(), width, height });
    }
    if u64::from(width) * u64::from(height) > options.max_pixels {
        let max_pixels = options.max_pixels;
        return Err(ImageError::TooManyPixels { name: name.to_owned(), width, height, max_pixels });
    }
    let bytes = decoder.total_bytes();
    if bytes > MAX_DECODED_BYTES {
        return Err(ImageError::TooMuchMemory { name: name.to_owned() });
    }

    if !is_whole {
        return Err(ImageError::CutOff { name: name.to_owned() });
    }

    // A damaged EXIF block says nothing about the pixels.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let color = decoder.color_type();
    let mut samples = vec![0; bytes as usize];
    decoder.read_image(&mut samples).map_err(decode_error)?;
    let rgb = to_rgb8(samples, color, options.on_white);
    let image = RgbImage::from_raw(width, height, rgb).ok_or_else(|| ImageError::Malformed {
        name: name.to_owned(),
        message: format!("the decoder did not deliver {width}x{height} pixels"),
    })?;
    let mut image = DynamicImage::ImageRgb8(image);
    image.apply_orientation(orientation);
    Ok(image.into_rgb8())
}

fn has_tga_footer<R: BufRead + Seek>(reader: &mut R) -> io::Result<bool> {
    let mut footer = [0; TGA_FOOTER.len()];
    let length = reader.seek(SeekFrom::End(0))?;
    let found = length >= footer.len() as u64 && {
        reader.seek(SeekFrom::End(-(footer.len() as i64)))?;
        reader.read_exact(&mut footer)?;
        &footer == TGA_FOOTER
    };
    reader.rewind()?;
    Ok(found)
}

fn from_decoder(error: ::image::ImageError, name: &str) -> ImageError {
    let name = name.to_owned();
    match error {
        ::image::ImageError::Limits(_) => ImageError::TooMuchMemory { name },
        ::image::ImageError::IoError(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
            ImageError::CutOff { name }
        }
        ::image::ImageError::IoError(source) => ImageError::Read { name, source },
        other => ImageError::Malformed { name, message: other.to_string() },
    }
}
