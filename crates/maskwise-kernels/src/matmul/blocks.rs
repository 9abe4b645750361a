//! Products of packed panels, block by block.
//!
//! The output is cut into blocks of 32 by 32, the micro-kernels' size. A region of several blocks either way is one piece of work;
//! long sums are interrupted there, so that the parts of the panels in use stay in the second-level cache, and continue from where
//! they were. Neither regions nor interruptions change the order in which an element is summed up.

use super::panels::{Element, Line, Side, Strands, WIDTH};
use super::tiles::Tiles;
use super::{Epilogue, Matrix, MatrixMut, Path, Precision, Write, dots, is_shared, precision, wide};
use crate::elementwise::Activation;
use rayon::prelude::*;
use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Multiplications from which on an f32 product on AVX-512 is worth rearranging the operands.
const WORTHWHILE: usize = 1 << 17;

/// Rows and columns from which on a product of f32 is worth taking the numbers apart: each part is used as often.
const PARTS: usize = 128;

/// Steps along the depth, after which a sum is interrupted: so much of a panel of either side lies in half of a first-level cache, or, of numbers in three
/// parts, so much of a region's panels in a second-level one.
const INTERRUPT: usize = 8;

/// Lines of the panels of a sum that is not interrupted.
const SHORT: usize = 16 * WIDTH;

/// Lines of either side that are packed at a time (16 MiB), or 32 panels where those take more.
const CAPACITY: usize = 1 << 18;

/// Lines of memory that the f32 sums of a block take.
const BLOCK_LINES: usize = WIDTH * WIDTH / 16;

thread_local! {
    static LEFT: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    static RIGHT: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    static REGION: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
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

/// What becomes of the sums of a product.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    /// They are multiplied by this.
    pub(super) scale: f32,
    /// Whether they are added to what the output holds.
    pub(super) write: Write,
    /// What else is done where the output is overwritten.
    pub(super) epilogue: Epilogue<'a>,
}

impl Finish<'_> {
    /// Without an epilogue.
    pub(super) fn new(scale: f32, write: Write) -> Self {
        Self { scale, write, epilogue: Epilogue::default() }
    }
}

/// Memory for a product: rows of adjacent values.
pub(super) struct Target<'a> {
    values: *mut f32,
    rows: usize,
    columns: usize,
    stride: usize,
    is_initialised: bool,
    _borrowed: PhantomData<&'a mut [f32]>,
}

impl<'a> Target<'a> {
    /// Memory without values, for one row after the other.
    ///
    /// # Panics
    /// When it is too short.
    pub(super) fn uninitialised(values: &'a mut [MaybeUninit<f32>], rows: usize, columns: usize) -> Self {
        super::check(values.len(), rows, columns, columns);
        let values = values.as_mut_ptr().cast();
        Self { values, rows, columns, stride: columns, is_initialised: false, _borrowed: PhantomData }
    }
}

impl<'a> From<MatrixMut<'a>> for Target<'a> {
    fn from(MatrixMut { values, rows, columns, stride }: MatrixMut<'a>) -> Self {
        let values = values.as_mut_ptr();
        Self { values, rows, columns, stride, is_initialised: true, _borrowed: PhantomData }
    }
}

/// Where a product goes, and how.
#[derive(Clone, Copy)]
struct Output<'a> {
    values: *mut f32,
    rows: usize,
    columns: usize,
    stride: usize,
    finish: Finish<'a>,
}

// SAFETY: the pointer is to memory that a `Target` borrows mutably for as long as an `Output` lives; threads write different
// elements of it.
#[allow(unsafe_code)]
unsafe impl Send for Output<'_> {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Output<'_> {}

/// The right side of a product.
#[derive(Clone, Copy)]
pub(super) enum Right<'a> {
    /// To be packed.
    Matrix(Matrix<'a>),
    /// All of its panels, which are of this depth; products may take less of it.
    Packed { lines: &'a [Line], depth: usize },
}

/// What computes a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kernel {
    /// Of operands rounded to bf16, on tiles.
    Tiles,
    /// Of operands rounded to bf16, by dot products of AVX-512.
    Dots,
    /// Of f32 in three parts, on tiles.
    TilesOfParts,
    /// Of f32, on AVX-512.
    Wide,
}

