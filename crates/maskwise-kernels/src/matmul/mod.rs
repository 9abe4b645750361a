//! Products of f32 matrices behind functions that check every bound: in f32, or, where the calling thread has asked for
//! [`Precision::Medium`], of operands rounded to bf16.
//!
//! Those in f32 are kernels of our own on AMX (of numbers in three parts) and AVX-512 and for a few rows, otherwise the `gemm` crate's.

#[cfg(target_arch = "x86_64")]
mod blocks;
#[cfg(target_arch = "x86_64")]
mod dots;
#[cfg(all(test, target_arch = "x86_64"))]
mod exact_tests;
mod few;
#[cfg(target_arch = "x86_64")]
mod few_arranged;
mod packed;
#[cfg(target_arch = "x86_64")]
mod panels;
mod path;
mod precision;
mod reduced;
#[cfg(test)]
mod reduced_tests;
#[cfg(target_arch = "x86_64")]
mod tiles;
#[cfg(target_arch = "x86_64")]
mod wide;

use crate::elementwise::Activation;
#[cfg(target_arch = "x86_64")]
use blocks::Finish;
use gemm::Parallelism;
#[cfg(target_arch = "x86_64")]
pub(crate) use tiles::Tiles;

pub use packed::{PackedRight, product_packed};
pub(crate) use packed::{matmul_packed_leading, packs};
pub use path::Path;
pub use precision::{Precision, precision, set_precision, with_precision};
pub use reduced::matmul_reduced;

/// Multiplications below which a product stays on the calling thread.
const SMALL: usize = 1 << 20;

/// A matrix that is read: row and column strides over a slice.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` of `columns` values, one row after the other.
    ///
    /// # Panics
    /// When `values` is too short.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// `rows` of `columns` adjacent values, of which each row starts `stride` after the one before.
    ///
    /// # Panics
    /// When `values` is too short.
    pub fn strided(values: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        check(values.len(), rows, columns, stride);
        Self { values, rows, columns, row_stride: stride, column_stride: 1 }
    }

    /// How many columns there are.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The values of a row from its first on, and what lies behind it.
    ///
    /// # Panics
    /// When the values of a row are not adjacent or there are fewer rows.
    pub(crate) fn row(&self, row: usize) -> &'a [f32] {
        assert!(self.column_stride == 1 && row < self.rows, "row {row} of {}", self.rows);
        &self.values[row * self.row_stride..]
    }

    /// Every `step`-th row from `first` on, `count` of them.
    ///
    /// # Panics
    /// When there are fewer.
    pub(crate) fn every(self, first: usize, step: usize, count: usize) -> Self {
        assert!(count == 0 || first + (count - 1) * step < self.rows, "{count} rows from {first} on");
        let values = if count == 0 { &[] } else { &self.values[first * self.row_stride..] };
        Self { values, rows: count, row_stride: self.row_stride * step, ..self }
    }

    /// The transpose, without moving anything.
    pub fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// A matrix that is written: rows of adjacent values.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    values: &'a mut [f32],
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// As [`Matrix::new`].
    ///
    /// # Panics
    /// When `values` is too short.
    pub fn new(values: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// As [`Matrix::strided`].
    ///
    /// # Panics
    /// When `values` is too short or rows overlap.
    pub fn strided(values: &'a mut [f32], rows: usize, columns: usize, stride: usize) -> Self {
        check(values.len(), rows, columns, stride);
        assert!(rows <= 1 || stride >= columns, "rows of {columns} overlap at a stride of {stride}");
        Self { values, rows, columns, stride }
    }
}

fn check(length: usize, rows: usize, columns: usize, stride: usize) {
    if rows > 0 && columns > 0 {
        let needed = (rows - 1).checked_mul(stride).and_then(|start| start.checked_add(columns));
        assert!(
            needed.is_some_and(|needed| needed <= length),
            "{rows} rows of {columns} at a stride of {stride} do not fit into {length} values"
        );
    }
}

/// Whether a product adds to what the output holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// The output is overwritten.
    Replace,
    /// The product is added to the output.
    Add,
}

/// `output = scale · left · right` (or added), on the threads of the current pool where it is large, as exact as the calling
/// thread's [`precision`] says.
///
/// # Panics
/// When the sizes do not fit each other.
pub fn matmul(left: Matrix, right: Matrix, output: MatrixMut, scale: f32, write: Write) {
    choose(left, right, output, scale, write, true);
}

