use super::*;
use half::bf16;
use proptest::prelude::*;
use std::ops::Range;

pub(super) fn varied(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| ((index * 7919 + seed * 104_729) % 10_007) as f32 / 5000.0 - 1.0).collect()
}

fn paths() -> impl Iterator<Item = Path> {
    Path::ALL.into_iter().filter(|path| path.is_available())
}

/// A matrix with its values, laid out as asked for.
pub(super) struct Operand {
    values: Vec<f32>,
    sizes: (usize, usize),
    extra: usize,
    transposed: bool,
}

impl Operand {
    pub(super) fn new(rows: usize, columns: usize, extra: usize, transposed: bool, seed: usize) -> Self {
        let sizes = if transposed { (columns, rows) } else { (rows, columns) };
        Self { values: varied(sizes.0 * (sizes.1 + extra), seed), sizes, extra, transposed }
    }

    pub(super) fn matrix(&self) -> Matrix<'_> {
        let (rows, columns) = self.sizes;
        // No more values than the matrix needs, so that a read beyond them is one beyond the slice.
        let stride = columns + self.extra;
        let length = if rows == 0 { 0 } else { (rows - 1) * stride + columns };
        let matrix = Matrix::strided(&self.values[..length], rows, columns, stride);
        if self.transposed { matrix.t() } else { matrix }
    }

    /// The values, row after row.
    pub(super) fn values(&self) -> Vec<f32> {
        let Matrix { values, rows, columns, row_stride, column_stride } = self.matrix();
        let at = |index: usize| values[index / columns * row_stride + index % columns * column_stride];
        (0..rows * columns).map(at).collect()
    }

    /// The rounded values, row after row.
    fn rounded(&self) -> Vec<f64> {
        self.values().into_iter().map(|value| bf16::from_f32(value).to_f64()).collect()
    }
}

#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) sizes: (usize, usize, usize),
    pub(super) extra: (usize, usize, usize),
    pub(super) transposed: (bool, bool),
    pub(super) scale: f32,
    pub(super) write: Write,
}

pub(super) fn case(
    rows: Range<usize>,
    depth: Range<usize>,
    columns: Range<usize>,
) -> impl Strategy<Value = Case> {
    let extra = 0_usize..5;
    (
        (rows, depth, columns),
        (extra.clone(), extra.clone(), extra),
        any::<(bool, bool)>(),
        prop_oneof![Just(1.0_f32), Just(-0.5), Just(0.3)],
        prop_oneof![Just(Write::Replace), Just(Write::Add)],
    )
        .prop_map(|(sizes, extra, transposed, scale, write)| Case {
            sizes,
            extra,
            transposed,
            scale,
            write,
        })
}

/// Compares what `multiply` writes with the sum in f64 of what `values` says that operands hold.
///
/// Each of `roundings` is off by at most half a unit in the last place of the sum of magnitudes, 2⁻²⁴ of it.
pub(super) fn compare(
    case: &Case,
    name: &dyn std::fmt::Debug,
    values: impl Fn(&Operand) -> Vec<f64>,
    roundings: usize,
    multiply: impl FnOnce(Matrix, Matrix, MatrixMut),
) -> Result<(), TestCaseError> {
    let (m, k, n) = case.sizes;
    let left = Operand::new(m, k, case.extra.0, case.transposed.0, 1);
    let right = Operand::new(k, n, case.extra.1, case.transposed.1, 2);
    let (left_values, right_values) = (values(&left), values(&right));
    let stride = n + case.extra.2;
    let before = varied(m * stride, 3);
    let mut output = before.clone();
    let length = if m == 0 { 0 } else { (m - 1) * stride + n };
    let target = MatrixMut::strided(&mut output[..length], m, n, stride);
    multiply(left.matrix(), right.matrix(), target);
    for (index, (&found, &before)) in output.iter().zip(&before).enumerate() {
        let (row, column) = (index / stride, index % stride);
        if column >= n {
            prop_assert_eq!(found, before, "{:?} wrote beyond row {}", name, row);
            continue;
        }
        let term = |i: usize| left_values[row * k + i] * right_values[i * n + column];
        let (sum, magnitude) =
            (0..k).map(term).fold((0.0, 0.0), |(sum, all), term| (sum + term, all + term.abs()));
        let start = if case.write == Write::Add { f64::from(before) } else { 0.0 };
        let scale = f64::from(case.scale);
        let tolerance = roundings as f64 * 2_f64.powi(-24) * (start.abs() + scale.abs() * magnitude);
        let error = (f64::from(found) - (start + scale * sum)).abs();
        prop_assert!(error <= tolerance, "{name:?} ({row}, {column}): {found} {sum}");
    }
    Ok(())
}

