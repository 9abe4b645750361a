//! Speed of products with weights in eight and four bits, next to f32: `cargo run --release -p maskwise-kernels --example quantized_speed`.

#![allow(clippy::print_stdout, reason = "a measurement for the person who ran it")]
#![allow(clippy::unwrap_used)]

use maskwise_kernels::int4::{Int4Weight, matmul_int4_on};
use maskwise_kernels::int8::{Int8Weight, has_int8, matmul_int8_on};
use maskwise_kernels::matmul::{Matrix, MatrixMut, Path, Precision, Write, matmul, with_precision};
use std::time::Instant;

/// Rows, inputs and outputs: a token, a few and a prompt of 640 at the layers of LLaMA-7B.
const SHAPES: [(usize, usize, usize); 8] = [
    (1, 4096, 4096),
    (8, 4096, 4096),
    (16, 4096, 4096),
    (1, 4096, 11_008),
    (1, 11_008, 4096),
    (640, 4096, 4096),
    (640, 4096, 11_008),
    (640, 11_008, 4096),
];
const REPEATS: usize = 9;
/// Bytes of the copies of a weight that are used in turn for a single row, so that none is still in a cache.
const UNCACHED: usize = 1 << 30;

fn varied(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| ((index * 7919 + seed * 104_729) % 10_007) as f32 / 5000.0 - 1.0).collect()
}

fn median(mut work: impl FnMut(usize)) -> f64 {
    work(0);
    let mut times: Vec<f64> = (0..REPEATS)
        .map(|number| {
            let start = Instant::now();
            work(number);
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[REPEATS / 2]
}

fn main() {
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for (rows, inputs, outputs) in SHAPES {
            let (input, values) = (varied(rows * inputs, 1), varied(outputs * inputs, 2));
            let copies = if rows < 64 { UNCACHED / (outputs * inputs) } else { 1 };
            let weights = vec![Int8Weight::quantize(&values, outputs, inputs); copies];
            let narrow = vec![Int4Weight::quantize(&values, outputs, inputs); copies];
            let wholes = vec![values; copies.div_ceil(4)];
            let mut output = vec![0.0; rows * outputs];
            let operations = 2.0 * (rows * inputs * outputs) as f64;
            let shown = |what: &str, bytes: f64, seconds: f64| {
                println!(
                    "{rows}x{inputs}x{outputs} {threads} threads {what}: {:.3} ms, {:.0} GOP/s, weight read at {:.1} GB/s",
                    seconds * 1e3,
                    operations / seconds / 1e9,
                    bytes * (inputs * outputs) as f64 / seconds / 1e9
                );
            };
            for path in Path::ALL.into_iter().filter(|path| has_int8(*path)) {
                let seconds = pool.install(|| {
                    median(|number| {
                        with_precision(Precision::Medium, || {
                            matmul_int8_on(path, &input, &weights[number % copies], None, &mut output)
                        });
                    })
                });
                shown(&format!("int8 {path:?}"), 1.0, seconds);
                let seconds = pool.install(|| {
                    median(|number| {
                        with_precision(Precision::Medium, || {
                            matmul_int4_on(path, &input, &narrow[number % copies], None, &mut output)
                        });
                    })
                });
                shown(&format!("int4 {path:?}"), 4.5 / 8.0, seconds);
            }
            let seconds = pool.install(|| {
                median(|number| {
                    let output = MatrixMut::new(&mut output, rows, outputs);
                    let weight = Matrix::new(&wholes[number % wholes.len()], outputs, inputs);
                    matmul(Matrix::new(&input, rows, inputs), weight.t(), output, 1.0, Write::Replace);
                })
            });
            shown("f32", 4.0, seconds);
        }
    }
}
