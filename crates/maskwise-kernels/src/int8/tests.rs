use super::rows::remainder;
use super::*;
use crate::matmul::{Precision, with_precision};
use proptest::prelude::*;

fn varied(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| ((index * 7919 + seed * 104_729) % 10_007) as f32 / 5000.0 - 1.0).collect()
}

fn paths() -> impl Iterator<Item = Path> {
    Path::ALL.into_iter().filter(|path| has_int8(*path))
}

/// The product of the rounded operands in integers, scaled in the same order; of rows in two digits if `both` says so.
fn expected(input: &[f32], weight: &Int8Weight, bias: &[f32], both: impl Fn(usize) -> bool) -> Vec<f32> {
    let panels = weight.panels();
    let at = |column: usize, input: usize| {
        let line = &panels.lines(column / OUTPUTS)[input / GROUP];
        i32::from(line.0[column % OUTPUTS * GROUP + input % GROUP])
    };
    let scale_of = |column: usize| panels.scales(column / OUTPUTS)[column % OUTPUTS];
    let product = |row: &[f32]| -> Vec<f32> {
        let scale = step(row);
        let steps: Vec<i32> =
            row.iter().map(|value| (value * (1.0 / scale)).round_ties_even() as i32).collect();
        let sum =
            |column| steps.iter().enumerate().map(|(input, step)| step * at(column, input)).sum::<i32>();
        (0..weight.outputs()).map(|column| sum(column) as f32 * scale * scale_of(column)).collect()
    };
    let rows = input.chunks(weight.inputs()).enumerate();
    rows.flat_map(|(number, row)| {
        let first: Vec<f32> = product(row).iter().zip(bias).map(|(product, bias)| product + bias).collect();
        if !both(number) {
            return first;
        }
        let mut left = vec![0.0; row.len()];
        remainder(row, step(row), &mut left);
        first.iter().zip(product(&left)).map(|(first, second)| first + second).collect()
    })
    .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_path_gives_the_same_bits(
        rows in 0_usize..70, inputs in 1_usize..200, outputs in 1_usize..100, seed in 0_usize..1000, threads in 1_usize..4,
    ) {
        let input = varied(rows * inputs, seed);
        let weight = Int8Weight::quantize(&varied(outputs * inputs, seed + 1), outputs, inputs);
        let bias = varied(outputs, seed + 2);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for precision in [Precision::Highest, Precision::Medium] {
            let expected = expected(&input, &weight, &bias, |_| precision == Precision::Highest);
            for path in paths() {
                let mut output = vec![f32::NAN; rows * outputs];
                let product = || matmul_int8_on(path, &input, &weight, Some(&bias), &mut output);
                pool.install(|| with_precision(precision, product));
                prop_assert_eq!(&output, &expected, "{:?} {:?}", path, precision);
            }
        }
    }
}

#[test]
fn sizes_at_the_edges() {
    for inputs in [1, 3, 4, 63, 64, 65, 127, 129] {
        for outputs in [1, 15, 16, 17, 31, 32, 33] {
            let weight = Int8Weight::quantize(&varied(outputs * inputs, 5), outputs, inputs);
            for rows in [0, 1, 2, 3, 5, 6, 7, 8, 9, 16, 31, 32, 33] {
                let input = varied(rows * inputs, 6);
                let expected = expected(&input, &weight, &vec![0.0; weight.outputs()], |_| true);
                for path in paths() {
                    let mut output = vec![f32::NAN; rows * outputs];
                    matmul_int8_on(path, &input, &weight, None, &mut output);
                    assert_eq!(output, expected, "{path:?} {rows}x{inputs}x{outputs}");
                }
            }
        }
    }
    let nothing = Int8Weight::quantize(&[], 3, 0);
    let mut output = [1.0; 6];
    matmul_int8(&[], &nothing, None, &mut output);
    assert_eq!(output, [0.0; 6]);
    matmul_int8(&[], &Int8Weight::quantize(&[], 0, 5), None, &mut []);
}

