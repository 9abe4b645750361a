//! How many masks are scored and encoded in a second: `cargo run --release --example scoring_speed`.

#![allow(clippy::print_stdout, reason = "a measurement for the person who ran it")]

use maskwise::mask::Mask;
use maskwise_eval::Overlap;
use std::hint::black_box;
use std::thread::{available_parallelism, scope};
use std::time::Instant;

const SIDE: usize = 1024;
const MASKS: usize = 1000;

/// A ring with a ragged edge.
fn mask(number: usize) -> Mask {
    let inside = |x: usize, y: usize| {
        let (x, y) = (x as f64 - 500.0 - number as f64, y as f64 - 520.0);
        let angle = y.atan2(x);
        let radius = x.hypot(y) + 20.0 * (9.0 * angle).sin();
        u8::from((120.0..380.0).contains(&radius))
    };
    let data = (0..SIDE * SIDE).map(|at| inside(at % SIDE, at / SIDE)).collect();
    Mask { width: SIDE, height: SIDE, data }
}

fn main() {
    let masks: Vec<Mask> = (0..8).map(mask).collect();
    let threads = available_parallelism().map_or(1, usize::from);
    let timed = |what: &str, work: &(dyn Fn(&Mask, &Mask) + Sync)| {
        let start = Instant::now();
        scope(|scope| {
            for thread in 0..threads {
                let masks = &masks;
                scope.spawn(move || {
                    for number in (thread..MASKS).step_by(threads) {
                        work(&masks[number % 8], &masks[(number + 1) % 8]);
                    }
                });
            }
        });
        let second = MASKS as f64 / start.elapsed().as_secs_f64();
        println!("{what}: {second:.0} masks of {SIDE}x{SIDE} a second on {threads} threads");
    };
    for _ in 0..3 {
        timed("score", &|prediction, target| {
            black_box(Overlap::of(&prediction.data, &target.data));
        });
        timed("score and encode", &|prediction, target| {
            black_box((Overlap::of(&prediction.data, &target.data), prediction.to_rle()));
        });
        timed("score, encode and write as text", &|prediction, target| {
            black_box((Overlap::of(&prediction.data, &target.data), prediction.to_rle().counts_string()));
        });
    }
}
