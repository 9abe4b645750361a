//! Operands in the order in which the micro-kernels read them: rounded to bf16 as told here, or in f32 ([`wide`]).
//!
//! A panel is 32 rows of the left side or 32 columns of the right one, its *strands*, over the whole depth of the product. It is cut
//! into steps of 32 values along the depth, and a step into two tiles of 16 strands: 16 lines of 64 bytes, each of 16 pairs of
//! bf16 values that follow each other along the depth (of numbers in three parts, two tiles for each part). In a tile of the left side a line is a strand, in one of the right side it is a
//! pair of all 16 strands: one is the other's transpose, in units of pairs.

use super::{Matrix, wide};
use rayon::prelude::*;
use std::arch::x86_64::*;
use std::ops::Range;

/// Strands of a panel, and values along the depth of a step.
pub(super) const WIDTH: usize = 32;

/// 32 bf16 values, or 16 of f32.
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

/// What a panel holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    Bf16,
    /// Each f32 as the sum of three bf16: rounded, the rest rounded, and what is left, which is exact. A step has the tiles of the first
    /// parts, then those of the second and third ones.
    Bf16x3,
    F32,
}

impl Element {
    /// Lines of a panel of this depth.
    pub(super) fn panel_lines(self, depth: usize) -> usize {
        depth.div_ceil(self.depth()) * self.step_lines()
    }

    /// Lines of a step of a panel.
    pub(super) fn step_lines(self) -> usize {
        match self {
            Self::Bf16 | Self::F32 => WIDTH,
            Self::Bf16x3 => 3 * WIDTH,
        }
    }

    /// Values along the depth of a step.
    fn depth(self) -> usize {
        match self {
            Self::Bf16 | Self::Bf16x3 => WIDTH,
            Self::F32 => wide::DEPTH,
        }
    }
}

/// One side of a product, as strands along the depth.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strands<'a> {
    pub(super) values: &'a [f32],
    side: Side,
    element: Element,
    pub(super) count: usize,
    pub(super) depth: usize,
    /// From a strand to the next.
    pub(super) stride: usize,
    /// From a value of a strand to the next. One of the two is 1.
    pub(super) depth_stride: usize,
}

impl<'a> Strands<'a> {
    pub(super) fn new(matrix: Matrix<'a>, side: Side, element: Element) -> Self {
        // The right side's strands are its columns, which are rows of its transpose.
        let rows = if side == Side::Left { matrix } else { matrix.t() };
        let Matrix { values, rows: count, columns: depth, row_stride: stride, column_stride: depth_stride } =
            rows;
        assert!(stride == 1 || depth_stride == 1, "strides of {stride} and {depth_stride}");
        Self { values, side, element, count, depth, stride, depth_stride }
    }

    /// Lines of one panel.
    pub(super) fn panel_lines(&self) -> usize {
        self.element.panel_lines(self.depth)
    }

    /// Number of panels.
    pub(super) fn panels(&self) -> usize {
        self.count.div_ceil(WIDTH)
    }

    /// Packs whole panels from number `first` on, as many as `lines` has room for.
    ///
    /// # Panics
    /// As [`pack_steps`](Self::pack_steps).
    pub(super) fn pack(&self, first: usize, lines: &mut [Line], share: bool) {
        const AT_ONCE: usize = 4;
        let length = self.panel_lines();
        let pack = |(index, lines): (usize, &mut [Line])| {
            let first = first + index * AT_ONCE;
            self.pack_steps(
                first..first + lines.len() / length,
                0..length / self.element.step_lines(),
                lines,
            );
        };
        if share {
            lines.par_chunks_mut(AT_ONCE * length).enumerate().for_each(pack);
        } else {
            lines.chunks_mut(AT_ONCE * length).enumerate().for_each(pack);
        }
    }

    /// Packs some steps of some panels, one panel after the other.
    ///
    /// # Panics
    /// Without the instructions of [`dots::is_available`](super::dots::is_available), for f32 of [`wide::is_available`], or if `lines` are
    /// not as many as needed.
    #[allow(unsafe_code)]
    pub(super) fn pack_steps(&self, panels: Range<usize>, steps: Range<usize>, lines: &mut [Line]) {
        if self.element == Element::F32 {
            return self.pack_steps_of_f32(panels, steps, lines);
        }
        assert!(super::dots::is_available(), "no AVX-512 BF16");
        assert_eq!(lines.len(), panels.len() * steps.len() * self.element.step_lines());
        // SAFETY: the processor has the features that the functions are compiled for.
        unsafe {
            match (self.is_along(), self.is_transposed()) {
                (true, true) => self.pack_tiles::<true, true>(panels, steps, lines),
                (true, false) => self.pack_tiles::<true, false>(panels, steps, lines),
                (false, true) => self.pack_tiles::<false, true>(panels, steps, lines),
                (false, false) => self.pack_tiles::<false, false>(panels, steps, lines),
            }
        }
    }