/// A row with few large values keeps what rounding leaves of the others, wherever it stands.
#[test]
fn uneven_rows_have_two_digits() {
    let (rows, inputs, outputs) = (70, 400, 33);
    let weight = Int8Weight::quantize(&varied(outputs * inputs, 1), outputs, inputs);
    let mut input = varied(rows * inputs, 2);
    let bias = varied(outputs, 3);
    let uneven = [0, 5, 31, 32, 69];
    for row in uneven {
        input[row * inputs + row] = 300.0;
    }
    for count in [1, 2, 6, 32, 33, rows] {
        let input = &input[..count * inputs];
        let expected = expected(input, &weight, &bias, |row| uneven.contains(&row));
        for path in paths() {
            let mut output = vec![f32::NAN; count * outputs];
            with_precision(Precision::Medium, || {
                matmul_int8_on(path, input, &weight, Some(&bias), &mut output)
            });
            assert_eq!(output, expected, "{path:?} {count}");
        }
    }
}

/// Several pieces of work, the last of them cut short, on several threads.
#[test]
fn pieces_of_work_meet() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for outputs in [128, 129, 257, 300] {
        let weight = Int8Weight::quantize(&varied(outputs * 520, 5), outputs, 520);
        for rows in [1, 7, 40] {
            let input = varied(rows * 520, 6);
            let expected = expected(&input, &weight, &vec![0.0; weight.outputs()], |_| true);
            for path in paths() {
                let mut output = vec![f32::NAN; rows * outputs];
                pool.install(|| matmul_int8_on(path, &input, &weight, None, &mut output));
                assert!(output == expected, "{path:?} {rows}x{outputs}");
            }
        }
    }
}

#[test]
fn the_largest_sums_fit() {
    for sign in [1.0, -1.0] {
        let weight = Int8Weight::quantize(&vec![sign; MAX_INPUTS], 1, MAX_INPUTS);
        for rows in [1, 8] {
            let input = vec![1.0; rows * MAX_INPUTS];
            for path in paths() {
                let mut output = vec![0.0; rows];
                matmul_int8_on(path, &input, &weight, None, &mut output);
                let expected = sign * MAX_INPUTS as f32;
                assert!(
                    output.iter().all(|value| (value / expected - 1.0).abs() < 1e-6),
                    "{path:?} {output:?}"
                );
            }
        }
    }
}

/// Rows too small to be rounded become zeros, neither infinite nor of another sign.
#[test]
fn tiny_values() {
    let weight = Int8Weight::quantize(&varied(20 * 8, 1), 20, 8);
    for size in [1e-36_f32, 1e-37, 1e-40, f32::from_bits(1)] {
        let input: Vec<f32> = varied(8 * 40, 2).iter().map(|value| value * size).collect();
        let expected = expected(&input, &weight, &vec![0.0; weight.outputs()], |_| true);
        for path in paths() {
            let mut output = vec![f32::NAN; 20 * 40];
            matmul_int8_on(path, &input, &weight, None, &mut output);
            assert_eq!(output, expected, "{path:?} {size}");
            assert!(output.iter().all(|value| value.abs() <= 10.0 * size));
        }
    }
}

#[test]
fn rounding_errs_by_half_a_step() {
    let values = varied(33 * 70, 3);
    let weight = Int8Weight::quantize(&values, 33, 70);
    let scales = (0..3).flat_map(|panel| weight.panels().scales(panel));
    for ((row, rounded), scale) in values.chunks(70).zip(weight.dequantize().chunks(70)).zip(scales) {
        let largest = row.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        assert!((scale - largest / 127.0).abs() < 1e-9);
        assert!(row.iter().zip(rounded).all(|(a, b)| (a - b).abs() <= 0.5001 * scale));
    }
    // A byte a value, filled up to 64 by 128, and eight an output.
    assert_eq!(weight.as_bytes().len(), 64 * 128 + 8 * 64);
    // Zeros stay zeros.
    assert_eq!(Int8Weight::quantize(&[0.0; 8], 2, 4).dequantize(), [0.0; 8]);
}

