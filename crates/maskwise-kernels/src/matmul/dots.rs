//! The micro-kernel on dot products of AVX-512 BF16.

use super::panels::Line;
use std::arch::x86_64::*;

/// Whether the processor has what this file and the packing need.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

/// Rows whose sums are held in registers at once, for two times 16 columns.
const ROWS: usize = 8;

/// As [`Tiles::block`](super::tiles::Tiles::block).
///
/// # Safety
/// As there.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn block(
    left: *const Line,
    right: *const Line,
    steps: usize,
    output: *mut f32,
    stride: usize,
    resume: bool,
) {
    for first in (0..32).step_by(ROWS) {
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        if resume {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (half, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: row and column are below 32.
                    *sum = unsafe { _mm512_loadu_ps(output.add((first + row) * stride + 16 * half)) };
                }
            }
        }
        for step in 0..steps {
            for pair in 0..16 {
                // SAFETY: a step is 32 lines of either panel: 16 of the left one hold a row of 16 pairs each, 16 of the right
                // one a pair of 16 columns each, and then 16 more of the other rows and columns. Lines are aligned to 64 bytes.
                let columns = unsafe {
                    let at = right.add(32 * step + pair).cast::<__m512bh>();
                    [at.read(), at.add(16).read()]
                };
                for (row, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: as above; a line holds 16 pairs of 32 bits, aligned.
                    let pair = unsafe {
                        let pair = *left.add(32 * step + first + row).cast::<i32>().add(pair);
                        std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(pair))
                    };
                    for (sum, &columns) in sums.iter_mut().zip(&columns) {
                        *sum = _mm512_dpbf16_ps(*sum, pair, columns);
                    }
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (half, &sum) in sums.iter().enumerate() {
                // SAFETY: row and column are below 32.
                unsafe { _mm512_storeu_ps(output.add((first + row) * stride + 16 * half), sum) };
            }
        }
    }
}
