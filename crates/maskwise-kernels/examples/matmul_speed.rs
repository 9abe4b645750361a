//! Times of matrix products in f32 and with operands in bf16: `cargo run --release -p maskwise-kernels --example matmul_speed`.
//!
//! Ways alternate, so that whatever else runs on the machine hits them alike; medians are shown. Arguments choose shapes by the
//! start of their names (`training`, `attention`, `inference`, `small`).

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use maskwise_kernels::matmul::{
    Epilogue, Matrix, MatrixMut, PackedRight, Path, Write, matmul, matmul_here, matmul_reduced,
    product_packed,
};
use std::time::{Duration, Instant};

/// How operands lie in memory.
#[derive(Clone, Copy)]
enum Layout {
    /// x · Wᵀ.
    Forward,
    /// g · W.
    Input,
    /// gᵀ · x.
    Weight,
}

/// How a product is computed.
enum Way<'a> {
    Exact,
    Reduced(Path),
    /// On the default path, with a prepared right side.
    Packed(&'a PackedRight),
}

struct Shape {
    name: &'static str,
    sizes: (usize, usize, usize),
    layout: Layout,
    /// Between rows of the operands, if not their width.
    stride: Option<usize>,
}

fn shapes() -> Vec<Shape> {
    let mut shapes = Vec::new();
    let mut add = |name, layout, stride, all: &[(usize, usize, usize)]| {
        shapes.extend(all.iter().map(|&sizes| Shape { name, sizes, layout, stride }));
    };
    let layers = [
        (1028, 128, 512),
        (1028, 512, 128),
        (1028, 128, 128),
        (2300, 96, 288),
        (2300, 96, 384),
        (550, 160, 384),
        (550, 160, 160),
    ];
    add("training forward", Layout::Forward, None, &layers);
    add("training input", Layout::Input, None, &layers.map(|(m, k, n)| (m, n, k)));
    add("training weight", Layout::Weight, None, &[(512, 1028, 128), (128, 1028, 128), (384, 2300, 96)]);
    add("attention scores", Layout::Forward, Some(128), &[(64, 32, 257)]);
    add("attention values", Layout::Input, Some(257), &[(64, 257, 32)]);
    add("attention keys", Layout::Weight, Some(257), &[(257, 64, 32)]);
    add("inference", Layout::Forward, None, &[(640, 4096, 4096), (4096, 1280, 3840), (4096, 1280, 5120)]);
    let small = [8, 16, 24, 32, 48, 64, 96].map(|size| (size, size, size));
    add("small forward", Layout::Forward, None, &small);
    add("small thin", Layout::Forward, None, &[(8, 128, 128), (128, 128, 8), (128, 8, 128), (4, 512, 512)]);
    shapes
}

fn random(count: usize) -> Vec<f32> {
    (0..count).map(|index| ((index * 7919) % 10_007) as f32 / 5000.0 - 1.0).collect()
}

impl Shape {
    fn median_times(&self, threads: usize) -> Vec<Duration> {
        let (m, k, n) = self.sizes;
        let (left_size, right_size) = match self.layout {
            Layout::Forward => ((m, k), (n, k)),
            Layout::Input => ((m, k), (k, n)),
            Layout::Weight => ((k, m), (k, n)),
        };
        let stride = |width: usize| self.stride.map_or(width, |stride| stride.max(width));
        let operand = |(rows, columns): (usize, usize)| random(rows * stride(columns));
        let (left_values, right_values) = (operand(left_size), operand(right_size));
        let matrix = |values, (rows, columns)| Matrix::strided(values, rows, columns, stride(columns));
        let (left, right) = (matrix(&left_values, left_size), matrix(&right_values, right_size));
        let (left, right) = match self.layout {
            Layout::Forward => (left, right.t()),
            Layout::Input => (left, right),
            Layout::Weight => (left.t(), right),
        };
        let mut output = vec![0.0; m * n];
        let packed = PackedRight::new(right);
        let mut ways = vec![Way::Exact];
        ways.extend(paths().map(Way::Reduced));
        ways.push(Way::Packed(&packed));
        let mut run = |way: &Way| {
            let output = MatrixMut::new(&mut output, m, n);
            match way {
                Way::Exact if threads == 1 => matmul_here(left, right, output, 1.0, Write::Replace),
                Way::Exact => matmul(left, right, output, 1.0, Write::Replace),
                Way::Reduced(path) => {
                    matmul_reduced(*path, left, right, output, 1.0, Write::Replace, threads > 1);
                }
                Way::Packed(right) => {
                    std::hint::black_box(product_packed(left, right, Epilogue::default()));
                }
            }
        };
        let repeats = (20_000_000 / (m * k * n)).clamp(1, 1000);
        let rounds = if m * k * n > 1 << 30 { 3 } else { 31 };
        let mut times = vec![Vec::new(); ways.len()];
        for _ in 0..=rounds {
            for (way, times) in ways.iter().zip(&mut times) {
                let start = Instant::now();
                (0..repeats).for_each(|_| run(way));
                times.push(start.elapsed() / repeats as u32);
            }
        }
        times
            .into_iter()
            .map(|mut times| {
                // The first round warms up.
                times.remove(0);
                times.sort();
                times[times.len() / 2]
            })
            .collect()
    }
}

fn paths() -> impl Iterator<Item = Path> {
    Path::ALL.into_iter().filter(|path| path.is_available())
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<String> = paths().map(|path| format!("{path:?}")).collect();
    println!("microseconds, GFLOP/s and gain over f32; the default path is {:?}", Path::current());
    print!("{:<38} {:>7} {:>15}", "shape", "threads", "f32");
    names.iter().for_each(|name| print!(" {name:>22}"));
    println!(" {:>22}", "right side prepared");
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for shape in shapes() {
            if !wanted.is_empty() && !wanted.iter().any(|wanted| shape.name.starts_with(wanted.as_str())) {
                continue;
            }
            let times = pool.install(|| shape.median_times(threads));
            let (m, k, n) = shape.sizes;
            let flops = 2.0 * (m * k * n) as f64;
            let seconds = |time: &Duration| time.as_secs_f64();
            print!("{:<38} {threads:>7}", format!("{} {m}x{k}x{n}", shape.name));
            for (index, time) in times.iter().enumerate() {
                print!(" {:>9.1} {:>5.0}", seconds(time) * 1e6, flops / seconds(time) / 1e9);
                if index > 0 {
                    print!(" {:>5.2}x", seconds(&times[0]) / seconds(time));
                }
            }
            println!();
        }
    }
}
