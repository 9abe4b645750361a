//! COCO run-length codes, compatible with pycocotools to the last character.
//!
//! A code lists run lengths down the columns (column-major), beginning with a run of zeros, which may be
//! empty. The compressed string stores each length as a difference to the one two places before, in groups of
//! five bits with a continuation bit, offset by 48 into printable characters. Source: the COCO API's mask
//! format. Geometry (polygons, boxes) keeps the API's rounding.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Mask;

mod polygon_fill;
mod text;

/// Largest `height * width` of a code: a bound on what a hostile file can make us allocate.
pub const MAX_PIXELS: u64 = 1 << 29;

/// Pixels that are compared at once when a mask is encoded.
const BLOCK: usize = 32;

/// Why a run-length code was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RleError {
    /// A character that the compressed form does not know.
    #[error("COCO RLE: character {position} of counts ({byte:#04x}) is not between '0' and 'o'")]
    Character {
        /// Position in the string, from 0.
        position: usize,
        /// The byte found there.
        byte: u8,
    },
    /// The string ends inside a number.
    #[error("COCO RLE: the counts end in the middle of a number")]
    Truncated,
    /// A run length is negative or above 32 bits.
    #[error("COCO RLE: run {index} has the impossible length {length}")]
    Run {
        /// Which run, from 0.
        index: usize,
        /// The length found, as far as it is known.
        length: i64,
    },
    /// The runs do not cover the image.
    #[error("COCO RLE: the runs cover {covered} pixels, size {height}x{width} has {}", height * width)]
    Coverage {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// Sum of the runs.
        covered: u64,
    },
    /// The size is beyond [`MAX_PIXELS`].
    #[error("COCO RLE: size {height}x{width} is above the limit of {MAX_PIXELS} pixels")]
    TooLarge {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// Codes of different sizes were to be combined.
    #[error("COCO RLE: sizes {left:?} and {right:?} (height, width) differ")]
    Size {
        /// Height and width of one.
        left: [usize; 2],
        /// Height and width of the other.
        right: [usize; 2],
    },
    /// A polygon with an odd number of coordinates, none at all, or coordinates out of range.
    #[error("COCO polygon: {0}")]
    Polygon(String),
}

