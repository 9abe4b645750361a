//! The relative terms of the scores: products of queries with tables of relative positions.

use super::{Axis, Line, Operands, Shape};
use crate::matmul::{Matrix, MatrixMut, Precision, Write, matmul_here, precision};
use crate::work::vectorized;

/// Keys along an axis up to which a table is small: its products are sums in registers.
const LANES: usize = 16;

/// Rows of keys whose scores are held at once: a half of a window's of SAM's published encoders.
#[cfg(target_arch = "x86_64")]
const ROWS: usize = 7;

/// Queries whose sums are held at once.
const QUERIES: usize = 8;

/// The tables of relative positions, arranged for all heads.
pub(super) struct Tables<'a> {
    operands: &'a Operands<'a>,
    /// `[height, dim, LANES]`, transposed and filled up with zeros; empty where there are more keys along the axis.
    rows: Vec<[f32; LANES]>,
    /// `[width, dim, LANES]`, likewise.
    columns: Vec<[f32; LANES]>,
}

/// The relative terms of a head, `[cells, height + width]`: of each row of keys, then of each column.
pub(super) struct Terms(Vec<f32>);

impl<'a> Tables<'a> {
    pub(super) fn new(shape: &Shape, operands: &'a Operands<'a>) -> Self {
        let (rows, columns) = (operands.rows, operands.columns);
        Self {
            operands,
            rows: transposed(rows, shape.height, shape.dim),
            columns: transposed(columns, shape.width, shape.dim),
        }
    }

    /// The terms of a head's `query` `[cells, dim]`, themselves rounded as what large products read, so that the backward pass finds the same scores: their own
    /// products are in f32 in both where tables are as small as in SAM's windows.
    pub(super) fn terms(&self, shape: &Shape, query: Matrix) -> Terms {
        let stride = shape.height + shape.width;
        let mut terms = vec![0.0; shape.cells() * stride];
        for line in shape.lines() {
            let target = &mut terms[line.first * stride + line.at - shape.dim..];
            let small = match line.axis {
                Axis::Rows => &self.rows,
                Axis::Columns => &self.columns,
            };
            let queries = query.every(line.first, line.step, line.count);
            if small.is_empty() {
                let table = &line.table(self.operands)[line.range(shape.dim)];
                let table = Matrix::new(table, line.keys, shape.dim);
                let target = MatrixMut::strided(target, line.count, line.keys, line.step * stride);
                matmul_here(queries, table.t(), target, 1.0, Write::Replace);
            } else {
                let table = &small[line.index * shape.dim..][..shape.dim];
                small_product(queries, table, &line, target, line.step * stride);
            }
        }
        if precision() == Precision::Medium {
            terms.iter_mut().for_each(|term| *term = half::bf16::from_f32(*term).to_f32());
        }
        Terms(terms)
    }
}

/// Each table `[keys, dim]` of one for each place as `[dim, LANES]`.
fn transposed(tables: &[f32], keys: usize, dim: usize) -> Vec<[f32; LANES]> {
    if keys == 0 || keys > LANES || dim == 0 {
        return Vec::new();
    }
    let mut all = vec![[0.0; LANES]; keys * dim];
    for (table, transposed) in tables.chunks_exact(keys * dim).zip(all.chunks_exact_mut(dim)) {
        for (key, row) in table.chunks_exact(dim).enumerate() {
            for (transposed, value) in transposed.iter_mut().zip(row) {
                transposed[key] = *value;
            }
        }
    }
    all
}

/// The products of a line's queries with a small `table` `[dim, LANES]`, into rows of `target` that start `stride` apart.
fn small_product(queries: Matrix, table: &[[f32; LANES]], line: &Line, target: &mut [f32], stride: usize) {
    for first in (0..line.count).step_by(QUERIES) {
        // Places beyond the last query repeat it.
        let rows: [&[f32]; QUERIES] =
            std::array::from_fn(|query| &queries.row((first + query).min(line.count - 1))[..table.len()]);
        for (query, sums) in (first..line.count).zip(&sums(rows, table)) {
            target[query * stride..][..line.keys].copy_from_slice(&sums[..line.keys]);
        }
    }
}

fn sums(rows: [&[f32]; QUERIES], table: &[[f32; LANES]]) -> [[f32; LANES]; QUERIES] {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has AVX-512.
        #[allow(unsafe_code)]
        return unsafe { sums_in_registers(rows, table) };
    }
    plain_sums(rows, table)
}

