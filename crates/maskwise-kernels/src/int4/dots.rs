//! A few rows with weights in four bits, by the dot products of AVX-512 VNNI.

use super::packed::{CHUNK, Chunks, HALF_LINES};
use super::{FewRows, GROUP_INPUTS};
use crate::int8::{GROUP, Line, OUTPUTS, Output, has_int8};
use crate::matmul::Path;
use std::arch::x86_64::*;
use std::ops::Range;

/// Chunks ahead of the one in use that are asked for.
const AHEAD: usize = 4;

/// Multiplies with some panels.
///
/// # Panics
/// Without the instructions.
pub(super) fn multiply(rows: &FewRows, chunks: Chunks, output: Output, panels: Range<usize>) {
    assert!(has_int8(Path::Avx512), "no AVX-512 VNNI");
    for panel in panels {
        let mut row = 0;
        while row < rows.rows.count {
            row += match rows.rows.count - row {
                4.. => some_rows::<4>(rows, row, chunks, output, panel),
                2.. => some_rows::<2>(rows, row, chunks, output, panel),
                _ => some_rows::<1>(rows, row, chunks, output, panel),
            };
        }
    }
}

/// `ROWS` rows from `first` on with a panel; returns `ROWS`.
#[allow(unsafe_code)]
fn some_rows<const ROWS: usize>(
    rows: &FewRows,
    first: usize,
    chunks: Chunks,
    output: Output,
    panel: usize,
) -> usize {
    let panel_chunks = chunks.panel(panel);
    let activations: [&[Line]; ROWS] = std::array::from_fn(|row| rows.rows.row(first + row));
    let sums: [&[i32]; ROWS] = std::array::from_fn(|row| rows.sums(first + row));
    for (activations, sums) in activations.iter().zip(sums) {
        assert_eq!((activations.len(), sums.len()), (panel_chunks.len(), 2 * panel_chunks.len()));
    }
    // SAFETY: the processor has the instructions, as `multiply` asserts; there is a line of activations and two sums for each chunk, as
    // asserted.
    let totals = unsafe {
        totals::<ROWS>(&activations.map(|row| row.as_ptr().cast()), &sums.map(<[_]>::as_ptr), panel_chunks)
    };
    let scales = chunks.scales(panel);
    for (row, totals) in totals.iter().enumerate() {
        output.write(first + row, panel, totals, rows.rows.scales[first + row], &scales);
    }
    ROWS
}

/// Sums of products of `ROWS` rows with a panel.
///
/// # Safety
/// For each chunk `activations` point to 16 groups of four bytes, and `sums` to two numbers.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn totals<const ROWS: usize>(
    activations: &[*const i32; ROWS],
    sums: &[*const i32; ROWS],
    chunks: &[[Line; CHUNK]],
) -> [[i32; OUTPUTS]; ROWS] {
    let lower = _mm512_set1_epi8(15);
    let mut totals = [_mm512_setzero_si512(); ROWS];
    for (number, chunk) in chunks.iter().enumerate() {
        for line in 0..CHUNK {
            let ahead = std::ptr::from_ref(chunk).wrapping_add(AHEAD).cast::<Line>().wrapping_add(line);
            _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
        }
        for half in 0..2 {
            let mut products = [[_mm512_setzero_si512(); 2]; ROWS];
            for line in 0..HALF_LINES {
                // SAFETY: a line is 64 bytes, aligned to as many.
                let packed = unsafe {
                    _mm512_load_si512(std::ptr::from_ref(&chunk[1 + half * HALF_LINES + line]).cast())
                };
                let weights = [
                    _mm512_and_si512(packed, lower),
                    _mm512_and_si512(_mm512_srli_epi16::<4>(packed), lower),
                ];
                for (products, activations) in products.iter_mut().zip(activations) {
                    for (side, (product, weights)) in products.iter_mut().zip(weights).enumerate() {
                        let group = number * 16 + half * GROUP_INPUTS / GROUP + 2 * line + side;
                        // SAFETY: there are 16 groups for each chunk.
                        let steps = _mm512_set1_epi32(unsafe { activations.add(group).read() });
                        *product = _mm512_dpbusd_epi32(*product, weights, steps);
                    }
                }
            }
            let scales = &chunk[0].0[half * GROUP_INPUTS..][..GROUP_INPUTS];
            // SAFETY: these are 32 bytes.
            let [steps, offsets] = [0, OUTPUTS].map(|first| unsafe {
                _mm512_cvtepi8_epi32(_mm_loadu_si128(scales.as_ptr().add(first).cast()))
            });
            for ((total, products), sums) in totals.iter_mut().zip(products).zip(sums) {
                // SAFETY: there are two sums for each chunk.
                let sum = _mm512_set1_epi32(unsafe { sums.add(2 * number + half).read() });
                let product = _mm512_mullo_epi32(steps, _mm512_add_epi32(products[0], products[1]));
                *total = _mm512_add_epi32(*total, product);
                *total = _mm512_add_epi32(*total, _mm512_mullo_epi32(offsets, sum));
            }
        }
    }
    // SAFETY: 512 bits are 16 numbers of 32, of which any bits are valid.
    totals.map(|totals| unsafe { std::mem::transmute::<__m512i, [i32; OUTPUTS]>(totals) })
}
