//! Attention over heads that lie side by side in each token's row, forward and backward.
//!
//! A block of queries of one head at a time: its scores stay in the second-level cache, keys that no query of the block sees are not
//! touched, and nothing of the size queries × keys is kept. The backward pass computes the scores again from the logarithm of each
//! row's sum, which the forward pass keeps.

use crate::elementwise::exp;
use crate::matmul::{Matrix, MatrixMut, Write, matmul_here, precision, with_precision};
use crate::work::{fold, fold2, is_shared, vectorized, with_scratch};
use rayon::prelude::*;

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
            vectorized(|| {
                for (query, (scores, seen)) in scores.chunks_exact_mut(columns).zip(&seen).enumerate() {
                    let (sum, logarithm) = exponentiate(scores, seen);
                    inverse[query] = if sum > 0.0 { 1.0 / sum } else { 0.0 };
                    // What no key adds to is subtracted as +inf in the backward pass, which gives zeros there, too.
                    sums[query * shape.heads + head] = if sum == 0.0 { f32::INFINITY } else { logarithm };
                }
            });
            let start = head * shape.value_dim;
            for (index, span) in spans.0.iter().enumerate() {
                let target = MatrixMut::strided(&mut output[start..], count, shape.value_dim, width);
                let powers = Matrix::strided(&scores[span.column..], count, span.length, columns);
                let write = if index == 0 { Write::Replace } else { Write::Add };
                matmul_here(powers, operands.values(shape, span), target, 1.0, write);
            }
            vectorized(|| {
                for (row, inverse) in output.chunks_exact_mut(width).zip(inverse) {
                    row[start..start + shape.value_dim].iter_mut().for_each(|value| *value *= inverse);
                }
            });
        }
    });
}

/// The gradients of query, key and value, each in the shape of its input.
#[derive(Debug)]
pub struct Gradients {
    /// `[batch, queries, heads·dim]`.
    pub query: Vec<f32>,
    /// `[batch, keys, key_heads·dim]`.
    pub key: Vec<f32>,
    /// `[batch, keys, key_heads·value_dim]`.
    pub value: Vec<f32>,
}

/// What the backward pass reads beside the inputs: the results of [`forward`] and the gradient of its output.
#[derive(Debug, Clone, Copy)]
pub struct Results<'a> {
    /// `[batch, queries, heads·value_dim]`.
    pub output: &'a [f32],
    /// `[batch, queries, heads]`.
    pub sums: &'a [f32],
    /// `[batch, queries, heads·value_dim]`.
    pub gradient: &'a [f32],
}

/// The gradients of [`forward`].
///
/// # Panics
/// When sizes do not fit each other.
pub fn backward(shape: &Shape, inputs: Inputs, results: Results) -> Gradients {
    shape.check(&inputs);
    assert_eq!(results.output.len(), shape.batch * shape.queries * shape.output_width());
    assert_eq!(results.gradient.len(), results.output.len());
    assert_eq!(results.sums.len(), shape.batch * shape.queries * shape.heads);
    let mut gradients = Gradients {
        query: vec![0.0; inputs.query.len()],
        key: vec![0.0; inputs.key.len()],
        value: vec![0.0; inputs.value.len()],
    };
    let tasks = (0..shape.batch).flat_map(|row| (0..shape.key_heads).map(move |head| (row, head)));
    if is_shared(shape.work()) {
        // A head's columns lie between those of the others, so each task has memory of its own that is copied in the end.
        let (tasks, precision): (Vec<_>, _) = (tasks.collect(), precision());
        let parts = tasks.into_par_iter().map(|(row, head)| {
            let mut query = vec![0.0; shape.queries * shape.group() * shape.dim];
            let mut key = vec![0.0; shape.keys * shape.dim];
            let mut value = vec![0.0; shape.keys * shape.value_dim];
            let targets = Targets {
                query: (&mut query, shape.group() * shape.dim),
                key: (&mut key, shape.dim),
                value: (&mut value, shape.value_dim),
            };
            with_precision(precision, || backward_head(shape, &inputs, &results, row, head, targets));
            (row, head, query, key, value)
        });
        for (row, head, query, key, value) in parts.collect::<Vec<_>>() {
            let put = |part: &[f32], all: &mut [f32], tokens: usize, width: usize| {
                let size = part.len() / tokens.max(1);
                let of_row = &mut all[row * tokens * width..(row + 1) * tokens * width];
                for (part, all) in part.chunks_exact(size.max(1)).zip(of_row.chunks_exact_mut(width.max(1))) {
                    all[head * size..(head + 1) * size].copy_from_slice(part);
                }
            };
            put(&query, &mut gradients.query, shape.queries, shape.query_width());
            put(&key, &mut gradients.key, shape.keys, shape.key_width());
            put(&value, &mut gradients.value, shape.keys, shape.value_width());
        }
        return gradients;
    }
    for (row, head) in tasks {
        let query_at = row * shape.queries * shape.query_width() + head * shape.group() * shape.dim;
        let key_at = row * shape.keys * shape.key_width() + head * shape.dim;
        let value_at = row * shape.keys * shape.value_width() + head * shape.value_dim;
        let targets = Targets {
            query: (gradients.query.get_mut(query_at..).unwrap_or_default(), shape.query_width()),
            key: (gradients.key.get_mut(key_at..).unwrap_or_default(), shape.key_width()),
            value: (gradients.value.get_mut(value_at..).unwrap_or_default(), shape.value_width()),
        };
        backward_head(shape, &inputs, &results, row, head, targets);
    }
    gradients
}

