//! Products of weights in eight bits with activations that are rounded to eight bits, row by row.
//!
//! A weight is symmetric with a scale for each output; activations are rounded when they come, symmetric with a scale for each row. Sums
//! are integers, so that every path gives the same bits.

#[cfg(target_arch = "x86_64")]
mod bytes;
#[cfg(target_arch = "x86_64")]
mod dots;
mod lines;
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
pub(crate) use packed::{Panels, TAIL};
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

/// `output[rows, outputs] = input[rows, inputs] · weightᵀ`, with the input rounded row by row, on the threads of the current pool.
///
/// # Panics
/// When the lengths do not fit.
pub fn matmul_int8(input: &[f32], weight: &Int8Weight, output: &mut [f32]) {
    matmul_int8_on(current(), input, weight, output);
}

/// As [`matmul_int8`], by the instructions of `path`.
///
/// # Panics
/// When the lengths do not fit, or the path [has no instructions](has_int8) for eight bits here.
pub fn matmul_int8_on(path: Path, input: &[f32], weight: &Int8Weight, output: &mut [f32]) {
    assert!(has_int8(path), "this processor lacks {path:?} for eight bits");
    let (outputs, inputs) = (weight.outputs(), weight.inputs());
    if outputs == 0 || inputs == 0 {
        // Nothing goes in, or nothing comes out.
        assert!(if outputs == 0 {
            output.is_empty()
        } else {
            input.is_empty() && output.len().is_multiple_of(outputs)
        });
        return output.fill(0.0);
    }
    let count = output.len() / outputs;
    assert_eq!((count * outputs, count * inputs), (output.len(), input.len()), "{inputs} in, {outputs} out");
    // Tiles take 16 rows and more; for few the weight's way from memory is what takes time.
    let path = if path == Path::Amx && count < FEW { Path::Avx512 } else { path };
    let rows = Rows::quantize(input, inputs, Arrangement::of(path));
    let output = Output { values: output.as_mut_ptr(), rows: count, columns: outputs, first_panel: 0 };
    let panels = weight.panels();
    let pairs = panels.count() / TOGETHER;
    let work = |first: usize| {
        multiply(path, &rows, panels, output, first..(first + PIECE).min(pairs));
    };
    let starts = (0..pairs.div_ceil(PIECE)).into_par_iter().map(|piece| piece * PIECE);
    if crate::work::is_shared(count * outputs * inputs / OUTPUTS) {
        starts.for_each(work);
    } else {
        (0..pairs).step_by(PIECE).for_each(work);
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
pub(crate) const FEW: usize = 6;
/// Pairs of panels of one piece of work: their weights stay in the second-level cache while the rows pass.
pub(crate) const PIECE: usize = 4;

/// Where a product goes. Pieces of work write different columns of it.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    pub(crate) values: *mut f32,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// The panel of the weight that is the first of those multiplied with.
    pub(crate) first_panel: usize,
}

// SAFETY: the pointer is to a slice that a product borrows mutably for as long as an `Output` lives; threads write different
// elements of it.
#[allow(unsafe_code)]
unsafe impl Send for Output {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Output {}

impl Output {
    /// The same for products with panels from `panel` on.
    pub(crate) fn from_panel(self, panel: usize) -> Self {
        Self { first_panel: panel, ..self }
    }

    /// Writes what `sums` (of the panel's 16 outputs) are worth into a row.
    #[allow(unsafe_code)]
    pub(crate) fn write(
        self,
        row: usize,
        panel: usize,
        sums: &[i32; OUTPUTS],
        row_scale: f32,
        scales: &[f32; OUTPUTS],
    ) {
        assert!(row < self.rows);
        let start = (self.first_panel + panel) * OUTPUTS;
        for (column, (sum, scale)) in (start..self.columns.min(start + OUTPUTS)).zip(sums.iter().zip(scales))
        {
            // SAFETY: row and column lie inside of the output, whose length is their product; nobody else writes this column.
            unsafe { self.values.add(row * self.columns + column).write(*sum as f32 * row_scale * scale) };
        }
    }
}
