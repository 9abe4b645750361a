//! How exact the products of a thread are.

use std::cell::Cell;

/// How exact products of f32 matrices are, as in PyTorch's `set_float32_matmul_precision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// As exact as f32.
    ///
    /// Where there are tiles, each number of a large product is the sum of three bf16, and of the nine products of parts those three are left out that are below the
    /// rounding of f32 (at most about 2⁻²³ of the product). An infinity, and what is above the largest bf16, counts as NaN there, and numbers and products below
    /// 2⁻¹⁰⁰ lose digits, since the processor's bf16 instructions flush what is subnormal.
    #[default]
    Highest,
    /// Large products round both sides to bf16 (to nearest, ties to even) and sum up in f32.
    ///
    /// A product of two bf16 values is exact in f32, so only the rounding of the operands, at most 2⁻⁸ of each, is new. Numbers
    /// below the smallest normal f32 (2⁻¹²⁶) may count as zero, since the processor's bf16 instructions flush them. Infinities and
    /// NaNs come out as in f32, save that a finite value above the largest bf16 rounds to infinity.
    Medium,
}

thread_local! {
    static PRECISION: Cell<Precision> = const { Cell::new(Precision::Highest) };
}

/// Sets the precision of the products that the calling thread asks for; a thread starts with [`Precision::Highest`].
///
/// Threads that help with a kernel need nothing: it is as precise as its caller asked. Kernels asked for inside of a rayon pool are those of
/// its workers, so a pool whose work should be reduced sets it in its `start_handler`.
pub fn set_precision(precision: Precision) {
    PRECISION.set(precision);
}

/// Runs `work` with another precision on the calling thread, which has its own again afterwards.
pub fn with_precision<R>(precision: Precision, work: impl FnOnce() -> R) -> R {
    /// Gives the precision back, even where `work` panics.
    struct Before(Precision);
    impl Drop for Before {
        fn drop(&mut self) {
            set_precision(self.0);
        }
    }
    let _before = Before(PRECISION.replace(precision));
    work()
}

/// The precision of the calling thread.
pub fn precision() -> Precision {
    PRECISION.get()
}
