//! SAM's attention with decomposed relative positions, forward and backward, on fused rows of query, key and value.
//!
//! No matrix of the size of the scores is made. Where there are many cells, the relative terms are added to a block of scores at a time; else, and in the
//! backward pass, they ride in the product: `[scale·q, q·rows, q·columns]·[k, row, column]ᵀ`, where `row` and `column` are one-hot. The sum is the
//! same.

mod terms;

use crate::attention::heads::{self, Head};
use crate::attention::{self, Inputs, KeyRanges, Results};
use crate::matmul::{Matrix, MatrixMut, Write, matmul_here, precision, with_precision};
use crate::work::is_shared;
use rayon::prelude::*;
use terms::Tables;

/// The sizes: every cell of a window of `height · width` cells attends to every cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Windows.
    pub batch: usize,
    /// Rows of cells.
    pub height: usize,
    /// Columns of cells.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Values of a head.
    pub dim: usize,
    /// What products of query and key are multiplied by; the relative terms are not.
    pub scale: f32,
}

/// What it reads.
#[derive(Debug, Clone, Copy)]
pub struct Operands<'a> {
    /// `[batch, height·width, 3·heads·dim]`: query, key and value of each cell, heads side by side.
    pub qkv: &'a [f32],
    /// `[height, height, dim]`: for a query's row and a key's row.
    pub rows: &'a [f32],
    /// `[width, width, dim]`: for a query's column and a key's column.
    pub columns: &'a [f32],
}

/// Gradients in the shapes of the operands.
#[derive(Debug)]
pub struct Gradients {
    /// See [`Operands::qkv`].
    pub qkv: Vec<f32>,
    /// See [`Operands::rows`].
    pub rows: Vec<f32>,
    /// See [`Operands::columns`].
    pub columns: Vec<f32>,
}

impl Shape {
    fn cells(&self) -> usize {
        self.height * self.width
    }

    /// Values of a cell's query, of all heads.
    fn inner(&self) -> usize {
        self.heads * self.dim
    }

    /// Values of a head's query with its relative terms.
    fn extended(&self) -> usize {
        self.dim + self.height + self.width
    }

    fn attention(&self) -> attention::Shape {
        attention::Shape {
            batch: self.batch,
            queries: self.cells(),
            keys: self.cells(),
            heads: self.heads,
            key_heads: self.heads,
            dim: self.extended(),
            value_dim: self.dim,
            scale: 1.0,
        }
    }

    fn check(&self, operands: &Operands) {
        assert_eq!(operands.qkv.len(), self.batch * self.cells() * 3 * self.inner(), "qkv of {self:?}");
        assert_eq!(operands.rows.len(), self.height * self.height * self.dim, "rows of {self:?}");
        assert_eq!(operands.columns.len(), self.width * self.width * self.dim, "columns of {self:?}");
    }

    /// The lines of cells that share a matrix of relative positions: for each row of cells, its first cell, the step to the next and the
    /// number of cells, the matrix's index, and where in an extended query its terms stand; then the same for the columns.
    fn lines(&self) -> impl Iterator<Item = Line> + use<> {
        let Self { height, width, dim, .. } = *self;
        let rows = (0..height).map(move |row| Line {
            axis: Axis::Rows,
            first: row * width,
            step: 1,
            count: width,
            index: row,
            keys: height,
            at: dim,
        });
        let columns = (0..width).map(move |column| Line {
            axis: Axis::Columns,
            first: column,
            step: width,
            count: height,
            index: column,
            keys: width,
            at: dim + height,
        });
        rows.chain(columns)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Axis {
    Rows,
    Columns,
}

struct Line {
    axis: Axis,
    first: usize,
    step: usize,
    count: usize,
    index: usize,
    /// Keys along the axis.
    keys: usize,
    /// Place of the terms in an extended query.
    at: usize,
}

impl Line {
    /// This line's matrix `[keys, dim]` in the table of its axis.
    fn range(&self, dim: usize) -> std::ops::Range<usize> {
        self.index * self.keys * dim..(self.index + 1) * self.keys * dim
    }

    fn table<'a>(&self, operands: &Operands<'a>) -> &'a [f32] {
        match self.axis {
            Axis::Rows => operands.rows,
            Axis::Columns => operands.columns,
        }
    }
}

