//! Where arranged weights lie: in memory of their own, or in a file.

use super::MAX_INPUTS;
use std::fmt;
use std::sync::Arc;

/// Bytes that somebody else keeps: a mapped file, or bytes in the program.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A line of the processor's caches: four inputs of each of 16 outputs, or 64 activations of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [i8; 64]);

impl Line {
    pub(crate) const ZERO: Self = Self([0; 64]);

    /// Puts four bytes at the place of an output.
    pub(crate) fn put(&mut self, output: usize, bytes: [u8; 4]) {
        for (place, byte) in self.0[output * 4..].iter_mut().zip(bytes) {
            *place = byte as i8;
        }
    }
}

/// Lines of a weight.
#[derive(Clone)]
pub(crate) enum Lines {
    Owned(Vec<Line>),
    /// Aligned to lines, and of the right length.
    Shared(SharedBytes),
}

impl Lines {
    /// Of bytes that are to have these sizes; they are copied only where they are not aligned to 64.
    pub(crate) fn from_bytes(
        bytes: SharedBytes,
        shape: [usize; 3],
        inputs: usize,
    ) -> Result<Self, PackedError> {
        if inputs > MAX_INPUTS {
            return Err(PackedError::Inputs(inputs));
        }
        let (found, needed) = ((*bytes).as_ref().len(), shape.iter().product::<usize>());
        if found != needed {
            return Err(PackedError::Length { found, needed });
        }
        Ok(match lines_of((*bytes).as_ref()) {
            Some(_) => Self::Shared(bytes),
            None => {
                let chunks = (*bytes).as_ref().chunks_exact(size_of::<Line>());
                let line = |chunk: &[u8]| Line(std::array::from_fn(|byte| chunk[byte] as i8));
                Self::Owned(chunks.map(line).collect())
            }
        })
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Owned(lines) => bytes_of(lines),
            Self::Shared(bytes) => (**bytes).as_ref(),
        }
    }

    pub(crate) fn as_slice(&self) -> &[Line] {
        match self {
            Self::Owned(lines) => lines,
            Self::Shared(bytes) => lines_of((**bytes).as_ref()).unwrap_or_default(),
        }
    }
}

/// Why bytes are no weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackedError {
    /// There are other than the number of bytes that the shape needs.
    Length {
        /// How many there are.
        found: usize,
        /// How many are needed.
        needed: usize,
    },
    /// More inputs than [`MAX_INPUTS`].
    Inputs(usize),
}

impl fmt::Display for PackedError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { found, needed } => {
                write!(formatter, "{found} bytes hold no such weight; it takes {needed}")
            }
            Self::Inputs(inputs) => {
                write!(formatter, "{inputs} inputs are too many to be quantized; there may be {MAX_INPUTS}")
            }
        }
    }
}

impl std::error::Error for PackedError {}

/// These bytes as lines, if they begin at a multiple of 64 and are as many.
#[allow(unsafe_code)]
fn lines_of(bytes: &[u8]) -> Option<&[Line]> {
    // SAFETY: a line is 64 bytes of any content, and `align_to` gives only those that are aligned.
    let (before, lines, after) = unsafe { bytes.align_to::<Line>() };
    (before.is_empty() && after.is_empty()).then_some(lines)
}

#[allow(unsafe_code)]
fn bytes_of(lines: &[Line]) -> &[u8] {
    // SAFETY: a line is 64 bytes without padding; bytes have no alignment and any content.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines)) }
}
