//! Eight bits by the byte products of AVX2.

use super::packed::Panels;
use super::rows::Rows;
use super::{Line, OUTPUTS, Output, TOGETHER};
use std::arch::x86_64::*;
use std::ops::Range;

/// Rows that share the reading of a panel.
const ROWS: usize = 4;

/// Whether the processor has what this file needs.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx2")
}

/// Multiplies with some pairs of panels.
///
/// # Panics
/// Without AVX2.
pub(super) fn multiply(rows: &Rows, panels: Panels, output: Output, pairs: Range<usize>) {
    assert!(is_available(), "no AVX2");
    for panel in pairs.start * TOGETHER..pairs.end * TOGETHER {
        let mut row = 0;
        while row < rows.count {
            row += match rows.count - row {
                ROWS.. => some_rows::<ROWS>(rows, row, panels, output, panel),
                _ => some_rows::<1>(rows, row, panels, output, panel),
            };
        }
    }
}

/// `COUNT` rows from `first` on with a panel; returns `COUNT`.
#[allow(unsafe_code)]
fn some_rows<const COUNT: usize>(
    rows: &Rows,
    first: usize,
    panels: Panels,
    output: Output,
    panel: usize,
) -> usize {
    let lines = panels.lines(panel);
    let activations: [*const i32; COUNT] = std::array::from_fn(|row| {
        let row = rows.row(first + row);
        assert_eq!(size_of_val(row), lines.len() * size_of::<i32>());
        row.as_ptr().cast()
    });
    // SAFETY: the processor has the instructions, as `multiply` asserts. Each row holds four bytes of activations for each line of the panel,
    // as asserted.
    let sums = unsafe { sums::<COUNT>(&activations, lines) };
    let scales = panels.scales(panel);
    for (row, sums) in sums.iter().enumerate() {
        output.write(first + row, panel, sums, rows.scales[first + row], &scales);
    }
    COUNT
}

/// Sums of products of `COUNT` rows with a panel.
///
/// # Safety
/// `activations` point to a group of four bytes for each line.
#[allow(unsafe_code)]
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn sums<const COUNT: usize>(
    activations: &[*const i32; COUNT],
    lines: &[Line],
) -> [[i32; OUTPUTS]; COUNT] {
    let ones = _mm256_set1_epi16(1);
    let mut sums = [[_mm256_setzero_si256(); 2]; COUNT];
    for (group, line) in lines.iter().enumerate() {
        // SAFETY: a line is 64 bytes, aligned to as many.
        let weights = unsafe {
            let at = std::ptr::from_ref(line).cast::<__m256i>();
            [_mm256_load_si256(at), _mm256_load_si256(at.add(1))]
        };
        for (sums, activations) in sums.iter_mut().zip(activations) {
            // SAFETY: there is a group for each line.
            let steps = _mm256_set1_epi32(unsafe { activations.add(group).read() });
            // The instruction takes one side without signs: those of the activations move to the weights. Two products are at most
            // 2·127², which 16 bits hold.
            let sizes = _mm256_abs_epi8(steps);
            for (sum, &weights) in sums.iter_mut().zip(&weights) {
                let pairs = _mm256_maddubs_epi16(sizes, _mm256_sign_epi8(weights, steps));
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
    }
    // SAFETY: two times 256 bits are 16 numbers of 32, of which any bits are valid.
    sums.map(|sums| unsafe { std::mem::transmute::<[__m256i; 2], [i32; OUTPUTS]>(sums) })
}