/// The attention into `output` `[batch, height·width, heads·dim]`; `sums` `[batch, height·width, heads]` gets what [`backward`] needs.
///
/// # Panics
/// When sizes do not fit each other.
pub fn forward(shape: &Shape, operands: Operands, output: &mut [f32], sums: &mut [f32]) {
    shape.check(&operands);
    let ranges = KeyRanges::full(shape.cells(), shape.cells());
    if shape.dim > 0 && heads::pays(&ranges) {
        return forward_heads(shape, &operands, &ranges, output, sums);
    }
    let extended = Extended::new(shape, &operands);
    attention::forward(&shape.attention(), extended.inputs(), output, sums);
}

/// Head by head, with the relative terms added to blocks of scores.
fn forward_heads(
    shape: &Shape,
    operands: &Operands,
    ranges: &[KeyRanges],
    output: &mut [f32],
    sums: &mut [f32],
) {
    let (cells, width, dim) = (shape.cells(), shape.inner(), shape.dim);
    assert_eq!((output.len(), sums.len()), (shape.batch * cells * width, shape.batch * cells * shape.heads));
    let tables = Tables::new(shape, operands);
    let of_head = |task: usize| {
        let (window, head) = (task / shape.heads, task % shape.heads);
        let qkv = &operands.qkv[window * cells * 3 * width..][..cells * 3 * width];
        let part = |part: usize| Matrix::strided(&qkv[part * width + head * dim..], cells, dim, 3 * width);
        let terms = tables.terms(shape, part(0));
        let adjust = |first: usize, scores: &mut [f32]| terms.add(shape, first, scores);
        let head = Head { query: part(0), key: part(1), value: part(2), scale: shape.scale };
        heads::forward(&head, ranges, adjust)
    };
    let (tasks, precision) = (0..shape.batch * shape.heads, precision());
    let outputs: Vec<_> = if is_shared(shape.batch * shape.heads * cells * cells) {
        tasks.into_par_iter().map(|task| with_precision(precision, || of_head(task))).collect()
    } else {
        tasks.map(of_head).collect()
    };
    heads::join(&outputs, shape.heads, cells, output, sums);
}

/// The gradients of [`forward`], from its `output` and `sums` and the gradient of the output.
///
/// # Panics
/// When sizes do not fit each other.
pub fn backward(shape: &Shape, operands: Operands, results: Results) -> Gradients {
    shape.check(&operands);
    let extended = Extended::new(shape, &operands);
    let inner = attention::backward(&shape.attention(), extended.inputs(), results);
    let mut gradients = Gradients {
        qkv: vec![0.0; operands.qkv.len()],
        rows: vec![0.0; operands.rows.len()],
        columns: vec![0.0; operands.columns.len()],
    };
    let (width, wide) = (shape.inner(), shape.extended());
    let cells = gradients.qkv.chunks_exact_mut(3 * width).zip(inner.value.chunks_exact(width));
    let products =
        inner.query.chunks_exact(shape.heads * wide).zip(inner.key.chunks_exact(shape.heads * wide));
    for ((cell, value), (query, key)) in cells.zip(products) {
        let (to_query, rest) = cell.split_at_mut(width);
        let (to_key, to_value) = rest.split_at_mut(width);
        let heads = to_query.chunks_exact_mut(shape.dim).zip(to_key.chunks_exact_mut(shape.dim));
        for ((to_query, to_key), (query, key)) in
            heads.zip(query.chunks_exact(wide).zip(key.chunks_exact(wide)))
        {
            to_query.iter_mut().zip(query).for_each(|(to, from)| *to = shape.scale * from);
            to_key.copy_from_slice(&key[..shape.dim]);
        }
        to_value.copy_from_slice(value);
    }
    for window in 0..shape.batch {
        for line in shape.lines() {
            for head in 0..shape.heads {
                let first = window * shape.cells() + line.first;
                let terms = &inner.query[first * shape.heads * wide + head * wide + line.at..];
                let terms = Matrix::strided(terms, line.count, line.keys, line.step * shape.heads * wide);
                let table = Matrix::new(&line.table(&operands)[line.range(shape.dim)], line.keys, shape.dim);
                let start = first * 3 * width + head * shape.dim;
                let stride = line.step * 3 * width;
                let query = Matrix::strided(&operands.qkv[start..], line.count, shape.dim, stride);
                let to_query = MatrixMut::strided(&mut gradients.qkv[start..], line.count, shape.dim, stride);
                matmul_here(terms, table, to_query, 1.0, Write::Add);
                let table = match line.axis {
                    Axis::Rows => &mut gradients.rows,
                    Axis::Columns => &mut gradients.columns,
                };
                let to_table = MatrixMut::new(&mut table[line.range(shape.dim)], line.keys, shape.dim);
                matmul_here(terms.t(), query, to_table, 1.0, Write::Add);
            }
        }
    }
    gradients
}

