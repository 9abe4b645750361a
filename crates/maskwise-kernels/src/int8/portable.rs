//! Eight bits on any processor.

use super::packed::Panels;
use super::rows::Rows;
use super::{GROUP, OUTPUTS, Output, TOGETHER};
use std::ops::Range;

pub(super) fn multiply(rows: &Rows, panels: Panels, output: Output, pairs: Range<usize>) {
    for panel in pairs.start * TOGETHER..pairs.end * TOGETHER {
        let (lines, scales) = (panels.lines(panel), panels.scales(panel));
        for row in 0..rows.count {
            let sums = crate::vectorized(
                #[inline(always)]
                || {
                    let mut sums = [0; OUTPUTS];
                    let groups = rows.row(row).iter().flat_map(|line| line.0.chunks_exact(GROUP));
                    for (line, group) in lines.iter().zip(groups) {
                        for (sum, weights) in sums.iter_mut().zip(line.0.chunks_exact(GROUP)) {
                            let products = weights.iter().zip(group);
                            *sum += products.map(|(a, b)| i32::from(*a) * i32::from(*b)).sum::<i32>();
                        }
                    }
                    sums
                },
            );
            output.write(row, panel, &sums, rows.scales[row], &scales);
        }
    }
}
