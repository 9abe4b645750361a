//! How weights in four bits lie in memory and in files.

use crate::int8::{
    DEPTH, GROUP, Line, Lines, MAX_INPUTS, OUTPUTS, PackedError, SharedBytes, TAIL, TOGETHER, step,
};
use rayon::prelude::*;
use std::fmt;
use std::ops::Range;

/// Inputs that share a step and an offset.
pub(super) const GROUP_INPUTS: usize = 32;

/// Groups side by side in a chunk.
const GROUPS: usize = DEPTH / GROUP_INPUTS;

/// Lines of 64 inputs: one of the steps and offsets of both groups, and four for each group.
pub(super) const CHUNK: usize = 1 + GROUPS * HALF_LINES;

/// Lines of a group; each holds two lines of four inputs, one in the lower halves of its bytes and one in the upper ones.
pub(super) const HALF_LINES: usize = GROUP_INPUTS / (2 * GROUP);

/// The largest value in four bits.
const LARGEST: i32 = 15;

/// A matrix of weights in four bits, arranged for the processor: panels of 16 outputs, each with nine lines of 64 bytes for every 64 inputs and
/// one line for scales. Outputs are filled up to a multiple of 32 and inputs to one of 64. The arrangement is the same for every path and on the
/// disk.
#[derive(Clone)]
pub struct Int4Weight {
    outputs: usize,
    inputs: usize,
    lines: Lines,
}

impl Int4Weight {
    /// Rounds a weight `[outputs, inputs]`: the largest value of each output becomes 127 steps of eight bits, and each group of 32 inputs takes the
    /// step and offset, integers in those, that err least.
    ///
    /// # Panics
    /// When `weight` has another length, or there are more than [`MAX_INPUTS`].
    pub fn quantize(weight: &[f32], outputs: usize, inputs: usize) -> Self {
        assert_eq!(weight.len(), outputs * inputs, "a weight of {outputs}x{inputs}");
        assert!(inputs <= MAX_INPUTS, "{inputs} inputs overflow the sums");
        let [panels, lines, _] = Self::packed_shape(outputs, inputs);
        let mut content = vec![Line::ZERO; panels * lines];
        content.par_chunks_mut(lines).enumerate().for_each(|(number, panel)| {
            let first = number * OUTPUTS;
            for output in 0..OUTPUTS.min(outputs.saturating_sub(first)) {
                quantize_row(&weight[(first + output) * inputs..][..inputs], panel, output);
            }
        });
        Self { outputs, inputs, lines: Lines::Owned(content) }
    }

    /// A weight `[outputs, inputs]` of the bytes that [`Int4Weight::as_bytes`] gave; they are copied only where they are not aligned to 64.
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
        [panels, inputs.div_ceil(DEPTH) * CHUNK + 1, size_of::<Line>()]
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
        let chunks = self.chunks();
        let mut values = vec![0.0; self.outputs * self.inputs];
        let rows = values.par_chunks_mut((OUTPUTS * self.inputs).max(1)).enumerate();
        rows.for_each_init(Vec::new, |lines, (panel, rows)| {
            let length = chunks.unpack(panel..panel + 1, lines);
            let scales = chunks.scales(panel);
            for (place, row) in rows.chunks_mut(self.inputs).enumerate() {
                for (input, value) in row.iter_mut().enumerate() {
                    let step = lines[..length][input / GROUP].0[place * GROUP + input % GROUP];
                    *value = f32::from(step) * scales[place];
                }
            }
        });
        values
    }

    pub(super) fn chunks(&self) -> Chunks<'_> {
        let length = Self::packed_shape(self.outputs, self.inputs)[1];
        Chunks { lines: self.lines.as_slice(), length }
    }
}

impl fmt::Debug for Int4Weight {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Int4Weight({}x{})", self.outputs, self.inputs)
    }
}

/// Rounds the row of an output into its panel.
fn quantize_row(row: &[f32], panel: &mut [Line], output: usize) {
    let scale = step(row);
    let (chunks, tail) = panel.split_at_mut(panel.len() - 1);
    tail[0].put(output, scale.to_le_bytes());
    for (number, values) in row.chunks(GROUP_INPUTS).enumerate() {
        let mut steps = [0.0; GROUP_INPUTS];
        for (step, value) in steps.iter_mut().zip(values) {
            *step = value / scale;
        }
        let fitted = fit(&steps[..values.len()]);
        let chunk = &mut chunks[number / GROUPS * CHUNK..][..CHUNK];
        let half = number % GROUPS;
        chunk[0].0[half * GROUP_INPUTS + output] = fitted.step as i8;
        chunk[0].0[half * GROUP_INPUTS + OUTPUTS + output] = fitted.offset as i8;
        let lines = &mut chunk[1 + half * HALF_LINES..][..HALF_LINES];
        for (input, value) in steps[..values.len()].iter().enumerate() {
            let place = output * GROUP + input % GROUP;
            let line = &mut lines[input / (2 * GROUP)].0[place];
            *line |= (fitted.round(*value) << (4 * (input / GROUP % 2))) as i8;
        }
    }
}

/// `step·q + offset`, with `q` in 0..=15: at most 127 in size.
#[derive(Clone, Copy)]
struct Fit {
    step: i32,
    offset: i32,
}

