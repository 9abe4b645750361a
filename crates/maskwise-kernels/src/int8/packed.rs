//! How weights in eight bits lie in memory and in files.

use super::{DEPTH, GROUP, Line, MAX_INPUTS, OUTPUTS, TOGETHER, step};
use rayon::prelude::*;
use std::fmt;
use std::sync::Arc;

/// Lines at the end of a panel: what a step of each output is worth (f32), and the sums of their steps (i32), both little-endian.
const TAIL: usize = 2;

/// Bytes that somebody else keeps: a mapped file, or bytes in the program.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A matrix of weights in eight bits, arranged for the processor: panels of 16 outputs, each with a line of 64 bytes for every four inputs and
/// two lines for scales and sums. Outputs are filled up to a multiple of 32 and inputs to one of 64. The arrangement is the same for every
/// path and on the disk.
#[derive(Clone)]
pub struct Int8Weight {
    outputs: usize,
    inputs: usize,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Owned(Vec<Line>),
    /// Aligned to lines, and of the right length.
    Shared(SharedBytes),
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
                write!(formatter, "{inputs} inputs are too many for eight bits; there may be {MAX_INPUTS}")
            }
        }
    }
}

impl std::error::Error for PackedError {}

impl Int8Weight {
    /// Rounds a weight `[outputs, inputs]`: the largest value of each output becomes 127 steps.
    ///
    /// # Panics
    /// When `weight` has another length, or there are more than [`MAX_INPUTS`].
    pub fn quantize(weight: &[f32], outputs: usize, inputs: usize) -> Self {
        assert_eq!(weight.len(), outputs * inputs, "a weight of {outputs}x{inputs}");
        assert!(inputs <= MAX_INPUTS, "{inputs} inputs overflow the sums");
        let [panels, lines, _] = Self::packed_shape(outputs, inputs);
        let mut content = vec![Line::ZERO; panels * lines];
        content.par_chunks_mut(lines).enumerate().for_each(|(number, panel)| {
            let (lines, tail) = panel.split_at_mut(lines - TAIL);
            let first = number * OUTPUTS;
            let mut rounded = vec![0; inputs];
            for output in 0..OUTPUTS.min(outputs.saturating_sub(first)) {
                let row = &weight[(first + output) * inputs..][..inputs];
                let scale = round(row, &mut rounded);
                for (line, steps) in lines.iter_mut().zip(rounded.chunks(GROUP)) {
                    line.0[output * GROUP..][..steps.len()].copy_from_slice(steps);
                }
                let sum: i32 = rounded.iter().map(|steps| i32::from(*steps)).sum();
                tail[0].put(output, scale.to_le_bytes());
                tail[1].put(output, sum.to_le_bytes());
            }
        });
        Self { outputs, inputs, content: Content::Owned(content) }
    }

    /// A weight `[outputs, inputs]` of the bytes that [`Int8Weight::as_bytes`] gave; they are copied only where they are not aligned to 64.
    ///
    /// # Errors
    /// When there are other than `packed_shape` says, or too many inputs.
    pub fn from_packed(bytes: SharedBytes, outputs: usize, inputs: usize) -> Result<Self, PackedError> {
        if inputs > MAX_INPUTS {
            return Err(PackedError::Inputs(inputs));
        }
        let (found, needed) =
            ((*bytes).as_ref().len(), Self::packed_shape(outputs, inputs).iter().product::<usize>());
        if found != needed {
            return Err(PackedError::Length { found, needed });
        }
        let content = match lines_of((*bytes).as_ref()) {
            Some(_) => Content::Shared(bytes),
            None => {
                let chunks = (*bytes).as_ref().chunks_exact(size_of::<Line>());
                let line = |chunk: &[u8]| Line(std::array::from_fn(|byte| chunk[byte] as i8));
                Content::Owned(chunks.map(line).collect())
            }
        };
        Ok(Self { outputs, inputs, content })
    }

    /// The sizes of the arranged bytes: panels, lines of a panel, bytes of a line.
    pub fn packed_shape(outputs: usize, inputs: usize) -> [usize; 3] {
        let panels = outputs.next_multiple_of(TOGETHER * OUTPUTS) / OUTPUTS;
        [panels, inputs.next_multiple_of(DEPTH) / GROUP + TAIL, size_of::<Line>()]
    }

    /// The arranged bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.content {
            Content::Owned(lines) => bytes_of(lines),
            Content::Shared(bytes) => (**bytes).as_ref(),
        }
    }

    /// Rows of the matrix: what products have as columns.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Columns of the matrix.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The rounded values, row after row.
    pub fn dequantize(&self) -> Vec<f32> {
        let panels = self.panels();
        let row = |output: usize| {
            let (panel, place) = (output / OUTPUTS, output % OUTPUTS);
            let (lines, scale) = (panels.lines(panel), panels.scales(panel)[place]);
            (0..self.inputs)
                .map(move |input| f32::from(lines[input / GROUP].0[place * GROUP + input % GROUP]) * scale)
        };
        (0..self.outputs).flat_map(row).collect()
    }

    pub(super) fn panels(&self) -> Panels<'_> {
        let lines = match &self.content {
            Content::Owned(lines) => lines,
            Content::Shared(bytes) => lines_of((**bytes).as_ref()).unwrap_or_default(),
        };
        Panels { lines, length: Self::packed_shape(self.outputs, self.inputs)[1] }
    }
}

impl fmt::Debug for Int8Weight {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Int8Weight({}x{})", self.outputs, self.inputs)
    }
}

impl PartialEq for Int8Weight {
    fn eq(&self, other: &Self) -> bool {
        (self.outputs, self.inputs) == (other.outputs, other.inputs) && self.as_bytes() == other.as_bytes()
    }
}

/// Rounds a row to steps and returns what one is worth.
fn round(row: &[f32], rounded: &mut [i8]) -> f32 {
    crate::vectorized(
        #[inline(always)]
        || {
            let scale = step(row);
            for (steps, value) in rounded.iter_mut().zip(row) {
                *steps = (value / scale).round_ties_even() as i32 as i8;
            }
            scale
        },
    )
}

/// The panels of a weight.
#[derive(Clone, Copy)]
pub(super) struct Panels<'a> {
    lines: &'a [Line],
    /// Lines of a panel, with its tail.
    length: usize,
}

impl<'a> Panels<'a> {
    pub(super) fn count(self) -> usize {
        self.lines.len() / self.length
    }

    /// Lines of steps in a panel.
    pub(super) fn length(self) -> usize {
        self.length - TAIL
    }

    /// The steps of a panel.
    pub(super) fn lines(self, panel: usize) -> &'a [Line] {
        &self.lines[panel * self.length..][..self.length - TAIL]
    }

    /// What a step of each output is worth.
    pub(super) fn scales(self, panel: usize) -> [f32; OUTPUTS] {
        self.tail(panel, 0).map(f32::from_le_bytes)
    }

    /// The sums of each output's steps.
    pub(super) fn sums(self, panel: usize) -> [i32; OUTPUTS] {
        self.tail(panel, 1).map(i32::from_le_bytes)
    }

    fn tail(self, panel: usize, line: usize) -> [[u8; 4]; OUTPUTS] {
        let line = &self.lines[(panel + 1) * self.length - TAIL + line];
        std::array::from_fn(|output| std::array::from_fn(|byte| line.0[output * 4 + byte] as u8))
    }
}

impl Line {
    /// Puts four bytes at the place of an output.
    fn put(&mut self, output: usize, bytes: [u8; 4]) {
        for (place, byte) in self.0[output * 4..].iter_mut().zip(bytes) {
            *place = byte as i8;
        }
    }
}

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