/// What becomes of a product before it is written: bias, then activation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// A number for each column that is added.
    pub bias: Option<&'a [f32]>,
    /// A function of what is written then.
    pub activation: Option<Activation>,
}

impl<'a> Epilogue<'a> {
    /// With a bias alone, if there is one.
    pub fn bias(bias: Option<&'a [f32]>) -> Self {
        Self { bias, activation: None }
    }

    /// Whether products are written as they are.
    #[cfg(target_arch = "x86_64")]
    fn is_none(&self) -> bool {
        self.bias.is_none() && self.activation.is_none()
    }
}

/// `activation(left · right + bias)`, row after row in memory of its own, otherwise as [`matmul`].
///
/// # Panics
/// When the sizes do not fit each other.
pub fn product_with(left: Matrix, right: Matrix, epilogue: Epilogue) -> Vec<f32> {
    let (m, k, n) = check_sizes((left.rows, left.columns), (right.rows, right.columns));
    #[cfg(target_arch = "x86_64")]
    if let Some(kernel) = blocks::Kernel::for_sizes(m, k, n) {
        return blocks::filled(kernel, left, blocks::Right::Matrix(right), n, epilogue);
    }
    step_by_step(m, n, epilogue, |output, write| matmul(left, right, output, 1.0, write))
}

/// What `multiply` writes or adds, with bias and activation before and after it.
fn step_by_step(
    rows: usize,
    columns: usize,
    epilogue: Epilogue,
    multiply: impl FnOnce(MatrixMut, Write),
) -> Vec<f32> {
    let (mut values, write) = match epilogue.bias {
        Some(bias) => {
            assert_eq!(bias.len(), columns, "a bias for {columns} columns");
            (bias.repeat(rows), Write::Add)
        }
        None => (vec![0.0; rows * columns], Write::Replace),
    };
    multiply(MatrixMut::new(&mut values, rows, columns), write);
    if let Some(activation) = epilogue.activation {
        activation.forward_in_place(&mut values);
    }
    values
}

/// As [`matmul`], on the calling thread.
///
/// # Panics
/// As [`matmul`].
pub fn matmul_here(left: Matrix, right: Matrix, output: MatrixMut, scale: f32, write: Write) {
    choose(left, right, output, scale, write, false);
}

fn choose(left: Matrix, right: Matrix, output: MatrixMut, scale: f32, write: Write, share: bool) {
    if precision() == Precision::Medium && reduced::gains(left.rows, left.columns, right.columns) {
        matmul_reduced(Path::current(), left, right, output, scale, write, share);
    } else {
        exact(left, right, output, scale, write, share);
    }
}

/// The sizes of a product, rows, depth and columns, if they fit each other.
fn check_sizes(left: (usize, usize), right: (usize, usize)) -> (usize, usize, usize) {
    let ((m, k), n) = (left, right.1);
    assert_eq!(k, right.0, "{m}x{k} times {}x{n}", right.0);
    (m, k, n)
}

fn sizes(left: &Matrix, right: &Matrix, output: &MatrixMut) -> (usize, usize, usize) {
    let (m, k, n) = check_sizes((left.rows, left.columns), (right.rows, right.columns));
    assert_eq!((m, n), (output.rows, output.columns), "the output of {m}x{k} times {k}x{n}");
    (m, k, n)
}

/// Whether a product of these sizes is worth sharing among the threads of the current pool.
fn is_shared(m: usize, k: usize, n: usize) -> bool {
    m.saturating_mul(k).saturating_mul(n) >= SMALL && rayon::current_num_threads() > 1
}

