//! What this machine can do at most: arithmetic on registers alone, and reading memory. What kernels are measured against.

use crate::dots::STREAMS;
use crate::vectorized;
use rayon::prelude::*;
use std::hint::black_box;
use std::time::Instant;

/// Seconds that a measurement runs for, about.
const SECONDS: f64 = 0.25;
/// Numbers in a register of 512 bits.
const LANES: usize = 16;
/// Numbers of eight bytes in a line of memory.
const LINE: usize = 8;
/// Independent sums: as many as hide the latency of an instruction.
const SUMS: usize = 12;

/// Threads of the current pool, which all of this runs on.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// f32 multiply-adds on all threads of the current pool, in operations a second (two each).
pub fn f32_operations() -> f64 {
    rate(|steps| {
        pulp::Arch::new().dispatch(MultiplyAdd { steps });
        (2 * LANES * SUMS) as f64
    })
}

/// As many multiply-adds on registers as one wants.
struct MultiplyAdd {
    steps: usize,
}

impl pulp::WithSimd for MultiplyAdd {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) {
        let (factor, addend) = (simd.splat_f32s(black_box(0.999)), simd.splat_f32s(black_box(0.001)));
        let mut sums = [simd.splat_f32s(1.0); SUMS];
        // As many operations whatever the width of a register.
        for _ in 0..self.steps * LANES / S::F32_LANES {
            for sum in &mut sums {
                *sum = simd.mul_add_e_f32s(*sum, factor, addend);
            }
        }
        black_box(sums);
    }
}

/// Products of bf16 on the instructions that products of reduced precision use, in operations a second; none without such instructions.
pub fn bf16_operations() -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if crate::matmul::Path::current() == crate::matmul::Path::Amx {
        return Some(rate(tiles::bf16));
    }
    None
}

/// Products of bytes on tiles, in operations a second; none without them.
pub fn int8_operations() -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if crate::matmul::Path::current() == crate::matmul::Path::Amx
        && crate::int8::has_int8(crate::matmul::Path::Amx)
    {
        return Some(rate(tiles::int8));
    }
    None
}

/// Bytes a second of reading `bytes` of memory on all threads of the current pool, on each in several streams: the best of three passes.
pub fn read_bandwidth(bytes: usize) -> f64 {
    let values = vec![1_u64; bytes / size_of::<u64>()];
    let piece = values.len().div_ceil(rayon::current_num_threads()).max(1);
    let pass = || {
        let start = Instant::now();
        let sum = |part: &[u64]| {
            vectorized(
                #[inline(always)]
                || {
                    let mut sums = [[0_u64; LINE]; STREAMS];
                    let streams: [&[u64]; STREAMS] = {
                        let length = part.len() / STREAMS;
                        std::array::from_fn(|stream| &part[stream * length..][..length])
                    };
                    let streams = streams.map(|stream| stream.as_chunks::<LINE>().0);
                    for number in 0..streams[0].len() {
                        for (sums, stream) in sums.iter_mut().zip(&streams) {
                            for (sum, value) in sums.iter_mut().zip(&stream[number]) {
                                *sum = sum.wrapping_add(*value);
                            }
                        }
                    }
                    sums.as_flattened().iter().fold(0_u64, |sum, value| sum.wrapping_add(*value))
                },
            )
        };
        black_box(values.par_chunks(piece).map(sum).sum::<u64>());
        size_of_val(&values[..]) as f64 / start.elapsed().as_secs_f64()
    };
    (0..3).map(|_| pass()).fold(0.0, f64::max)
}

/// Operations a second of `work`, which takes a number of steps and says how many operations one of them is, on every thread at once.
fn rate(work: impl Fn(usize) -> f64 + Sync) -> f64 {
    let timed = |steps: usize| {
        let start = Instant::now();
        let operations = work(steps);
        (operations, start.elapsed().as_secs_f64())
    };
    let trial = 1 << 16;
    let (_, seconds) = timed(trial);
    let steps = (trial as f64 * SECONDS / seconds.max(1e-9)) as usize + 1;
    let start = Instant::now();
    let operations: f64 = rayon::broadcast(|_| timed(steps).0).iter().sum();
    operations * steps as f64 / start.elapsed().as_secs_f64()
}

#[cfg(target_arch = "x86_64")]
mod tiles {
    use crate::matmul::Tiles;
    use std::arch::asm;

    /// Repeats four products of tiles, which do not wait for each other, by an instruction.
    macro_rules! products {
        ($instruction:literal, $steps:expr) => {{
            let _tiles = Tiles::configure();
            // SAFETY: this thread's tiles are configured, as `configure` asserts, and whoever asks has looked that there is the instruction. The
            // loop touches tiles and its counter only, and all tiles are set before they are read.
            unsafe {
                asm!(
                    "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                    "tilezero tmm4", "tilezero tmm5", "tilezero tmm6", "tilezero tmm7",
                    "2:",
                    concat!($instruction, " tmm0, tmm4, tmm6"),
                    concat!($instruction, " tmm1, tmm4, tmm7"),
                    concat!($instruction, " tmm2, tmm5, tmm6"),
                    concat!($instruction, " tmm3, tmm5, tmm7"),
                    "dec {steps}",
                    "jnz 2b",
                    steps = inout(reg) $steps.max(1) => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack, nomem),
                );
            }
        }};
    }

    /// Four products of tiles of bf16 a step; the operations of a step.
    #[allow(unsafe_code)]
    pub(super) fn bf16(steps: usize) -> f64 {
        products!("tdpbf16ps", steps);
        4.0 * 2.0 * 16.0 * 16.0 * 32.0
    }

    /// Four products of tiles of bytes a step; the operations of a step.
    #[allow(unsafe_code)]
    pub(super) fn int8(steps: usize) -> f64 {
        products!("tdpbssd", steps);
        4.0 * 2.0 * 16.0 * 16.0 * 64.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_numbers_that_a_machine_can_have() {
        let within = |rate: f64| assert!(rate > 1e7 && rate < 1e17, "{rate}");
        within(f32_operations());
        within(read_bandwidth(1 << 24));
        [bf16_operations(), int8_operations()].into_iter().flatten().for_each(within);
    }
}