    /// Whether lines of memory are the other side's.
    pub(super) fn is_transposed(&self) -> bool {
        self.is_along() != (self.side == Side::Left)
    }

    /// Whether the values of a strand are adjacent.
    pub(super) fn is_along(&self) -> bool {
        self.depth_stride == 1
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pack_tiles<const ALONG: bool, const TRANSPOSED: bool>(
        &self,
        panels: Range<usize>,
        steps: Range<usize>,
        lines: &mut [Line],
    ) {
        let step_lines = self.element.step_lines();
        let length = steps.len() * step_lines;
        if ALONG {
            for (panel, lines) in panels.zip(lines.chunks_exact_mut(length)) {
                for (step, lines) in steps.clone().zip(lines.chunks_exact_mut(step_lines)) {
                    self.pack_step::<ALONG, TRANSPOSED>(panel, step, lines);
                }
            }
        } else {
            // All panels step by step, so that more of each row of memory is used at a time.
            for (index, step) in steps.enumerate() {
                for (panel, lines) in panels.clone().zip(lines.chunks_exact_mut(length)) {
                    let lines = &mut lines[index * step_lines..][..step_lines];
                    self.pack_step::<ALONG, TRANSPOSED>(panel, step, lines);
                }
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pack_step<const ALONG: bool, const TRANSPOSED: bool>(
        &self,
        panel: usize,
        step: usize,
        lines: &mut [Line],
    ) {
        for (part, lines) in lines.chunks_exact_mut(WIDTH).enumerate() {
            match part {
                0 => self.pack_part::<ALONG, TRANSPOSED, 0>(panel, step, lines),
                1 => self.pack_part::<ALONG, TRANSPOSED, 1>(panel, step, lines),
                _ => self.pack_part::<ALONG, TRANSPOSED, 2>(panel, step, lines),
            }
        }
    }

    /// The tiles of one of the parts of a step.
    #[allow(unsafe_code)]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pack_part<const ALONG: bool, const TRANSPOSED: bool, const PART: usize>(
        &self,
        panel: usize,
        step: usize,
        lines: &mut [Line],
    ) {
        for (half, lines) in lines.chunks_exact_mut(16).enumerate() {
            let (strand, depth) = (panel * WIDTH + half * 16, step * WIDTH);
            let strands = self.count.saturating_sub(strand).min(16);
            let depths = self.depth.saturating_sub(depth).min(WIDTH);
            let start = self.values.as_ptr().wrapping_add(strand * self.stride + depth * self.depth_stride);
            // SAFETY: strands below `count` and depths below `depth` lie in the slice, as the constructors of `Matrix` have
            // checked, and no more than that many follow `start`.
            let mut tile = unsafe {
                match (ALONG, strands == 16 && depths == WIDTH) {
                    (true, true) => along::<true, PART>(start, self.stride, 16, WIDTH),
                    (true, false) => along::<false, PART>(start, self.stride, strands, depths),
                    (false, true) => across::<true, PART>(start, self.depth_stride, 16, WIDTH),
                    (false, false) => across::<false, PART>(start, self.depth_stride, strands, depths),
                }
            };
            if TRANSPOSED {
                tile = transpose(tile);
            }
            for (line, values) in lines.iter_mut().zip(tile) {
                // SAFETY: a line is 64 bytes, aligned to as many.
                unsafe { _mm512_store_si512(std::ptr::from_mut(line).cast(), values) };
            }
        }
    }
}

/// The array of what an expression is for 0 to 15. A loop might not be unrolled, and then the vectors would live in memory.
macro_rules! sixteen {
    ($value:expr) => {{
        let value = $value;
        [
            value(0),
            value(1),
            value(2),
            value(3),
            value(4),
            value(5),
            value(6),
            value(7),
            value(8),
            value(9),
            value(10),
            value(11),
            value(12),
            value(13),
            value(14),
            value(15),
        ]
    }};
}

pub(super) use sixteen;

/// Sixteen strands with their values adjacent, `stride` apart, as a vector of 16 pairs each; zero beyond `strands` and `depths`.
///
/// # Safety
/// The first `depths` values of the first `strands` strands can be read; if `FULL`, all.
#[allow(unsafe_code)]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn along<const FULL: bool, const PART: usize>(
    start: *const f32,
    stride: usize,
    strands: usize,
    depths: usize,
) -> [__m512i; 16] {
    let (low, high) = (mask(depths), mask(depths.saturating_sub(16)));
    sixteen!(|strand: usize| {
        let at = start.wrapping_add(strand * stride);
        // SAFETY: masked values are not read, the others can be.
        unsafe {
            let (low, high) = if FULL {
                (_mm512_loadu_ps(at), _mm512_loadu_ps(at.wrapping_add(16)))
            } else {
                let (low, high) = if strand < strands { (low, high) } else { (0, 0) };
                (_mm512_maskz_loadu_ps(low, at), _mm512_maskz_loadu_ps(high, at.wrapping_add(16)))
            };
            parts::<PART>(high, low)
        }
    })
}

/// Sixteen pairs along the depth, values of which are `stride` apart, with the strands adjacent, as a vector of 16 strands' pairs
/// each; zero beyond `strands` and `depths`.
///
/// # Safety
/// As of [`along`].
#[allow(unsafe_code)]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn across<const FULL: bool, const PART: usize>(
    start: *const f32,
    stride: usize,
    strands: usize,
    depths: usize,
) -> [__m512i; 16] {
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
    let strands = mask(strands);
    let at = |depth: usize| {
        let at = start.wrapping_add(depth * stride);
        // SAFETY: masked values are not read, the others can be.
        unsafe {
            if FULL {
                _mm512_loadu_ps(at)
            } else {
                _mm512_maskz_loadu_ps(if depth < depths { strands } else { 0 }, at)
            }
        }
    };
    sixteen!(|pair: usize| {
        _mm512_permutexvar_epi16(interleave, parts::<PART>(at(2 * pair + 1), at(2 * pair)))
    })
}

/// Part number `PART` of 16 and 16 values, rounded to bf16: what earlier parts lack of them, or, of the first one, all.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn parts<const PART: usize>(mut high: __m512, mut low: __m512) -> __m512i {
    for _ in 0..PART {
        let rounded = bits(_mm512_cvtne2ps_pbh(high, low));
        low = _mm512_sub_ps(low, widened(_mm512_castsi512_si256(rounded)));
        high = _mm512_sub_ps(high, widened(_mm512_extracti64x4_epi64::<1>(rounded)));
    }
    bits(_mm512_cvtne2ps_pbh(high, low))
}