#[test]
fn what_is_no_number_stays_none() {
    let weight = Int8Weight::quantize(&varied(20 * 8, 1), 20, 8);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut input = varied(8 * 40, 2);
        input[11] = bad;
        for path in paths() {
            let mut output = vec![0.0; 20 * 40];
            matmul_int8_on(path, &input, &weight, None, &mut output);
            let (bad_row, others) = (&output[20..40], [&output[..20], &output[40..]].concat());
            assert!(others.iter().all(|value| value.is_finite()), "{path:?}");
            assert!(bad_row.iter().all(|value| value.is_nan()), "{path:?}, {bad}");
        }
    }
}

/// The product itself: rounding a side to eight bits errs by less than a hundredth, in two digits by nearly nothing.
#[test]
fn close_to_the_exact_product() {
    let (rows, inputs, outputs) = (9, 512, 64);
    let (input, values) = (varied(rows * inputs, 1), varied(outputs * inputs, 2));
    let weight = Int8Weight::quantize(&values, outputs, inputs);
    let error = |precision: Precision, values: &[f32]| {
        let mut output = vec![0.0; rows * outputs];
        with_precision(precision, || matmul_int8(&input, &weight, None, &mut output));
        relative_error(&output, &input, values, inputs)
    };
    let rounded = weight.dequantize();
    let errors = [Precision::Highest, Precision::Medium].map(|precision| error(precision, &values));
    assert!(errors[0] < 0.01 && errors[0] < errors[1] && errors[1] < 0.02, "{errors:?}");
    assert!(error(Precision::Highest, &rounded) < 1e-4);
}

/// How far `output` lies from the product of `input` with `values`, to the size of that.
fn relative_error(output: &[f32], input: &[f32], values: &[f32], inputs: usize) -> f64 {
    let (rows, outputs) = (input.len() / inputs, values.len() / inputs);
    let (mut error, mut size) = (0.0, 0.0);
    for row in 0..rows {
        for column in 0..outputs {
            let products = (0..inputs)
                .map(|at| f64::from(input[row * inputs + at]) * f64::from(values[column * inputs + at]));
            let exact: f64 = products.sum();
            error += (f64::from(output[row * outputs + column]) - exact).powi(2);
            size += exact.powi(2);
        }
    }
    (error / size).sqrt()
}

/// What is written can be read again where it lies, or as a copy where that is not aligned.
#[test]
fn bytes_are_a_weight_again() {
    let (rows, inputs, outputs) = (9, 130, 37);
    let weight = Int8Weight::quantize(&varied(outputs * inputs, 5), outputs, inputs);
    let input = varied(rows * inputs, 6);
    let expected = expected(&input, &weight, &vec![0.0; weight.outputs()], |_| true);
    /// Bytes that begin some way behind a multiple of 64.
    struct Shifted(Vec<u8>, usize);
    impl AsRef<[u8]> for Shifted {
        fn as_ref(&self) -> &[u8] {
            &self.0[self.1..]
        }
    }
    for shift in [0, 1, 4, 32] {
        let mut bytes: Vec<u8> = Vec::with_capacity(weight.as_bytes().len() + 128);
        let start = bytes.as_ptr().align_offset(64) + shift;
        bytes.resize(start, 0);
        bytes.extend_from_slice(weight.as_bytes());
        let again =
            Int8Weight::from_packed(std::sync::Arc::new(Shifted(bytes, start)), outputs, inputs).unwrap();
        assert_eq!(again, weight);
        for path in paths() {
            let mut output = vec![f32::NAN; rows * outputs];
            matmul_int8_on(path, &input, &again, None, &mut output);
            assert_eq!(output, expected, "{path:?}, {shift} bytes off");
        }
    }
    let short: SharedBytes = std::sync::Arc::new(vec![0_u8; 64]);
    let error = Int8Weight::from_packed(short.clone(), outputs, inputs).unwrap_err();
    assert_eq!(error, PackedError::Length { found: 64, needed: 3 * 50 * 64 + 50 * 64 });
    assert!(Int8Weight::from_packed(short, 1, MAX_INPUTS + 1).is_err());
}
