//! The nearest half-orthogonal matrix, roughly: what the optimiser Muon turns a weight's momentum into.

use crate::matmul::{Matrix, MatrixMut, Write, matmul_here};
use crate::optimizer::sum_of_squares;

/// The quintic of Jordan et al. (2024), "Muon: An optimizer for hidden layers in neural networks".
const COEFFICIENTS: [f32; 3] = [3.4445, -4.7750, 2.0315];
/// Iterations, as there.
const STEPS: usize = 5;

/// Replaces `matrix` (`rows` of `columns` adjacent values) by about `U·Vᵀ` of its singular value decomposition `U·S·Vᵀ`: its singular values
/// come to lie between 0.7 and 1.2, except those that are tiny beside the norm. Runs on the calling thread; zeros stay zeros.
///
/// # Panics
/// When the sizes do not fit.
pub fn newton_schulz(matrix: &mut [f32], rows: usize, columns: usize) {
    assert_eq!(matrix.len(), rows * columns, "{rows} rows of {columns}");
    let norm = sum_of_squares(matrix).sqrt();
    if norm == 0.0 {
        return;
    }
    // Wide, so that the products of the matrix with itself are small.
    let (low, high) = (rows.min(columns), rows.max(columns));
    let mut x = if rows <= columns { matrix.to_vec() } else { transposed(matrix, rows, columns) };
    let inverse = (1.0 / (norm + 1e-7)) as f32;
    x.iter_mut().for_each(|value| *value *= inverse);
    let [a, b, c] = COEFFICIENTS;
    let mut gram = vec![0.0; low * low];
    for _ in 0..STEPS {
        let wide = Matrix::new(&x, low, high);
        matmul_here(wide, wide.t(), MatrixMut::new(&mut gram, low, low), 1.0, Write::Replace);
        let square = Matrix::new(&gram, low, low);
        let mut polynomial: Vec<f32> = gram.iter().map(|value| b * value).collect();
        matmul_here(square, square, MatrixMut::new(&mut polynomial, low, low), c, Write::Add);
        let mut next: Vec<f32> = x.iter().map(|value| a * value).collect();
        let polynomial = Matrix::new(&polynomial, low, low);
        matmul_here(polynomial, wide, MatrixMut::new(&mut next, low, high), 1.0, Write::Add);
        x = next;
    }
    if rows <= columns {
        matrix.copy_from_slice(&x);
    } else {
        matrix.copy_from_slice(&transposed(&x, columns, rows));
    }
}

fn transposed(matrix: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| matrix[row * columns + column])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_comes_out_is_nearly_orthogonal(rows in 1_usize..24, columns in 1_usize..24, seed in 0_u32..1000) {
            // A diagonal with singular values from 1 down to 0.2, behind a rotation of neighbouring columns.
            let low = rows.min(columns);
            let mut matrix = vec![0.0; rows * columns];
            for index in 0..low {
                matrix[index * columns + index] = 1.0 - 0.8 * index as f32 / low as f32;
            }
            for first in 0..columns.saturating_sub(1) {
                let (sin, cos) = ((seed + first as u32) as f32).sin_cos();
                for row in matrix.chunks_exact_mut(columns) {
                    let (left, right) = (row[first], row[first + 1]);
                    (row[first], row[first + 1]) = (cos * left - sin * right, sin * left + cos * right);
                }
            }
            newton_schulz(&mut matrix, rows, columns);
            // Singular values between 0.6 and 1.3: no vector of the short side is stretched or shrunk beyond that.
            for axis in 0..low {
                let length: f32 = if rows <= columns {
                    matrix[axis * columns..(axis + 1) * columns].iter().map(|value| value * value).sum()
                } else {
                    (0..rows).map(|row| matrix[row * columns + axis].powi(2)).sum()
                };
                prop_assert!((0.6..1.3).contains(&length.sqrt()), "{} of {rows}x{columns}", length.sqrt());
            }
        }
    }

    #[test]
    fn equals_the_iteration_in_double_precision() {
        let matrix: Vec<f32> = (0..12).map(|index| ((index * 7) % 5) as f32 - 1.5).collect();
        let mut x: Vec<f64> = matrix.iter().map(|value| f64::from(*value)).collect();
        let norm = x.iter().map(|value| value * value).sum::<f64>().sqrt() + 1e-7;
        x.iter_mut().for_each(|value| *value /= norm);
        let product = |left: &[f64], right: &[f64], n: usize, k: usize, m: usize| -> Vec<f64> {
            let at =
                |row: usize, column: usize| (0..k).map(|i| left[row * k + i] * right[i * m + column]).sum();
            (0..n)
                .flat_map(|row| (0..m).map(move |column| (row, column)))
                .map(|(row, column)| at(row, column))
                .collect()
        };
        for _ in 0..STEPS {
            let turned: Vec<f64> =
                (0..4).flat_map(|column| [0, 1, 2].map(|row| x[row * 4 + column])).collect();
            let gram = product(&x, &turned, 3, 4, 3);
            let square = product(&gram, &gram, 3, 3, 3);
            let polynomial: Vec<f64> =
                gram.iter().zip(&square).map(|(gram, square)| -4.7750 * gram + 2.0315 * square).collect();
            let change = product(&polynomial, &x, 3, 3, 4);
            x.iter_mut().zip(&change).for_each(|(value, change)| *value = 3.4445 * *value + change);
        }
        let mut found = matrix;
        newton_schulz(&mut found, 3, 4);
        for (found, expected) in found.iter().zip(&x) {
            assert!((f64::from(*found) - expected).abs() < 1e-4, "{found} {expected}");
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let mut matrix = vec![0.0; 6];
        newton_schulz(&mut matrix, 2, 3);
        assert!(matrix.iter().all(|value| *value == 0.0));
    }
}
