//! Products with a right side that is prepared once, such as a weight of inference.

#[cfg(target_arch = "x86_64")]
use super::blocks::{self, Finish, Kernel, Right};
#[cfg(target_arch = "x86_64")]
use super::few_arranged;
#[cfg(target_arch = "x86_64")]
use super::panels::{Element, Line, Side, Strands};
use super::{Epilogue, Matrix, MatrixMut, Path, Write, check_sizes, exact, is_shared, step_by_step};

/// The right side of products in reduced precision, rounded to bf16 and arranged for the processor.
///
/// It takes two bytes per value (four on [`Path::Portable`]), with both sizes rounded up to multiples of 32, and saves what
/// [`matmul`](super::matmul) spends on the right side in each call, which is most of the time when the left side has few rows.
#[derive(Debug, Clone)]
pub struct PackedRight {
    path: Path,
    rows: usize,
    columns: usize,
    values: Values,
}

#[derive(Debug, Clone)]
enum Values {
    #[cfg(target_arch = "x86_64")]
    Panels(Kernel, Vec<Line>),
    Rounded {
        values: Vec<f32>,
        row_stride: usize,
        column_stride: usize,
    },
}

impl PackedRight {
    /// Prepares a matrix for [`Path::current`], on the threads of the current pool if it is large.
    pub fn new(right: Matrix) -> Self {
        Self::for_path(Path::current(), right)
    }

    /// As [`new`](Self::new), for the instructions of `path`.
    ///
    /// # Panics
    /// When the path [is not available](Path::is_available).
    pub fn for_path(path: Path, right: Matrix) -> Self {
        assert!(path.is_available(), "this processor lacks {path:?}");
        let Matrix { rows, columns, row_stride, column_stride, .. } = right;
        let values = match path {
            #[cfg(target_arch = "x86_64")]
            Path::Amx | Path::Avx512 if rows > 0 && columns > 0 => {
                Values::panels(Kernel::of(path), right, is_shared(rows, columns, 1))
            }
            _ => Values::Rounded { values: super::reduced::rounded(right), row_stride, column_stride },
        };
        Self { path, rows, columns, values }
    }

    /// Prepares a matrix, on the calling thread, for products as exact as the thread's [`precision`](super::precision) says.
    ///
    /// # Panics
    /// Unless the processor [`packs`].
    pub(crate) fn for_precision(right: Matrix) -> Self {
        let Matrix { rows, columns, .. } = right;
        #[cfg(target_arch = "x86_64")]
        if let Some(kernel) = Kernel::of_thread() {
            return Self {
                path: Path::current(),
                rows,
                columns,
                values: Values::panels(kernel, right, false),
            };
        }
        panic!("{rows}x{columns} values cannot be arranged for this processor")
    }

    /// The path for which it is arranged.
    pub fn path(&self) -> Path {
        self.path
    }

    /// Rows: the depth of products.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns, as of the products.
    pub fn columns(&self) -> usize {
        self.columns
    }
}

#[cfg(target_arch = "x86_64")]
impl Values {
    fn panels(kernel: Kernel, right: Matrix, share: bool) -> Self {
        let strands = Strands::new(right, Side::Right, kernel.element());
        let mut lines = vec![Line::ZERO; strands.panels() * strands.panel_lines()];
        strands.pack(0, &mut lines, share);
        Self::Panels(kernel, lines)
    }
}

/// Whether this processor has a kernel that reads arranged operands, in the calling thread's precision.
#[cfg(target_arch = "x86_64")]
pub(crate) fn packs() -> bool {
    Kernel::of_thread().is_some()
}

/// Whether this processor has a kernel that reads arranged operands, in the calling thread's precision.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn packs() -> bool {
    false
}

/// The product with the first rows of `right`, as many as `left` has columns, and its first columns, as many as the output has, on the calling
/// thread.
///
/// # Panics
/// When `right` has fewer, or was not made by [`PackedRight::for_precision`].
pub(crate) fn matmul_packed_leading(
    left: Matrix,
    right: &PackedRight,
    output: MatrixMut,
    scale: f32,
    write: Write,
) {
    assert!(left.columns <= right.rows && output.columns <= right.columns && left.rows == output.rows);
    match &right.values {
        #[cfg(target_arch = "x86_64")]
        Values::Panels(kernel, lines) if output.rows > 0 && output.columns > 0 && left.columns > 0 => {
            let right = Right::Packed { lines, depth: right.rows };
            blocks::product(*kernel, left, right, output.into(), Finish::new(scale, write), false);
        }
        _ => assert!(output.rows == 0 || output.columns == 0, "nothing to multiply with"),
    }
}

/// `activation(left · right + bias)` with both operands rounded to bf16, whatever the sizes and the calling thread's precision, row after row in
/// memory of its own; on AVX-512 one or two rows of `left` are not rounded.
///
/// # Panics
/// When the sizes do not fit each other.
pub fn product_packed(left: Matrix, right: &PackedRight, epilogue: Epilogue) -> Vec<f32> {
    let (m, k, n) = check_sizes((left.rows, left.columns), (right.rows, right.columns));
    match &right.values {
        #[cfg(target_arch = "x86_64")]
        Values::Panels(kernel, lines) if m > few_arranged::FEW => {
            blocks::filled(*kernel, left, Right::Packed { lines, depth: k }, n, epilogue)
        }
        #[cfg(target_arch = "x86_64")]
        Values::Panels(kernel, lines) => step_by_step(m, n, epilogue, |output, write| {
            assert_eq!(kernel.element(), Element::Bf16, "few rows are multiplied with what was rounded");
            if m > 0 {
                few_arranged::product(left, lines, Element::Bf16.panel_lines(k), output, write);
            }
        }),
        Values::Rounded { values, row_stride, column_stride } => {
            let (row_stride, column_stride) = (*row_stride, *column_stride);
            let right = Matrix { values, rows: k, columns: n, row_stride, column_stride };
            let left_values = super::reduced::rounded(left);
            let left = Matrix { values: &left_values, ..left };
            step_by_step(m, n, epilogue, |output, write| {
                exact(left, right, output, 1.0, write, is_shared(m, k, n));
            })
        }
    }
}