impl Fit {
    fn round(self, value: f32) -> i32 {
        let quotient = (value - self.offset as f32) * (1.0 / self.step as f32);
        (quotient.round_ties_even() as i32).clamp(0, LARGEST)
    }

    #[inline(always)]
    fn error(self, values: &[f32]) -> f32 {
        let (step, offset) = (self.step as f32, self.offset as f32);
        let errors = values.iter().map(|value| {
            let quotient = ((value - offset) * (1.0 / step)).round_ties_even().clamp(0.0, LARGEST as f32);
            let error = quotient * step + offset - value;
            error * error
        });
        errors.sum()
    }
}

/// The step and offset that err least on `values` (in steps of eight bits, −127 to 127), among those near what the smallest and the largest need.
fn fit(values: &[f32]) -> Fit {
    let (least, most) =
        values.iter().fold((f32::MAX, f32::MIN), |(least, most), &value| (least.min(value), most.max(value)));
    if least > most {
        // None of them is a number.
        return Fit { step: 1, offset: 0 };
    }
    let needed = ((most - least) / LARGEST as f32).ceil() as i32;
    let mut best = (f32::INFINITY, Fit { step: 1, offset: 0 });
    for step in (needed - 2).max(1)..=needed.clamp(1, 2 * 127 / LARGEST) {
        // The middle of what four bits reach lies near the middle of the values.
        let middle = ((least + most - (LARGEST * step) as f32) * 0.5).round() as i32;
        for offset in middle - 2..=middle + 2 {
            let fit = Fit { step, offset: offset.clamp(-127, 127 - LARGEST * step) };
            let error = crate::vectorized(
                #[inline(always)]
                || fit.error(values),
            );
            if error < best.0 {
                best = (error, fit);
            }
        }
    }
    best.1
}

/// The panels of a weight in four bits.
#[derive(Clone, Copy)]
pub(super) struct Chunks<'a> {
    lines: &'a [Line],
    /// Lines of a panel, with that of the scales.
    length: usize,
}

impl<'a> Chunks<'a> {
    /// How many panels there are.
    pub(super) fn count(self) -> usize {
        self.lines.len() / self.length
    }

    /// Inputs, filled up.
    pub(super) fn inputs(self) -> usize {
        self.length / CHUNK * DEPTH
    }

    /// The chunks of a panel, each of [`CHUNK`] lines.
    pub(super) fn panel(self, panel: usize) -> &'a [[Line; CHUNK]] {
        self.lines[panel * self.length..][..self.length - 1].as_chunks().0
    }

    /// What a step of eight bits is worth for each output.
    pub(super) fn scales(self, panel: usize) -> [f32; OUTPUTS] {
        let line = &self.lines[(panel + 1) * self.length - 1];
        std::array::from_fn(|output| {
            f32::from_le_bytes(std::array::from_fn(|byte| line.0[output * 4 + byte] as u8))
        })
    }

    /// Puts panels into eight bits, as they lie in an [`crate::int8::Int8Weight`]; returns the lines of each.
    pub(super) fn unpack(self, panels: Range<usize>, lines: &mut Vec<Line>) -> usize {
        let length = self.length / CHUNK * (DEPTH / GROUP) + TAIL;
        lines.resize(panels.len() * length, Line::ZERO);
        for (panel, lines) in panels.zip(lines.chunks_mut(length)) {
            let (lines, tail) = lines.split_at_mut(length - TAIL);
            for (chunk, lines) in self.panel(panel).iter().zip(lines.chunks_mut(DEPTH / GROUP)) {
                unpack_chunk(chunk, lines);
            }
            let sums = sums(lines);
            for (output, (scale, sum)) in self.scales(panel).into_iter().zip(sums).enumerate() {
                tail[0].put(output, scale.to_le_bytes());
                tail[1].put(output, sum.to_le_bytes());
            }
        }
        length
    }
}

fn unpack_chunk(chunk: &[Line; CHUNK], lines: &mut [Line]) {
    crate::vectorized(
        #[inline(always)]
        || {
            for (half, lines) in lines.chunks_exact_mut(2 * HALF_LINES).enumerate() {
                let spread = |first: usize| -> [i8; 64] {
                    std::array::from_fn(|place| chunk[0].0[half * GROUP_INPUTS + first + place / GROUP])
                };
                let (steps, offsets) = (spread(0), spread(OUTPUTS));
                for (packed, lines) in chunk[1 + half * HALF_LINES..].iter().zip(lines.as_chunks_mut::<2>().0)
                {
                    let [lower, upper] = lines;
                    for place in 0..64 {
                        let (bits, step, offset) = (packed.0[place] as u8, steps[place], offsets[place]);
                        lower.0[place] = ((bits & 15) as i8).wrapping_mul(step).wrapping_add(offset);
                        upper.0[place] = ((bits >> 4) as i8).wrapping_mul(step).wrapping_add(offset);
                    }
                }
            }
        },
    );
}

/// Sums over the inputs of each output.
fn sums(lines: &[Line]) -> [i32; OUTPUTS] {
    crate::vectorized(
        #[inline(always)]
        || {
            let mut sums = [0_i32; OUTPUTS];
            for line in lines {
                for (sum, group) in sums.iter_mut().zip(line.0.as_chunks::<GROUP>().0) {
                    *sum += group.iter().map(|step| i32::from(*step)).sum::<i32>();
                }
            }
            sums
        },
    )
}
