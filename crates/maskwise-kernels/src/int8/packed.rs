//! How weights in eight bits lie in memory and in files.

use super::lines::{Lines, PackedError, SharedBytes};
use super::{DEPTH, GROUP, Line, MAX_INPUTS, OUTPUTS, TOGETHER, step};
use rayon::prelude::*;
use std::fmt;

/// Lines at the end of a panel: what a step of each output is worth (f32), and the sums of their steps (i32), both little-endian.
pub(crate) const TAIL: usize = 2;

/// A matrix of weights in eight bits, arranged for the processor: panels of 16 outputs, each with a line of 64 bytes for every four inputs and
/// two lines for scales and sums. Outputs are filled up to a multiple of 32 and inputs to one of 64. The arrangement is the same for every
/// path and on the disk.
#[derive(Clone)]
pub struct Int8Weight {
    outputs: usize,
    inputs: usize,
    lines: Lines,
}

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
        Self { outputs, inputs, lines: Lines::Owned(content) }
    }

    /// A weight `[outputs, inputs]` of the bytes that [`Int8Weight::as_bytes`] gave; they are copied only where they are not aligned to 64.
    ///
    /// # Errors
    /// When there are other than `packed_shape` says, or too many inputs.
    pub fn from_packed(bytes: SharedBytes, outputs: usize, inputs: usize) -> Result<Self, PackedError> {
        let lines = Lines::from_bytes(bytes, Self::packed_shape(outputs, inputs), inputs)?;
        Ok(Self { outputs, inputs, lines })
    }

    /// The sizes of the arranged bytes: panels, lines of a panel, bytes of a line.
    pub fn packed_shape(outputs: usize, inputs: usize) -> [usize; 3] {
        let panels = outputs.next_multiple_of(TOGETHER * OUTPUTS) / OUTPUTS;
        [panels, inputs.next_multiple_of(DEPTH) / GROUP + TAIL, size_of::<Line>()]
    }

    /// The arranged bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.lines.as_bytes()
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

    pub(crate) fn panels(&self) -> Panels<'_> {
        Panels::new(self.lines.as_slice(), Self::packed_shape(self.outputs, self.inputs)[1])
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
pub(crate) struct Panels<'a> {
    lines: &'a [Line],
    /// Lines of a panel, with its tail.
    length: usize,
}

impl<'a> Panels<'a> {
    /// Panels of `length` lines each.
    pub(crate) fn new(lines: &'a [Line], length: usize) -> Self {
        Self { lines, length }
    }

    pub(crate) fn count(self) -> usize {
        self.lines.len() / self.length
    }

    /// Lines of steps in a panel.
    pub(crate) fn length(self) -> usize {
        self.length - TAIL
    }

    /// The steps of a panel.
    pub(crate) fn lines(self, panel: usize) -> &'a [Line] {
        &self.lines[panel * self.length..][..self.length - TAIL]
    }

    /// What a step of each output is worth.
    pub(crate) fn scales(self, panel: usize) -> [f32; OUTPUTS] {
        self.tail(panel, 0).map(f32::from_le_bytes)
    }

    /// The sums of each output's steps.
    pub(crate) fn sums(self, panel: usize) -> [i32; OUTPUTS] {
        self.tail(panel, 1).map(i32::from_le_bytes)
    }

    fn tail(self, panel: usize, line: usize) -> [[u8; 4]; OUTPUTS] {
        let line = &self.lines[(panel + 1) * self.length - TAIL + line];
        std::array::from_fn(|output| std::array::from_fn(|byte| line.0[output * 4 + byte] as u8))
    }
}
