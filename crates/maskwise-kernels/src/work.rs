//! How the kernels run: on which threads, with which instructions, in which memory.

use std::cell::RefCell;

/// Elements below which handing work to other threads costs more than it saves.
const SMALL: usize = 1 << 15;

/// Whether work on this many elements is shared among the threads of the current pool.
pub(crate) fn is_shared(elements: usize) -> bool {
    elements >= SMALL && rayon::current_num_threads() > 1
}

/// Runs `work`, with all that is inlined into it compiled for the widest vectors that the processor has. The closure itself must be
/// `#[inline(always)]`, as must closures that it calls: the compiler leaves large ones apart, and those are compiled for the oldest
/// processors.
///
/// Rust contracts nothing into fused multiply-adds, so the result does not depend on the processor.
#[inline(always)]
pub fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// As [`vectorized`], telling `work` whether there are instructions that multiply and add with one rounding. What it does with them, the result
/// depends on the processor.
#[inline(always)]
pub(crate) fn vectorized_with_fma<R>(work: impl FnOnce(Fma) -> R) -> R {
    struct Work<F>(F);

    impl<R, F: FnOnce(Fma) -> R> pulp::WithSimd for Work<F> {
        type Output = R;

        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _: S) -> R {
            // Vectors of x86-64 and ARM that are wider than a number come with these instructions.
            (self.0)(Fma(S::F32_LANES > 1 && cfg!(not(target_arch = "wasm32"))))
        }
    }

    pulp::Arch::new().dispatch(Work(work))
}

/// Whether the code that this is handed to is compiled for a processor with fused multiply-adds, which are slow function calls elsewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fma(bool);

impl Fma {
    /// Without.
    pub(crate) const NONE: Self = Self(false);

    /// `a·b + c`.
    #[inline(always)]
    pub(crate) fn mul_add(self, a: f32, b: f32, c: f32) -> f32 {
        if self.0 { a.mul_add(b, c) } else { a * b + c }
    }
}

/// Lends `work` a buffer of this thread, which is kept for the next caller. Its content is arbitrary.
pub(crate) fn with_scratch<R>(length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    let mut buffer = SCRATCH.take();
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    let result = work(&mut buffer[..length]);
    SCRATCH.set(buffer);
    result
}

/// Sixteen partial sums of a term of each value: vectorises, and rounds less than one running sum.
#[inline(always)]
pub(crate) fn fold(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut partial = [0.0_f32; 16];
    let chunks = values.chunks_exact(16);
    let tail: f32 = chunks.remainder().iter().map(|&value| term(value)).sum();
    for chunk in chunks {
        for (partial, &value) in partial.iter_mut().zip(chunk) {
            *partial += term(value);
        }
    }
    total(&partial) + tail
}

/// As [`fold`], over pairs of values.
#[inline(always)]
pub(crate) fn fold2(left: &[f32], right: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut partial = [0.0_f32; 16];
    let (lefts, rights) = (left.chunks_exact(16), right.chunks_exact(16));
    let rest = lefts.remainder().iter().zip(rights.remainder());
    let tail: f32 = rest.map(|(&left, &right)| term(left, right)).sum();
    for (left, right) in lefts.zip(rights) {
        for ((partial, &left), &right) in partial.iter_mut().zip(left).zip(right) {
            *partial += term(left, right);
        }
    }
    total(&partial) + tail
}

#[inline(always)]
fn total(partial: &[f32; 16]) -> f32 {
    partial.iter().sum()
}

/// The largest value; what is no number counts for nothing.
#[inline(always)]
pub(crate) fn largest(values: &[f32]) -> f32 {
    let mut partial = [f32::NEG_INFINITY; 16];
    let chunks = values.chunks_exact(16);
    let tail = chunks.remainder().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for chunk in chunks {
        for (partial, &value) in partial.iter_mut().zip(chunk) {
            *partial = if value > *partial { value } else { *partial };
        }
    }
    partial.iter().copied().fold(tail, f32::max)
}
