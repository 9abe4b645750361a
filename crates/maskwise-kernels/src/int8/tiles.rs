//! Eight bits on AMX tiles.

use super::packed::Panels;
use super::rows::Rows;
use super::{DEPTH, GROUP, Line, OUTPUTS, Output, TOGETHER};
use crate::matmul::Tiles;
use std::arch::asm;
use std::ops::Range;
use std::sync::OnceLock;

/// Rows of a block, two tiles of 16.
const ROWS: usize = 32;

/// Whether there are tiles and they multiply bytes.
#[allow(unsafe_code, unused_unsafe)]
pub(super) fn is_available() -> bool {
    use std::arch::x86_64::__cpuid_count;
    // Hypervisors take long to answer `cpuid`.
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    // SAFETY: tiles are only there where leaf 7 is.
    let has_bytes = || unsafe { __cpuid_count(7, 0).edx } >> 25 & 1 == 1;
    *AVAILABLE.get_or_init(|| Tiles::are_available() && has_bytes())
}

/// Multiplies with some pairs of panels.
///
/// # Panics
/// Without tiles.
pub(super) fn multiply(rows: &Rows, panels: Panels, output: Output, pairs: Range<usize>) {
    assert!(is_available(), "no AMX tiles for bytes");
    let tiles = Tiles::configure();
    for first in (0..rows.count).step_by(ROWS) {
        for pair in pairs.clone() {
            let left = &rows.lines[first * rows.length..][..ROWS * rows.length];
            let right = std::array::from_fn(|panel| panels.lines(pair * TOGETHER + panel));
            let sums = block(&tiles, left, right);
            for (row, sums) in sums.0.iter().enumerate().take(rows.count - first) {
                for (panel, sums) in sums.iter().enumerate() {
                    let panel = pair * TOGETHER + panel;
                    output.write(first + row, panel, sums, rows.scales[first + row], &panels.scales(panel));
                }
            }
        }
    }
}

/// Sums of 32 rows with two panels.
#[repr(C, align(64))]
struct Sums([[[i32; OUTPUTS]; TOGETHER]; ROWS]);

/// The product of 32 rows with two panels.
#[allow(unsafe_code)]
fn block(_: &Tiles, left: &[Line], right: [&[Line]; TOGETHER]) -> Sums {
    let steps = left.len() / ROWS;
    assert!(steps > 0 && left.len() == steps * ROWS);
    assert!(right.iter().all(|panel| panel.len() * GROUP == steps * DEPTH));
    let mut sums = Sums([[[0; OUTPUTS]; TOGETHER]; ROWS]);
    let row = size_of::<Line>() * steps;
    // SAFETY: this thread's tiles are configured as 16 rows of 64 bytes, as the argument proves. Each step reads two tiles of the left side,
    // 16 rows that lie `row` bytes apart and the 16 after them, of which it reads 64 bytes; `steps` times 64 bytes are a row. Of either panel it
    // reads 16 lines; `steps` times 16 lines are a panel, as asserted. Results are four tiles: rows 0..16 and 16..32 of `sums`, bytes 0..64
    // and 64..128 of each. All tiles are set before they are read, and nothing of them is used after the block.
    unsafe {
        let (left, upper) = (left.as_ptr(), sums.0.as_mut_ptr());
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{upper} + {row}*1]",
            "tileloadd tmm6, [{right} + {line}*1]",
            "tileloadd tmm7, [{second} + {line}*1]",
            "tileloadd tmm5, [{lower} + {row}*1]",
            "add {upper}, 64",
            "add {lower}, 64",
            "add {right}, 1024",
            "add {second}, 1024",
            "tdpbssd tmm0, tmm4, tmm6",
            "tdpbssd tmm1, tmm4, tmm7",
            "tdpbssd tmm2, tmm5, tmm6",
            "tdpbssd tmm3, tmm5, tmm7",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {line}*2], tmm0",
            "tilestored [{sums} + {line}*2 + 64], tmm1",
            "tilestored [{half} + {line}*2], tmm2",
            "tilestored [{half} + {line}*2 + 64], tmm3",
            upper = inout(reg) left => _,
            lower = inout(reg) left.byte_add(16 * row) => _,
            right = inout(reg) right[0].as_ptr() => _,
            second = inout(reg) right[1].as_ptr() => _,
            steps = inout(reg) steps => _,
            row = in(reg) row,
            line = in(reg) size_of::<Line>(),
            sums = in(reg) upper,
            half = in(reg) upper.add(16),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
    sums
}
