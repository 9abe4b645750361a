//! Binary masks: bitmaps, COCO run-length codes, polygons and the files that hold them.

use ::image::RgbImage;
use thiserror::Error;

pub mod components;
pub(crate) mod fill_poly;
pub mod labelme;
pub(crate) mod outlines;
pub mod png;
pub mod polygon;
pub mod rle;

pub use components::{Component, Components, Connectivity};
pub use polygon::Polygon;
pub use rle::{Rle, RleError};

/// Why a mask could not be made or compared.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MaskError {
    /// The buffer does not hold `width * height` values.
    #[error("a mask of {width}x{height} needs {} values, the buffer holds {found}", width * height)]
    Length {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
        /// Values in the buffer.
        found: usize,
    },
    /// Two masks of different sizes were to be combined.
    #[error("masks of {}x{} and {}x{} cannot be compared", left.0, left.1, right.0, right.1)]
    Size {
        /// Width and height of one.
        left: (usize, usize),
        /// Width and height of the other.
        right: (usize, usize),
    },
    /// More masks than an index map can tell apart.
    #[error("{count} masks do not fit into one index map: 255 at most")]
    TooMany {
        /// Number of masks.
        count: usize,
    },
    /// A logit or a coordinate is not a number.
    #[error("value {index} is not a number")]
    NotANumber {
        /// Position in the buffer.
        index: usize,
    },
}

/// A box in pixels: `x`, `y` of the upper left pixel, and the number of columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundingBox {
    /// First column.
    pub x: usize,
    /// First row.
    pub y: usize,
    /// Number of columns.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
}

/// Value of pixels in a target that count neither as inside nor as outside (spec 6.3).
pub const IGNORED: u8 = 255;

/// A binary mask, row-major: `data[y * width + x]` is 1 inside and 0 outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width * height` values, each 0 or 1.
    pub data: Vec<u8>,
}

impl Mask {
    /// A mask without any pixel set.
    pub fn empty(width: usize, height: usize) -> Mask {
        Mask { width, height, data: vec![0; width * height] }
    }

    /// A mask from row-major values; anything but 0 counts as set.
    ///
    /// # Errors
    /// [`MaskError::Length`] if `values` does not hold `width * height` of them.
    pub fn from_values(values: &[u8], height: usize, width: usize) -> Result<Mask, MaskError> {
        check_length(values.len(), height, width)?;
        Ok(Mask { width, height, data: values.iter().map(|&value| u8::from(value != 0)).collect() })
    }

    /// A mask from row-major logits: a pixel is set where its logit is strictly above 0
    /// (spec 1.9).
    ///
    /// # Errors
    /// [`MaskError::Length`] if `logits` does not hold `height * width` values, [`MaskError::NotANumber`] if
    /// one of them is NaN.
    pub fn from_logits(logits: &[f32], height: usize, width: usize) -> Result<Mask, MaskError> {
        check_length(logits.len(), height, width)?;
        if let Some(index) = logits.iter().position(|logit| logit.is_nan()) {
            return Err(MaskError::NotANumber { index });
        }
        Ok(Mask { width, height, data: logits.iter().map(|&logit| u8::from(logit > 0.0)).collect() })
    }

    /// Whether the pixel at column `x`, row `y` is set; pixels outside the mask are not.
    pub fn get(&self, x: usize, y: usize) -> bool {
        x < self.width && y < self.height && self.data[y * self.width + x] != 0
    }

    /// Number of set pixels.
    pub fn area(&self) -> u64 {
        self.data.iter().map(|&value| u64::from(value)).sum()
    }

    /// Whether no pixel is set.
    pub fn is_empty(&self) -> bool {
        self.data.iter().all(|&value| value == 0)
    }

    /// The smallest box that holds every set pixel; `None` if there is none.
    pub fn bbox(&self) -> Option<BoundingBox> {
        let rows = || self.data.chunks_exact(self.width.max(1));
        let occupied = |row: &[u8]| row.contains(&1);
        let top = rows().position(occupied)?;
        let bottom = rows().rposition(occupied)?;
        let left = rows().filter_map(|row| row.iter().position(|&value| value != 0)).min()?;
        let right = rows().filter_map(|row| row.iter().rposition(|&value| value != 0)).max()?;
        Some(BoundingBox { x: left, y: top, width: right - left + 1, height: bottom - top + 1 })
    }

    /// Intersection and union with `other`, in pixels.
    ///
    /// # Errors
    /// [`MaskError::Size`] if the sizes differ.
    pub fn overlap(&self, other: &Mask) -> Result<(u64, u64), MaskError> {
        if (self.width, self.height) != (other.width, other.height) {
            return Err(MaskError::Size {
                left: (self.width, self.height),
                right: (other.width, other.height),
            });
        }
        let (mut intersection, mut union) = (0u64, 0u64);
        for (&a, &b) in self.data.iter().zip(&other.data) {
            intersection += u64::from(a & b);
            union += u64::from(a | b);
        }
        Ok((intersection, union))
    }

