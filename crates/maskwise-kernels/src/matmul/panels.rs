//! Operands rounded to bf16, in the order in which the micro-kernels read them.
//!
//! A panel is 32 rows of the left side or 32 columns of the right one, its *strands*, over the whole depth of the product. It is cut
//! into steps of 32 values along the depth, and a step into two tiles of 16 strands: 16 lines of 64 bytes, each of 16 pairs of
//! bf16 values that follow each other along the depth. In a tile of the left side a line is a strand, in one of the right side it is a
//! pair of all 16 strands: one is the other's transpose, in units of pairs.

use super::Matrix;
use rayon::prelude::*;
use std::arch::x86_64::*;

/// Strands of a panel, and values along the depth of a step.
pub(super) const WIDTH: usize = 32;

/// 32 bf16 values.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([u16; 32]);

impl Line {
    pub(super) const ZERO: Self = Self([0; 32]);
}

/// Which side of a product a panel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// One side of a product, as strands along the depth.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strands<'a> {
    values: &'a [f32],
    side: Side,
    count: usize,
    depth: usize,
    /// From a strand to the next.
    stride: usize,
    /// From a value of a strand to the next. One of the two is 1.
    depth_stride: usize,
}

impl<'a> Strands<'a> {
    pub(super) fn new(matrix: Matrix<'a>, side: Side) -> Self {
        // The right side's strands are its columns, which are rows of its transpose.
        let rows = if side == Side::Left { matrix } else { matrix.t() };
        let Matrix { values, rows: count, columns: depth, row_stride: stride, column_stride: depth_stride } =
            rows;
        assert!(stride == 1 || depth_stride == 1, "strides of {stride} and {depth_stride}");
        Self { values, side, count, depth, stride, depth_stride }
    }

    /// Lines of one panel.
    pub(super) fn panel_lines(&self) -> usize {
        self.depth.div_ceil(WIDTH) * WIDTH
    }

    /// Packs the panels from number `first` on, as many as `lines` has room for.
    ///
    /// # Panics
    /// Without the instructions of [`dots::is_available`](super::dots::is_available).
    #[allow(unsafe_code)]
    pub(super) fn pack(&self, first: usize, lines: &mut [Line], shared: bool) {
        assert!(super::dots::is_available(), "no AVX-512 BF16");
        let pack = |(panel, lines): (usize, &mut [Line])| {
            // SAFETY: the processor has the features that the function is compiled for.
            unsafe { self.pack_panel((first + panel) * WIDTH, lines) }
        };
        if shared {
            lines.par_chunks_mut(self.panel_lines()).enumerate().for_each(pack);
        } else {
            lines.chunks_mut(self.panel_lines()).enumerate().for_each(pack);
        }
    }

