//! The kernels for f32 against sums in f64.

use super::blocks::{self, Finish, Kernel, Right};
use super::reduced_tests::{Case, Operand, assert_same_on_any_threads, case, compare, edge_cases};
use super::*;
use proptest::prelude::*;

fn kernels() -> impl Iterator<Item = Kernel> {
    [Kernel::TilesOfParts, Kernel::Wide].into_iter().filter(|kernel| kernel.is_available())
}

/// Each kernel. There are up to three sums per term, and what three parts leave out of one.
fn check(case: &Case, share: bool) -> Result<(), TestCaseError> {
    for kernel in kernels() {
        let values = |operand: &Operand| operand.values().into_iter().map(f64::from).collect::<Vec<_>>();
        compare(case, &kernel, values, 3 * case.sizes.1 + 8, |left, right, output| {
            let finish = Finish::new(case.scale, case.write);
            blocks::product(kernel, left, Right::Matrix(right), output.into(), finish, share);
        })?;
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
    edge_cases().iter().for_each(|case| check(case, false).unwrap());
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
    for kernel in kernels() {
        assert_same_on_any_threads(&kernel, |left, right, output| {
            let finish = Finish::new(0.7, Write::Add);
            blocks::product(kernel, left, Right::Matrix(right), output.into(), finish, true);
        });
    }
}
