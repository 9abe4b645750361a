//! f32 products of a few rows with a large matrix that is transposed in memory: what matters is how fast it is read.

use super::{Matrix, MatrixMut, Write};
use crate::dots::{STREAMS, dots};
use crate::work::with_scratch;
use rayon::prelude::*;

/// Rows up to which the matrix is best read as it lies.
const FEW: usize = 5;
/// Numbers of a matrix from which on this is worth it.
const LARGE: usize = 1 << 14;
/// Columns of the output per task.
const COLUMNS: usize = 64;

/// Whether a product is one of these.
pub(super) fn pays(left: &Matrix, right: &Matrix) -> bool {
    (1..=FEW).contains(&left.rows)
        && left.column_stride == 1
        && right.row_stride == 1
        && right.rows * right.columns >= LARGE
}

/// As [`super::exact`], for what [`pays`]; the sizes fit each other and are not zero.
pub(super) fn product(left: Matrix, right: Matrix, output: MatrixMut, scale: f32, write: Write, share: bool) {
    let rows = left.rows;
    let some = |(number, sums): (usize, &mut [f32])| {
        pulp::Arch::new().dispatch(Columns { left, right, first: number * COLUMNS, sums });
    };
    with_scratch(rows * right.columns, |sums| {
        if share {
            sums.par_chunks_mut(COLUMNS * rows).enumerate().for_each(some);
        } else {
            sums.chunks_mut(COLUMNS * rows).enumerate().for_each(some);
        }
        for (row, output) in output.values.chunks_mut(output.stride.max(right.columns)).take(rows).enumerate()
        {
            for (output, sum) in output[..right.columns].iter_mut().zip(sums[row..].iter().step_by(rows)) {
                *output = if write == Write::Add { *output + scale * sum } else { scale * sum };
            }
        }
    });
}

/// Some columns of the output from `first` on, `[columns, rows]`.
struct Columns<'a> {
    left: Matrix<'a>,
    right: Matrix<'a>,
    first: usize,
    sums: &'a mut [f32],
}

impl pulp::WithSimd for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) {
        let Self { left, right, first, sums } = self;
        let row = |row: usize| &left.values[row * left.row_stride..][..left.columns];
        let column = |index: usize| &right.values[(first + index) * right.column_stride..][..left.columns];
        let mut chunks = sums.chunks_exact_mut(STREAMS * left.rows);
        let mut next = 0;
        for sums in &mut chunks {
            let columns = std::array::from_fn::<_, STREAMS, _>(|index| column(next + index));
            for number in 0..left.rows {
                let dots = dots(simd, row(number), columns);
                for (index, dot) in dots.into_iter().enumerate() {
                    sums[index * left.rows + number] = dot;
                }
            }
            next += STREAMS;
        }
        for sums in chunks.into_remainder().chunks_exact_mut(left.rows) {
            for (number, sum) in sums.iter_mut().enumerate() {
                [*sum] = dots(simd, row(number), [column(next)]);
            }
            next += 1;
        }
    }
}