impl Kernel {
    /// The kernel of a path that has instructions for bf16.
    ///
    /// # Panics
    /// For [`Path::Avx2`] and [`Path::Portable`].
    pub(super) fn of(path: Path) -> Self {
        match path {
            Path::Amx => Self::Tiles,
            Path::Avx512 => Self::Dots,
            Path::Avx2 | Path::Portable => panic!("{path:?} has no kernel for bf16"),
        }
    }

    /// The kernel for operands that are arranged in the calling thread's precision, for products with few rows or columns; none where the processor has
    /// no instructions for it.
    pub(super) fn of_thread() -> Option<Self> {
        match (precision(), Path::current()) {
            (Precision::Highest, _) => Self::wide(),
            (Precision::Medium, Path::Avx2 | Path::Portable) => None,
            (Precision::Medium, path) => Some(Self::of(path)),
        }
    }

    /// The kernel for a product of these sizes in the calling thread's precision; none where others are better, or the processor has none.
    pub(super) fn for_sizes(m: usize, k: usize, n: usize) -> Option<Self> {
        if precision() == Precision::Medium && super::reduced::gains(m, k, n) {
            return matches!(Path::current(), Path::Amx | Path::Avx512).then(|| Self::of(Path::current()));
        }
        Self::for_sizes_in_f32(m, k, n)
    }

    /// As [`Kernel::for_sizes`], in f32.
    pub(super) fn for_sizes_in_f32(m: usize, k: usize, n: usize) -> Option<Self> {
        if Path::current() == Path::Amx && m >= PARTS && n >= PARTS && k >= WIDTH {
            return Some(Self::TilesOfParts);
        }
        let is_worthwhile = m >= 8 && n >= 8 && k >= 8 && m.saturating_mul(k).saturating_mul(n) >= WORTHWHILE;
        if is_worthwhile { Self::wide() } else { None }
    }

    fn wide() -> Option<Self> {
        (matches!(Path::wished(), Path::Amx | Path::Avx512) && wide::is_available()).then_some(Self::Wide)
    }

    pub(super) fn is_available(self) -> bool {
        match self {
            Self::Tiles | Self::TilesOfParts => Path::Amx.is_available(),
            Self::Dots => Path::Avx512.is_available(),
            Self::Wide => wide::is_available(),
        }
    }

    pub(super) fn element(self) -> Element {
        match self {
            Self::Tiles | Self::Dots => Element::Bf16,
            Self::TilesOfParts => Element::Bf16x3,
            Self::Wide => Element::F32,
        }
    }
}

/// The product by `kernel`; every element of `target` is written. The sizes fit each other and are not zero.
///
/// # Panics
/// When the processor lacks the instructions, or for adding to memory without values.
pub(super) fn product(
    kernel: Kernel,
    left: Matrix,
    right: Right,
    target: Target,
    finish: Finish,
    share: bool,
) {
    let Target { values, rows: m, columns: n, stride, is_initialised, .. } = target;
    assert!(is_initialised || finish.write == Write::Replace);
    assert!(m > 0 && n > 0 && left.columns > 0);
    let (depth, columns) = match right {
        Right::Matrix(right) => (right.rows, right.columns),
        Right::Packed { lines, depth } => (depth, lines.len() / kernel.element().panel_lines(depth) * WIDTH),
    };
    assert!(left.rows == m && left.columns <= depth && n <= columns, "{m} rows and {n} columns of {depth}");
    assert!(finish.epilogue.bias.is_none_or(|bias| bias.len() == n));
    assert!(finish.epilogue.is_none() || finish.write == Write::Replace);
    assert!(kernel.is_available(), "this processor lacks {kernel:?}");
    let share = share && is_shared(m, left.columns, n);
    let left = Strands::new(left, Side::Left, kernel.element());
    let panel = left.panel_lines();
    let output = Output { values, rows: m, columns: n, stride, finish };
    let (rows, columns) = (left.panels(), n.div_ceil(WIDTH));
    // Short sums need no room for interrupted ones, so that their regions can be wide.
    let width = if panel > SHORT { 8 } else { 32 };
    let right_panel = match right {
        Right::Packed { depth, .. } => kernel.element().panel_lines(depth),
        Right::Matrix(_) => panel,
    };
    let work = Work { kernel, output, panel, right_panel, width, share };
    let at_once = (CAPACITY / panel).max(32);
    // A region packs its own rows, which are in the cache then, unless too many regions would pack the same ones.
    let fused = columns <= width || panel <= SHORT;
    for rows in ranges(0..rows, if fused { rows } else { at_once }) {
        let lines = if fused { 0 } else { rows.len() * panel };
        with_lines(&LEFT, lines, |lines| {
            left.pack(rows.start, lines, share);
            let left = if fused { Left::Strands(&left) } else { Left::Packed(lines, rows.start) };
            match right {
                Right::Packed { lines, .. } => work.multiply(left, lines, rows.clone(), 0..columns),
                Right::Matrix(right) => {
                    let right = Strands::new(right, Side::Right, kernel.element());
                    with_lines(&RIGHT, columns.min(at_once) * panel, |lines| {
                        for columns in ranges(0..columns, at_once) {
                            let lines = &mut lines[..columns.len() * panel];
                            right.pack(columns.start, lines, share);
                            work.multiply(left, lines, rows.clone(), columns);
                        }
                    });
                }
            }
        });
    }
}

