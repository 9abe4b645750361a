//! The micro-kernel on AMX tiles.
//!
//! Rust has no stable intrinsics for tiles, so this is assembly. The compiler knows nothing of tile registers living across
//! statements, and needs not: a block's sums begin and end inside of one piece of assembly.

use super::panels::Line;
use std::arch::asm;
use std::marker::PhantomData;
use std::sync::OnceLock;

/// Whether the processor has bf16 tiles and the operating system lets this process use them (it is asked here, once).
pub(super) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| has_tiles() && is_permitted())
}

#[allow(unsafe_code, unused_unsafe)]
fn has_tiles() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    // SAFETY: every x86-64 processor has `cpuid`; leaf 7 is read only where leaf 0 says that there is one.
    let (highest, features, extended) = unsafe { (__cpuid(0).eax, __cpuid(1).ecx, __cpuid_count(7, 0).edx) };
    let has_xgetbv = features >> 27 & 1 == 1;
    let (bf16, tile) = (extended >> 22 & 1 == 1, extended >> 24 & 1 == 1);
    if highest < 7 || !has_xgetbv || !bf16 || !tile {
        return false;
    }
    let enabled: u32;
    // SAFETY: OSXSAVE, checked above, says that the operating system has made `xgetbv` available; register 0 always exists.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") enabled, out("edx") _, options(nomem, nostack, preserves_flags));
    }
    // XTILECFG and XTILEDATA.
    enabled >> 17 & 3 == 3
}

/// Linux hands out the 8 KiB of tile state only to processes that ask for it.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn is_permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const REQUEST_PERMISSION: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let answer: i64;
    // SAFETY: the call takes two numbers, touches no memory of ours, and changes nothing but a permission of the process. The
    // kernel clobbers rcx and r11 and returns in rax.
    unsafe {
        asm!("syscall", inlateout("rax") ARCH_PRCTL => answer, in("rdi") REQUEST_PERMISSION, in("rsi") TILE_DATA,
            out("rcx") _, out("r11") _, options(nostack));
    }
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// Tiles of this thread, configured as eight of 16 rows of 64 bytes, until this is dropped.
#[derive(Debug)]
pub(crate) struct Tiles {
    /// The configuration is the thread's.
    _here: PhantomData<*const ()>,
}

impl Tiles {
    /// Whether the processor has bf16 tiles and the operating system lets this process use them.
    pub(crate) fn are_available() -> bool {
        is_available()
    }

