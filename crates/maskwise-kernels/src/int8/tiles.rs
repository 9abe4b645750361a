//! Eight bits on AMX tiles.

use super::packed::Panels;
use super::rows::{Rows, TILE_ROWS};
use super::{DEPTH, GROUP, Line, OUTPUTS, Output, TOGETHER};
use crate::matmul::Tiles;
use std::arch::asm;
use std::arch::x86_64::*;
use std::ops::Range;
use std::sync::OnceLock;

/// Rows of a block, two tiles of 16.
const ROWS: usize = TILE_ROWS;
/// Steps of 64 along the depth after which a sum is interrupted, so that the left side of a block stays in the first-level cache while several
/// panels pass.
const INTERRUPT: usize = 16;

/// Whether there are tiles and they multiply bytes.
#[allow(unsafe_code, unused_unsafe)]
pub(super) fn is_available() -> bool {
    use std::arch::x86_64::__cpuid_count;
    // Hypervisors take long to answer `cpuid`.
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    // SAFETY: tiles are only there where leaf 7 is.
    let has_bytes = || unsafe { __cpuid_count(7, 0).edx } >> 25 & 1 == 1;
    *AVAILABLE.get_or_init(|| Tiles::are_available() && has_bytes())
}

/// Multiplies with some pairs of panels.
///
/// # Panics
/// Without tiles.
#[allow(unsafe_code)]
pub(super) fn multiply(rows: &Rows, panels: Panels, output: Output, pairs: Range<usize>) {
    assert!(is_available() && super::dots::is_available(), "no AMX tiles for bytes");
    assert_eq!(rows.count, output.rows());
    let tiles = Tiles::configure();
    let mut sums = vec![Sums([[[0; OUTPUTS]; TOGETHER]; ROWS]); pairs.len()];
    for first in (0..rows.count).step_by(ROWS) {
        let left = rows.tiles(first);
        for start in (0..rows.length).step_by(INTERRUPT) {
            let steps = start..rows.length.min(start + INTERRUPT);
            let left = &left[steps.start * ROWS..steps.end * ROWS];
            for (pair, sums) in pairs.clone().zip(&mut sums) {
                let lines = steps.start * DEPTH / GROUP..steps.end * DEPTH / GROUP;
                let right =
                    std::array::from_fn(|panel| &panels.lines(pair * TOGETHER + panel)[lines.clone()]);
                block(&tiles, left, right, sums, start > 0);
            }
        }
        for (pair, sums) in pairs.clone().zip(&sums) {
            let scales = std::array::from_fn(|panel| panels.scales(pair * TOGETHER + panel));
            let row_scales = &rows.scales[first..rows.count.min(first + ROWS)];
            // SAFETY: the processor has the instructions, as asserted above, and these rows, which have scales, are rows of the output.
            unsafe { output.write_rows(&sums.0, first, pair, row_scales, &scales) };
        }
    }
}

impl Output<'_> {
    /// Writes what sums are worth, of rows from `first` on, as many as there are `row_scales`, and of the panels of `pair`.
    ///
    /// # Safety
    /// Rows from `first` on, as many as there are `row_scales`, lie inside of the output.
    #[allow(unsafe_code)]
    #[target_feature(enable = "avx512f")]
    unsafe fn write_rows(
        self,
        sums: &[[[i32; OUTPUTS]; TOGETHER]; ROWS],
        first: usize,
        pair: usize,
        row_scales: &[f32],
        scales: &[[f32; OUTPUTS]; TOGETHER],
    ) {
        for panel in 0..TOGETHER {
            let column = self.first_column(pair * TOGETHER + panel);
            let columns = self.columns().saturating_sub(column).min(OUTPUTS);
            let mask = ((1_u32 << columns) - 1) as u16;
            // SAFETY: 16 numbers.
            let scales = unsafe { _mm512_loadu_ps(scales[panel].as_ptr()) };
            for (row, (sums, row_scale)) in sums.iter().zip(row_scales).enumerate() {
                let bias = self.bias(first + row, column);
                // SAFETY: 16 numbers are read, and of the bias those of the output's columns, to which columns are masked. The row lies inside
                // of the output; nobody else writes these columns.
                unsafe {
                    let sum = _mm512_cvtepi32_ps(_mm512_loadu_si512(sums[panel].as_ptr().cast()));
                    let mut value = _mm512_mul_ps(_mm512_mul_ps(sum, _mm512_set1_ps(*row_scale)), scales);
                    if let Some(bias) = bias {
                        value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, bias.as_ptr()));
                    }
                    let at = self.row(first + row).wrapping_add(column);
                    _mm512_mask_storeu_ps(at, mask, value);
                }
            }
        }
    }
}

/// Sums of 32 rows with two panels.
#[derive(Clone)]
#[repr(C, align(64))]
struct Sums([[[i32; OUTPUTS]; TOGETHER]; ROWS]);

/// The product of 32 rows with two panels, into `sums` or added to what they hold.
#[allow(unsafe_code)]
fn block(_: &Tiles, left: &[Line], right: [&[Line]; TOGETHER], sums: &mut Sums, resume: bool) {
    let steps = left.len() / ROWS;
    assert!(steps > 0 && left.len() == steps * ROWS);
    assert!(right.iter().all(|panel| panel.len() * GROUP == steps * DEPTH));
    // SAFETY: this thread's tiles are configured as 16 rows of 64 bytes, as the argument proves. Each step reads two tiles of 16 lines of the
    // left side, one after the other, and 16 lines of either panel; there are `steps` of them, as asserted. Results are four tiles: rows 0..16
    // and 16..32 of `sums`, bytes 0..64 and 64..128 of each. All tiles are set before they are read, and nothing of them is used after the
    // block.
    unsafe {
        let upper = sums.0.as_mut_ptr();
        asm!(
            "test {resume:e}, {resume:e}",
            "jnz 3f",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "jmp 2f",
            "3:",
            "tileloadd tmm0, [{sums} + {line}*2]",
            "tileloadd tmm1, [{sums} + {line}*2 + 64]",
            "tileloadd tmm2, [{half} + {line}*2]",
            "tileloadd tmm3, [{half} + {line}*2 + 64]",
            "2:",
            "tileloadd tmm4, [{left} + {line}*1]",
            "tileloadd tmm6, [{right} + {line}*1]",
            "tileloadd tmm7, [{second} + {line}*1]",
            "tileloadd tmm5, [{left} + {line}*1 + 1024]",
            "add {left}, 2048",
            "add {right}, 1024",
            "add {second}, 1024",
            "tdpbssd tmm0, tmm4, tmm6",
            "tdpbssd tmm1, tmm4, tmm7",
            "tdpbssd tmm2, tmm5, tmm6",
            "tdpbssd tmm3, tmm5, tmm7",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {line}*2], tmm0",
            "tilestored [{sums} + {line}*2 + 64], tmm1",
            "tilestored [{half} + {line}*2], tmm2",
            "tilestored [{half} + {line}*2 + 64], tmm3",
            left = inout(reg) left.as_ptr() => _,
            right = inout(reg) right[0].as_ptr() => _,
            second = inout(reg) right[1].as_ptr() => _,
            steps = inout(reg) steps => _,
            resume = in(reg) u32::from(resume),
            line = in(reg) size_of::<Line>(),
            sums = in(reg) upper,
            half = in(reg) upper.add(16),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