/// Sixteen bf16 as f32.
#[inline]
#[target_feature(enable = "avx512f")]
fn widened(values: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(values)))
}

/// The first `count` of 16.
pub(super) fn mask(count: usize) -> u16 {
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
pub(super) fn transpose(r: [__m512i; 16]) -> [__m512i; 16] {
    let [a, b, c, d] = [
        transpose_quarters([r[0], r[1], r[2], r[3]]),
        transpose_quarters([r[4], r[5], r[6], r[7]]),
        transpose_quarters([r[8], r[9], r[10], r[11]]),
        transpose_quarters([r[12], r[13], r[14], r[15]]),
    ];
    let columns = [
        gather_quarters([a[0], b[0], c[0], d[0]]),
        gather_quarters([a[1], b[1], c[1], d[1]]),
        gather_quarters([a[2], b[2], c[2], d[2]]),
        gather_quarters([a[3], b[3], c[3], d[3]]),
    ];
    sixteen!(|column: usize| columns[column % 4][column / 4])
}

/// In each quarter of 128 bits, element `j` of vector `i` becomes element `i` of vector `j`.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose_quarters([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab_low, cd_low),
        _mm512_unpackhi_epi64(ab_low, cd_low),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// Quarter `j` of vector `i` becomes quarter `i` of vector `j`.
#[inline]
#[target_feature(enable = "avx512f")]
fn gather_quarters([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    let (ab_even, cd_even) = (_mm512_shuffle_i32x4::<EVEN>(a, b), _mm512_shuffle_i32x4::<EVEN>(c, d));
    let (ab_odd, cd_odd) = (_mm512_shuffle_i32x4::<ODD>(a, b), _mm512_shuffle_i32x4::<ODD>(c, d));
    [
        _mm512_shuffle_i32x4::<EVEN>(ab_even, cd_even),
        _mm512_shuffle_i32x4::<EVEN>(ab_odd, cd_odd),
        _mm512_shuffle_i32x4::<ODD>(ab_even, cd_even),
        _mm512_shuffle_i32x4::<ODD>(ab_odd, cd_odd),
    ]
}
