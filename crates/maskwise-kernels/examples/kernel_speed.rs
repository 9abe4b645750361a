//! Times of single kernels, a line of JSON each, for `benches/peers/run.py`:
//! `cargo run --release -p maskwise-kernels --example kernel_speed -- [THREADS]`.

#![allow(clippy::print_stdout, reason = "a measurement for the program that ran it")]
#![allow(clippy::unwrap_used)]

use maskwise_kernels::elementwise::{Activation, silu_times};
use maskwise_kernels::int8::{Int8Weight, matmul_int8};
use maskwise_kernels::matmul::{Matrix, MatrixMut, Precision, Write, matmul, with_precision};
use maskwise_kernels::relative_attention::{self, Operands};
use maskwise_kernels::rows::{layer_norm, rms_norm, softmax};
use std::time::Instant;

const REPEATS: usize = 7;

/// Rows, inputs and outputs of linear layers: LLaMA-7B's with a prompt of 640, SAM ViT-H's.
const LAYERS: [(usize, usize, usize); 4] =
    [(640, 4096, 4096), (640, 4096, 11_008), (4096, 1280, 3840), (4096, 1280, 5120)];

fn varied(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| ((index * 7919 + seed * 104_729) % 10_007) as f32 / 5000.0 - 1.0).collect()
}

fn time(name: &str, mut work: impl FnMut()) {
    work();
    let mut times: Vec<f64> = (0..REPEATS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{{\"name\": \"{name}\", \"seconds\": {}}}", times[REPEATS / 2]);
}

fn products() {
    for (rows, inputs, outputs) in LAYERS {
        let (input, weight) = (varied(rows * inputs, 1), varied(outputs * inputs, 2));
        let mut output = vec![0.0; rows * outputs];
        for (dtype, precision) in [("f32", Precision::Highest), ("bf16", Precision::Medium)] {
            time(&format!("product {rows}x{inputs}x{outputs} {dtype}"), || {
                let target = MatrixMut::new(&mut output, rows, outputs);
                let (input, weight) =
                    (Matrix::new(&input, rows, inputs), Matrix::new(&weight, outputs, inputs));
                with_precision(precision, || matmul(input, weight.t(), target, 1.0, Write::Replace));
            });
        }
        let weight = Int8Weight::quantize(&weight, outputs, inputs);
        time(&format!("product {rows}x{inputs}x{outputs} int8"), || {
            with_precision(Precision::Medium, || matmul_int8(&input, &weight, None, &mut output));
        });
    }
}

fn rows_and_elements() {
    let (input, mut output) = (varied(400 * 196 * 196, 1), vec![0.0; 400 * 196 * 196]);
    time("softmax 400x196x196", || softmax(&input, &mut output, 196));
    let (input, mut output) = (varied(4096 * 1280, 1), vec![0.0; 4096 * 1280]);
    let (weight, bias) = (varied(1280, 2), varied(1280, 3));
    time("layer norm 4096x1280", || layer_norm(&input, &weight, &bias, 1e-6, &mut output));
    let (input, mut output) = (varied(640 * 4096, 1), vec![0.0; 640 * 4096]);
    let weight = varied(4096, 2);
    time("rms norm 640x4096", || rms_norm(&input, &weight, 1e-5, &mut output));
    let (input, mut output) = (varied(4096 * 5120, 1), vec![0.0; 4096 * 5120]);
    time("gelu 4096x5120", || Activation::GeluErf.forward(&input, &mut output));
    let (gate, up) = (varied(640 * 11_008, 1), varied(640 * 11_008, 2));
    let mut output = vec![0.0; 640 * 11_008];
    time("silu times gate 640x11008", || silu_times(&gate, &up, &mut output));
}

fn attention() {
    for (name, batch, side) in [("windows 25x16x196x80", 25, 14), ("global 16x4096x80", 1, 64)] {
        let shape =
            relative_attention::Shape { batch, height: side, width: side, heads: 16, dim: 80, scale: 0.1118 };
        let cells = batch * side * side;
        let qkv = varied(cells * 3 * 1280, 1);
        let table = varied(side * side * 80, 2);
        let (mut output, mut sums) = (vec![0.0; cells * 1280], vec![0.0; cells * 16]);
        for (dtype, precision) in [("f32", Precision::Highest), ("bf16", Precision::Medium)] {
            time(&format!("attention {name} {dtype}"), || {
                let operands = Operands { qkv: &qkv, rows: &table, columns: &table };
                with_precision(precision, || {
                    relative_attention::forward(&shape, operands, &mut output, &mut sums);
                });
            });
        }
    }
}

fn main() {
    let threads = std::env::args().nth(1).map_or(2, |text| text.parse().unwrap());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        products();
        rows_and_elements();
        attention();
    });
}
