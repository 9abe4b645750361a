//! Products of weights in eight bits with activations that are rounded to eight bits, row by row.
//!
//! A weight is symmetric with a scale for each output; activations are rounded when they come, symmetric with a scale for each row. What that
//! leaves of a row is rounded and multiplied as well, a second digit, where few large values leave the others few steps, and of every row in
//! [`crate::matmul::Precision::Highest`]. Sums are integers, so that every path gives the same bits.

#[cfg(target_arch = "x86_64")]
mod bytes;
#[cfg(target_arch = "x86_64")]
mod dots;
mod lines;
mod output;
mod packed;
mod portable;
mod rows;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tiles;

pub use lines::{PackedError, SharedBytes};
pub use packed::Int8Weight;

pub(crate) use lines::{Line, Lines};
pub(crate) use output::Output;
pub(crate) use packed::{Panels, TAIL};
#[cfg(test)]
pub(crate) use rows::remainder;
pub(crate) use rows::{Arrangement, Rows};

use crate::matmul::Path;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::OnceLock;

/// Outputs of a panel.
pub(crate) const OUTPUTS: usize = 16;
/// Inputs that one instruction multiplies for each output; they lie side by side.
pub(crate) const GROUP: usize = 4;
/// Inputs are filled up with zeros to a multiple of this, the depth of a tile.
pub(crate) const DEPTH: usize = 64;
/// Panels that are multiplied together.
pub(crate) const TOGETHER: usize = 2;

/// Inputs up to which 32 bits hold every sum.
pub const MAX_INPUTS: usize = 1 << 16;

/// What a step is worth if the largest of these values is to be 127 of them; not a number where one of them is none. Values too small for that
/// become zeros.
#[inline(always)]
pub(crate) fn step(values: &[f32]) -> f32 {
    // So that one divided by a step is finite.
    const LEAST: u32 = (127.0 * f32::MIN_POSITIVE).to_bits();
    // Without their signs, numbers are ordered as their bits are, and what is no number stands above them.
    let bits = values.iter().fold(0, |largest: u32, value| largest.max(value.abs().to_bits()));
    if bits >= LEAST { f32::from_bits(bits) / 127.0 } else { 1.0 }
}

/// Whether a path has instructions for eight bits on this processor. [`Path::Portable`] always has.
pub fn has_int8(path: Path) -> bool {
    match path {
        #[cfg(target_arch = "x86_64")]
        Path::Amx => tiles::is_available() && dots::is_available(),
        #[cfg(target_arch = "x86_64")]
        Path::Avx512 => dots::is_available(),
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => bytes::is_available(),
        #[cfg(not(target_arch = "x86_64"))]
        Path::Amx | Path::Avx512 | Path::Avx2 => false,
        Path::Portable => true,
    }
}

/// The path of this process: the one that `MASKWISE_ISA` asks for (see [`Path::current`]) or the fastest, or the next that the processor has
/// for eight bits.
pub(crate) fn current() -> Path {
    static CURRENT: OnceLock<Path> = OnceLock::new();
    *CURRENT.get_or_init(|| {
        let mut paths = Path::ALL.into_iter();
        let wish = Path::wished();
        paths.find(|&path| path as u8 >= wish as u8 && has_int8(path)).unwrap_or(Path::Portable)
    })
}

/// `output[rows, outputs] = input[rows, inputs] · weightᵀ`, plus a number of `bias` for each output if there is one, with the input rounded row by
/// row, on the threads of the current pool.
///
/// # Panics
/// When the lengths do not fit.
pub fn matmul_int8(input: &[f32], weight: &Int8Weight, bias: Option<&[f32]>, output: &mut [f32]) {
    matmul_int8_on(current(), input, weight, bias, output);
}

/// As [`matmul_int8`], by the instructions of `path`.
///
/// # Panics
/// When the lengths do not fit, or the path [has no instructions](has_int8) for eight bits here.
pub fn matmul_int8_on(
    path: Path,
    input: &[f32],
    weight: &Int8Weight,
    bias: Option<&[f32]>,
    output: &mut [f32],
) {
    assert!(has_int8(path), "this processor lacks {path:?} for eight bits");
    let (outputs, inputs) = (weight.outputs(), weight.inputs());
    let Some(count) = rows_to_multiply(input, (outputs, inputs), bias, output) else { return };
    // Tiles take 16 rows and more; for few the weight's way from memory is what takes time.
    let path = if path == Path::Amx && count < FEW { Path::Avx512 } else { path };
    let rows = Rows::quantize(input, inputs, Arrangement::of(path));
    let panels = weight.panels();
    Output::of(&rows, bias, output, outputs, |output| {
        share(panels.count() / TOGETHER, rows.count * outputs * inputs, |pairs| {
            multiply(path, &rows, panels, output, pairs);
        });
    });
}

/// How many rows there are to be multiplied with a weight of these sizes; none where nothing goes in or nothing comes out, which is done then.
///
/// # Panics
/// When the lengths do not fit.
pub(crate) fn rows_to_multiply(
    input: &[f32],
    (outputs, inputs): (usize, usize),
    bias: Option<&[f32]>,
    output: &mut [f32],
) -> Option<usize> {
    if outputs == 0 {
        assert!(output.is_empty(), "nothing comes out");
        return None;
    }
    let count = output.len() / outputs;
    assert_eq!((count * outputs, count * inputs), (output.len(), input.len()), "{inputs} in, {outputs} out");
    if inputs > 0 {
        return Some(count);
    }
    for row in output.chunks_mut(outputs) {
        match bias {
            Some(bias) => row.copy_from_slice(bias),
            None => row.fill(0.0),
        }
    }
    None
}

/// Runs `work` on pieces of the pairs of panels, on several threads if there are enough `products`.
pub(crate) fn share(pairs: usize, products: usize, work: impl Fn(Range<usize>) + Sync) {
    let piece = |piece: usize| work(piece * PIECE..((piece + 1) * PIECE).min(pairs));
    let pieces = 0..pairs.div_ceil(PIECE);
    if crate::work::is_shared(products / OUTPUTS) {
        pieces.into_par_iter().for_each(piece);
    } else {
        pieces.for_each(piece);
    }
}

/// Multiplies with some pairs of panels, by the instructions of a path that this processor has.
pub(crate) fn multiply(path: Path, rows: &Rows, panels: Panels, output: Output, pairs: Range<usize>) {
    match path {
        #[cfg(target_arch = "x86_64")]
        Path::Amx => tiles::multiply(rows, panels, output, pairs),
        #[cfg(target_arch = "x86_64")]
        Path::Avx512 => dots::multiply(rows, panels, output, pairs),
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => bytes::multiply(rows, panels, output, pairs),
        _ => portable::multiply(rows, panels, output, pairs),
    }
}

/// Rows below which tiles do not pay.
const FEW: usize = 20;
/// Pairs of panels of one piece of work: their weights stay in the second-level cache while the rows pass.
pub(crate) const PIECE: usize = 4;
