//! f32 products on AVX-512: packing and the micro-kernel.
//!
//! The order of [`panels`](super::panels), with steps of 16 values along the depth: 32 lines of 64 bytes as there, each of 16 f32. In a tile of
//! the left side a line is a strand's 16 values along the depth, in one of the right side it is 16 strands' value at one depth.

use super::panels::{Line, Strands, WIDTH, mask, sixteen, transpose};
use std::arch::x86_64::*;
use std::ops::Range;

/// Values along the depth of a step.
pub(super) const DEPTH: usize = 16;

/// Whether the processor has what this file needs.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
}

/// Rows whose sums are held in registers at once, for two times 16 columns.
const ROWS: usize = 8;

/// As [`Tiles::block`](super::tiles::Tiles::block), of f32. The sum of an element runs in the order of the depth.
///
/// # Safety
/// As there, with AVX-512.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn block(
    left: *const Line,
    right: *const Line,
    steps: usize,
    output: *mut f32,
    stride: usize,
    resume: bool,
) {
    for first in (0..WIDTH).step_by(ROWS) {
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
            for depth in 0..DEPTH {
                // SAFETY: a step is 32 lines of either panel: 16 of the right one hold a depth of 16 columns each, and then 16 more those of
                // the other columns. Lines are aligned to 64 bytes. A prefetch of any address is sound.
                let columns = unsafe {
                    let at = right.add(WIDTH * step + depth).cast::<f32>();
                    // The first rows fetch the right side from the second-level cache for all.
                    if first == 0 {
                        let next = at.wrapping_add(16 * WIDTH);
                        _mm_prefetch::<_MM_HINT_T0>(next.cast());
                        _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(16 * DEPTH).cast());
                    }
                    [_mm512_load_ps(at), _mm512_load_ps(at.add(16 * DEPTH))]
                };
                for (row, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: as above; of the left panel each line holds the 16 depths of a row.
                    let value = unsafe {
                        _mm512_set1_ps(*left.add(WIDTH * step + first + row).cast::<f32>().add(depth))
                    };
                    for (sum, &columns) in sums.iter_mut().zip(&columns) {
                        *sum = _mm512_fmadd_ps(value, columns, *sum);
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

impl Strands<'_> {
    /// As [`Strands::pack_steps`], of f32.
    ///
    /// # Panics
    /// Without AVX-512 or if `lines` are not as many as needed.
    #[allow(unsafe_code)]
    pub(super) fn pack_steps_of_f32(&self, panels: Range<usize>, steps: Range<usize>, lines: &mut [Line]) {
        assert!(is_available(), "no AVX-512");
        assert_eq!(lines.len(), panels.len() * steps.len() * WIDTH);
        let length = steps.len() * WIDTH;
        // SAFETY: the processor has the features that the function is compiled for.
        let pack =
            |panel: usize, step: usize, lines: &mut [Line]| unsafe { self.pack_f32(panel, step, lines) };
        if self.is_along() {
            for (panel, lines) in panels.zip(lines.chunks_exact_mut(length)) {
                for (step, lines) in steps.clone().zip(lines.chunks_exact_mut(WIDTH)) {
                    pack(panel, step, lines);
                }
            }
        } else {
            // All panels step by step, so that more of each row of memory is used at a time.
            for (index, step) in steps.enumerate() {
                for (panel, lines) in panels.clone().zip(lines.chunks_exact_mut(length)) {
                    pack(panel, step, &mut lines[index * WIDTH..][..WIDTH]);
                }
            }
        }
    }

    #[allow(unsafe_code)]
    #[target_feature(enable = "avx512f")]
    fn pack_f32(&self, panel: usize, step: usize, lines: &mut [Line]) {
        for (half, lines) in lines.chunks_exact_mut(16).enumerate() {
            let (strand, depth) = (panel * WIDTH + half * 16, step * DEPTH);
            let strands = self.count.saturating_sub(strand).min(16);
            let depths = self.depth.saturating_sub(depth).min(DEPTH);
            let start = self.values.as_ptr().wrapping_add(strand * self.stride + depth * self.depth_stride);
            let (outer, inner, stride) = if self.is_along() {
                (strands, depths, self.stride)
            } else {
                (depths, strands, self.depth_stride)
            };
            let inner = mask(inner);
            let mut tile = sixteen!(|index: usize| {
                let inner = if index < outer { inner } else { 0 };
                // SAFETY: masked values are not read. Strands below `count` and depths below `depth` lie in the slice, as the constructors
                // of `Matrix` have checked, and no more than that many follow `start`.
                unsafe {
                    _mm512_castps_si512(_mm512_maskz_loadu_ps(inner, start.wrapping_add(index * stride)))
                }
            });
            if self.is_transposed() {
                tile = transpose(tile);
            }
            for (line, values) in lines.iter_mut().zip(tile) {
                // SAFETY: a line is 64 bytes, aligned to as many.
                unsafe { _mm512_store_si512(std::ptr::from_mut(line).cast(), values) };
            }
        }
    }
}