/// The product in memory of its own, of `columns` columns, row after row. As of [`product`], sizes fit each other and are not zero.
///
/// # Panics
/// As there.
#[allow(unsafe_code)]
pub(super) fn filled(
    kernel: Kernel,
    left: Matrix,
    right: Right,
    columns: usize,
    epilogue: Epilogue,
) -> Vec<f32> {
    let length = left.rows * columns;
    let mut values = Vec::with_capacity(length);
    let target = Target::uninitialised(values.spare_capacity_mut(), left.rows, columns);
    product(kernel, left, right, target, Finish { epilogue, ..Finish::new(1.0, Write::Replace) }, true);
    // SAFETY: there is room for as many, and `product` has written all of them.
    unsafe { values.set_len(length) };
    values
}

fn ranges(whole: Range<usize>, length: usize) -> impl Iterator<Item = Range<usize>> {
    let end = whole.end;
    whole.step_by(length).map(move |start| start..(start + length).min(end))
}

/// The left side of a region.
#[derive(Clone, Copy)]
enum Left<'a> {
    Strands(&'a Strands<'a>),
    /// Panels from this number on.
    Packed(&'a [Line], usize),
}

struct Work<'a> {
    kernel: Kernel,
    output: Output<'a>,
    /// Lines of a panel that are multiplied.
    panel: usize,
    /// Lines from a panel of the right side to the next.
    right_panel: usize,
    /// Columns of a region, in panels.
    width: usize,
    share: bool,
}