/// Where the gradients of one head of key and value go: zeros at the start, each with the stride of its rows.
struct Targets<'a> {
    query: (&'a mut [f32], usize),
    key: (&'a mut [f32], usize),
    value: (&'a mut [f32], usize),
}

fn backward_head(
    shape: &Shape,
    inputs: &Inputs,
    results: &Results,
    row: usize,
    key_head: usize,
    targets: Targets,
) {
    let (dim, value_dim, width) = (shape.dim, shape.value_dim, shape.output_width());
    let all_ranges = inputs.ranges_of(row, shape.queries);
    for first in (0..shape.queries).step_by(BLOCK) {
        let count = BLOCK.min(shape.queries - first);
        let ranges = &all_ranges[first..first + count];
        let spans = Spans::of(ranges);
        let columns = spans.columns();
        if columns == 0 {
            continue;
        }
        let seen: Vec<Seen> = ranges.iter().map(|range| spans.seen(range)).collect();
        with_scratch(2 * count * columns, |scratch| {
            let (powers, slopes) = scratch.split_at_mut(count * columns);
            for member in 0..shape.group() {
                let head = key_head * shape.group() + member;
                let operands = Operands::of(shape, inputs, row, head);
                operands.scores(shape, first, count, &spans, powers);
                let token = row * shape.queries + first;
                let sums = &results.sums[token * shape.heads..(token + count) * shape.heads];
                vectorized(|| {
                    for (query, (powers, seen)) in powers.chunks_exact_mut(columns).zip(&seen).enumerate() {
                        let sum = sums[query * shape.heads + head];
                        seen.each(powers, |visible| visible.iter_mut().for_each(|x| *x = exp(*x - sum)));
                        seen.hide(powers);
                    }
                });
                let at = token * width + head * value_dim;
                let gradient = &results.gradient[at..];
                let of_block = Matrix::strided(gradient, count, value_dim, width);
                for span in &spans.0 {
                    let part = Matrix::strided(&powers[span.column..], count, span.length, columns);
                    let (values, stride) =
                        (&mut targets.value.0[span.first * targets.value.1..], targets.value.1);
                    let target = MatrixMut::strided(values, span.length, value_dim, stride);
                    matmul_here(part.t(), of_block, target, 1.0, Write::Add);
                    let target = MatrixMut::strided(&mut slopes[span.column..], count, span.length, columns);
                    matmul_here(of_block, operands.values(shape, span).t(), target, 1.0, Write::Replace);
                }
                let output = &results.output[at..];
                vectorized(|| {
                    let rows = powers.chunks_exact(columns).zip(slopes.chunks_exact_mut(columns));
                    for (query, (powers, slopes)) in rows.enumerate() {
                        let of_query = query * width..query * width + value_dim;
                        let along = fold2(&gradient[of_query.clone()], &output[of_query], |g, y| g * y);
                        for (slope, power) in slopes.iter_mut().zip(powers) {
                            *slope = (*slope - along) * power;
                        }
                    }
                });
                for span in &spans.0 {
                    let part = Matrix::strided(&slopes[span.column..], count, span.length, columns);
                    let (queries, stride) = (&mut *targets.query.0, targets.query.1);
                    let target =
                        MatrixMut::strided(&mut queries[first * stride + member * dim..], count, dim, stride);
                    matmul_here(part, operands.keys(shape, span), target, shape.scale, Write::Add);
                    let (keys, stride) = (&mut targets.key.0[span.first * targets.key.1..], targets.key.1);
                    let target = MatrixMut::strided(keys, span.length, dim, stride);
                    matmul_here(
                        part.t(),
                        operands.queries(shape, first, count),
                        target,
                        shape.scale,
                        Write::Add,
                    );
                }
            }
        });
    }
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

/// The keys `first..first + length`, whose scores stand from `column` on.
struct Span {
    first: usize,
    length: usize,
    column: usize,
}

/// The keys that the queries of a block see together: at most two spans.
struct Spans(Vec<Span>);

impl Spans {
    fn of(ranges: &[KeyRanges]) -> Self {
        let prefix = ranges.iter().map(|range| range.prefix as usize).max().unwrap_or(0);
        let second = ranges.iter().filter(|range| range.end > range.start);
        let bounds = second.fold(None, |bounds: Option<(u32, u32)>, range| {
            let (start, end) = bounds.unwrap_or((range.start, range.end));
            Some((start.min(range.start), end.max(range.end)))
        });
        let (start, end) = bounds.map_or((0, 0), |(start, end)| (start as usize, end as usize));
        let spans = if start <= prefix {
            vec![Span { first: 0, length: prefix.max(end), column: 0 }]
        } else {
            let first = Span { first: 0, length: prefix, column: 0 };
            vec![first, Span { first: start, length: end - start, column: prefix }]
        };
        Self(spans.into_iter().filter(|span| span.length > 0).collect())
    }

    fn columns(&self) -> usize {
        self.0.last().map_or(0, |span| span.column + span.length)
    }

    /// Where the visible keys of one query stand in its row of scores.
    fn seen(&self, range: &KeyRanges) -> Seen {
        let prefix = range.prefix as usize;
        // Both ends of the second range fall into the last span where it is not empty.
        let (start, end) = (range.start.max(range.prefix) as usize, range.end as usize);
        let shift = self.0.last().map_or(0, |span| span.first - span.column);
        if end <= start {
            return Seen { prefix, start: prefix, end: prefix };
        }
        Seen { prefix, start: start - shift, end: end - shift }
    }
}

/// The visible columns of a row of scores: `..prefix` and `start..end`, with `prefix <= start`.
struct Seen {
    prefix: usize,
    start: usize,
    end: usize,
}

impl Seen {
    #[inline(always)]
    fn each(&self, row: &mut [f32], mut action: impl FnMut(&mut [f32])) {
        action(&mut row[..self.prefix]);
        action(&mut row[self.start..self.end]);
    }

    /// Zero where the query does not look.
    #[inline(always)]
    fn hide(&self, row: &mut [f32]) {
        row[self.prefix..self.start].fill(0.0);
        row[self.end..].fill(0.0);
    }
}

/// Turns the visible scores into powers of e, relative to the largest, and the others into zeros; returns their sum and the
/// logarithm of the sum of the powers that are not relative.
#[inline(always)]
fn exponentiate(row: &mut [f32], seen: &Seen) -> (f32, f32) {
    let mut maximum = f32::NEG_INFINITY;
    seen.each(row, |visible| maximum = maximum.max(largest(visible)));
    let mut sum = 0.0;
    seen.each(row, |visible| {
        visible.iter_mut().for_each(|x| *x = exp(*x - maximum));
        sum += fold(visible, |power| power);
    });
    seen.hide(row);
    (sum, maximum + sum.ln())
}

#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    let mut partial = [f32::NEG_INFINITY; 16];
    let chunks = values.chunks_exact(16);
    let tail = chunks.remainder().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for chunk in chunks {
        for (partial, &value) in partial.iter_mut().zip(chunk) {
            *partial = if value > *partial { value } else { *partial };
        }
    }
    partial.iter().copied().fold(tail, f32::max)
}

#[cfg(test)]
#[path = "attention_tests.rs"]
mod tests;
