//! Products of operands rounded to bf16, on any path.

#[cfg(target_arch = "x86_64")]
use super::blocks::Finish;
use super::{Matrix, MatrixMut, Path, Write, exact, sizes};
use half::bf16;

/// Multiplications from which on rounding and rearranging the operands costs less than it saves: a little above 24³, where AMX and
/// f32 were as fast as each other.
const WORTHWHILE: usize = 1 << 15;

/// Whether a product of these sizes is faster in reduced precision. The same for every path, so that which products are rounded
/// does not depend on the machine. Fewer than four rows or columns are better served by f32, which packs nothing.
pub(super) fn gains(m: usize, k: usize, n: usize) -> bool {
    m >= 4 && n >= 4 && k >= 16 && m.saturating_mul(k).saturating_mul(n) >= WORTHWHILE
}

/// As [`matmul`](super::matmul) or, unless `share`, [`matmul_here`](super::matmul_here), with both operands rounded to bf16 whatever
/// their sizes and the calling thread's precision, by the instructions of `path`.
///
/// A calling thread keeps the memory for packed operands for its next product: up to 16 MiB for either side, and more only where the
/// sums have more than 8192 terms. No result depends on the number of threads. Paths differ in the order of sums and in what they do with subnormal numbers.
///
/// # Panics
/// When the sizes do not fit each other or the path [is not available](Path::is_available).
pub fn matmul_reduced(
    path: Path,
    left: Matrix,
    right: Matrix,
    output: MatrixMut,
    scale: f32,
    write: Write,
    share: bool,
) {
    assert!(path.is_available(), "this processor lacks {path:?}");
    let (m, k, n) = sizes(&left, &right, &output);
    if m == 0 || n == 0 || k == 0 {
        return exact(left, right, output, scale, write, share);
    }
    match path {
        #[cfg(target_arch = "x86_64")]
        Path::Amx | Path::Avx512 => {
            let right = super::blocks::Right::Matrix(right);
            let kernel = super::blocks::Kernel::of(path);
            super::blocks::product(kernel, left, right, output.into(), Finish::new(scale, write), share);
        }
        _ => portable(left, right, output, scale, write, share),
    }
}

fn portable(left: Matrix, right: Matrix, output: MatrixMut, scale: f32, write: Write, share: bool) {
    let (left_values, right_values) = (rounded(left), rounded(right));
    let (left, right) = (Matrix { values: &left_values, ..left }, Matrix { values: &right_values, ..right });
    exact(left, right, output, scale, write, share);
}

/// The values that the matrix spans, in the same places.
pub(super) fn rounded(matrix: Matrix) -> Vec<f32> {
    let Matrix { values, rows, columns, row_stride, column_stride } = matrix;
    if rows == 0 || columns == 0 {
        return Vec::new();
    }
    let length = (rows - 1) * row_stride + (columns - 1) * column_stride + 1;
    values[..length].iter().map(|&value| bf16::from_f32(value).to_f32()).collect()
}