impl Work<'_> {
    /// Multiplies panels; `right` holds those of `columns`.
    fn multiply(&self, left: Left, right: &[Line], rows: Range<usize>, columns: Range<usize>) {
        let height = match left {
            // More rows share the fetching of the right side.
            Left::Packed(..) => 8,
            // One region takes whole rows of memory, two to three kilobytes of them, rather than pieces of each again and again.
            Left::Strands(left) if !left.is_along() && !self.share => 16,
            // Few rows stay in the first-level caches and keep all threads busy to the end.
            Left::Strands(_) => 4,
        };
        let across = columns.len().div_ceil(self.width);
        let down = rows.len().div_ceil(height);
        let region = |index: usize| {
            let part = |whole: &Range<usize>, length: usize, index: usize| {
                let start = whole.start + index * length;
                start..(start + length).min(whole.end)
            };
            let first = index % across * self.width;
            let right = &right[first * self.right_panel..];
            let rows = part(&rows, height, index / across);
            self.region(left, right, rows, part(&columns, self.width, index % across));
        };
        if self.share {
            (0..across * down).into_par_iter().with_max_len(1).for_each(region);
        } else {
            (0..across * down).for_each(region);
        }
    }

    /// One region of the output; `right` begins with the first of `columns`.
    fn region(&self, left: Left, right: &[Line], rows: Range<usize>, columns: Range<usize>) {
        let tiles = matches!(self.kernel, Kernel::Tiles | Kernel::TilesOfParts).then(Tiles::configure);
        let step_lines = self.kernel.element().step_lines();
        let steps = self.panel / step_lines;
        let (length, blocks) =
            if self.panel > SHORT { (INTERRUPT, rows.len() * columns.len()) } else { (steps, 1) };
        let own =
            if matches!(left, Left::Strands(_)) { rows.len() * steps.min(length) * step_lines } else { 0 };
        with_lines(&REGION, blocks * BLOCK_LINES + own, |lines| {
            let (sums, own) = lines.split_at_mut(blocks * BLOCK_LINES);
            for depth in ranges(0..steps, length) {
                let part = depth.start * step_lines..depth.end * step_lines;
                if let Left::Strands(strands) = left {
                    strands.pack_steps(rows.clone(), depth.clone(), &mut own[..rows.len() * part.len()]);
                }
                let mut block = 0;
                for (index, row) in rows.clone().enumerate() {
                    let left = match left {
                        Left::Packed(panels, first) => &panels[(row - first) * self.panel..][part.clone()],
                        Left::Strands(_) => &own[index * part.len()..][..part.len()],
                    };
                    for (index, column) in columns.clone().enumerate() {
                        let right = &right[index * self.right_panel..][part.clone()];
                        let sums = &mut sums[block % blocks * BLOCK_LINES..][..BLOCK_LINES];
                        block += 1;
                        self.block(&tiles, left, right, sums, (row, column), &depth);
                    }
                }
            }
        });
    }

    /// Some steps of a block, between what `sums` holds of the steps before and either `sums` or, after the last, the output.
    #[allow(unsafe_code)]
    #[inline]
    fn block(
        &self,
        tiles: &Option<Tiles>,
        left: &[Line],
        right: &[Line],
        sums: &mut [Line],
        (row, column): (usize, usize),
        depth: &Range<usize>,
    ) {
        let step_lines = self.kernel.element().step_lines();
        assert!(left.len() == depth.len() * step_lines && right.len() == left.len());
        assert_eq!(sums.len(), BLOCK_LINES);
        let (resume, is_last) = (depth.start > 0, depth.end * step_lines == self.panel);
        if is_last {
            self.output.prefetch(row, column);
        }
        let direct = !resume && is_last && self.output.takes_blocks(row, column);
        let (target, stride) = if direct {
            let start = row * WIDTH * self.output.stride + column * WIDTH;
            (self.output.values.wrapping_add(start), self.output.stride)
        } else {
            (sums.as_mut_ptr().cast(), WIDTH)
        };
        // SAFETY: the panels hold `depth.len()` steps, as asserted, and at least one, since there are columns on the left. A block may be written to `target`: if direct, it
        // lies inside of the output, as `takes_blocks` says, where nobody else reads or writes this row and column; otherwise
        // it is the 4 KiB of `sums`, which are initialised. The processor has the instructions, as `product` has asserted.
        unsafe {
            let (left, right, steps) = (left.as_ptr(), right.as_ptr(), depth.len());
            match (tiles, self.kernel) {
                (Some(tiles), Kernel::TilesOfParts) => {
                    tiles.block_of_parts(left, right, steps, target, stride, resume)
                }
                (Some(tiles), _) => tiles.block(left, right, steps, target, stride, resume),
                (None, Kernel::Wide) => wide::block(left, right, steps, target, stride, resume),
                (None, _) => dots::block(left, right, steps, target, stride, resume),
            }
        }
        if is_last && !direct {
            // SAFETY: the processor has AVX-512, which either path needs; nobody else reads or writes this row and column.
            unsafe { self.output.finish(sums, row, column) };
        }
    }
}

