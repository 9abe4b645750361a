//! The kernels for f32 against sums in f64.

use super::blocks::{self, Finish, Kernel, Right};
use super::reduced_tests::{Case, Operand, case, varied};
use super::*;
use proptest::prelude::*;

fn kernels() -> impl Iterator<Item = Kernel> {
    [Kernel::TilesOfParts, Kernel::Wide].into_iter().filter(|kernel| kernel.is_available())
}

/// Compares each kernel with the sum in f64. Each of up to three sums per term is off by half a unit in the last place of the sum of magnitudes at
/// most, and so is what three parts leave out of a term.
fn check(case: &Case, share: bool) -> Result<(), TestCaseError> {
    let (m, k, n) = case.sizes;
    let left = Operand::new(m, k, case.extra.0, case.transposed.0, 1);
    let right = Operand::new(k, n, case.extra.1, case.transposed.1, 2);
    let (left_values, right_values) = (left.values(), right.values());
    let stride = n + case.extra.2;
    let before = varied(m * stride, 3);
    for kernel in kernels() {
        let mut output = before.clone();
        let length = (m - 1) * stride + n;
        let matrix = MatrixMut::strided(&mut output[..length], m, n, stride);
        let finish = Finish::new(case.scale, case.write);
        blocks::product(kernel, left.matrix(), Right::Matrix(right.matrix()), matrix.into(), finish, share);
        for (index, (&found, &before)) in output.iter().zip(&before).enumerate() {
            let (row, column) = (index / stride, index % stride);
            if column >= n {
                prop_assert_eq!(found, before, "{:?} wrote beyond row {}", kernel, row);
                continue;
            }
            let term =
                |i: usize| f64::from(left_values[row * k + i]) * f64::from(right_values[i * n + column]);
            let (sum, magnitude) =
                (0..k).map(term).fold((0.0, 0.0), |(sum, all), term| (sum + term, all + term.abs()));
            let start = if case.write == Write::Add { f64::from(before) } else { 0.0 };
            let scale = f64::from(case.scale);
            let tolerance = (3 * k + 8) as f64 * 2_f64.powi(-24) * (start.abs() + scale.abs() * magnitude);
            let error = (f64::from(found) - (start + scale * sum)).abs();
            prop_assert!(error <= tolerance, "{kernel:?} ({row}, {column}): {found} {sum}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_sizes_equal_the_sum(case in case(1..100, 1..130, 1..100)) {
        check(&case, false)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn interrupted_sums_and_several_regions_too(case in case(1..300, 150..1100, 1..300)) {
        check(&case, true)?;
    }
}

#[test]
fn edges_of_blocks() {
    for size in [1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 257] {
        for sizes in [(size, 32, 40), (40, size, 40), (40, 32, size), (size, size, size)] {
            for transposed in [(false, false), (false, true), (true, false), (true, true)] {
                let case = Case { sizes, extra: (3, 0, 1), transposed, scale: 1.0, write: Write::Replace };
                check(&case, false).unwrap();
            }
        }
    }
}

/// One by one, so that no larger term hides what a small one lacks: all 24 digits of numbers of any size.
#[test]
fn single_terms_are_as_exact_as_f32() {
    let count = 64;
    let number = |index: usize| {
        let bits = (index as u32).wrapping_mul(2_654_435_761);
        let exponent = 64 + bits % 127; // 2^-63 to 2^63
        f32::from_bits((bits & 0x807f_ffff) | exponent << 23)
    };
    let left: Vec<f32> = (0..count).map(number).collect();
    let right: Vec<f32> = (0..count).map(|index| number(index + count)).collect();
    for kernel in kernels() {
        let mut output = vec![0.0; count * count];
        let target = MatrixMut::new(&mut output, count, count);
        let (column, row) = (Matrix::new(&left, count, 1), Matrix::new(&right, 1, count));
        let finish = Finish::new(1.0, Write::Replace);
        blocks::product(kernel, column, Right::Matrix(row), target.into(), finish, false);
        for (index, &found) in output.iter().enumerate() {
            let expected = f64::from(left[index / count]) * f64::from(right[index % count]);
            if expected.abs() < 2_f64.powi(-100) {
                continue; // Parts of what is so small are flushed to zero.
            }
            let error = (f64::from(found) / expected - 1.0).abs();
            assert!(error < 2_f64.powi(-22), "{kernel:?} {found} {expected}");
        }
    }
}

#[test]
fn what_is_not_finite_stays_so() {
    let mut left = vec![1.0_f32; 40 * 40];
    left[0] = f32::NAN;
    left[40] = f32::INFINITY;
    left[120] = f32::MAX;
    let right = vec![1.0_f32; 40 * 40];
    for kernel in kernels() {
        let mut output = vec![0.0; 40 * 40];
        let (left, right) = (Matrix::new(&left, 40, 40), Matrix::new(&right, 40, 40));
        let (target, finish) = (MatrixMut::new(&mut output, 40, 40), Finish::new(1.0, Write::Replace));
        blocks::product(kernel, left, Right::Matrix(right), target.into(), finish, false);
        assert!(output[0].is_nan(), "{kernel:?}");
        assert!(!output[40].is_finite(), "{kernel:?}");
        assert_eq!(output[80], 40.0, "{kernel:?}");
        assert!(output[120] == f32::MAX || !output[120].is_finite(), "{kernel:?}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let (m, k, n) = (601, 640, 363);
    let (left, right) = (varied(m * k, 1), varied(k * n, 2));
    for kernel in kernels() {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut output = varied(m * n, 3);
                let (left, right) = (Matrix::new(&left, m, k), Matrix::new(&right, n, k).t());
                let target = MatrixMut::new(&mut output, m, n);
                blocks::product(
                    kernel,
                    left,
                    Right::Matrix(right),
                    target.into(),
                    Finish::new(0.7, Write::Add),
                    true,
                );
                output
            })
        };
        let one = on(1);
        assert!((2..4).all(|threads| on(threads) == one), "{kernel:?}");
    }
}