    /// # Panics
    /// Without tiles.
    #[allow(unsafe_code)]
    pub(crate) fn configure() -> Self {
        #[repr(C, align(64))]
        struct Configuration([u8; 64]);
        assert!(is_available(), "no AMX tiles");
        let mut configuration = Configuration([0; 64]);
        configuration.0[0] = 1;
        for tile in 0..8 {
            configuration.0[16 + 2 * tile] = 64;
            configuration.0[48 + tile] = 16;
        }
        // SAFETY: the processor has tiles and the process may use them. The 64 bytes read are a valid configuration of palette 1:
        // eight tiles, bytes per row from 16 on, rows from 48 on, the rest zero. It is state of this thread that neither
        // compiled code nor the standard library looks at.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) configuration.0.as_ptr(), options(nostack, readonly, preserves_flags));
        }
        Self { _here: PhantomData }
    }

    /// The product of a panel of 32 rows and one of 32 columns, over `steps` of 32 values each, to 32 rows of 32 values that
    /// start `stride` values apart. With `resume` the sums continue from what is there.
    ///
    /// # Safety
    /// `steps` is at least 1; `left` and `right` point to `steps` times 32 lines; the rows of `output` may be written, and are
    /// initialised if `resume`.
    #[allow(unsafe_code)]
    #[inline]
    pub(super) unsafe fn block(
        &self,
        left: *const Line,
        right: *const Line,
        steps: usize,
        output: *mut f32,
        stride: usize,
        resume: bool,
    ) {
        // SAFETY: `self` proves that this thread's tiles are configured as 16 rows of 64 bytes. Each step reads two tiles of 16
        // lines from either panel, at 0 and 1024 bytes, and moves on by 2048 bytes, 32 lines; `steps` of them lie there, as the
        // caller promises. Results are four tiles: rows 0..16 and 16..32 of `output`, bytes 0..64 and 64..128 of each, which
        // the caller lets us write. All tiles are set before they are read, and nothing of them is used after the block.
        unsafe {
            asm!(
                "lea {lower}, [{output} + {stride}*8]",
                "lea {lower}, [{lower} + {stride}*8]",
                "test {resume:e}, {resume:e}",
                "jnz 2f",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "jmp 3f",
                "2:",
                "tileloadd tmm0, [{output} + {stride}*1]",
                "tileloadd tmm1, [{output} + {stride}*1 + 64]",
                "tileloadd tmm2, [{lower} + {stride}*1]",
                "tileloadd tmm3, [{lower} + {stride}*1 + 64]",
                "3:",
                "tileloadd tmm4, [{left} + {line}*1]",
                "tileloadd tmm6, [{right} + {line}*1]",
                "tileloadd tmm7, [{right} + {line}*1 + 1024]",
                "tileloadd tmm5, [{left} + {line}*1 + 1024]",
                "dec {steps}",
                "jz 5f",
                // Each tile of the next step is loaded right after the last use of the one before.
                "4:",
                "add {left}, 2048",
                "add {right}, 2048",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm4, [{left} + {line}*1]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tileloadd tmm6, [{right} + {line}*1]",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm7, [{right} + {line}*1 + 1024]",
                "tileloadd tmm5, [{left} + {line}*1 + 1024]",
                "dec {steps}",
                "jnz 4b",
                "5:",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tilestored [{output} + {stride}*1], tmm0",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tilestored [{output} + {stride}*1 + 64], tmm1",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tilestored [{lower} + {stride}*1], tmm2",
                "tilestored [{lower} + {stride}*1 + 64], tmm3",
                left = inout(reg) left => _,
                right = inout(reg) right => _,
                steps = inout(reg) steps => _,
                output = in(reg) output,
                lower = out(reg) _,
                stride = in(reg) stride * size_of::<f32>(),
                line = in(reg) size_of::<Line>(),
                resume = in(reg) u32::from(resume),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }

    /// As [`block`](Self::block), of panels of [three parts](super::panels::Element::Bf16x3), in steps of 32 values with 96 lines. Of the nine products of
    /// parts, the six are summed up that are not far below the rounding of f32.
    ///
    /// # Safety
    /// As there, with `steps` times 96 lines.
    #[allow(unsafe_code)]
    #[inline]
    pub(super) unsafe fn block_of_parts(
        &self,
        left: *const Line,
        right: *const Line,
        steps: usize,
        output: *mut f32,
        stride: usize,
        resume: bool,
    ) {
        // SAFETY: as of `block`. Each step reads the tiles at 0, 1024, ... 5120 bytes of either panel and moves on by 6144 bytes, 96 lines.
        unsafe {
            asm!(
                "lea {lower}, [{output} + {stride}*8]",
                "lea {lower}, [{lower} + {stride}*8]",
                "test {resume:e}, {resume:e}",
                "jnz 2f",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "jmp 3f",
                "2:",
                "tileloadd tmm0, [{output} + {stride}*1]",
                "tileloadd tmm1, [{output} + {stride}*1 + 64]",
                "tileloadd tmm2, [{lower} + {stride}*1]",
                "tileloadd tmm3, [{lower} + {stride}*1 + 64]",
                "3:",
                "tileloadd tmm4, [{left} + {line}*1]",
                "tileloadd tmm6, [{right} + {line}*1 + 4096]",
                "tileloadd tmm5, [{left} + {line}*1 + 1024]",
                "tileloadd tmm7, [{right} + {line}*1 + 5120]",
                // Left part 0 with right part 2, then one side changes its part at a time.
                "4:",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tileloadd tmm6, [{right} + {line}*1 + 2048]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm7, [{right} + {line}*1 + 3072]",
                // 0 and 1.
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tileloadd tmm6, [{right} + {line}*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm7, [{right} + {line}*1 + 1024]",
                // 0 and 0.
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm4, [{left} + {line}*1 + 4096]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm5, [{left} + {line}*1 + 5120]",
                // 2 and 0.
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm4, [{left} + {line}*1 + 2048]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm5, [{left} + {line}*1 + 3072]",
                // 1 and 0.
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tileloadd tmm6, [{right} + {line}*1 + 2048]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm7, [{right} + {line}*1 + 3072]",
                "dec {steps}",
                "jz 5f",
                // 1 and 1, and each tile of the next step right after the last use of the one before.
                "add {left}, 6144",
                "add {right}, 6144",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm4, [{left} + {line}*1]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tileloadd tmm6, [{right} + {line}*1 + 4096]",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm7, [{right} + {line}*1 + 5120]",
                "tileloadd tmm5, [{left} + {line}*1 + 1024]",
                "jmp 4b",
                "5:",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tilestored [{output} + {stride}*1], tmm0",
                "tilestored [{output} + {stride}*1 + 64], tmm1",
                "tilestored [{lower} + {stride}*1], tmm2",
                "tilestored [{lower} + {stride}*1 + 64], tmm3",
                left = inout(reg) left => _,
                right = inout(reg) right => _,
                steps = inout(reg) steps => _,
                output = in(reg) output,
                lower = out(reg) _,
                stride = in(reg) stride * size_of::<f32>(),
                line = in(reg) size_of::<Line>(),
                resume = in(reg) u32::from(resume),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

impl Drop for Tiles {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: there are tiles, since `configure` has made this. Releasing them lets the processor and the operating system
        // forget their content, which nobody needs any more.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }
}
