use super::*;
use crate::int8::{GROUP, MAX_INPUTS, OUTPUTS, PackedError, SharedBytes, remainder, step};
use crate::matmul::{Precision, with_precision};
use proptest::prelude::*;

fn varied(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| ((index * 7919 + seed * 104_729) % 10_007) as f32 / 5000.0 - 1.0).collect()
}

fn paths() -> impl Iterator<Item = Path> {
    Path::ALL.into_iter().filter(|path| has_int8(*path))
}

/// The product of the rounded operands in integers, scaled in the same order; of rows in two digits if `both` says so.
fn expected(input: &[f32], weight: &Int4Weight, bias: &[f32], both: impl Fn(usize) -> bool) -> Vec<f32> {
    let chunks = weight.chunks();
    let mut lines = Vec::new();
    let length = chunks.unpack(0..chunks.count(), &mut lines);
    let at = |column: usize, input: usize| {
        let line = &lines[column / OUTPUTS * length + input / GROUP];
        i32::from(line.0[column % OUTPUTS * GROUP + input % GROUP])
    };
    let scale_of = |column: usize| chunks.scales(column / OUTPUTS)[column % OUTPUTS];
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
        let weight = Int4Weight::quantize(&varied(outputs * inputs, seed + 1), outputs, inputs);
        let bias = varied(outputs, seed + 2);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for precision in [Precision::Highest, Precision::Medium] {
            let expected = expected(&input, &weight, &bias, |_| precision == Precision::Highest);
            for path in paths() {
                let mut output = vec![f32::NAN; rows * outputs];
                let product = || matmul_int4_on(path, &input, &weight, Some(&bias), &mut output);
                pool.install(|| with_precision(precision, product));
                prop_assert_eq!(&output, &expected, "{:?} {:?}", path, precision);
            }
        }
    }
}

#[test]
fn sizes_at_the_edges() {
    for inputs in [1, 4, 31, 32, 33, 63, 64, 65, 127, 129] {
        for outputs in [1, 15, 16, 17, 31, 32, 33, 129] {
            let weight = Int4Weight::quantize(&varied(outputs * inputs, 5), outputs, inputs);
            for rows in [0, 1, 2, 3, 4, 7, FEW, FEW + 1, 33] {
                let input = varied(rows * inputs, 6);
                let expected = expected(&input, &weight, &vec![0.0; weight.outputs()], |_| true);
                for path in paths() {
                    let mut output = vec![f32::NAN; rows * outputs];
                    matmul_int4_on(path, &input, &weight, None, &mut output);
                    assert_eq!(output, expected, "{path:?} {rows}x{inputs}x{outputs}");
                }
            }
        }
    }
    let mut output = [1.0; 6];
    matmul_int4(&[], &Int4Weight::quantize(&[], 3, 0), None, &mut output);
    assert_eq!(output, [0.0; 6]);
    matmul_int4(&[], &Int4Weight::quantize(&[], 3, 0), Some(&[1.0, 2.0, 3.0]), &mut output);
    assert_eq!(output, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
    matmul_int4(&[], &Int4Weight::quantize(&[], 0, 5), None, &mut []);
}

/// The largest weights and steps: neither 16 nor 32 bits overflow.
#[test]
fn the_largest_sums_fit() {
    for sign in [1.0, -1.0] {
        let weight = Int4Weight::quantize(&vec![sign; MAX_INPUTS], 1, MAX_INPUTS);
        for rows in [1, FEW + 1] {
            let input = vec![1.0; rows * MAX_INPUTS];
            for path in paths() {
                let mut output = vec![0.0; rows];
                matmul_int4_on(path, &input, &weight, None, &mut output);
                let expected = sign * MAX_INPUTS as f32;
                assert!(
                    output.iter().all(|value| (value / expected - 1.0).abs() < 1e-6),
                    "{path:?} {output:?}"
                );
            }
        }
    }
}

fn relative_error(values: &[f32], rounded: &[f32]) -> f64 {
    let (mut error, mut size) = (0.0, 0.0);
    for (value, rounded) in values.iter().zip(rounded) {
        error += f64::from(value - rounded).powi(2);
        size += f64::from(*value).powi(2);
    }
    (error / size).sqrt()
}

/// Values as weights are: a sum of twelve uniform ones is nearly normal.
fn normal(count: usize) -> Vec<f32> {
    varied(12 * count, 3).chunks(12).map(|chunk| chunk.iter().sum()).collect()
}

/// Four bits in groups of 32 of a normal distribution err by about 0.07; by the smallest and the largest value alone it would be 0.08.
#[test]
fn rounding_errs_little() {
    let values = normal(64 * 512);
    let weight = Int4Weight::quantize(&values, 64, 512);
    let error = relative_error(&values, &weight.dequantize());
    assert!((0.05..0.075).contains(&error), "{error}");
    // Four bits a value, two bytes an output and group, and a line of scales for each of four panels.
    assert_eq!(weight.as_bytes().len(), 64 * 512 / 2 + 64 * 16 * 2 + 4 * 64);
    // A group that lies off zero, and zeros.
    let shifted: Vec<f32> = varied(32, 1).iter().map(|value| 10.0 + 0.1 * value).collect();
    let error = relative_error(&shifted, &Int4Weight::quantize(&shifted, 1, 32).dequantize());
    assert!(error < 0.004, "{error}");
    assert_eq!(Int4Weight::quantize(&[0.0; 8], 2, 4).dequantize(), [0.0; 8]);
}

#[test]
fn what_is_no_number_stays_none() {
    let weight = Int4Weight::quantize(&varied(20 * 8, 1), 20, 8);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for rows in [4, 40] {
            let mut input = varied(8 * rows, 2);
            input[11] = bad;
            for path in paths() {
                let mut output = vec![0.0; 20 * rows];
                matmul_int4_on(path, &input, &weight, None, &mut output);
                let (bad_row, others) = (&output[20..40], [&output[..20], &output[40..]].concat());
                assert!(others.iter().all(|value| value.is_finite()), "{path:?}");
                assert!(bad_row.iter().all(|value| value.is_nan()), "{path:?}, {bad}");
            }
        }
    }
    let damaged = Int4Weight::quantize(&[f32::NAN, 1.0, 1.0, 1.0], 2, 2);
    let values = damaged.dequantize();
    assert!(values[..2].iter().all(|value| value.is_nan()) && values[2..] == [1.0, 1.0], "{values:?}");
}

/// What is written can be read again, and any bytes of the right number can be multiplied with.
#[test]
fn bytes_are_a_weight_again() {
    let weight = Int4Weight::quantize(&varied(37 * 130, 5), 37, 130);
    let bytes: SharedBytes = std::sync::Arc::new(weight.as_bytes().to_vec());
    let again = Int4Weight::from_packed(bytes, 37, 130).unwrap();
    assert_eq!(again.dequantize(), weight.dequantize());
    let short: SharedBytes = std::sync::Arc::new(vec![0_u8; 64]);
    let error = Int4Weight::from_packed(short.clone(), 37, 130).unwrap_err();
    assert_eq!(error, PackedError::Length { found: 64, needed: 4 * (3 * 9 + 1) * 64 });
    assert!(Int4Weight::from_packed(short, 1, MAX_INPUTS + 1).is_err());
    let any: SharedBytes = std::sync::Arc::new(vec![0xa7_u8; weight.as_bytes().len()]);
    let any = Int4Weight::from_packed(any, 37, 130).unwrap();
    for path in paths() {
        for rows in [1, 40] {
            matmul_int4_on(path, &varied(rows * 130, 1), &any, None, &mut vec![0.0; rows * 37]);
        }
    }
}
