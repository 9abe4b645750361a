//! Products of a few f32 rows with a matrix that was rounded to bf16 and arranged for many: what matters is how fast it is read.

use super::panels::{Line, WIDTH};
use super::{Matrix, MatrixMut, Write, is_shared};
use rayon::prelude::*;
use std::arch::x86_64::*;

/// Rows up to which the arranged matrix is widened as it is read.
pub(super) const FEW: usize = 2;
/// Panels that are read side by side: a processor fetches several streams faster than one.
const STREAMS: usize = 4;

/// `output = left · right`, or added to it, of which only the right side is rounded; `lines` are the panels of it, one after the other. The sizes fit each
/// other, and there are rows and columns.
///
/// # Panics
/// Without AVX-512, or when there are other than `panel_lines` for every 32 columns.
pub(super) fn product(left: Matrix, lines: &[Line], panel_lines: usize, output: MatrixMut, write: Write) {
    assert!(is_x86_feature_detected!("avx512f"), "no AVX-512");
    let (rows, k, n) = (left.rows, left.columns, output.columns);
    assert!(k <= panel_lines && lines.len() == n.div_ceil(WIDTH) * panel_lines);
    let mut padded = vec![0.0; rows * panel_lines];
    for (number, row) in padded.chunks_exact_mut(panel_lines.max(1)).enumerate() {
        for (depth, value) in row[..k].iter_mut().enumerate() {
            *value = left.values[number * left.row_stride + depth * left.column_stride];
        }
    }
    let mut sums = vec![[0.0; WIDTH]; n.div_ceil(WIDTH) * rows];
    let some = |(number, sums): (usize, &mut [[f32; WIDTH]])| {
        let panels = &lines[number * STREAMS * panel_lines..];
        if sums.len() == STREAMS * rows {
            some_panels::<STREAMS>(&padded, panels, panel_lines, sums);
        } else {
            for (panel, sums) in sums.chunks_exact_mut(rows).enumerate() {
                some_panels::<1>(&padded, &panels[panel * panel_lines..], panel_lines, sums);
            }
        }
    };
    if is_shared(rows, k, n) {
        sums.par_chunks_mut(STREAMS * rows).enumerate().for_each(some);
    } else {
        sums.chunks_mut(STREAMS * rows).enumerate().for_each(some);
    }
    for (row, output) in output.values.chunks_mut(output.stride.max(n)).take(rows).enumerate() {
        let sums = sums[row..].iter().step_by(rows).flatten();
        for (output, sum) in output[..n].iter_mut().zip(sums) {
            *output = if write == Write::Add { *output + sum } else { *sum };
        }
    }
}

/// The sums of each of `rows`, which are filled up to `panel_lines`, with the first panels, `[panels, rows]`.
#[allow(unsafe_code)]
fn some_panels<const PANELS: usize>(
    rows: &[f32],
    panels: &[Line],
    panel_lines: usize,
    sums: &mut [[f32; WIDTH]],
) {
    let panels: [&[Line]; PANELS] =
        std::array::from_fn(|panel| &panels[panel * panel_lines..][..panel_lines]);
    let count = sums.len() / PANELS;
    for (number, row) in rows.chunks_exact(panel_lines.max(1)).enumerate() {
        // SAFETY: the processor has AVX-512, as `product` asserts.
        let of_panels = unsafe { self::sums(row, panels) };
        for (panel, halves) in of_panels.iter().enumerate() {
            sums[panel * count + number].copy_from_slice(halves.as_flattened());
        }
    }
}

/// The sums of 32 columns of each panel. A panel has a line for each number of the row: a step of 32 numbers is 16 lines with two of them for each
/// of 16 columns, and 16 more of the other columns.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
fn sums<const PANELS: usize>(row: &[f32], panels: [&[Line]; PANELS]) -> [[[f32; 16]; 2]; PANELS] {
    let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    let mut sums = [[_mm512_setzero_ps(); 2]; PANELS];
    let panels = panels.map(|lines| lines.as_chunks::<WIDTH>().0);
    for (step, row) in row.as_chunks::<WIDTH>().0.iter().enumerate() {
        for pair in 0..WIDTH / 2 {
            let (even, odd) = (_mm512_set1_ps(row[2 * pair]), _mm512_set1_ps(row[2 * pair + 1]));
            for (sums, lines) in sums.iter_mut().zip(&panels) {
                for (half, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: a line is 64 bytes, aligned to as many.
                    let line = unsafe {
                        _mm512_load_si512(std::ptr::from_ref(&lines[step][half * WIDTH / 2 + pair]).cast())
                    };
                    let first = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(line));
                    let second = _mm512_castsi512_ps(_mm512_and_si512(line, upper));
                    *sum = _mm512_fmadd_ps(first, even, *sum);
                    *sum = _mm512_fmadd_ps(second, odd, *sum);
                }
            }
        }
    }
    // SAFETY: 512 bits are 16 f32.
    sums.map(|halves| halves.map(|sum| unsafe { std::mem::transmute::<__m512, [f32; 16]>(sum) }))
}
