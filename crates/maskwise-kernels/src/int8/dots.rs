//! Eight bits by the dot products of AVX-512 VNNI.

use super::packed::Panels;
use super::rows::Rows;
use super::{OUTPUTS, Output, TOGETHER};
use std::arch::x86_64::*;
use std::ops::Range;

/// Whether the processor has what this file needs.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vnni")
}

/// Lines ahead of the one in use that are asked for.
const AHEAD: usize = 24;

/// Multiplies with some pairs of panels. The rows have 128 added to each step.
///
/// # Panics
/// Without the instructions.
pub(super) fn multiply(rows: &Rows, panels: Panels, output: Output, pairs: Range<usize>) {
    assert!(is_available(), "no AVX-512 VNNI");
    for pair in pairs {
        let mut row = 0;
        while row < rows.count {
            row += match rows.count - row {
                8.. => some_rows::<8>(rows, row, panels, output, pair),
                4.. => some_rows::<4>(rows, row, panels, output, pair),
                2.. => some_rows::<2>(rows, row, panels, output, pair),
                _ => some_rows::<1>(rows, row, panels, output, pair),
            };
        }
    }
}

/// `ROWS` rows from `first` on with a pair of panels; returns `ROWS`.
#[allow(unsafe_code)]
fn some_rows<const ROWS: usize>(
    rows: &Rows,
    first: usize,
    panels: Panels,
    output: Output,
    pair: usize,
) -> usize {
    let length = panels.length();
    let together: [&[super::Line]; TOGETHER] =
        std::array::from_fn(|panel| panels.lines(pair * TOGETHER + panel));
    let activations: [*const i32; ROWS] = std::array::from_fn(|row| {
        let lines = rows.row(first + row);
        assert_eq!(size_of_val(lines), length * size_of::<i32>());
        lines.as_ptr().cast()
    });
    // SAFETY: the processor has the instructions, as `multiply` asserts. Panels hold `length` lines, and each row four bytes of activations
    // for each of them, as asserted.
    let sums = unsafe { sums::<ROWS>(&activations, together.map(<[_]>::as_ptr), length) };
    for (row, sums) in sums.iter().enumerate() {
        for (panel, sums) in sums.iter().enumerate() {
            let panel = pair * TOGETHER + panel;
            // 128 was added to each activation, so 128 times the sum of the weights is too much.
            let surplus = panels.sums(panel);
            let sums =
                std::array::from_fn(|output| sums[output].wrapping_sub(surplus[output].wrapping_mul(128)));
            output.write(first + row, panel, &sums, rows.scales[first + row], &panels.scales(panel));
        }
    }
    ROWS
}

/// Sums of products of `ROWS` rows with two panels.
///
/// # Safety
/// `activations` point to `length` groups of four bytes each, `panels` to `length` lines each.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn sums<const ROWS: usize>(
    activations: &[*const i32; ROWS],
    panels: [*const super::Line; TOGETHER],
    length: usize,
) -> [[[i32; OUTPUTS]; TOGETHER]; ROWS] {
    let mut sums = [[_mm512_setzero_si512(); TOGETHER]; ROWS];
    for group in 0..length {
        // SAFETY: group is below `length`; lines are aligned to 64 bytes. A prefetch of any address is sound.
        let weights = panels.map(|panel| unsafe {
            _mm_prefetch::<_MM_HINT_T0>(panel.wrapping_add(group + AHEAD).cast());
            _mm512_load_si512(panel.add(group).cast())
        });
        for (sums, activations) in sums.iter_mut().zip(activations) {
            // SAFETY: as above.
            let activations = _mm512_set1_epi32(unsafe { activations.add(group).read() });
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = _mm512_dpbusd_epi32(*sum, activations, weights);
            }
        }
    }
    // SAFETY: 512 bits are 16 numbers of 32, of which any bits are valid.
    sums.map(|sums| sums.map(|sum| unsafe { std::mem::transmute::<__m512i, [i32; OUTPUTS]>(sum) }))
}