/// A COCO run-length code.
///
/// Serialises as `{"size": [height, width], "counts": "…"}`; reads the compressed string and the plain list
/// of run lengths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Serialised", into = "Serialised")]
pub struct Rle {
    size: [usize; 2],
    counts: Vec<u32>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Serialised {
    size: [usize; 2],
    counts: Counts,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Counts {
    Compressed(String),
    Plain(Vec<u32>),
}

impl TryFrom<Serialised> for Rle {
    type Error = RleError;

    fn try_from(value: Serialised) -> Result<Rle, RleError> {
        match value.counts {
            Counts::Compressed(text) => Rle::from_counts_string(value.size, &text),
            Counts::Plain(counts) => Rle::new(value.size, counts),
        }
    }
}

impl From<Rle> for Serialised {
    fn from(rle: Rle) -> Serialised {
        Serialised { size: rle.size, counts: Counts::Compressed(rle.counts_string()) }
    }
}

impl Rle {
    /// A code from its run lengths; `size` is height, width.
    ///
    /// # Errors
    /// [`RleError::Coverage`] if the runs do not add up to `height * width`, [`RleError::TooLarge`].
    pub fn new(size: [usize; 2], counts: Vec<u32>) -> Result<Rle, RleError> {
        let [height, width] = size;
        let pixels = pixels_of(size)?;
        let covered: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        if covered != pixels {
            return Err(RleError::Coverage { height, width, covered });
        }
        Ok(Rle { size, counts })
    }

    /// A code from the compressed string; `size` is height, width.
    ///
    /// # Errors
    /// [`RleError`] if the string is malformed or does not fit the size.
    pub fn from_counts_string(size: [usize; 2], text: &str) -> Result<Rle, RleError> {
        Rle::new(size, text::parse(text)?)
    }

    /// The compressed string, character for character that of pycocotools.
    pub fn counts_string(&self) -> String {
        text::write(&self.counts)
    }

    /// Height and width.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Run lengths down the columns, zeros first.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// Encodes a mask.
    pub fn encode(mask: &Mask) -> Rle {
        let Mask { width, height, ref data } = *mask;
        // Where the value changes on the way down the columns; looked for row by row, since a column's pixels lie far apart.
        let mut changes = Vec::new();
        for (y, (above, row)) in data.chunks(width.max(1)).zip(data.chunks(width.max(1)).skip(1)).enumerate()
        {
            for (block, (above, row)) in above.chunks(BLOCK).zip(row.chunks(BLOCK)).enumerate() {
                if above != row {
                    let columns = (block * BLOCK..).zip(above.iter().zip(row));
                    let changed = columns.filter(|(_, (above, value))| above != value);
                    changes.extend(changed.map(|(x, _)| x * height + y + 1));
                }
            }
        }
        // From the foot of a column to the head of the next; before the first all is 0.
        let mut foot = 0;
        for x in 0..if height > 0 { width } else { 0 } {
            if data[x] != foot {
                changes.push(x * height);
            }
            foot = data[(height - 1) * width + x];
        }
        changes.sort_unstable();
        let ends = changes.iter().copied().chain([width * height]);
        let starts = std::iter::once(0).chain(changes.iter().copied());
        let counts = ends.zip(starts).map(|(end, start)| (end - start) as u32).collect();
        Rle { size: [height, width], counts }
    }

    /// The mask that the code stands for.
    pub fn decode(&self) -> Mask {
        let [height, width] = self.size;
        let mut mask = Mask::empty(width, height);
        for (start, end) in self.runs() {
            let (mut x, mut y) = (start as usize / height, start as usize % height);
            for _ in start..end {
                mask.data[y * width + x] = 1;
                y += 1;
                if y == height {
                    (x, y) = (x + 1, 0);
                }
            }
        }
        mask
    }

    /// Begin and end of each run of ones in column-major positions.
    fn runs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut end = 0;
        self.counts.chunks(2).filter_map(move |pair| {
            let start = end + u64::from(pair[0]);
            end = start + u64::from(*pair.get(1)?);
            (end > start).then_some((start, end))
        })
    }

    /// Rasterises a COCO polygon `[x0, y0, x1, y1, …]` (pixels, closed by itself) as the COCO API does, with
    /// its five-fold upsampled outline.
    ///
    /// # Errors
    /// [`RleError::Polygon`] if the coordinates are not finite, beyond ±1,000,000, odd in number or fewer than
    /// two; [`RleError::TooLarge`].
    pub fn from_polygon(coordinates: &[f64], height: usize, width: usize) -> Result<Rle, RleError> {
        pixels_of([height, width])?;
        let counts = polygon_fill::fill(coordinates, height, width)?;
        Ok(Rle { size: [height, width], counts })
    }

    /// Number of set pixels.
    pub fn area(&self) -> u64 {
        self.counts.iter().skip(1).step_by(2).map(|&count| u64::from(count)).sum()
    }

    /// Box `[x, y, width, height]` in pixels around the set pixels, zeros if there is none.
    pub fn bbox(&self) -> [u32; 4] {
        let height = self.size[0] as u64;
        let (mut left, mut right, mut top, mut bottom) = (u64::MAX, 0, u64::MAX, 0);
        for (start, end) in self.runs() {
            let (first, last) = (start / height, (end - 1) / height);
            let (upper, lower) =
                if first == last { (start % height, (end - 1) % height) } else { (0, height - 1) };
            (left, right) = (left.min(first), right.max(last));
            (top, bottom) = (top.min(upper), bottom.max(lower));
        }
        if left == u64::MAX {
            return [0; 4];
        }
        [left, top, right - left + 1, bottom - top + 1].map(|value| value as u32)
    }

    /// The union (`intersect` false) or the intersection of several codes.
    ///
    /// # Errors
    /// [`RleError::Size`] if the sizes differ. Without any code the result is an empty code of size 0 × 0.
    pub fn merge(rles: &[Rle], intersect: bool) -> Result<Rle, RleError> {
        let Some((first, rest)) = rles.split_first() else {
            return Ok(Rle { size: [0, 0], counts: vec![0] });
        };
        rest.iter().try_fold(first.clone(), |merged, rle| merged.combine(rle, intersect))
    }

    fn combine(&self, other: &Rle, intersect: bool) -> Result<Rle, RleError> {
        let mut counts = Vec::new();
        let (mut value, mut run) = (false, 0);
        self.walk(other, |length, a, b| {
            let next = if intersect { a && b } else { a || b };
            if next != value {
                counts.push(run);
                (value, run) = (next, 0);
            }
            run += length;
        })?;
        counts.push(run);
        Ok(Rle { size: self.size, counts })
    }

    /// Calls `visit` for consecutive stretches on which both codes are constant.
    fn walk(&self, other: &Rle, mut visit: impl FnMut(u32, bool, bool)) -> Result<(), RleError> {
        if self.size != other.size {
            return Err(RleError::Size { left: self.size, right: other.size });
        }
        let (mut left, mut right) = (Cursor::new(&self.counts), Cursor::new(&other.counts));
        while left.settle() && right.settle() {
            let length = left.remaining.min(right.remaining);
            visit(length, left.value, right.value);
            left.remaining -= length;
            right.remaining -= length;
        }
        Ok(())
    }

    /// Intersection over union, 0..1, as `pycocotools.mask.iou` defines it: with `is_crowd` the union is the
    /// area of `self` (the detection), and codes that do not meet have 0, two empty ones included.
    ///
    /// # Errors
    /// [`RleError::Size`] if the sizes differ.
    pub fn iou(&self, ground_truth: &Rle, is_crowd: bool) -> Result<f64, RleError> {
        let mut intersection = 0u64;
        self.walk(ground_truth, |length, a, b| {
            if a && b {
                intersection += u64::from(length);
            }
        })?;
        if intersection == 0 {
            return Ok(0.0);
        }
        let union = if is_crowd { self.area() } else { self.area() + ground_truth.area() - intersection };
        Ok(intersection as f64 / union as f64)
    }
}

/// A place inside a code.
struct Cursor<'a> {
    rest: std::slice::Iter<'a, u32>,
    remaining: u32,
    value: bool,
}

impl<'a> Cursor<'a> {
    fn new(counts: &'a [u32]) -> Self {
        let mut rest = counts.iter();
        Cursor { remaining: rest.next().copied().unwrap_or(0), rest, value: false }
    }

    /// Steps over used up and empty runs; false at the end.
    fn settle(&mut self) -> bool {
        while self.remaining == 0 {
            let Some(&next) = self.rest.next() else { return false };
            self.remaining = next;
            self.value = !self.value;
        }
        true
    }
}

fn pixels_of([height, width]: [usize; 2]) -> Result<u64, RleError> {
    let pixels = (height as u64).checked_mul(width as u64);
    pixels.filter(|&pixels| pixels <= MAX_PIXELS).ok_or(RleError::TooLarge { height, width })
}
