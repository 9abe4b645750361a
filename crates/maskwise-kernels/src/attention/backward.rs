//! The backward pass: scores are computed again from the logarithm of each row's sum, which the forward pass keeps.

use super::spans::{Seen, Spans};
use super::{BLOCK, Inputs, Operands, Shape, few};
use crate::elementwise::exp;
use crate::matmul::{Matrix, MatrixMut, Precision, Write, matmul_here, precision, with_precision};
use crate::work::{fold2, is_shared, vectorized, with_scratch};
use rayon::prelude::*;

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

/// What the backward pass reads beside the inputs: the results of [`forward`](super::forward) and the gradient of its output.
#[derive(Debug, Clone, Copy)]
pub struct Results<'a> {
    /// `[batch, queries, heads·value_dim]`.
    pub output: &'a [f32],
    /// `[batch, queries, heads]`.
    pub sums: &'a [f32],
    /// `[batch, queries, heads·value_dim]`.
    pub gradient: &'a [f32],
}

/// The gradients of [`forward`](super::forward).
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
                // As exact as those whose sums the forward pass has left.
                let precision = if few::pays(shape) { Precision::Highest } else { precision() };
                with_precision(precision, || operands.scores(shape, first, count, &spans, powers));
                let token = row * shape.queries + first;
                let sums = &results.sums[token * shape.heads..(token + count) * shape.heads];
                vectorized(
                    #[inline(always)]
                    || {
                        for (query, (powers, seen)) in powers.chunks_exact_mut(columns).zip(&seen).enumerate()
                        {
                            let sum = sums[query * shape.heads + head];
                            for part in seen.parts() {
                                for power in &mut powers[part] {
                                    *power = exp(*power - sum);
                                }
                            }
                            seen.hide(powers);
                        }
                    },
                );
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
                vectorized(
                    #[inline(always)]
                    || {
                        let rows = powers.chunks_exact(columns).zip(slopes.chunks_exact_mut(columns));
                        for (query, (powers, slopes)) in rows.enumerate() {
                            let of_query = query * width..query * width + value_dim;
                            let along = fold2(&gradient[of_query.clone()], &output[of_query], |g, y| g * y);
                            for (slope, power) in slopes.iter_mut().zip(powers) {
                                *slope = (*slope - along) * power;
                            }
                        }
                    },
                );
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