fn plain_sums(rows: [&[f32]; QUERIES], table: &[[f32; LANES]]) -> [[f32; LANES]; QUERIES] {
    rows.map(|row| {
        let mut sums = [0.0; LANES];
        for (value, weights) in row.iter().zip(table) {
            sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += value * weight);
        }
        sums
    })
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
fn sums_in_registers(rows: [&[f32]; QUERIES], table: &[[f32; LANES]]) -> [[f32; LANES]; QUERIES] {
    use std::arch::x86_64::*;
    assert!(rows.iter().all(|row| row.len() == table.len()));
    let mut sums = [_mm512_setzero_ps(); QUERIES];
    for (place, weights) in table.iter().enumerate() {
        // SAFETY: sixteen f32 can be read.
        let weights = unsafe { _mm512_loadu_ps(weights.as_ptr()) };
        for (sum, row) in sums.iter_mut().zip(&rows) {
            *sum = _mm512_fmadd_ps(_mm512_set1_ps(row[place]), weights, *sum);
        }
    }
    // SAFETY: 512 bits are 16 f32.
    sums.map(|sum| unsafe { std::mem::transmute::<__m512, [f32; LANES]>(sum) })
}

impl Terms {
    /// Adds the terms of the queries from `first` on to their `scores` `[count, cells]`.
    pub(super) fn add(&self, shape: &Shape, first: usize, scores: &mut [f32]) {
        let stride = shape.height + shape.width;
        let terms = self.0[first * stride..].chunks_exact(stride);
        let queries = scores.chunks_exact_mut(shape.cells()).zip(terms);
        #[cfg(target_arch = "x86_64")]
        if shape.width <= LANES && is_x86_feature_detected!("avx512f") {
            for (scores, terms) in queries {
                let (rows, columns) = terms.split_at(shape.height);
                // SAFETY: the processor has AVX-512.
                #[allow(unsafe_code)]
                unsafe {
                    add_short_rows(scores, rows, columns);
                }
            }
            return;
        }
        vectorized(
            #[inline(always)]
            || {
                for (scores, terms) in queries {
                    let (rows, columns) = terms.split_at(shape.height);
                    for (scores, row) in scores.chunks_exact_mut(shape.width).zip(rows) {
                        for (score, column) in scores.iter_mut().zip(columns) {
                            *score += row + column;
                        }
                    }
                }
            },
        );
    }
}

/// Adds the term of each row of keys and of each of up to 16 columns to a query's `scores`: a row of keys is one vector.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
fn add_short_rows(scores: &mut [f32], rows: &[f32], columns: &[f32]) {
    use std::arch::x86_64::*;
    if columns.is_empty() {
        return;
    }
    let mask = ((1_u32 << columns.len()) - 1) as u16;
    // SAFETY: a mask covers no more than the columns, of which there are 16 at most.
    let of_columns = unsafe { _mm512_maskz_loadu_ps(mask, columns.as_ptr()) };
    let together = ROWS * columns.len();
    for (scores, rows) in scores.chunks_mut(together).zip(rows.chunks(ROWS)) {
        // A vector that is loaded lies across one that is stored, and would wait for it, so all are loaded before.
        let mut sums = [_mm512_setzero_ps(); ROWS];
        for ((sum, scores), row) in sums.iter_mut().zip(scores.chunks_exact(columns.len())).zip(rows) {
            // SAFETY: as above, of as many scores.
            let scores = unsafe { _mm512_maskz_loadu_ps(mask, scores.as_ptr()) };
            *sum = _mm512_add_ps(scores, _mm512_add_ps(_mm512_set1_ps(*row), of_columns));
        }
        for (sum, scores) in sums.iter().zip(scores.chunks_exact_mut(columns.len())) {
            // SAFETY: as above.
            unsafe { _mm512_mask_storeu_ps(scores.as_mut_ptr(), mask, *sum) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_in_registers_are_the_sums() {
        let number = |index: usize| (index * 7919 % 1009) as f32 / 500.0 - 1.0;
        for dim in [0, 1, 63, 80] {
            let values: Vec<f32> = (0..QUERIES * dim).map(number).collect();
            let rows = std::array::from_fn(|query| &values[query * dim..][..dim]);
            let table: Vec<[f32; LANES]> =
                (0..dim).map(|place| std::array::from_fn(|lane| number(place * LANES + lane + 5))).collect();
            let (found, plain) = (sums(rows, &table), plain_sums(rows, &table));
            for (found, plain) in found.as_flattened().iter().zip(plain.as_flattened()) {
                assert!((found - plain).abs() < 1e-4, "{dim}: {found} {plain}");
            }
        }
    }

    /// Rows of keys in one vector and as they are, at widths around it.
    #[test]
    fn terms_are_added_to_their_row_and_column() {
        for (height, width) in [(1, 1), (14, 14), (7, 16), (15, 3), (4, 17)] {
            let shape = Shape { batch: 1, height, width, heads: 1, dim: 1, scale: 1.0 };
            let number = |index: usize| (index * 31 % 97) as f32;
            let terms: Vec<f32> = (0..3 * (height + width)).map(number).collect();
            let mut scores: Vec<f32> = (0..2 * height * width).map(number).collect();
            let mut expected = scores.clone();
            for (index, score) in expected.iter_mut().enumerate() {
                let (query, cell) = (1 + index / (height * width), index % (height * width));
                let terms = &terms[query * (height + width)..];
                *score += terms[cell / width] + terms[height + cell % width];
            }
            Terms(terms).add(&shape, 1, &mut scores);
            assert_eq!(scores, expected, "{height}x{width}");
        }
    }
}
