//! The forward pass of many queries: one head after the other, with its keys and values arranged for the processor once.

use super::spans::{Spans, exponentiate};
use super::{BLOCK, KeyRanges};
use crate::matmul::{Matrix, MatrixMut, PackedRight, Write, matmul_packed_leading, packs};
use crate::work::{is_shared, vectorized, vectorized_with_fma, with_scratch};
use rayon::prelude::*;

/// One head of one row of a batch.
pub(crate) struct Head<'a> {
    /// `[queries, dim]`.
    pub(crate) query: Matrix<'a>,
    /// `[keys, dim]`.
    pub(crate) key: Matrix<'a>,
    /// `[keys, value_dim]`.
    pub(crate) value: Matrix<'a>,
    /// What products of query and key are multiplied by.
    pub(crate) scale: f32,
}

/// What comes out of a head: `[queries, value_dim]`, and the logarithm of each query's sum of powers.
pub(crate) struct HeadOutput {
    values: Vec<f32>,
    sums: Vec<f32>,
}

/// Whether queries that see these keys are worth arranging the keys for: there are several blocks of them, and a block sees keys from the first on.
pub(crate) fn pays(ranges: &[KeyRanges]) -> bool {
    let from_the_first = |block: &[KeyRanges]| match Spans::of(block).0.as_slice() {
        [only] => only.first == 0,
        _ => false,
    };
    packs() && ranges.len() > BLOCK && ranges.chunks(BLOCK).all(from_the_first)
}

/// The attention of one head. `adjust` may change the scores `[count, columns]` of the queries from a first one on, over the first keys.
pub(crate) fn forward(head: &Head, ranges: &[KeyRanges], adjust: impl Fn(usize, &mut [f32])) -> HeadOutput {
    let value_dim = head.value.columns();
    let mut output =
        HeadOutput { values: vec![0.0; ranges.len() * value_dim], sums: vec![0.0; ranges.len()] };
    let (keys, values) = (PackedRight::for_precision(head.key.t()), PackedRight::for_precision(head.value));
    let blocks = output.values.chunks_mut(BLOCK * value_dim).zip(output.sums.chunks_mut(BLOCK));
    for (block, ((output, sums), ranges)) in blocks.zip(ranges.chunks(BLOCK)).enumerate() {
        let (first, count) = (block * BLOCK, ranges.len());
        let spans = Spans::of(ranges);
        let columns = spans.columns();
        with_scratch(count * columns, |scores| {
            let queries = head.query.every(first, 1, count);
            let target = MatrixMut::new(scores, count, columns);
            matmul_packed_leading(queries, &keys, target, head.scale, Write::Replace);
            adjust(first, scores);
            let mut inverse = [0.0_f32; BLOCK];
            vectorized_with_fma(
                #[inline(always)]
                |fma| {
                    let rows =
                        scores.chunks_exact_mut(columns).zip(ranges).zip(sums.iter_mut().zip(&mut inverse));
                    for ((scores, range), (logarithm, inverse)) in rows {
                        let (sum, of_sum) = exponentiate(fma, scores, &spans.seen(range));
                        *inverse = if sum > 0.0 { 1.0 / sum } else { 0.0 };
                        *logarithm = if sum == 0.0 { f32::INFINITY } else { of_sum };
                    }
                },
            );
            let powers = Matrix::new(scores, count, columns);
            matmul_packed_leading(
                powers,
                &values,
                MatrixMut::new(output, count, value_dim),
                1.0,
                Write::Replace,
            );
            vectorized(
                #[inline(always)]
                || {
                    for (row, inverse) in output.chunks_exact_mut(value_dim).zip(inverse) {
                        row.iter_mut().for_each(|value| *value *= inverse);
                    }
                },
            );
        });
    }
    output
}

/// Puts heads side by side: `outputs` holds those of one row of a batch after the other, `output` `[batch, queries, heads·value_dim]` and `sums`
/// `[batch, queries, heads]` get them.
pub(crate) fn join(
    outputs: &[HeadOutput],
    heads: usize,
    queries: usize,
    output: &mut [f32],
    sums: &mut [f32],
) {
    let width = output.len() / (outputs.len() / heads * queries);
    let value_dim = width / heads;
    let put = |(token, (output, sums)): (usize, (&mut [f32], &mut [f32]))| {
        let (row, query) = (token / queries, token % queries);
        let parts = output.chunks_exact_mut(value_dim).zip(sums).zip(&outputs[row * heads..][..heads]);
        for ((output, sum), head) in parts {
            output.copy_from_slice(&head.values[query * value_dim..][..value_dim]);
            *sum = head.sums[query];
        }
    };
    if is_shared(output.len()) {
        let tokens = output.par_chunks_exact_mut(width).zip(sums.par_chunks_exact_mut(heads));
        tokens.enumerate().with_min_len(BLOCK).for_each(put);
    } else {
        output.chunks_exact_mut(width).zip(sums.chunks_exact_mut(heads)).enumerate().for_each(put);
    }
}
