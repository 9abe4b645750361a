//! Activations in eight bits.

use super::{DEPTH, Line, step};
use crate::matmul::Path;
use rayon::prelude::*;

/// Rows of a tile pair; there are as many lines, so that tiles may read beyond the last row.
const TILE_ROWS: usize = 32;

/// Rows of activations, each rounded with a scale of its own.
pub(super) struct Rows {
    pub(super) count: usize,
    /// Lines of a row.
    pub(super) length: usize,
    pub(super) lines: Vec<Line>,
    pub(super) scales: Vec<f32>,
}

impl Rows {
    /// Rounds rows of `inputs` values. For [`Path::Avx512`], whose instruction wants one side without a sign, 128 is added to each step.
    pub(super) fn quantize(input: &[f32], inputs: usize, path: Path) -> Self {
        let (count, length) = (input.len() / inputs, inputs.div_ceil(DEPTH));
        let padded = if path == Path::Amx { count.next_multiple_of(TILE_ROWS) } else { count };
        let mut lines = vec![Line::ZERO; padded * length];
        let mut scales = vec![0.0; padded];
        let flip = if path == Path::Avx512 { i8::MIN } else { 0 };
        let round = |((lines, scale), row): ((&mut [Line], &mut f32), &[f32])| {
            crate::vectorized(
                #[inline(always)]
                || {
                    *scale = step(row);
                    let steps = 1.0 / *scale;
                    for (line, values) in lines.iter_mut().zip(row.chunks(DEPTH)) {
                        for (step, value) in line.0.iter_mut().zip(values) {
                            *step = (value * steps).round_ties_even() as i32 as i8 ^ flip;
                        }
                    }
                },
            );
        };
        let rows = input.par_chunks(inputs);
        if crate::work::is_shared(input.len()) {
            lines.par_chunks_mut(length).zip(&mut scales).zip(rows).for_each(round);
        } else {
            lines.chunks_mut(length).zip(&mut scales).zip(input.chunks(inputs)).for_each(round);
        }
        Self { count, length, lines, scales }
    }

    pub(super) fn row(&self, row: usize) -> &[Line] {
        &self.lines[row * self.length..][..self.length]
    }
}