impl Output<'_> {
    /// Asks the processor to fetch a block's memory for writing, while the block is computed. Blocks touch many rows briefly, which
    /// the hardware does not foresee.
    #[allow(unsafe_code)]
    #[inline]
    fn prefetch(&self, row: usize, column: usize) {
        for row in row * WIDTH..((row + 1) * WIDTH).min(self.rows) {
            let at = self.values.wrapping_add(row * self.stride + column * WIDTH);
            // SAFETY: nothing is read or written; a prefetch of any address is sound. Every processor with AVX-512 has it.
            unsafe {
                asm!("prefetchw [{0}]", "prefetchw [{0} + 64]", in(reg) at, options(nostack, preserves_flags));
            }
        }
    }

    /// Whether a block can be written as it is, in full.
    fn takes_blocks(&self, row: usize, column: usize) -> bool {
        self.finish.scale == 1.0
            && self.finish.epilogue.is_none()
            && !self.stride.is_multiple_of(512)
            && self.finish.write == Write::Replace
            && (row + 1) * WIDTH <= self.rows
            && (column + 1) * WIDTH <= self.columns
    }

    /// Finishes a block of sums and writes or adds what of it lies inside of the output.
    ///
    /// # Safety
    /// Nobody else reads or writes these elements of the output meanwhile.
    #[allow(unsafe_code)]
    #[target_feature(enable = "avx512f")]
    unsafe fn finish(&self, sums: &mut [Line], row: usize, column: usize) {
        assert_eq!(sums.len(), BLOCK_LINES);
        let (first, start) = (row * WIDTH, column * WIDTH);
        let rows = (self.rows - first).min(WIDTH);
        let columns = (self.columns - start).min(WIDTH);
        let masks = [(1_u32 << columns.min(16)) - 1, (1 << columns.saturating_sub(16)) - 1];
        let finish = match self.finish.epilogue {
            Epilogue { activation: None, .. } => self.finish,
            Epilogue { bias, activation: Some(activation) } => {
                let bias = bias.map_or(&[][..], |bias| &bias[start..start + columns]);
                activate(sums, self.finish.scale, bias, activation);
                Finish::new(1.0, Write::Replace)
            }
        };
        let scale = _mm512_set1_ps(finish.scale);
        let sums: *const f32 = sums.as_ptr().cast();
        for row in 0..rows {
            for (half, mask) in masks.into_iter().enumerate() {
                let mask = mask as u16;
                let output = self.values.wrapping_add((first + row) * self.stride + start + 16 * half);
                // SAFETY: `sums` are 32 rows of 32 values. Rows are limited and columns masked to those of the output, whose
                // elements (row, column) all lie inside of its memory, as the constructors of `MatrixMut` and `Target` have checked; they are read only where they have values; there is a bias for
                // each column, as `product` asserts.
                unsafe {
                    let sum = _mm512_loadu_ps(sums.add(row * WIDTH + 16 * half));
                    let value = match (finish.write, finish.epilogue.bias) {
                        (Write::Add, _) => _mm512_fmadd_ps(sum, scale, _mm512_maskz_loadu_ps(mask, output)),
                        (Write::Replace, Some(bias)) => {
                            let bias = bias.as_ptr().wrapping_add(start + 16 * half);
                            _mm512_fmadd_ps(sum, scale, _mm512_maskz_loadu_ps(mask, bias))
                        }
                        (Write::Replace, None) => _mm512_mul_ps(sum, scale),
                    };
                    _mm512_mask_storeu_ps(output, mask, value);
                }
            }
        }
    }
}

/// Scales a block of sums, adds `bias` (for the first columns, or none) to each row and takes the activation, in their place.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
fn activate(sums: &mut [Line], scale: f32, bias: &[f32], activation: Activation) {
    let mut of_columns = [0.0; WIDTH];
    of_columns[..bias.len()].copy_from_slice(bias);
    // SAFETY: a line is 64 initialised bytes, 16 f32, aligned to as many, borrowed mutably.
    let values = unsafe { std::slice::from_raw_parts_mut(sums.as_mut_ptr().cast::<f32>(), sums.len() * 16) };
    for row in values.as_chunks_mut::<WIDTH>().0 {
        for (value, bias) in row.iter_mut().zip(&of_columns) {
            *value = value.mul_add(scale, *bias);
        }
    }
    activation.forward_in_place(values);
}
