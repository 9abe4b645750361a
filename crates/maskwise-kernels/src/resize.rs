//! 8-bit image resizing, bit-equal to Pillow's `Image.resize`.
//!
//! The reference pipelines resize with Pillow, whose 8-bit path has rounding of its own: every output
//! sample is a fixed-point weighted sum with 22 fractional bits, the image is resized along x first, rounded
//! back to 8 bits, and only then along y. When shrinking, the filter is widened by the scale (antialiasing).
//! Reproducing exactly this arithmetic makes the pixels that reach the networks equal to the reference's.
//!
//! Source: Pillow's documented resampling model (convolution filters with adaptive support) and
//! spec 3. Checked against recorded Pillow output in the tests.

use std::fmt;

use rayon::prelude::*;

/// Fractional bits of the fixed-point weights: 32 bits less 8 for the sample and 2 for the overshoot of
/// filters with negative lobes.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// Adding this before the shift rounds to nearest.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// Reconstruction filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Triangle filter, support 1 (Pillow `BILINEAR`, resample 2).
    Bilinear,
    /// Keys cubic with a = −0.5, support 2 (Pillow `BICUBIC`, resample 3).
    Bicubic,
}

impl Filter {
    fn support(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Filter::Bilinear if x < 1.0 => 1.0 - x,
            Filter::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Filter::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            _ => 0.0,
        }
    }
}

/// An interleaved 8-bit image: `data[(y * width + x) * channels + channel]`.
#[derive(Clone, Copy, Debug)]
pub struct ImageView<'a> {
    /// Samples, `width * height * channels` of them.
    pub data: &'a [u8],
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Samples per pixel: 1 (grey) or 3 (RGB).
    pub channels: usize,
}

/// The part of the resized image to compute, in pixels of the resized image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First column.
    pub left: usize,
    /// First row.
    pub top: usize,
    /// Number of columns.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
}

/// Why an image could not be resized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResizeError {
    /// The source or the target has no pixel.
    Empty {
        /// Source width and height.
        from: (usize, usize),
        /// Target width and height.
        to: (usize, usize),
    },
    /// The number of channels is neither 1 nor 3.
    Channels(usize),
    /// The buffer does not hold `width * height * channels` samples.
    Length {
        /// Samples that the dimensions imply.
        expected: usize,
        /// Samples in the buffer.
        found: usize,
    },
    /// The window reaches beyond the resized image, or a size overflows.
    Window {
        /// The window asked for.
        window: Window,
        /// Target width and height.
        to: (usize, usize),
    },
}

impl fmt::Display for ResizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResizeError::Empty { from, to } => write!(
                f,
                "cannot resize {}x{} to {}x{}: both sides must be at least 1 pixel",
                from.0, from.1, to.0, to.1
            ),
            ResizeError::Channels(channels) => {
                write!(f, "cannot resize an image of {channels} channels: only 1 and 3 are supported")
            }
            ResizeError::Length { expected, found } => {
                write!(f, "the image buffer holds {found} samples where its dimensions imply {expected}")
            }
            ResizeError::Window { window, to } => write!(
                f,
                "the window {}x{}+{}+{} does not lie inside the resized image of {}x{}",
                window.width, window.height, window.left, window.top, to.0, to.1
            ),
        }
    }
}

impl std::error::Error for ResizeError {}

/// Resizes `source` to `width` × `height`; returns `width * height * channels` interleaved samples.
///
/// Bit-equal to Pillow's `Image.resize((width, height), filter)` on modes `L` and `RGB`.
///
/// # Errors
/// [`ResizeError`] if a side is zero, the channels are neither 1 nor 3, or the buffer has the wrong length.
pub fn resize(
    source: ImageView<'_>,
    width: usize,
    height: usize,
    filter: Filter,
) -> Result<Vec<u8>, ResizeError> {
    resize_window(source, width, height, Window { left: 0, top: 0, width, height }, filter)
}

/// Resizes `source` to `width` × `height` but computes only the pixels of `window`.
///
/// The result (`window.width * window.height * channels` samples) equals the same crop of [`resize`] bit for
/// bit: the weights of an output sample depend on its position alone. The centre crop of a very elongated
/// image therefore costs no more than that of a square one.
///
/// # Errors
/// As [`resize`], and [`ResizeError::Window`] if the window is empty or leaves the resized image.
pub fn resize_window(
    source: ImageView<'_>,
    width: usize,
    height: usize,
    window: Window,
    filter: Filter,
) -> Result<Vec<u8>, ResizeError> {
    check(&source, width, height, &window)?;
    let channels = source.channels;
    let columns = Taps::new(source.width, width, window.left, window.width, filter);
    let rows = Taps::new(source.height, height, window.top, window.height, filter);

    // Only the source rows that some output row reads pass through the horizontal step.
    let first_row = rows.first();
    let end_row = rows.end();
    let stride = source.width * channels;
    let read = &source.data[first_row * stride..end_row * stride];

    let narrowed = if source.width == width {
        crop_columns(read, stride, window.left * channels, window.width * channels)
    } else if channels == 3 {
        horizontal::<3>(read, stride, &columns)
    } else {
        horizontal::<1>(read, stride, &columns)
    };

    let narrow_stride = window.width * channels;
    if source.height == height {
        return Ok(narrowed);
    }
    Ok(vertical(&narrowed, narrow_stride, first_row, &rows))
}

