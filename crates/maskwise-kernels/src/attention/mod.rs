//! Attention over heads that lie side by side in each token's row, forward and backward.
//!
//! A block of queries of one head at a time: its scores stay in the second-level cache, keys that no query of the block sees are not
//! touched, and nothing of the size queries × keys is kept. A few queries take the keys in pieces instead, all heads at a time (`few`).

mod backward;
mod few;
pub(crate) mod heads;
mod spans;

pub use backward::{Gradients, Results, backward};

use crate::matmul::{Matrix, MatrixMut, Write, matmul_here, precision, with_precision};
use crate::work::{is_shared, vectorized, vectorized_with_fma, with_scratch};
use rayon::prelude::*;
use spans::{Seen, Span, Spans, exponentiate};

/// Queries of one block.
const BLOCK: usize = 64;

/// The keys that one query sees: `[0, prefix)` and `[start, end)`; where the two overlap a key counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRanges {
    /// End of the first range.
    pub prefix: u32,
    /// First key of the second range.
    pub start: u32,
    /// End of the second range; the range is empty where it is not above `start`.
    pub end: u32,
}

impl KeyRanges {
    /// The keys `[0, end)`.
    pub fn up_to(end: usize) -> Self {
        Self { prefix: 0, start: 0, end: end as u32 }
    }

    /// Whether the key of this place is one of them.
    #[inline(always)]
    pub fn sees(&self, key: u32) -> bool {
        key < self.prefix || (key >= self.start && key < self.end)
    }

    /// Every query sees all of `keys`.
    pub fn full(queries: usize, keys: usize) -> Vec<Self> {
        vec![Self::up_to(keys); queries]
    }

    /// Each query sees the keys up to its own; the last query stands at the last key.
    ///
    /// # Panics
    /// When there are fewer keys than queries.
    pub fn causal(queries: usize, keys: usize) -> Vec<Self> {
        assert!(queries <= keys, "{queries} queries stand at {keys} keys");
        (0..queries).map(|query| Self::up_to(keys - queries + query + 1)).collect()
    }
}

/// The sizes of one attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Rows of the batch.
    pub batch: usize,
    /// Queries of each.
    pub queries: usize,
    /// Keys of each.
    pub keys: usize,
    /// Heads of the query.
    pub heads: usize,
    /// Heads of key and value; each serves `heads / key_heads` heads of the query in turn.
    pub key_heads: usize,
    /// Values of a head of query and key.
    pub dim: usize,
    /// Values of a head of the value.
    pub value_dim: usize,
    /// What scores are multiplied by.
    pub scale: f32,
}

impl Shape {
    fn group(&self) -> usize {
        self.heads / self.key_heads
    }

    fn query_width(&self) -> usize {
        self.heads * self.dim
    }

    fn key_width(&self) -> usize {
        self.key_heads * self.dim
    }

    fn value_width(&self) -> usize {
        self.key_heads * self.value_dim
    }

    fn output_width(&self) -> usize {
        self.heads * self.value_dim
    }

    /// Multiplications of the scores: what tells whether threads are worth it.
    fn work(&self) -> usize {
        self.batch * self.heads * self.queries * self.keys
    }

    fn check(&self, inputs: &Inputs) {
        assert!(self.key_heads > 0 && self.heads.is_multiple_of(self.key_heads), "{self:?}");
        assert_eq!(inputs.query.len(), self.batch * self.queries * self.query_width(), "query of {self:?}");
        assert_eq!(inputs.key.len(), self.batch * self.keys * self.key_width(), "key of {self:?}");
        assert_eq!(inputs.value.len(), self.batch * self.keys * self.value_width(), "value of {self:?}");
        let ranges = inputs.ranges.len();
        assert!(
            ranges == self.queries || ranges == self.batch * self.queries,
            "{ranges} ranges of keys for {self:?}"
        );
        let inside = |range: &KeyRanges| range.prefix.max(range.end) as usize <= self.keys;
        assert!(inputs.ranges.iter().all(inside), "a range of keys ends beyond {self:?}");
    }
}

/// What an attention reads.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// `[batch, queries, heads·dim]`.
    pub query: &'a [f32],
    /// `[batch, keys, key_heads·dim]`.
    pub key: &'a [f32],
    /// `[batch, keys, key_heads·value_dim]`.
    pub value: &'a [f32],
    /// For each query, `[queries]` or `[batch, queries]`.
    pub ranges: &'a [KeyRanges],
}

impl<'a> Inputs<'a> {
    fn ranges_of(&self, row: usize, queries: usize) -> &'a [KeyRanges] {
        if self.ranges.len() == queries {
            self.ranges
        } else {
            &self.ranges[row * queries..(row + 1) * queries]
        }
    }
}

/// `softmax(scale·q·kᵀ)·v` over the visible keys, into `output` `[batch, queries, heads·value_dim]`; `sums`
/// `[batch, queries, heads]` gets the logarithm of each row's sum of powers. A query that sees nothing gives zeros.
///
/// # Panics
/// When sizes do not fit each other.
pub fn forward(shape: &Shape, inputs: Inputs, output: &mut [f32], sums: &mut [f32]) {
    shape.check(&inputs);
    let (queries, width) = (shape.queries, shape.output_width());
    assert_eq!(output.len(), shape.batch * queries * width);
    assert_eq!(sums.len(), shape.batch * queries * shape.heads);
    if output.is_empty() {
        return;
    }
    if few::pays(shape) {
        return few::forward(shape, &inputs, output, sums);
    }
    if shape.value_dim > 0 && (0..shape.batch).all(|row| heads::pays(inputs.ranges_of(row, queries))) {
        return forward_heads(shape, &inputs, output, sums);
    }
    let rows = output.chunks_mut(queries * width).zip(sums.chunks_mut(queries * shape.heads)).enumerate();
    let blocks = rows.flat_map(|(row, (output, sums))| {
        let blocks = output.chunks_mut(BLOCK * width).zip(sums.chunks_mut(BLOCK * shape.heads));
        blocks.enumerate().map(move |(block, (output, sums))| (row, block * BLOCK, output, sums))
    });
    if is_shared(shape.work()) {
        let (blocks, precision): (Vec<_>, _) = (blocks.collect(), precision());
        blocks.into_par_iter().for_each(|(row, first, output, sums)| {
            with_precision(precision, || forward_block(shape, &inputs, row, first, output, sums));
        });
    } else {
        blocks.for_each(|(row, first, output, sums)| forward_block(shape, &inputs, row, first, output, sums));
    }
}

