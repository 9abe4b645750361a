//! Time of one forward and backward pass of a small transformer block, with the fused operations and with the composition of
//! candle's that they replace: `cargo bench -p maskwise-nn`. `THREADS=1` sets the size of the rayon pool.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use candle_core::{D, Device, Result, Tensor, Var};
use maskwise_nn::ops::{self, KeyRanges};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WIDTH: usize = 160;
const HEADS: usize = 5;
const TOKENS: usize = 320;

struct Block {
    weights: Vec<Var>,
    biases: Vec<Var>,
}

impl Block {
    fn new() -> Self {
        let sizes = [(WIDTH, WIDTH); 4].into_iter().chain([(4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH)]);
        let weight = |size: (usize, usize)| Var::randn(0_f32, 0.05, size, &Device::Cpu).unwrap();
        let weights: Vec<Var> = sizes.map(weight).collect();
        let bias =
            |weight: &Var| Var::zeros(weight.dims()[0], candle_core::DType::F32, &Device::Cpu).unwrap();
        Self { biases: weights.iter().map(bias).collect(), weights }
    }

    fn fused(&self, x: &Tensor) -> Result<Tensor> {
        let linear =
            |x: &Tensor, index: usize| ops::linear(x, &self.weights[index], Some(&self.biases[index]));
        let normalized = ops::layer_norm(x, &(self.biases[0].as_tensor() + 1.0)?, &self.biases[1], 1e-5)?;
        let [q, k, v] = [0, 1, 2].map(|index| linear(&normalized, index));
        let scale = ((WIDTH / HEADS) as f64).powf(-0.5);
        let mixed = ops::ranged_attention(&q?, &k?, &v?, HEADS, scale, &KeyRanges::full(TOKENS, TOKENS))?;
        let x = (x + linear(&mixed, 3)?)?;
        let normalized = ops::layer_norm(&x, &(self.biases[2].as_tensor() + 1.0)?, &self.biases[3], 1e-5)?;
        x + linear(&ops::gelu_erf(&linear(&normalized, 4)?)?, 5)?
    }

    fn composed(&self, x: &Tensor) -> Result<Tensor> {
        let batch = x.dim(0)?;
        let linear = |x: &Tensor, index: usize| {
            let product = x.reshape(((), x.dim(D::Minus1)?))?.matmul(&self.weights[index].t()?)?;
            product.broadcast_add(&self.biases[index])?.reshape((batch, TOKENS, ()))
        };
        let norm = |x: &Tensor, weight: usize| {
            let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
            let inverse = (centred.sqr()?.mean_keepdim(D::Minus1)? + 1e-5)?.sqrt()?.recip()?;
            let scaled =
                centred.broadcast_mul(&inverse)?.broadcast_mul(&(self.biases[weight].as_tensor() + 1.0)?)?;
            scaled.broadcast_add(&self.biases[weight + 1])
        };
        let split =
            |x: Tensor| x.reshape((batch, TOKENS, HEADS, WIDTH / HEADS))?.transpose(1, 2)?.contiguous();
        let normalized = norm(x, 0)?;
        let [q, k, v] = [0, 1, 2].map(|index| linear(&normalized, index).and_then(split));
        let scores = (q?.matmul(&k?.t()?)? * ((WIDTH / HEADS) as f64).powf(-0.5))?;
        let powers = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
        let mixed = powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)?.matmul(&v?)?;
        let x = (x + linear(&mixed.transpose(1, 2)?.flatten_from(2)?, 3)?)?;
        x.clone() + linear(&linear(&norm(&x, 2)?, 4)?.gelu_erf()?, 5)?
    }
}

/// Milliseconds of the forward and of the whole pass, the best of several.
fn time(x: &Tensor, pass: impl Fn(&Tensor) -> Result<Tensor>) -> (f64, f64) {
    let mut best = (f64::INFINITY, f64::INFINITY);
    for _ in 0..7 {
        let start = Instant::now();
        let y = pass(x).unwrap();
        let forward = start.elapsed().as_secs_f64() * 1e3;
        y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let whole = start.elapsed().as_secs_f64() * 1e3;
        best = (best.0.min(forward), best.1.min(whole));
    }
    best
}

fn compare(
    name: &str,
    x: &Tensor,
    fused: impl Fn(&Tensor) -> Result<Tensor>,
    composed: impl Fn(&Tensor) -> Result<Tensor>,
) {
    let (new, old) = (time(x, fused), time(x, composed));
    println!(
        "{name:34} forward {:8.2} ms, was {:8.2}   with backward {:8.2} ms, was {:8.2}   ratio {:.2}",
        new.0,
        old.0,
        new.1,
        old.1,
        old.1 / new.1
    );
}

fn blocks() {
    let block = Block::new();
    for batch in [1, 2, 8] {
        let x = Var::randn(0_f32, 1.0, (batch, TOKENS, WIDTH), &Device::Cpu).unwrap();
        compare(
            &format!("block [{batch}, {TOKENS}, {WIDTH}]"),
            &x,
            |x| block.fused(x),
            |x| block.composed(x),
        );
    }
}

fn operations() {
    let x = Var::randn(0_f32, 1.0, (4, TOKENS, WIDTH), &Device::Cpu).unwrap();
    let wide = Var::randn(0_f32, 1.0, (4, TOKENS, 4 * WIDTH), &Device::Cpu).unwrap();
    let weight = Var::randn(0_f32, 0.05, (4 * WIDTH, WIDTH), &Device::Cpu).unwrap();
    let bias = Var::zeros(4 * WIDTH, candle_core::DType::F32, &Device::Cpu).unwrap();
    compare(
        "linear 160 -> 640",
        &x,
        |x| ops::linear(x, &weight, Some(&bias)),
        |x| {
            x.reshape(((), WIDTH))?.matmul(&weight.t()?)?.broadcast_add(&bias)?.reshape((
                4,
                TOKENS,
                4 * WIDTH,
            ))
        },
    );
    let frozen = weight.detach();
    compare(
        "linear 160 -> 640, frozen",
        &x,
        |x| ops::linear(x, &frozen, None),
        |x| x.reshape(((), WIDTH))?.matmul(&frozen.t()?),
    );
    compare("gelu [4, 320, 640]", &wide, ops::gelu_erf, Tensor::gelu_erf);
    compare("silu·gate [4, 320, 640]", &wide, |x| ops::silu_times(x, x), |x| x.silu()? * x);
}

fn main() {
    let threads = std::env::var("THREADS").ok().and_then(|threads| threads.parse().ok()).unwrap_or(2);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    println!("{threads} threads");
    pool.install(|| {
        blocks();
        operations();
    });
}