/// Queries and keys with their relative terms, and the values apart.
struct Extended {
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    ranges: Vec<KeyRanges>,
}

impl Extended {
    fn new(shape: &Shape, operands: &Operands) -> Self {
        let (cells, width, wide) = (shape.cells(), shape.inner(), shape.heads * shape.extended());
        let mut extended = Self {
            query: vec![0.0; shape.batch * cells * wide],
            key: vec![0.0; shape.batch * cells * wide],
            value: vec![0.0; shape.batch * cells * width],
            ranges: KeyRanges::full(cells, cells),
        };
        if extended.query.is_empty() {
            return extended;
        }
        let precision = precision();
        let fill = |((query, key), (value, qkv)): Window| {
            with_precision(precision, || shape.fill_window(operands, qkv, query, key, value));
        };
        if is_shared(extended.query.len()) {
            let products =
                extended.query.par_chunks_mut(cells * wide).zip(extended.key.par_chunks_mut(cells * wide));
            let values =
                extended.value.par_chunks_mut(cells * width).zip(operands.qkv.par_chunks(3 * cells * width));
            products.zip(values).for_each(fill);
        } else {
            let products = extended.query.chunks_mut(cells * wide).zip(extended.key.chunks_mut(cells * wide));
            let values = extended.value.chunks_mut(cells * width).zip(operands.qkv.chunks(3 * cells * width));
            products.zip(values).for_each(fill);
        }
        extended
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs { query: &self.query, key: &self.key, value: &self.value, ranges: &self.ranges }
    }
}

/// Query, key and value of one window to be filled, and its part of the operand.
type Window<'a> = ((&'a mut [f32], &'a mut [f32]), (&'a mut [f32], &'a [f32]));

