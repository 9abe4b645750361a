//! Activations in eight bits.

use super::{DEPTH, Line, step};
use crate::matmul::{Path, Precision, precision};
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

/// Times its root mean square that the largest value of a row may be before what rounding leaves is kept too. A normal distribution of 4,096
/// values reaches about four.
const CREST: f32 = 8.0;

/// Rows of activations, each rounded with a scale of its own; behind them stands what rounding leaves of some, rounded in turn.
pub(crate) struct Rows {
    /// All of them, remainders too.
    pub(crate) count: usize,
    /// Lines of a row.
    pub(crate) length: usize,
    lines: Vec<Line>,
    pub(crate) scales: Vec<f32>,
    /// The rows that the last ones are the remainders of.
    pub(crate) remainders: Vec<usize>,
}

impl Rows {
    /// Rounds rows of `inputs` values; the remainders of all are kept in [`Precision::Highest`].
    pub(crate) fn quantize(input: &[f32], inputs: usize, arrangement: Arrangement) -> Self {
        let length = inputs.div_ceil(DEPTH);
        let together = if arrangement == Arrangement::Tiles { TILE_ROWS } else { 1 };
        let flip = if arrangement == Arrangement::Unsigned { i8::MIN } else { 0 };
        let room = |count: usize| count.next_multiple_of(together) * length;
        let mut count = input.len() / inputs;
        let mut lines = vec![Line([flip; DEPTH]); room(count)];
        let mut rounded = vec![Rounded::default(); count];
        let round = |((lines, rounded), rows): ((&mut [Line], &mut [Rounded]), &[f32])| {
            for (place, (rounded, row)) in rounded.iter_mut().zip(rows.chunks(inputs)).enumerate() {
                *rounded = round(row, lines[place..].iter_mut().step_by(together), flip);
            }
        };
        if crate::work::is_shared(input.len()) {
            let outputs = lines.par_chunks_mut(together * length).zip(rounded.par_chunks_mut(together));
            outputs.zip(input.par_chunks(together * inputs)).for_each(round);
        } else {
            let outputs = lines.chunks_mut(together * length).zip(rounded.chunks_mut(together));
            outputs.zip(input.chunks(together * inputs)).for_each(round);
        }
        let all = precision() == Precision::Highest;
        let remainders: Vec<usize> = (0..count).filter(|row| all || rounded[*row].is_uneven).collect();
        let mut scales: Vec<f32> = rounded.iter().map(|rounded| rounded.scale).collect();
        lines.resize(room(count + remainders.len()), Line([flip; DEPTH]));
        let mut left = vec![0.0; inputs];
        for row in &remainders {
            remainder(&input[row * inputs..][..inputs], scales[*row], &mut left);
            let (block, place) = (count / together, count % together);
            let lines = lines[block * together * length + place..].iter_mut().step_by(together);
            scales.push(self::round(&left, lines.take(length), flip).scale);
            count += 1;
        }
        Self { count, length, lines, scales, remainders }
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

/// What became of a row.
#[derive(Clone, Copy, Default)]
struct Rounded {
    /// What a step is worth.
    scale: f32,
    /// Whether few large values leave the others few steps.
    is_uneven: bool,
}

/// Rounds a row into lines.
fn round<'a>(row: &[f32], mut lines: impl Iterator<Item = &'a mut Line>, flip: i8) -> Rounded {
    crate::vectorized(
        #[inline(always)]
        || {
            let scale = step(row);
            let steps = 1.0 / scale;
            let rounded = |value: f32| in_steps(value, steps) ^ flip;
            let (whole, rest) = row.as_chunks::<DEPTH>();
            for values in whole {
                if let Some(line) = lines.next() {
                    line.0 = values.map(rounded);
                }
            }
            if let Some(line) = lines.next() {
                for (step, value) in line.0.iter_mut().zip(rest) {
                    *step = rounded(*value);
                }
            }
            let mean_square = crate::work::fold(row, |value| value * value) / row.len() as f32;
            Rounded { scale, is_uneven: 127.0 * scale > CREST * mean_square.sqrt() }
        },
    )
}

/// A value of at most 127 steps in whole steps, to nearest, ties to even.
#[inline(always)]
fn in_steps(value: f32, steps: f32) -> i8 {
    // A number of this size has no bits below 1, so the sum is rounded, and the lowest byte holds what was added.
    const ROUNDS: f32 = 12_582_912.0;
    (value * steps + ROUNDS).to_bits() as i8
}

/// Writes what rounding to steps of `scale` leaves of a row.
pub(crate) fn remainder(row: &[f32], scale: f32, left: &mut [f32]) {
    crate::vectorized(
        #[inline(always)]
        || {
            let steps = 1.0 / scale;
            for (left, value) in left.iter_mut().zip(row) {
                *left = value - (value * steps).round_ties_even() * scale;
            }
        },
    )
}