/// Sizes at the edges of blocks.
pub(super) fn edge_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for size in [1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 257] {
        for sizes in [(size, 32, 40), (40, size, 40), (40, 32, size), (size, size, size)] {
            for transposed in [(false, false), (false, true), (true, false), (true, true)] {
                cases.push(Case { sizes, extra: (3, 0, 1), transposed, scale: 1.0, write: Write::Replace });
            }
        }
    }
    cases
}

/// `multiply` adds 0.7 times a product to the output.
pub(super) fn assert_same_on_any_threads(
    name: &dyn std::fmt::Debug,
    multiply: impl Fn(Matrix, Matrix, MatrixMut) + Sync,
) {
    let (m, k, n) = (601, 640, 363);
    let (left, right) = (varied(m * k, 1), varied(k * n, 2));
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut output = varied(m * n, 3);
            let (left, right) = (Matrix::new(&left, m, k), Matrix::new(&right, n, k).t());
            multiply(left, right, MatrixMut::new(&mut output, m, n));
            output
        })
    };
    let one = on(1);
    assert!((2..4).all(|threads| on(threads) == one), "{name:?}");
}

/// Every path, whose sums have one rounding for each term; scaling and adding have one or two more.
fn check(case: &Case, share: bool) -> Result<(), TestCaseError> {
    for path in paths() {
        compare(case, &path, Operand::rounded, case.sizes.1 + 3, |left, right, output| {
            matmul_reduced(path, left, right, output, case.scale, case.write, share);
        })?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_sizes_equal_the_sum_of_rounded_operands(case in case(0..100, 0..80, 0..100)) {
        check(&case, false)?;
    }

    #[test]
    fn thin_ones_too(case in case(0..5, 0..5, 0..70)) {
        check(&case, false)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn interrupted_sums_and_several_regions_too(case in case(1..300, 500..1100, 1..300)) {
        check(&case, true)?;
    }
}

#[test]
fn edges_of_blocks() {
    edge_cases().iter().for_each(|case| check(case, false).unwrap());
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for path in paths() {
        assert_same_on_any_threads(&path, |left, right, output| {
            matmul_reduced(path, left, right, output, 0.7, Write::Add, true);
        });
    }
}

#[test]
fn a_packed_right_side_changes_no_bit() {
    for (m, k, n) in [(3, 40, 70), (37, 129, 65), (300, 700, 90), (40, 30, 1100), (64, 600, 600)] {
        for (transposed, with_bias) in [(false, true), (true, false)] {
            let (left, right) = (Operand::new(m, k, 2, !transposed, 1), Operand::new(k, n, 3, transposed, 2));
            for path in paths() {
                let bias = with_bias.then(|| varied(n, 5));
                let write = if with_bias { Write::Add } else { Write::Replace };
                let mut expected = bias.clone().unwrap_or_default().repeat(m);
                expected.resize(m * n, 0.0);
                let packed = PackedRight::for_path(path, right.matrix());
                let output = product_packed(left.matrix(), &packed, Epilogue::bias(bias.as_deref()));
                let expected_matrix = MatrixMut::new(&mut expected, m, n);
                matmul_reduced(path, left.matrix(), right.matrix(), expected_matrix, 1.0, write, true);
                assert_eq!(output, expected, "{path:?} {m} {k} {n}");
            }
        }
    }
}

/// One and two rows are not rounded themselves.
#[test]
fn few_rows_with_a_packed_right_side() {
    for (m, k, n) in
        [(1, 1, 1), (1, 40, 70), (2, 129, 65), (2, 31, 127), (1, 700, 300), (2, 64, 128), (2, 0, 40)]
    {
        for transposed in [false, true] {
            let (left, right) = (Operand::new(m, k, 2, !transposed, 1), Operand::new(k, n, 3, transposed, 2));
            let (rounded, bias) = (right.rounded(), varied(n, 5));
            let at = |row: usize, depth: usize| {
                let Matrix { values, row_stride, column_stride, .. } = left.matrix();
                f64::from(values[row * row_stride + depth * column_stride])
            };
            for path in [Path::Amx, Path::Avx512].into_iter().filter(|path| path.is_available()) {
                let packed = PackedRight::for_path(path, right.matrix());
                let output = product_packed(left.matrix(), &packed, Epilogue::bias(Some(&bias)));
                assert_eq!(output.len(), m * n);
                for (row, output) in output.chunks(n).enumerate() {
                    for (column, found) in output.iter().enumerate() {
                        let sum: f64 = (0..k).map(|depth| at(row, depth) * rounded[depth * n + column]).sum();
                        let expected = sum + f64::from(bias[column]);
                        let error = (f64::from(*found) - expected).abs();
                        assert!(error < 1e-3, "{path:?} {m} {k} {n}: {found} {expected}");
                    }
                }
            }
        }
    }
}

/// A bias is added as it is to a row that holds it before.
#[test]
fn a_bias_is_added_to_each_row() {
    for (m, k, n) in [(0, 3, 2), (3, 0, 2), (1, 40, 70), (37, 129, 65), (300, 700, 96)] {
        let (left, right, bias) = (varied(m * k, 1), varied(k * n, 2), varied(n, 3));
        for precision in [Precision::Highest, Precision::Medium] {
            with_precision(precision, || {
                let mut expected = bias.repeat(m);
                let (left, right) = (Matrix::new(&left, m, k), Matrix::new(&right, k, n));
                let output = product_with(left, right, Epilogue::bias(Some(&bias)));
                matmul(left, right, MatrixMut::new(&mut expected, m, n), 1.0, Write::Add);
                assert_eq!(output, expected, "{precision:?} {m} {k} {n}");
            });
        }
    }
}

/// An activation is that of the product with its bias.
#[test]
fn an_activation_is_taken_of_each_value() {
    let small = [(0, 3, 2), (3, 0, 2), (1, 40, 70), (2, 129, 65), (37, 129, 65), (300, 700, 96)];
    // Enough rows and columns for numbers in three parts; blocks that are written as they are, and where rows are 512 apart, not.
    let large = [(300, 700, 160), (128, 32, 128), (129, 161, 512)];
    for (m, k, n) in small.into_iter().chain(large) {
        let (left, right, bias) = (varied(m * k, 1), varied(k * n, 2), varied(n, 3));
        let (left, right) = (Matrix::new(&left, m, k), Matrix::new(&right, k, n));
        for precision in [Precision::Highest, Precision::Medium] {
            with_precision(precision, || {
                let mut expected = varied(m * n, 4);
                matmul(left, right, MatrixMut::new(&mut expected, m, n), 1.0, Write::Replace);
                let found = product_with(left, right, Epilogue::default());
                assert_eq!(found, expected, "{precision:?} {m} {k} {n}");
            });
        }
        for bias in [None, Some(&bias[..])] {
            for activation in [Activation::GeluErf, Activation::QuickGelu] {
                let epilogue = Epilogue { bias, activation: Some(activation) };
                for precision in [Precision::Highest, Precision::Medium] {
                    with_precision(precision, || {
                        let mut expected = product_with(left, right, Epilogue::bias(bias));
                        activation.forward_in_place(&mut expected);
                        let found = product_with(left, right, epilogue);
                        assert_eq!(found, expected, "{precision:?} {m} {k} {n} {bias:?}");
                    });
                }
                for path in paths() {
                    let packed = PackedRight::for_path(path, right);
                    let mut expected = product_packed(left, &packed, Epilogue::bias(bias));
                    activation.forward_in_place(&mut expected);
                    assert_eq!(product_packed(left, &packed, epilogue), expected, "{path:?} {m} {k} {n}");
                }
            }
        }
    }
}

#[test]
fn empty_products_scale_nothing() {
    for path in paths() {
        for (m, k, n) in [(0, 3, 2), (3, 0, 2), (2, 3, 0)] {
            let (left, right) = (varied(m * k, 1), varied(k * n, 2));
            let (left, right) = (Matrix::new(&left, m, k), Matrix::new(&right, k, n));
            for (write, expected) in [(Write::Replace, 0.0), (Write::Add, 5.0)] {
                let mut output = vec![5.0; m * n];
                matmul_reduced(path, left, right, MatrixMut::new(&mut output, m, n), 2.0, write, false);
                assert!(output.iter().all(|&value| value == expected), "{path:?}");
                let packed = PackedRight::for_path(path, right);
                let bias = vec![expected; n];
                let output = product_packed(left, &packed, Epilogue::bias(Some(&bias)));
                assert_eq!(output, vec![expected; m * n], "{path:?}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "4x5 times 6x7")]
fn packed_sizes_must_fit() {
    let (left, right) = (varied(20, 1), varied(42, 2));
    let packed = PackedRight::new(Matrix::new(&right, 6, 7));
    product_packed(Matrix::new(&left, 4, 5), &packed, Epilogue::default());
}

#[test]
fn only_a_thread_that_asks_is_reduced() {
    let (m, k, n) = (150, 100, 90);
    let (left, right) = (varied(m * k, 1), varied(k * n, 2));
    let run = |matmul: fn(Matrix, Matrix, MatrixMut, f32, Write)| {
        let mut output = vec![0.0; m * n];
        let (left, right) = (Matrix::new(&left, m, k), Matrix::new(&right, k, n));
        matmul(left, right, MatrixMut::new(&mut output, m, n), 1.0, Write::Replace);
        output
    };
    let forced = |left: Matrix, right: Matrix, output: MatrixMut, scale: f32, write: Write| {
        matmul_reduced(Path::current(), left, right, output, scale, write, true);
    };
    assert_eq!(precision(), Precision::Highest);
    let highest = run(matmul);
    assert_eq!(run(|l, r, o, s, w| exact(l, r, o, s, w, true)), highest);
    let reduced = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            set_precision(Precision::Medium);
            assert_eq!(run(matmul_here), run(matmul));
            run(matmul)
        });
        thread.join().unwrap()
    });
    assert_ne!(reduced, highest);
    assert_eq!(run(forced), reduced);
    assert_eq!(precision(), Precision::Highest);
    assert_eq!(run(matmul), highest);
}

#[test]
fn what_is_not_finite_stays_so() {
    let mut left = vec![1.0_f32; 40 * 40];
    left[0] = f32::NAN;
    left[40] = f32::INFINITY;
    left[80] = f32::MAX;
    let right = vec![1.0_f32; 40 * 40];
    for path in paths() {
        let mut output = vec![0.0; 40 * 40];
        let (left, right) = (Matrix::new(&left, 40, 40), Matrix::new(&right, 40, 40));
        let output_matrix = MatrixMut::new(&mut output, 40, 40);
        matmul_reduced(path, left, right, output_matrix, 1.0, Write::Replace, false);
        assert!(output[0].is_nan(), "{path:?}");
        assert_eq!(output[40], f32::INFINITY, "{path:?}");
        assert_eq!(output[80], f32::INFINITY, "{path:?}");
        assert_eq!(output[120], 40.0, "{path:?}");
    }
}