    #[allow(unsafe_code)]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pack_panel(&self, first: usize, lines: &mut [Line]) {
        let along = self.depth_stride == 1;
        let transposed = along != (self.side == Side::Left);
        for (index, lines) in lines.chunks_exact_mut(16).enumerate() {
            let (strand, depth) = (first + index % 2 * 16, index / 2 * WIDTH);
            let mut tile =
                if along { self.tile_along(strand, depth) } else { self.tile_across(strand, depth) };
            if transposed {
                tile = transpose(tile);
            }
            for (line, values) in lines.iter_mut().zip(tile) {
                // SAFETY: a line is 64 bytes, aligned to as many.
                unsafe { _mm512_store_si512(std::ptr::from_mut(line).cast(), values) };
            }
        }
    }

    /// Sixteen strands with their values adjacent, as a vector of 16 pairs each; zero beyond the ends.
    #[allow(unsafe_code)]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn tile_along(&self, strand: usize, depth: usize) -> [__m512i; 16] {
        let values = self.depth.saturating_sub(depth);
        let (low, high) = (mask(values), mask(values.saturating_sub(16)));
        let strands = self.count.saturating_sub(strand);
        let start = self.values.as_ptr().wrapping_add(strand * self.stride + depth);
        let mut tile = [_mm512_setzero_si512(); 16];
        for (index, line) in tile.iter_mut().enumerate() {
            let (low, high) = if index < strands { (low, high) } else { (0, 0) };
            let start = start.wrapping_add(index * self.stride);
            // SAFETY: the masks leave only values of existing strands (below `count`) at existing depths (below `depth`), which lie
            // in the slice, as the constructors of `Matrix` have checked. Masked values are not read.
            let (low, high) = unsafe {
                (_mm512_maskz_loadu_ps(low, start), _mm512_maskz_loadu_ps(high, start.wrapping_add(16)))
            };
            *line = bits(_mm512_cvtne2ps_pbh(high, low));
        }
        tile
    }

    /// Sixteen pairs of depths with the strands adjacent, as a vector of 16 strands' pairs each; zero beyond the ends.
    #[allow(unsafe_code)]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn tile_across(&self, strand: usize, depth: usize) -> [__m512i; 16] {
        const INTERLEAVE: [u16; 32] = {
            let mut order = [0; 32];
            let mut index = 0;
            while index < 32 {
                order[index as usize] = index / 2 + index % 2 * 16;
                index += 1;
            }
            order
        };
        // SAFETY: 32 values of two bytes are 64 bytes.
        let interleave = unsafe { _mm512_loadu_si512(INTERLEAVE.as_ptr().cast()) };
        let strands = mask(self.count.saturating_sub(strand));
        let depths = self.depth.saturating_sub(depth);
        let start = self.values.as_ptr().wrapping_add(depth * self.depth_stride + strand);
        let mut tile = [_mm512_setzero_si512(); 16];
        for (pair, line) in tile.iter_mut().enumerate() {
            let at = |offset: usize| {
                let strands = if 2 * pair + offset < depths { strands } else { 0 };
                let start = start.wrapping_add((2 * pair + offset) * self.depth_stride);
                // SAFETY: as in `tile_along`.
                unsafe { _mm512_maskz_loadu_ps(strands, start) }
            };
            *line = _mm512_permutexvar_epi16(interleave, bits(_mm512_cvtne2ps_pbh(at(1), at(0))));
        }
        tile
    }
}

/// The first `count` of 16.
fn mask(count: usize) -> u16 {
    if count >= 16 { u16::MAX } else { (1 << count) - 1 }
}

#[allow(unsafe_code)]
#[inline]
#[target_feature(enable = "avx512f")]
fn bits(values: __m512bh) -> __m512i {
    // SAFETY: both are 64 bytes without invalid patterns.
    unsafe { std::mem::transmute(values) }
}

/// Element `j` of vector `i` becomes element `i` of vector `j`.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    let mut twos = rows;
    for (i, two) in twos.iter_mut().enumerate() {
        let (first, second) = (rows[i / 2 * 2], rows[i / 2 * 2 + 1]);
        *two = if i % 2 == 0 {
            _mm512_unpacklo_epi32(first, second)
        } else {
            _mm512_unpackhi_epi32(first, second)
        };
    }
    // Number 4 g + c holds, in each quarter q of 128 bits, column 4 q + c of the rows 4 g to 4 g + 3.
    let mut fours = twos;
    for (i, four) in fours.iter_mut().enumerate() {
        let (group, column) = (i / 4 * 4, i % 4);
        let (first, second) = (twos[group + column / 2], twos[group + 2 + column / 2]);
        *four = if column % 2 == 0 {
            _mm512_unpacklo_epi64(first, second)
        } else {
            _mm512_unpackhi_epi64(first, second)
        };
    }
    // Quarters 0, 2 (`low`) or 1, 3 of two groups, then of all four.
    let quarters = |column: usize, group: usize, odd: bool| {
        let (first, second) = (fours[4 * group + column], fours[4 * group + 4 + column]);
        if odd {
            _mm512_shuffle_i32x4::<0b11_01_11_01>(first, second)
        } else {
            _mm512_shuffle_i32x4::<0b10_00_10_00>(first, second)
        }
    };
    let mut columns = fours;
    for (i, result) in columns.iter_mut().enumerate() {
        let (quarter, column) = (i / 4, i % 4);
        let (low, high) = (quarters(column, 0, quarter % 2 == 1), quarters(column, 2, quarter % 2 == 1));
        *result = if quarter / 2 == 0 {
            _mm512_shuffle_i32x4::<0b10_00_10_00>(low, high)
        } else {
            _mm512_shuffle_i32x4::<0b11_01_11_01>(low, high)
        };
    }
    columns
}
