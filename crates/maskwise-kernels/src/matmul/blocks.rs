//! Products of packed panels, block by block.
//!
//! The output is cut into blocks of 32 by 32, the micro-kernels' size. A region of up to [`REGION`] panels either way is one piece of
//! work; long sums are interrupted there, so that the parts of the panels in use stay in the second-level cache, and continue from
//! where they were. Neither regions nor interruptions change the order in which an element is summed up.

use super::panels::{Line, Side, Strands, WIDTH};
use super::tiles::Tiles;
use super::{Matrix, MatrixMut, Path, Write, dots, is_shared, sizes};
use rayon::prelude::*;
use std::arch::x86_64::*;
use std::cell::Cell;
use std::ops::Range;

/// Panels of either side in a region.
const REGION: usize = 8;

/// Steps of 32 along the depth, after which a sum is interrupted.
const INTERRUPT: usize = 16;

/// Lines of packed operands at a time (16 MiB), unless a region needs more.
const CAPACITY: usize = 1 << 18;

/// Values of a block.
const BLOCK: usize = WIDTH * WIDTH;

thread_local! {
    static LEFT: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    static RIGHT: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    static SUMS: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// Lends `work` lines of this thread, which are kept for the next caller. Their content is arbitrary. A product that this thread
/// starts meanwhile, while it waits for others, gets its own.
fn with_lines<R>(
    kept: &'static std::thread::LocalKey<Cell<Vec<Line>>>,
    count: usize,
    work: impl FnOnce(&mut [Line]) -> R,
) -> R {
    let mut lines = kept.take();
    if lines.len() < count {
        lines.resize(count, Line::ZERO);
    }
    let result = work(&mut lines[..count]);
    kept.set(lines);
    result
}

/// Where a product goes, and how.
#[derive(Clone, Copy)]
struct Output {
    values: *mut f32,
    rows: usize,
    columns: usize,
    stride: usize,
    scale: f32,
    write: Write,
}

// SAFETY: the pointer is to a slice that a `MatrixMut` borrows mutably for as long as an `Output` lives; threads write different
// elements of it.
#[allow(unsafe_code)]
unsafe impl Send for Output {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Output {}

/// The product by the instructions of `path`.
///
/// # Panics
/// When the sizes do not fit each other or the processor lacks the instructions.
pub(super) fn product(
    path: Path,
    left: Matrix,
    right: Matrix,
    output: MatrixMut,
    scale: f32,
    write: Write,
    share: bool,
) {
    let (m, k, n) = sizes(&left, &right, &output);
    let share = share && is_shared(m, k, n);
    let (left, right) = (Strands::new(left, Side::Left), Strands::new(right, Side::Right));
    let (rows, columns) = (m.div_ceil(WIDTH), n.div_ceil(WIDTH));
    let panel = left.panel_lines();
    let output = Output {
        values: output.values.as_mut_ptr(),
        rows: m,
        columns: n,
        stride: output.stride,
        scale,
        write,
    };
    let at_once = (CAPACITY / panel / REGION).max(1) * REGION;
    with_lines(&LEFT, rows.min(at_once) * panel, |left_lines| {
        with_lines(&RIGHT, columns.min(at_once) * panel, |right_lines| {
            for rows in ranges(0..rows, at_once) {
                let left_lines = &mut left_lines[..rows.len() * panel];
                left.pack(rows.start, left_lines, share);
                for columns in ranges(0..columns, at_once) {
                    let right_lines = &mut right_lines[..columns.len() * panel];
                    right.pack(columns.start, right_lines, share);
                    let packed =
                        Packed { left: left_lines, right: right_lines, panel, rows: rows.clone(), columns };
                    packed.multiply(path, output, share);
                }
            }
        });
    });
}

fn ranges(whole: Range<usize>, length: usize) -> impl Iterator<Item = Range<usize>> {
    let end = whole.end;
    whole.step_by(length).map(move |start| start..(start + length).min(end))
}

/// Panels of both sides.
#[derive(Clone)]
struct Packed<'a> {
    left: &'a [Line],
    right: &'a [Line],
    /// Lines of a panel.
    panel: usize,
    /// Which panels of the whole product `left` and `right` hold.
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Packed<'_> {
    fn multiply(&self, path: Path, output: Output, share: bool) {
        let across = self.columns.len().div_ceil(REGION);
        let down = self.rows.len().div_ceil(REGION);
        let region = |index: usize| {
            let part = |whole: &Range<usize>, index: usize| {
                let start = whole.start + index * REGION;
                start..(start + REGION).min(whole.end)
            };
            self.region(path, output, part(&self.rows, index / across), part(&self.columns, index % across));
        };
        if share {
            (0..across * down).into_par_iter().with_max_len(1).for_each(region);
        } else {
            (0..across * down).for_each(region);
        }
    }

    /// One region of the output, given as panels of the whole product.
    #[allow(unsafe_code)]
    fn region(&self, path: Path, output: Output, rows: Range<usize>, columns: Range<usize>) {
        assert!(path.is_available() && path != Path::Portable);
        let tiles = (path == Path::Amx).then(Tiles::configure);
        let steps = self.panel / WIDTH;
        let blocks = if steps > INTERRUPT { rows.len() * columns.len() } else { 1 };
        with_lines(&SUMS, blocks * BLOCK / 16, |sums| {
            for depth in ranges(0..steps, INTERRUPT) {
                let (is_first, is_last) = (depth.start == 0, depth.end == steps);
                let mut index = 0;
                for row in rows.clone() {
                    let left = &self.left[(row - self.rows.start) * self.panel..][..self.panel];
                    let left = &left[depth.start * WIDTH..depth.end * WIDTH];
                    for column in columns.clone() {
                        let right = &self.right[(column - self.columns.start) * self.panel..][..self.panel];
                        let right = &right[depth.start * WIDTH..depth.end * WIDTH];
                        let sums = &mut sums[index % blocks * (BLOCK / 16)..][..BLOCK / 16];
                        index += 1;
                        let direct = is_first && is_last && output.is_plain(row, column);
                        let (target, stride) = if direct {
                            // SAFETY: `is_plain` says that the whole block lies inside of the output.
                            let start =
                                unsafe { output.values.add(row * WIDTH * output.stride + column * WIDTH) };
                            (start, output.stride)
                        } else {
                            (sums.as_mut_ptr().cast(), WIDTH)
                        };
                        let (left, right) = (left.as_ptr(), right.as_ptr());
                        // SAFETY: the panels hold `depth.len()` steps, at least one. A block may be written to `target`: if
                        // direct, inside of the output, which nobody else touches there; otherwise to 4 KiB of this thread.
                        // Without `is_first`, this holds the sums so far. The processor has the instructions, as asserted above.
                        unsafe {
                            match &tiles {
                                Some(tiles) => {
                                    tiles.block(left, right, depth.len(), target, stride, !is_first)
                                }
                                None => dots::block(left, right, depth.len(), target, stride, !is_first),
                            }
                        }
                        if is_last && !direct {
                            // SAFETY: the sums of the block are complete; the processor has AVX-512, which either path needs.
                            // This is the only thread with these rows and columns.
                            unsafe { output.finish(sums, row, column) };
                        }
                    }
                }
            }
        });
    }
}

impl Output {
    /// Whether a block can be written as it is.
    fn is_plain(&self, row: usize, column: usize) -> bool {
        self.scale == 1.0
            && self.write == Write::Replace
            && (row + 1) * WIDTH <= self.rows
            && (column + 1) * WIDTH <= self.columns
    }

    /// Scales a block of sums and writes or adds what of it lies inside of the output.
    ///
    /// # Safety
    /// Nobody else reads or writes these elements of the output meanwhile.
    #[allow(unsafe_code)]
    #[target_feature(enable = "avx512f")]
    unsafe fn finish(&self, sums: &[Line], row: usize, column: usize) {
        assert_eq!(sums.len(), BLOCK / 16);
        let (first, start) = (row * WIDTH, column * WIDTH);
        let rows = (self.rows - first).min(WIDTH);
        let columns = (self.columns - start).min(WIDTH);
        let masks = [(1_u32 << columns.min(16)) - 1, (1 << columns.saturating_sub(16)) - 1];
        let scale = _mm512_set1_ps(self.scale);
        let sums: *const f32 = sums.as_ptr().cast();
        for row in 0..rows {
            for (half, mask) in masks.into_iter().enumerate() {
                let mask = mask as u16;
                let output = self.values.wrapping_add((first + row) * self.stride + start + 16 * half);
                // SAFETY: `sums` are 32 rows of 32 values. Rows are limited and columns masked to those of the output, whose
                // elements (row, column) all lie inside of the slice, as the constructor of `MatrixMut` has checked.
                unsafe {
                    let sum = _mm512_loadu_ps(sums.add(row * WIDTH + 16 * half));
                    let value = if self.write == Write::Add {
                        _mm512_fmadd_ps(sum, scale, _mm512_maskz_loadu_ps(mask, output))
                    } else {
                        _mm512_mul_ps(sum, scale)
                    };
                    _mm512_mask_storeu_ps(output, mask, value);
                }
            }
        }
    }
}