    /// Intersection over union with `other`, 0..1. Two empty masks agree entirely: 1.
    ///
    /// # Errors
    /// [`MaskError::Size`] if the sizes differ.
    pub fn iou(&self, other: &Mask) -> Result<f64, MaskError> {
        let (intersection, union) = self.overlap(other)?;
        Ok(if union == 0 { 1.0 } else { intersection as f64 / union as f64 })
    }

    /// The connected parts of the mask.
    pub fn components(&self, connectivity: Connectivity) -> Components {
        Components::of(self, connectivity)
    }

    /// The COCO run-length code of the mask.
    pub fn to_rle(&self) -> Rle {
        Rle::encode(self)
    }

    /// The outlines of the mask along pixel edges, see [`polygon`].
    pub fn to_polygons(&self) -> Vec<Polygon> {
        polygon::trace(self)
    }

    /// The mask as a black and white picture.
    pub fn to_rgb(&self) -> RgbImage {
        RgbImage::from_fn(self.width as u32, self.height as u32, |x, y| {
            ::image::Rgb([if self.get(x as usize, y as usize) { 255 } else { 0 }; 3])
        })
    }
}

/// Intersection and union in pixels of a prediction (0 or 1) with a target of the values 0 and 1; where the target is 255 nothing counts
/// (spec 7.1).
pub fn overlap_with_target(prediction: &[u8], target: &[u8]) -> (u64, u64) {
    let [intersection, union] = count_pixels(prediction, target, |found, wanted| {
        let (found, is_wanted) = (found != 0, wanted == 1);
        [found & is_wanted, (found | is_wanted) & (wanted != IGNORED)]
    });
    (intersection, union)
}

/// How many pixels of a prediction and its target have each of `N` properties.
pub fn count_pixels<const N: usize>(
    prediction: &[u8],
    target: &[u8],
    properties: impl Fn(u8, u8) -> [bool; N],
) -> [u64; N] {
    // So few at once that a byte holds their number: the compiler counts them in vectors of bytes.
    const AT_ONCE: usize = u8::MAX as usize;
    let mut counts = [0; N];
    for (prediction, target) in prediction.chunks(AT_ONCE).zip(target.chunks(AT_ONCE)) {
        let mut few = [0u8; N];
        for (found, wanted) in prediction.iter().zip(target) {
            let has = properties(*found, *wanted);
            few.iter_mut().zip(has).for_each(|(few, has)| *few += u8::from(has));
        }
        counts.iter_mut().zip(few).for_each(|(count, few)| *count += u64::from(few));
    }
    counts
}

fn check_length(found: usize, height: usize, width: usize) -> Result<(), MaskError> {
    if height.checked_mul(width) == Some(found) {
        return Ok(());
    }
    Err(MaskError::Length { width, height, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mask from rows of text, `#` set.
    fn mask(rows: &[&str]) -> Mask {
        let values: Vec<u8> =
            rows.iter().flat_map(|row| row.bytes().map(|byte| u8::from(byte == b'#'))).collect();
        Mask::from_values(&values, rows.len(), rows[0].len()).unwrap()
    }

    #[test]
    fn logits_are_set_strictly_above_zero() {
        let mask = Mask::from_logits(&[0.0, -0.0, 1e-30, -1.0, f32::INFINITY, 2.0], 2, 3).unwrap();
        assert_eq!(mask.data, [0, 0, 1, 0, 1, 1]);
        assert_eq!(
            Mask::from_logits(&[0.0, f32::NAN], 1, 2).unwrap_err(),
            MaskError::NotANumber { index: 1 }
        );
        assert!(matches!(Mask::from_logits(&[0.0; 5], 2, 3), Err(MaskError::Length { found: 5, .. })));
    }

    #[test]
    fn ignored_pixels_count_nowhere() {
        assert_eq!(overlap_with_target(&[1, 1, 0, 1, 0], &[1, 0, 1, 255, 255]), (1, 3));
        assert_eq!(overlap_with_target(&[0, 0], &[0, 255]), (0, 0));
    }

    #[test]
    fn area_box_and_overlap() {
        let a = mask(&[".....", ".##..", "...#.", "....."]);
        assert_eq!(a.area(), 3);
        assert_eq!(a.bbox(), Some(BoundingBox { x: 1, y: 1, width: 3, height: 2 }));
        let b = mask(&[".....", "..##.", "...#.", "....."]);
        assert_eq!(a.overlap(&b).unwrap(), (2, 4));
        assert_eq!(a.iou(&b).unwrap(), 0.5);
        let none = Mask::empty(5, 4);
        assert!(none.is_empty() && none.bbox().is_none());
        assert_eq!(none.iou(&none).unwrap(), 1.0);
        assert!(a.iou(&Mask::empty(4, 5)).is_err());
        assert!(Mask::empty(0, 0).bbox().is_none() && Mask::empty(0, 7).bbox().is_none());
    }
}
