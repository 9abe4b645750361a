//! A few rows with weights in four bits, by the byte products of AVX2.

use super::packed::{CHUNK, Chunks, HALF_LINES};
use super::{FewRows, GROUP_INPUTS};
use crate::int8::{GROUP, Line, OUTPUTS, Output, has_int8};
use crate::matmul::Path;
use std::arch::x86_64::*;
use std::ops::Range;

/// Multiplies with some panels.
///
/// # Panics
/// Without AVX2.
#[allow(unsafe_code)]
pub(super) fn multiply(rows: &FewRows, chunks: Chunks, output: Output, panels: Range<usize>) {
    assert!(has_int8(Path::Avx2), "no AVX2");
    for panel in panels {
        let scales = chunks.scales(panel);
        for row in 0..rows.rows.count {
            // SAFETY: the processor has the instructions.
            let totals = unsafe { totals(rows.rows.row(row), rows.sums(row), chunks.panel(panel)) };
            output.write(row, panel, &totals, rows.rows.scales[row], &scales);
        }
    }
}

/// Sums of products of a row with a panel.
#[allow(unsafe_code)]
#[target_feature(enable = "avx2")]
fn totals(activations: &[Line], sums: &[i32], chunks: &[[Line; CHUNK]]) -> [i32; OUTPUTS] {
    let (lower, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
    let mut totals = [_mm256_setzero_si256(); 2];
    for ((chunk, activations), sums) in chunks.iter().zip(activations).zip(sums.as_chunks::<2>().0) {
        let groups: &[[i8; GROUP]] = activations.0.as_chunks().0;
        for half in 0..2 {
            // Eight times two products of at most 15·127 are held by 16 bits.
            let mut products = [_mm256_setzero_si256(); 2];
            for line in 0..HALF_LINES {
                let steps: [__m256i; 2] = std::array::from_fn(|side| {
                    let group = groups[half * GROUP_INPUTS / GROUP + 2 * line + side];
                    _mm256_set1_epi32(i32::from_le_bytes(group.map(|step| step as u8)))
                });
                let at = std::ptr::from_ref(&chunk[1 + half * HALF_LINES + line]).cast::<__m256i>();
                for (side, product) in products.iter_mut().enumerate() {
                    // SAFETY: a line is two times 32 bytes, aligned to 64.
                    let packed = unsafe { _mm256_load_si256(at.add(side)) };
                    let weights = [
                        _mm256_and_si256(packed, lower),
                        _mm256_and_si256(_mm256_srli_epi16::<4>(packed), lower),
                    ];
                    for (weights, steps) in weights.into_iter().zip(steps) {
                        *product = _mm256_add_epi16(*product, _mm256_maddubs_epi16(weights, steps));
                    }
                }
            }
            let sum = _mm256_set1_epi32(sums[half]);
            let scales = &chunk[0].0[half * GROUP_INPUTS..][..GROUP_INPUTS];
            for (side, (total, product)) in totals.iter_mut().zip(products).enumerate() {
                // SAFETY: these are two times 16 bytes, of which eight are read.
                let [steps, offsets] = [0, OUTPUTS].map(|first| unsafe {
                    _mm256_cvtepi8_epi32(_mm_loadl_epi64(scales.as_ptr().add(first + side * 8).cast()))
                });
                let product = _mm256_mullo_epi32(steps, _mm256_madd_epi16(product, ones));
                *total = _mm256_add_epi32(*total, product);
                *total = _mm256_add_epi32(*total, _mm256_mullo_epi32(offsets, sum));
            }
        }
    }
    // SAFETY: two times 256 bits are 16 numbers of 32, of which any bits are valid.
    unsafe { std::mem::transmute::<[__m256i; 2], [i32; OUTPUTS]>(totals) }
}