/// The product in f32.
fn exact(left: Matrix, right: Matrix, output: MatrixMut, scale: f32, write: Write, share: bool) {
    let (m, k, n) = sizes(&left, &right, &output);
    if few::pays(&left, &right) {
        return few::product(left, right, output, scale, write, share && is_shared(m, k, n));
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(kernel) = blocks::Kernel::for_sizes_in_f32(m, k, n) {
        let right = blocks::Right::Matrix(right);
        return blocks::product(kernel, left, right, output.into(), Finish::new(scale, write), share);
    }
    by_gemm(left, right, output, scale, write, share && is_shared(m, k, n));
}

/// The product in f32 on any processor.
#[allow(unsafe_code)]
fn by_gemm(left: Matrix, right: Matrix, output: MatrixMut, scale: f32, write: Write, share: bool) {
    let (m, k, n) = sizes(&left, &right, &output);
    let parallelism = if share { Parallelism::Rayon(0) } else { Parallelism::None };
    let add = write == Write::Add;
    // SAFETY: the constructors of the three matrices have checked that every element (row, column) below (rows, columns) lies
    // inside of their slice, transposing swaps sizes with their strides, and the sizes were compared above. The output is borrowed
    // mutably, so nothing else reads or writes it, and its elements are distinct (stride >= columns). A slice is never longer than
    // isize::MAX bytes, so strides of matrices with more than one row or column fit into isize.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            output.values.as_mut_ptr(),
            1,
            output.stride as isize,
            add,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            if add { 1.0 } else { 0.0 },
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn varied(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|index| ((index * 7919 + seed * 104_729) % 1009) as f32 / 500.0 - 1.0).collect()
    }

    proptest! {
        #[test]
        fn equals_a_plain_sum(m in 0_usize..70, k in 0_usize..50, n in 0_usize..40, extra in 0_usize..5, transposed: bool, add: bool) {
            let stride = n + extra;
            let (left, right) = (varied(m * k, 1), varied(k * n, 2));
            let mut output = varied(m * stride, 3);
            let before = output.clone();
            let left_matrix = if transposed { Matrix::new(&left, k, m).t() } else { Matrix::new(&left, m, k) };
            let write = if add { Write::Add } else { Write::Replace };
            matmul(left_matrix, Matrix::new(&right, k, n), MatrixMut::strided(&mut output, m, n, stride), 0.5, write);
            for row in 0..m {
                for column in 0..stride {
                    let at = row * stride + column;
                    if column >= n {
                        prop_assert_eq!(output[at], before[at]);
                        continue;
                    }
                    let left_at = |depth: usize| if transposed { left[depth * m + row] } else { left[row * k + depth] };
                    let sum: f64 = (0..k).map(|i| f64::from(left_at(i)) * f64::from(right[i * n + column])).sum();
                    let expected = 0.5 * sum + if add { f64::from(before[at]) } else { 0.0 };
                    prop_assert!((f64::from(output[at]) - expected).abs() < 1e-4, "{} {}", output[at], expected);
                }
            }
        }
    }

    /// Few rows with a large matrix that is transposed in memory.
    #[test]
    fn few_rows_equal_a_plain_sum() {
        for (m, k, n) in [(1, 129, 131), (2, 64, 300), (5, 301, 65), (3, 1, 1 << 14), (4, 1 << 14, 1)] {
            let (left, right) = (varied(m * (k + 3), 1), varied(n * (k + 2), 2));
            for write in [Write::Replace, Write::Add] {
                let mut output = varied(m * (n + 1), 3);
                let before = output.clone();
                let left_matrix = Matrix::strided(&left, m, k, k + 3);
                let right_matrix = Matrix::strided(&right, n, k, k + 2).t();
                assert!(few::pays(&left_matrix, &right_matrix));
                let target = MatrixMut::strided(&mut output, m, n, n + 1);
                matmul(left_matrix, right_matrix, target, 0.5, write);
                for (at, found) in output.iter().enumerate() {
                    let (row, column) = (at / (n + 1), at % (n + 1));
                    let product = |i: usize| {
                        f64::from(left[row * (k + 3) + i]) * f64::from(right[column * (k + 2) + i])
                    };
                    let expected = match (column == n, write) {
                        (true, _) => f64::from(before[at]),
                        (false, Write::Add) => f64::from(before[at]) + 0.5 * (0..k).map(product).sum::<f64>(),
                        (false, Write::Replace) => 0.5 * (0..k).map(product).sum::<f64>(),
                    };
                    let error = (f64::from(*found) - expected).abs();
                    assert!(error < 1e-3, "{m} {k} {n} {write:?}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let (m, k, n) = (301, 640, 163);
        let (left, right) = (varied(m * k, 1), varied(k * n, 2));
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut output = vec![0.0; m * n];
                let left = Matrix::new(&left, m, k);
                let right = Matrix::new(&right, k, n);
                matmul(left, right, MatrixMut::new(&mut output, m, n), 1.0, Write::Replace);
                output
            })
        };
        let one = on(1);
        assert!((2..4).all(|threads| on(threads) == one));
    }

    #[test]
    #[should_panic(expected = "do not fit into")]
    fn a_short_slice_is_refused() {
        Matrix::strided(&[0.0; 10], 3, 4, 4);
    }
}
