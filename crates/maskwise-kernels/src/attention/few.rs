//! The forward pass of a few queries, as when a token is added to an answer: keys and values pass by once, in the order in which they lie in
//! memory. All of it is in f32, whatever the precision of the calling thread.

use super::{Inputs, Shape};
use crate::dots::{STREAMS, dots};
use crate::elementwise::exp;
use crate::work::{fold, is_shared, largest, vectorized_with_fma};
use rayon::prelude::*;
use std::ops::Range;

/// Queries up to which this is quicker than a product of matrices for each head.
const FEW: usize = 8;
/// Keys of a task.
const PIECE: usize = 64;

/// Whether queries are few enough for this.
pub(super) fn pays(shape: &Shape) -> bool {
    shape.queries <= FEW && shape.value_dim > 0
}

/// As [`super::forward`]; the sizes fit each other.
pub(super) fn forward(shape: &Shape, inputs: &Inputs, output: &mut [f32], sums: &mut [f32]) {
    let pieces = shape.keys.div_ceil(PIECE);
    let part = |task: usize| {
        let first = task % pieces * PIECE;
        Part::new(shape, inputs, task / pieces, first..(first + PIECE).min(shape.keys))
    };
    let tasks = 0..shape.batch * pieces;
    let parts: Vec<Part> = if is_shared(shape.work() * (shape.dim + shape.value_dim)) {
        tasks.into_par_iter().map(part).collect()
    } else {
        tasks.map(part).collect()
    };
    let rows = shape.queries * shape.heads;
    let outputs = output.chunks_exact_mut(shape.value_dim * rows).zip(sums.chunks_exact_mut(rows));
    for (row, (output, sums)) in outputs.enumerate() {
        join(&parts[row * pieces..][..pieces], shape.value_dim, output, sums);
    }
}

/// What some keys of a row of the batch give, for each head of each query.
struct Part {
    /// The largest score, `[queries, heads]`; -inf where none of the keys is seen.
    maxima: Vec<f32>,
    /// The sum of the powers relative to it.
    sums: Vec<f32>,
    /// Values times powers, `[queries, heads, value_dim]`.
    values: Vec<f32>,
}

impl Part {
    fn new(shape: &Shape, inputs: &Inputs, row: usize, keys: Range<usize>) -> Self {
        let rows = shape.queries * shape.heads;
        let mut part = Self {
            maxima: vec![f32::NEG_INFINITY; rows],
            sums: vec![0.0; rows],
            values: vec![0.0; rows * shape.value_dim],
        };
        let ranges = inputs.ranges_of(row, shape.queries);
        let is_seen = |key: &usize| ranges.iter().any(|range| range.sees(*key as u32));
        let (Some(first), Some(last)) = (keys.clone().find(is_seen), keys.rev().find(is_seen)) else {
            return part;
        };
        let keys = first..last + 1;
        let mut scores = vec![0.0; rows * keys.len()];
        let query = &inputs.query[row * shape.queries * shape.query_width()..];
        let key = &inputs.key[(row * shape.keys + keys.start) * shape.key_width()..];
        let value = &inputs.value[(row * shape.keys + keys.start) * shape.value_width()..];
        let rows_of = |values| Rows { shape, values, count: keys.len() };
        let arch = pulp::Arch::new();
        arch.dispatch(Score { query, key: rows_of(key), scores: &mut scores });
        vectorized_with_fma(
            #[inline(always)]
            |fma| {
                for row in 0..rows {
                    let range = &ranges[row / shape.heads];
                    let scores = &mut scores[row * keys.len()..][..keys.len()];
                    for (score, key) in scores.iter_mut().zip(keys.start as u32..) {
                        *score = if range.sees(key) { *score } else { f32::NEG_INFINITY };
                    }
                    part.maxima[row] = largest(scores);
                    // Where nothing is seen, -inf stays what it is and its powers are zeros.
                    let least = part.maxima[row].max(f32::MIN);
                    for score in scores.iter_mut() {
                        *score = fma.exp(*score - least);
                    }
                    part.sums[row] = fold(scores, |power| power);
                }
            },
        );
        arch.dispatch(Mix { powers: &scores, value: rows_of(value), mixed: &mut part.values });
        part
    }
}

/// What scores are made of, or values are mixed of.
struct Rows<'a> {
    shape: &'a Shape,
    /// Of the first of `count` keys on.
    values: &'a [f32],
    count: usize,
}

