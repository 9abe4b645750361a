//! Activations in eight bits.

use super::{DEPTH, Line, step};
use crate::matmul::Path;
use rayon::prelude::*;

/// Rows of two tiles, one below the other; there are as many lines, so that tiles may read beyond the last row.
pub(super) const TILE_ROWS: usize = 32;

/// How rounded activations lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrangement {
    /// Row after row.
    Rows,
    /// Row after row, with 128 added to each step.
    Unsigned,
    /// 32 rows at a time, of which the first lines come first, then the second ones.
    Tiles,
}

impl Arrangement {
    /// What the instructions of `path` take for weights in eight bits: the dot product of AVX-512 wants one side without a sign.
    pub(crate) fn of(path: Path) -> Self {
        match path {
            Path::Amx => Self::Tiles,
            Path::Avx512 => Self::Unsigned,
            Path::Avx2 | Path::Portable => Self::Rows,
        }
    }
}

/// Rows of activations, each rounded with a scale of its own.
pub(crate) struct Rows {
    pub(crate) count: usize,
    /// Lines of a row.
    pub(crate) length: usize,
    lines: Vec<Line>,
    pub(crate) scales: Vec<f32>,
}

impl Rows {
    /// Rounds rows of `inputs` values.
    pub(crate) fn quantize(input: &[f32], inputs: usize, arrangement: Arrangement) -> Self {
        let (count, length) = (input.len() / inputs, inputs.div_ceil(DEPTH));
        let together = if arrangement == Arrangement::Tiles { TILE_ROWS } else { 1 };
        let flip = if arrangement == Arrangement::Unsigned { i8::MIN } else { 0 };
        let mut lines = vec![Line([flip; DEPTH]); count.next_multiple_of(together) * length];
        let mut scales = vec![0.0; count];
        let round = |((lines, scales), rows): ((&mut [Line], &mut [f32]), &[f32])| {
            for (place, (scale, row)) in scales.iter_mut().zip(rows.chunks(inputs)).enumerate() {
                *scale = round(row, lines[place..].iter_mut().step_by(together), flip);
            }
        };
        if crate::work::is_shared(input.len()) {
            let outputs = lines.par_chunks_mut(together * length).zip(scales.par_chunks_mut(together));
            outputs.zip(input.par_chunks(together * inputs)).for_each(round);
        } else {
            let outputs = lines.chunks_mut(together * length).zip(scales.chunks_mut(together));
            outputs.zip(input.chunks(together * inputs)).for_each(round);
        }
        Self { count, length, lines, scales }
    }

    /// A row, if rows follow each other.
    pub(crate) fn row(&self, row: usize) -> &[Line] {
        &self.lines[row * self.length..][..self.length]
    }

    /// The 32 rows from `first` on, for tiles.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn tiles(&self, first: usize) -> &[Line] {
        &self.lines[first * self.length..][..TILE_ROWS * self.length]
    }
}

/// Rounds a row into lines and returns what a step is worth.
fn round<'a>(row: &[f32], lines: impl Iterator<Item = &'a mut Line>, flip: i8) -> f32 {
    crate::vectorized(
        #[inline(always)]
        || {
            let scale = step(row);
            let steps = 1.0 / scale;
            for (line, values) in lines.zip(row.chunks(DEPTH)) {
                for (step, value) in line.0.iter_mut().zip(values) {
                    *step = (value * steps).round_ties_even() as i32 as i8 ^ flip;
                }
            }
            scale
        },
    )
}
