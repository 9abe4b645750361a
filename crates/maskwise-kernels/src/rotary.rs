//! Rotary position embedding of tokens at any positions, half-split layout.

use crate::work::{is_shared, vectorized};
use rayon::prelude::*;

/// `cos` and `sin` of every position, `[positions, head_dim]` each, the frequencies repeated for both halves.
#[derive(Debug, Clone, Copy)]
pub struct Tables<'a> {
    /// The cosines.
    pub cos: &'a [f32],
    /// The sines.
    pub sin: &'a [f32],
    /// Values of each position; even.
    pub head_dim: usize,
}

/// Turns each head of each token of `input` `[tokens, heads·head_dim]` to the token's position: `x·cos + rotate_half(x)·sin`, or
/// back (the transpose, which is the gradient) if `inverse`. Token `t` stands at `positions[t % positions.len()]`.
///
/// # Panics
/// When sizes do not fit each other, or a position is beyond the tables.
pub fn rotary(
    input: &[f32],
    output: &mut [f32],
    tables: Tables,
    positions: &[u32],
    width: usize,
    inverse: bool,
) {
    let dim = tables.head_dim;
    assert_eq!(input.len(), output.len());
    if input.is_empty() {
        return;
    }
    assert!(
        dim > 0 && dim.is_multiple_of(2) && width.is_multiple_of(dim),
        "{width} values in heads of {dim}"
    );
    assert!(!positions.is_empty() && input.len().is_multiple_of(width * positions.len()));
    let turn = |token: usize, input: &[f32], output: &mut [f32]| {
        let at = positions[token % positions.len()] as usize * dim;
        let (cos, sin) = (&tables.cos[at..at + dim], &tables.sin[at..at + dim]);
        for (input, output) in input.chunks_exact(dim).zip(output.chunks_exact_mut(dim)) {
            turn_head(input, output, cos, sin, inverse);
        }
    };
    let some = |first: usize, input: &[f32], output: &mut [f32]| {
        vectorized(
            #[inline(always)]
            || {
                let tokens = input.chunks_exact(width).zip(output.chunks_exact_mut(width));
                for (index, (input, output)) in tokens.enumerate() {
                    turn(first + index, input, output);
                }
            },
        );
    };
    if !is_shared(input.len()) {
        return some(0, input, output);
    }
    const TOKENS: usize = 64;
    let parts = output.par_chunks_mut(TOKENS * width).zip(input.par_chunks(TOKENS * width));
    parts.enumerate().for_each(|(part, (output, input))| some(part * TOKENS, input, output));
}

#[inline(always)]
fn turn_head(input: &[f32], output: &mut [f32], cos: &[f32], sin: &[f32], inverse: bool) {
    let half = input.len() / 2;
    let ((low, high), (out_low, out_high)) = (input.split_at(half), output.split_at_mut(half));
    let ((cos_low, cos_high), (sin_low, sin_high)) = (cos.split_at(half), sin.split_at(half));
    let sign = if inverse { -1.0 } else { 1.0 };
    // The gradient takes the sine of the other half; both halves hold the same frequencies, but the transpose is exact in any case.
    let (for_low, for_high) = if inverse { (sin_high, sin_low) } else { (sin_low, sin_high) };
    for i in 0..half {
        out_low[i] = low[i] * cos_low[i] - sign * high[i] * for_low[i];
        out_high[i] = high[i] * cos_high[i] + sign * low[i] * for_high[i];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inverse_turns_back_and_positions_may_repeat() {
        let (dim, heads, positions) = (6, 3, [4_u32, 0, 4, 7]);
        let angle = |index: usize| (index / dim) as f32 * 0.3 / (1 + index % (dim / 2)) as f32;
        let (cos, sin): (Vec<f32>, Vec<f32>) = (0..8 * dim).map(|i| (angle(i).cos(), angle(i).sin())).unzip();
        let tables = Tables { cos: &cos, sin: &sin, head_dim: dim };
        let width = dim * heads;
        let input: Vec<f32> = (0..2 * 4 * width).map(|i| (i % 17) as f32 - 8.0).collect();
        let (mut turned, mut back) = (vec![0.0; input.len()], vec![0.0; input.len()]);
        rotary(&input, &mut turned, tables, &positions, width, false);
        rotary(&turned, &mut back, tables, &positions, width, true);
        assert!(input.iter().zip(&back).all(|(x, y)| (x - y).abs() < 1e-4));
        // The token at position 0 does not turn; the second value of the second head of token 2, by hand.
        assert_eq!(turned[width..2 * width], input[width..2 * width]);
        let at = 2 * width + dim + 1;
        let (c, s) = ((4.0_f32 * 0.3 / 2.0).cos(), (4.0_f32 * 0.3 / 2.0).sin());
        assert!((turned[at] - (input[at] * c - input[at + 3] * s)).abs() < 1e-5);
    }
}
