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

/// Lines ahead of those in use that are asked for, of all panels together.
const AHEAD: usize = 48;

/// Multiplies with some pairs of panels. The rows have 128 added to each step.
///
/// Few rows are multiplied with eight panels side by side: a processor fetches several streams of memory faster than one.
///
/// # Panics
/// Without the instructions.
pub(super) fn multiply(rows: &Rows, panels: Panels, output: Output, pairs: Range<usize>) {
    assert!(is_available(), "no AVX-512 VNNI");
    let (mut panel, end) = (pairs.start * TOGETHER, pairs.end * TOGETHER);
    while panel < end {
        panel += match (rows.count, end - panel) {
            (..=2, 8..) => some_panels::<8>(rows, panels, output, panel),
            (..=4, 4..) => some_panels::<4>(rows, panels, output, panel),
            _ => some_panels::<2>(rows, panels, output, panel),
        };
    }
}

/// All rows with `PANELS` panels from `panel` on; returns `PANELS`.
fn some_panels<const PANELS: usize>(rows: &Rows, panels: Panels, output: Output, panel: usize) -> usize {
    let mut row = 0;
    while row < rows.count {
        row += match rows.count - row {
            8.. if PANELS == 2 => some_rows::<8, PANELS>(rows, row, panels, output, panel),
            4.. if PANELS <= 4 => some_rows::<4, PANELS>(rows, row, panels, output, panel),
            2.. => some_rows::<2, PANELS>(rows, row, panels, output, panel),
            _ => some_rows::<1, PANELS>(rows, row, panels, output, panel),
        };
    }
    PANELS
}

/// `ROWS` rows from `row` on with `PANELS` panels from `panel` on; returns `ROWS`.
#[allow(unsafe_code)]
fn some_rows<const ROWS: usize, const PANELS: usize>(
    rows: &Rows,
    row: usize,
    panels: Panels,
    output: Output,
    panel: usize,
) -> usize {
    let length = panels.length();
    let together: [&[super::Line]; PANELS] = std::array::from_fn(|index| panels.lines(panel + index));
    let activations: [*const i32; ROWS] = std::array::from_fn(|index| {
        let lines = rows.row(row + index);
        assert_eq!(size_of_val(lines), length * size_of::<i32>());
        lines.as_ptr().cast()
    });
    // SAFETY: the processor has the instructions, as `multiply` asserts. Panels hold `length` lines, and each row four bytes of activations
    // for each of them, as asserted.
    let sums = unsafe { sums(&activations, &together.map(<[_]>::as_ptr), length) };
    for (row, sums) in (row..).zip(sums) {
        for (panel, sums) in (panel..).zip(sums) {
            // 128 was added to each activation, so 128 times the sum of the weights is too much.
            let surplus = panels.sums(panel);
            let sums =
                std::array::from_fn(|output| sums[output].wrapping_sub(surplus[output].wrapping_mul(128)));
            output.write(row, panel, &sums, rows.scales[row], &panels.scales(panel));
        }
    }
    ROWS
}

/// Sums of products of rows with panels.
///
/// # Safety
/// `activations` point to `length` groups of four bytes each, `panels` to `length` lines each.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn sums<const ROWS: usize, const PANELS: usize>(
    activations: &[*const i32; ROWS],
    panels: &[*const super::Line; PANELS],
    length: usize,
) -> [[[i32; OUTPUTS]; PANELS]; ROWS] {
    let mut sums = [[_mm512_setzero_si512(); PANELS]; ROWS];
    for group in 0..length {
        // SAFETY: group is below `length`.
        let activations = activations.map(|row| _mm512_set1_epi32(unsafe { row.add(group).read() }));
        for (index, panel) in panels.iter().enumerate() {
            // SAFETY: as above; lines are aligned to 64 bytes. A prefetch of any address is sound.
            let weights = unsafe {
                _mm_prefetch::<_MM_HINT_T0>(panel.wrapping_add(group + AHEAD / PANELS).cast());
                _mm512_load_si512(panel.add(group).cast())
            };
            for (sums, activations) in sums.iter_mut().zip(activations) {
                sums[index] = _mm512_dpbusd_epi32(sums[index], activations, weights);
            }
        }
    }
    // SAFETY: 512 bits are 16 numbers of 32, of which any bits are valid.
    sums.map(|sums| sums.map(|sum| unsafe { std::mem::transmute::<__m512i, [i32; OUTPUTS]>(sum) }))
}