fn check(source: &ImageView<'_>, width: usize, height: usize, window: &Window) -> Result<(), ResizeError> {
    let to = (width, height);
    if source.width == 0 || source.height == 0 || width == 0 || height == 0 {
        return Err(ResizeError::Empty { from: (source.width, source.height), to });
    }
    if source.channels != 1 && source.channels != 3 {
        return Err(ResizeError::Channels(source.channels));
    }
    let expected = source.width.saturating_mul(source.height).saturating_mul(source.channels);
    if source.data.len() != expected {
        return Err(ResizeError::Length { expected, found: source.data.len() });
    }
    let inside = |start: usize, length: usize, limit: usize| {
        length > 0 && start.checked_add(length).is_some_and(|end| end <= limit)
    };
    if !inside(window.left, window.width, width) || !inside(window.top, window.height, height) {
        return Err(ResizeError::Window { window: *window, to });
    }
    Ok(())
}

/// Weights of consecutive output samples along one axis.
struct Taps {
    /// First source sample of each output sample.
    starts: Vec<usize>,
    /// `weights[offsets[i]..offsets[i + 1]]` belong to output sample `i`.
    offsets: Vec<usize>,
    weights: Vec<i32>,
}

impl Taps {
    /// Weights for output samples `begin..begin + count` of an axis resized from `from` to `to` samples.
    fn new(from: usize, to: usize, begin: usize, count: usize, filter: Filter) -> Taps {
        let scale = from as f64 / to as f64;
        let filter_scale = scale.max(1.0);
        let support = filter.support() * filter_scale;
        let inverse = 1.0 / filter_scale;

        let mut taps =
            Taps { starts: Vec::with_capacity(count), offsets: vec![0], weights: Vec::with_capacity(count) };
        let mut exact = Vec::new();
        for output in begin..begin + count {
            if from == to {
                // The axis keeps its length: the step is skipped, only the sample's own position matters.
                taps.push(output, &[1.0]);
                continue;
            }
            let center = (output as f64 + 0.5) * scale;
            // Truncation toward zero, as in the reference; negative starts clamp to the border.
            let start = ((center - support + 0.5) as i64).max(0) as usize;
            let end = ((center + support + 0.5) as i64).min(from as i64) as usize;
            exact.clear();
            exact.extend((start..end).map(|x| filter.weight((x as f64 - center + 0.5) * inverse)));
            let sum: f64 = exact.iter().sum();
            if sum != 0.0 {
                exact.iter_mut().for_each(|weight| *weight /= sum);
            }
            taps.push(start, &exact);
        }
        taps
    }

    fn push(&mut self, start: usize, weights: &[f64]) {
        let one = f64::from(1u32 << PRECISION_BITS);
        self.starts.push(start);
        self.weights.extend(weights.iter().map(|&weight| {
            let rounding = if weight < 0.0 { -0.5 } else { 0.5 };
            (rounding + weight * one) as i32
        }));
        self.offsets.push(self.weights.len());
    }

    fn of(&self, index: usize) -> (usize, &[i32]) {
        (self.starts[index], &self.weights[self.offsets[index]..self.offsets[index + 1]])
    }

    fn len(&self) -> usize {
        self.starts.len()
    }

    fn first(&self) -> usize {
        self.starts[0]
    }

    fn end(&self) -> usize {
        let (start, weights) = self.of(self.len() - 1);
        start + weights.len()
    }
}

fn to_u8(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

fn crop_columns(rows: &[u8], stride: usize, left: usize, length: usize) -> Vec<u8> {
    if left == 0 && length == stride {
        return rows.to_vec();
    }
    rows.chunks_exact(stride).flat_map(|row| &row[left..left + length]).copied().collect()
}

fn horizontal<const CHANNELS: usize>(rows: &[u8], stride: usize, columns: &Taps) -> Vec<u8> {
    let out_stride = columns.len() * CHANNELS;
    let mut output = vec![0u8; rows.len() / stride * out_stride];
    output.par_chunks_mut(out_stride).zip(rows.par_chunks(stride)).for_each(|(out_row, row)| {
        for (index, pixel) in out_row.chunks_exact_mut(CHANNELS).enumerate() {
            let (start, weights) = columns.of(index);
            let mut sums = [HALF; CHANNELS];
            let samples = &row[start * CHANNELS..(start + weights.len()) * CHANNELS];
            for (sample, &weight) in samples.chunks_exact(CHANNELS).zip(weights) {
                for channel in 0..CHANNELS {
                    sums[channel] += i32::from(sample[channel]) * weight;
                }
            }
            for channel in 0..CHANNELS {
                pixel[channel] = to_u8(sums[channel]);
            }
        }
    });
    output
}

fn vertical(image: &[u8], stride: usize, first_row: usize, rows: &Taps) -> Vec<u8> {
    /// Samples summed at a time: small enough for the accumulators to stay in the first-level cache.
    const BLOCK: usize = 1024;
    let mut output = vec![0u8; rows.len() * stride];
    output.par_chunks_mut(stride).enumerate().for_each(|(index, out_row)| {
        let (start, weights) = rows.of(index);
        let mut sums = [0i32; BLOCK];
        for (block, out) in out_row.chunks_mut(BLOCK).enumerate() {
            let sums = &mut sums[..out.len()];
            sums.fill(HALF);
            for (tap, &weight) in weights.iter().enumerate() {
                let begin = (start - first_row + tap) * stride + block * BLOCK;
                let source = &image[begin..begin + sums.len()];
                for (sum, &sample) in sums.iter_mut().zip(source) {
                    *sum += i32::from(sample) * weight;
                }
            }
            for (out, &sum) in out.iter_mut().zip(sums.iter()) {
                *out = to_u8(sum);
            }
        }
    });
    output
}

#[cfg(test)]
#[path = "resize_tests.rs"]
mod tests;