fn forward_heads(shape: &Shape, inputs: &Inputs, output: &mut [f32], sums: &mut [f32]) {
    let of_head = |task: usize| {
        let (row, head) = (task / shape.heads, task % shape.heads);
        let operands = Operands::of(shape, inputs, row, head);
        let all = Span { first: 0, length: shape.keys, column: 0 };
        let head = heads::Head {
            query: operands.queries(shape, 0, shape.queries),
            key: operands.keys(shape, &all),
            value: operands.values(shape, &all),
            scale: shape.scale,
        };
        heads::forward(&head, inputs.ranges_of(row, shape.queries), |_, _| ())
    };
    let (tasks, precision) = (0..shape.batch * shape.heads, precision());
    let outputs: Vec<_> = if is_shared(shape.work()) {
        tasks.into_par_iter().map(|task| with_precision(precision, || of_head(task))).collect()
    } else {
        tasks.map(of_head).collect()
    };
    heads::join(&outputs, shape.heads, shape.queries, output, sums);
}

fn forward_block(
    shape: &Shape,
    inputs: &Inputs,
    row: usize,
    first: usize,
    output: &mut [f32],
    sums: &mut [f32],
) {
    let width = shape.output_width();
    let count = output.len() / width;
    let ranges = &inputs.ranges_of(row, shape.queries)[first..first + count];
    let spans = Spans::of(ranges);
    let columns = spans.columns();
    if columns == 0 {
        output.fill(0.0);
        sums.fill(f32::INFINITY);
        return;
    }
    let seen: Vec<Seen> = ranges.iter().map(|range| spans.seen(range)).collect();
    with_scratch(count * columns, |scores| {
        for head in 0..shape.heads {
            let operands = Operands::of(shape, inputs, row, head);
            operands.scores(shape, first, count, &spans, scores);
            let mut inverse = [0.0_f32; BLOCK];
            vectorized_with_fma(
                #[inline(always)]
                |fma| {
                    for (query, (scores, seen)) in scores.chunks_exact_mut(columns).zip(&seen).enumerate() {
                        let (sum, logarithm) = exponentiate(fma, scores, seen);
                        inverse[query] = if sum > 0.0 { 1.0 / sum } else { 0.0 };
                        // What no key adds to is subtracted as +inf in the backward pass, which gives zeros there, too.
                        sums[query * shape.heads + head] = if sum == 0.0 { f32::INFINITY } else { logarithm };
                    }
                },
            );
            let start = head * shape.value_dim;
            for (index, span) in spans.0.iter().enumerate() {
                let target = MatrixMut::strided(&mut output[start..], count, shape.value_dim, width);
                let powers = Matrix::strided(&scores[span.column..], count, span.length, columns);
                let write = if index == 0 { Write::Replace } else { Write::Add };
                matmul_here(powers, operands.values(shape, span), target, 1.0, write);
            }
            vectorized(
                #[inline(always)]
                || {
                    for (row, inverse) in output.chunks_exact_mut(width).zip(inverse) {
                        row[start..start + shape.value_dim].iter_mut().for_each(|value| *value *= inverse);
                    }
                },
            );
        }
    });
}

/// One head of one row of the batch: slices that start at its first value.
struct Operands<'a> {
    query: &'a [f32],
    key: &'a [f32],
    value: &'a [f32],
}

impl<'a> Operands<'a> {
    fn of(shape: &Shape, inputs: &Inputs<'a>, row: usize, head: usize) -> Self {
        let key_head = head / shape.group();
        Self {
            query: &inputs.query[row * shape.queries * shape.query_width() + head * shape.dim..],
            key: &inputs.key[row * shape.keys * shape.key_width() + key_head * shape.dim..],
            value: &inputs.value[row * shape.keys * shape.value_width() + key_head * shape.value_dim..],
        }
    }

    fn queries(&self, shape: &Shape, first: usize, count: usize) -> Matrix<'a> {
        let width = shape.query_width();
        Matrix::strided(&self.query[first * width..], count, shape.dim, width)
    }

    fn keys(&self, shape: &Shape, span: &Span) -> Matrix<'a> {
        let width = shape.key_width();
        Matrix::strided(&self.key[span.first * width..], span.length, shape.dim, width)
    }

    fn values(&self, shape: &Shape, span: &Span) -> Matrix<'a> {
        let width = shape.value_width();
        Matrix::strided(&self.value[span.first * width..], span.length, shape.value_dim, width)
    }

    /// The scaled scores `[count, columns]`.
    fn scores(&self, shape: &Shape, first: usize, count: usize, spans: &Spans, scores: &mut [f32]) {
        let columns = spans.columns();
        for span in &spans.0 {
            let target = MatrixMut::strided(&mut scores[span.column..], count, span.length, columns);
            let (queries, keys) = (self.queries(shape, first, count), self.keys(shape, span));
            matmul_here(queries, keys.t(), target, shape.scale, Write::Replace);
        }
    }
}

#[cfg(test)]
mod tests;