impl Shape {
    fn fill_window(
        &self,
        operands: &Operands,
        qkv: &[f32],
        query: &mut [f32],
        key: &mut [f32],
        value: &mut [f32],
    ) {
        let (dim, width, wide) = (self.dim, self.inner(), self.extended());
        let extended = query.chunks_exact_mut(self.heads * wide).zip(key.chunks_exact_mut(self.heads * wide));
        let cells = qkv.chunks_exact(3 * width).zip(value.chunks_exact_mut(width)).enumerate();
        for ((cell, (qkv, value)), (query, key)) in cells.zip(extended) {
            let (row, column) = (cell / self.width, cell % self.width);
            let heads = query.chunks_exact_mut(wide).zip(key.chunks_exact_mut(wide)).enumerate();
            for (head, (query, key)) in heads {
                let of_query = &qkv[head * dim..(head + 1) * dim];
                query.iter_mut().zip(of_query).for_each(|(to, from)| *to = self.scale * from);
                key[..dim].copy_from_slice(&qkv[width + head * dim..width + (head + 1) * dim]);
                key[dim + row] = 1.0;
                key[dim + self.height + column] = 1.0;
            }
            value.copy_from_slice(&qkv[2 * width..]);
        }
        for line in self.lines() {
            let table = Matrix::new(&line.table(operands)[line.range(dim)], line.keys, dim);
            for head in 0..self.heads {
                let of_query = &qkv[line.first * 3 * width + head * dim..];
                let of_query = Matrix::strided(of_query, line.count, dim, line.step * 3 * width);
                let terms = &mut query[(line.first * self.heads + head) * wide + line.at..];
                let terms = MatrixMut::strided(terms, line.count, line.keys, line.step * self.heads * wide);
                matmul_here(of_query, table.t(), terms, 1.0, Write::Replace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matmul::Precision;
    use proptest::prelude::*;

    fn varied(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|index| ((index * 7919 + seed * 104_729) % 1009) as f32 / 500.0 - 1.0).collect()
    }

    proptest! {
        #[test]
        fn equals_the_definition(batch in 0_usize..3, height in 1_usize..5, width in 1_usize..6, heads in 1_usize..3, dim in 1_usize..7) {
            let shape = Shape { batch, height, width, heads, dim, scale: 0.4 };
            let (cells, inner) = (height * width, heads * dim);
            let (qkv, rows, columns) =
                (varied(batch * cells * 3 * inner, 1), varied(height * height * dim, 2), varied(width * width * dim, 3));
            let operands = Operands { qkv: &qkv, rows: &rows, columns: &columns };
            let (mut output, mut sums) = (vec![0.0; batch * cells * inner], vec![0.0; batch * cells * heads]);
            forward(&shape, operands, &mut output, &mut sums);
            let at = |window: usize, cell: usize, part: usize, head: usize, i: usize| {
                f64::from(qkv[((window * cells + cell) * 3 + part) * inner + head * dim + i])
            };
            for (window, query, head) in
                (0..batch).flat_map(|b| (0..cells).flat_map(move |q| (0..heads).map(move |h| (b, q, h))))
            {
                let score = |key: usize| -> f64 {
                    let row = (query / width * height + key / width) * dim;
                    let column = (query % width * width + key % width) * dim;
                    (0..dim)
                        .map(|i| {
                            let q = at(window, query, 0, head, i);
                            q * (0.4 * at(window, key, 1, head, i) + f64::from(rows[row + i]) + f64::from(columns[column + i]))
                        })
                        .sum()
                };
                let powers: Vec<f64> = (0..cells).map(|key| score(key).exp()).collect();
                let total: f64 = powers.iter().sum();
                for i in 0..dim {
                    let expected: f64 =
                        (0..cells).map(|key| powers[key] / total * at(window, key, 2, head, i)).sum();
                    let found = f64::from(output[(window * cells + query) * inner + head * dim + i]);
                    prop_assert!((found - expected).abs() < 1e-5, "{} {}", found, expected);
                }
            }
        }
    }

    /// Where there are many cells the terms are added to the scores; that is the same, forward and for the backward pass.
    #[test]
    fn both_forms_agree() {
        for (height, width) in [(9, 9), (14, 14), (8, 33)] {
            let shape = Shape { batch: 2, height, width, heads: 2, dim: 5, scale: 0.4 };
            let (cells, inner) = (height * width, 10);
            let qkv = varied(2 * cells * 3 * inner, 1);
            let (rows, columns) = (varied(height * height * 5, 2), varied(width * width * 5, 3));
            let operands = Operands { qkv: &qkv, rows: &rows, columns: &columns };
            let results = || (vec![0.0; 2 * cells * inner], vec![0.0; 2 * cells * 2]);
            for precision in [Precision::Highest, Precision::Medium] {
                let (mut output, mut sums) = results();
                let (mut expected, mut expected_sums) = results();
                with_precision(precision, || {
                    forward(&shape, operands, &mut output, &mut sums);
                    let extended = Extended::new(&shape, &operands);
                    attention::forward(
                        &shape.attention(),
                        extended.inputs(),
                        &mut expected,
                        &mut expected_sums,
                    );
                });
                let tolerance = if precision == Precision::Highest { 2e-6 } else { 5e-3 };
                let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance);
                assert!(close(&output, &expected) && close(&sums, &expected_sums), "{shape:?} {precision:?}");
            }
        }
    }
}
