//! Products with a right side that is prepared once, such as a weight of inference.

#[cfg(target_arch = "x86_64")]
use super::blocks::{self, Right};
#[cfg(target_arch = "x86_64")]
use super::panels::{Line, Side, Strands};
use super::{Matrix, MatrixMut, Path, Write, check_sizes, exact, is_shared};

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
    Panels(Vec<Line>),
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
                let strands = Strands::new(right, Side::Right);
                let mut lines = vec![Line::ZERO; strands.panels() * strands.panel_lines()];
                strands.pack(0, &mut lines, is_shared(rows, columns, 1));
                Values::Panels(lines)
            }
            _ => Values::Rounded { values: super::reduced::rounded(right), row_stride, column_stride },
        };
        Self { path, rows, columns, values }
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

/// As [`matmul`](super::matmul) with both operands rounded to bf16, whatever the sizes and the calling thread's precision.
///
/// # Panics
/// When the sizes do not fit each other.
pub fn matmul_packed(left: Matrix, right: &PackedRight, output: MatrixMut, scale: f32, write: Write) {
    let (m, k, n) = check_sizes((left.rows, left.columns), (right.rows, right.columns), &output);
    match &right.values {
        #[cfg(target_arch = "x86_64")]
        Values::Panels(lines) => {
            if m > 0 {
                blocks::product(
                    right.path,
                    left,
                    Right::Packed(lines),
                    output,
                    scale,
                    write,
                    is_shared(m, k, n),
                );
            }
        }
        Values::Rounded { values, row_stride, column_stride } => {
            let (row_stride, column_stride) = (*row_stride, *column_stride);
            let right = Matrix { values, rows: k, columns: n, row_stride, column_stride };
            let left_values = super::reduced::rounded(left);
            exact(Matrix { values: &left_values, ..left }, right, output, scale, write, is_shared(m, k, n));
        }
    }
}
