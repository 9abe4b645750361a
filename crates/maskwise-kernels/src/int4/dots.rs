//! A few rows with weights in four bits, by the dot products of AVX-512 VNNI.

use super::packed::{CHUNK, Chunks, HALF_LINES};
use super::{FewRows, GROUP_INPUTS};
use crate::int8::{GROUP, Line, OUTPUTS, Output, has_int8};
use crate::matmul::Path;
use std::arch::x86_64::*;
use std::ops::Range;

/// Chunks ahead of those in use that are asked for, of all panels together.
const AHEAD: usize = 8;

/// Multiplies with some panels.
///
/// Few rows are multiplied with eight panels side by side: a processor fetches several streams of memory faster than one.
///
/// # Panics
/// Without the instructions.
pub(super) fn multiply(rows: &FewRows, chunks: Chunks, output: Output, panels: Range<usize>) {
    assert!(has_int8(Path::Avx512), "no AVX-512 VNNI");
    let mut panel = panels.start;
    while panel < panels.end {
        panel += match (rows.rows.count, panels.end - panel) {
            (..=2, 8..) => some_panels::<8>(rows, chunks, output, panel),
            (_, 2..) => some_panels::<2>(rows, chunks, output, panel),
            _ => some_panels::<1>(rows, chunks, output, panel),
        };
    }
}

/// All rows with `PANELS` panels from `panel` on; returns `PANELS`.
fn some_panels<const PANELS: usize>(rows: &FewRows, chunks: Chunks, output: Output, panel: usize) -> usize {
    let mut row = 0;
    while row < rows.rows.count {
        row += match rows.rows.count - row {
            4.. if PANELS <= 2 => some_rows::<4, PANELS>(rows, row, chunks, output, panel),
            2.. => some_rows::<2, PANELS>(rows, row, chunks, output, panel),
            _ => some_rows::<1, PANELS>(rows, row, chunks, output, panel),
        };
    }
    PANELS
}

/// `ROWS` rows from `row` on with `PANELS` panels from `panel` on; returns `ROWS`.
#[allow(unsafe_code)]
fn some_rows<const ROWS: usize, const PANELS: usize>(
    rows: &FewRows,
    row: usize,
    chunks: Chunks,
    output: Output,
    panel: usize,
) -> usize {
    let together: [&[[Line; CHUNK]]; PANELS] = std::array::from_fn(|index| chunks.panel(panel + index));
    let length = together[0].len();
    let activations: [&[Line]; ROWS] = std::array::from_fn(|index| rows.rows.row(row + index));
    let sums: [&[i32]; ROWS] = std::array::from_fn(|index| rows.sums(row + index));
    for (activations, sums) in activations.iter().zip(sums) {
        assert_eq!((activations.len(), sums.len()), (length, 2 * length));
    }
    let (activations, sums) = (activations.map(|row| row.as_ptr().cast()), sums.map(<[_]>::as_ptr));
    // SAFETY: the processor has the instructions, as `multiply` asserts; there is a line of activations and two sums for each chunk, as
    // asserted.
    let totals = unsafe { totals(&activations, &sums, &together, length) };
    for (row, totals) in (row..).zip(totals) {
        for (panel, totals) in (panel..).zip(totals) {
            output.write(row, panel, &totals, rows.rows.scales[row], &chunks.scales(panel));
        }
    }
    ROWS
}

/// Sums of products of rows with panels.
///
/// # Safety
/// For each of `length` chunks `activations` point to 16 groups of four bytes, and `sums` to two numbers.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn totals<const ROWS: usize, const PANELS: usize>(
    activations: &[*const i32; ROWS],
    sums: &[*const i32; ROWS],
    panels: &[&[[Line; CHUNK]]; PANELS],
    length: usize,
) -> [[[i32; OUTPUTS]; PANELS]; ROWS] {
    let mut totals = [[_mm512_setzero_si512(); PANELS]; ROWS];
    for number in 0..length {
        for (index, panel) in panels.iter().enumerate() {
            let chunk = &panel[number];
            for line in 0..CHUNK {
                let ahead =
                    std::ptr::from_ref(chunk).wrapping_add(AHEAD / PANELS).cast::<Line>().wrapping_add(line);
                _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
            }
            for half in 0..2 {
                // SAFETY: there are 16 groups and two sums for each chunk; a half is eight groups and a sum.
                let products = unsafe {
                    let activations =
                        activations.map(|row| row.add(number * 16 + half * GROUP_INPUTS / GROUP));
                    products(&activations, chunk, half)
                };
                let scales = &chunk[0].0[half * GROUP_INPUTS..][..GROUP_INPUTS];
                // SAFETY: these are 32 bytes.
                let [steps, offsets] = [0, OUTPUTS].map(|first| unsafe {
                    _mm512_cvtepi8_epi32(_mm_loadu_si128(scales.as_ptr().add(first).cast()))
                });
                for ((totals, product), sums) in totals.iter_mut().zip(products).zip(sums) {
                    // SAFETY: as above.
                    let sum = _mm512_set1_epi32(unsafe { sums.add(2 * number + half).read() });
                    let product = _mm512_mullo_epi32(steps, product);
                    totals[index] = _mm512_add_epi32(totals[index], product);
                    totals[index] = _mm512_add_epi32(totals[index], _mm512_mullo_epi32(offsets, sum));
                }
            }
        }
    }
    // SAFETY: 512 bits are 16 numbers of 32, of which any bits are valid.
    totals.map(|row| row.map(|sums| unsafe { std::mem::transmute::<__m512i, [i32; OUTPUTS]>(sums) }))
}

/// Sums of products of rows with the four bits of a half of a chunk.
///
/// # Safety
/// `activations` point to eight groups of four bytes.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn products<const ROWS: usize>(
    activations: &[*const i32; ROWS],
    chunk: &[Line; CHUNK],
    half: usize,
) -> [__m512i; ROWS] {
    let lower = _mm512_set1_epi8(15);
    let mut products = [[_mm512_setzero_si512(); 2]; ROWS];
    for line in 0..HALF_LINES {
        // SAFETY: a line is 64 bytes, aligned to as many.
        let packed =
            unsafe { _mm512_load_si512(std::ptr::from_ref(&chunk[1 + half * HALF_LINES + line]).cast()) };
        let weights =
            [_mm512_and_si512(packed, lower), _mm512_and_si512(_mm512_srli_epi16::<4>(packed), lower)];
        for (products, activations) in products.iter_mut().zip(activations) {
            for (side, (product, weights)) in products.iter_mut().zip(weights).enumerate() {
                // SAFETY: there are eight groups, two for each line.
                let steps = _mm512_set1_epi32(unsafe { activations.add(2 * line + side).read() });
                *product = _mm512_dpbusd_epi32(*product, weights, steps);
            }
        }
    }
    products.map(|[even, odd]| _mm512_add_epi32(even, odd))
}