/// The row `[queries, heads]` that comes in place `number`, and its head of the keys: all queries of a head together, whose part of the keys is in
/// the first-level cache then.
#[inline(always)]
fn place_of(shape: &Shape, number: usize) -> (usize, usize) {
    let (head, query) = (number / shape.queries, number % shape.queries);
    (query * shape.heads + head, head / shape.group())
}

/// The scaled scores `[queries, heads, count]` of the first keys.
struct Score<'a> {
    query: &'a [f32],
    key: Rows<'a>,
    scores: &'a mut [f32],
}

impl pulp::WithSimd for Score<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) {
        let Rows { shape, values, count } = self.key;
        let width = shape.key_width();
        for first in (0..count).step_by(STREAMS) {
            let end = (first + STREAMS).min(count);
            for number in 0..shape.queries * shape.heads {
                let (row, key_head) = place_of(shape, number);
                let query = &self.query[row * shape.dim..][..shape.dim];
                let scores = &mut self.scores[row * count..][..count];
                let key = |place: usize| &values[place * width + key_head * shape.dim..][..shape.dim];
                if end - first == STREAMS {
                    let keys: [&[f32]; STREAMS] = std::array::from_fn(|index| key(first + index));
                    scores[first..end].copy_from_slice(&dots(simd, query, keys).map(|dot| shape.scale * dot));
                } else {
                    for (place, score) in (first..end).zip(&mut scores[first..]) {
                        *score = shape.scale * dots(simd, query, [key(place)])[0];
                    }
                }
            }
        }
    }
}

/// The first values, `[count, heads·value_dim]`, times the `powers` `[queries, heads, count]`.
struct Mix<'a> {
    powers: &'a [f32],
    value: Rows<'a>,
    mixed: &'a mut [f32],
}

impl pulp::WithSimd for Mix<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) {
        let Rows { shape, values, count } = self.value;
        let width = shape.value_width();
        for first in (0..count).step_by(STREAMS) {
            let end = (first + STREAMS).min(count);
            for number in 0..shape.queries * shape.heads {
                let (row, key_head) = place_of(shape, number);
                let powers = &self.powers[row * count..][..count];
                let mixed = &mut self.mixed[row * shape.value_dim..][..shape.value_dim];
                let value =
                    |place: usize| &values[place * width + key_head * shape.value_dim..][..shape.value_dim];
                if end - first == STREAMS {
                    let values: [&[f32]; STREAMS] = std::array::from_fn(|index| value(first + index));
                    let powers: [f32; STREAMS] = std::array::from_fn(|index| powers[first + index]);
                    add_products(simd, powers, values, mixed);
                } else {
                    for (place, power) in (first..end).zip(&powers[first..]) {
                        add_products(simd, [*power], [value(place)], mixed);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn add_products<S: pulp::Simd, const KEYS: usize>(
    simd: S,
    powers: [f32; KEYS],
    values: [&[f32]; KEYS],
    mixed: &mut [f32],
) {
    let (chunks, rest) = S::as_mut_simd_f32s(mixed);
    let wide = values.map(|value| S::as_simd_f32s(value));
    let splat = powers.map(|power| simd.splat_f32s(power));
    for (number, mixed) in chunks.iter_mut().enumerate() {
        let mut sum = *mixed;
        for (value, power) in wide.iter().zip(splat) {
            sum = simd.mul_add_e_f32s(power, value.0[number], sum);
        }
        *mixed = sum;
    }
    for (lane, mixed) in rest.iter_mut().enumerate() {
        for (value, power) in wide.iter().zip(powers) {
            *mixed += power * value.1[lane];
        }
    }
}

/// Puts the parts of a row of the batch together, as [`super::forward`] writes them.
fn join(parts: &[Part], value_dim: usize, output: &mut [f32], sums: &mut [f32]) {
    output.fill(0.0);
    for (row, (output, sum)) in output.chunks_exact_mut(value_dim).zip(sums).enumerate() {
        let maximum = parts.iter().map(|part| part.maxima[row]).fold(f32::NEG_INFINITY, f32::max);
        let weight = |part: &Part| exp(part.maxima[row] - maximum.max(f32::MIN));
        let total: f32 = parts.iter().map(|part| weight(part) * part.sums[row]).sum();
        // What no key adds to is subtracted as +inf in the backward pass, which gives zeros there, too.
        *sum = if total == 0.0 { f32::INFINITY } else { maximum + total.ln() };
        let inverse = if total > 0.0 { 1.0 / total } else { 0.0 };
        for part in parts {
            let weight = weight(part) * inverse;
            for (output, value) in output.iter_mut().zip(&part.values[row * value_dim..]) {
                *output += weight * value;
            }
        }
    }
}
