//! Products of weights in four bits with activations that are rounded to eight bits, row by row.
//!
//! A weight is first rounded to eight bits with a scale for each output, as in [`crate::int8`], and then to four bits in groups of 32 inputs:
//! `step·q + offset` of integers (progressive quantization, QServe, arXiv 2405.04532). So sums stay integers, every path gives the same bits, and
//! many rows are multiplied as fast as with eight bits. A weight takes 4.5 bits.

#[cfg(target_arch = "x86_64")]
mod bytes;
#[cfg(target_arch = "x86_64")]
mod dots;
mod packed;
#[cfg(test)]
mod tests;

pub use packed::Int4Weight;

use crate::int8::{
    self, Arrangement, DEPTH, Line, Output, Panels, Rows, TOGETHER, has_int8, rows_to_multiply, share,
};
use crate::matmul::Path;
use packed::{Chunks, GROUP_INPUTS};
use std::cell::RefCell;

/// Rows up to which weights are multiplied as they lie; for more they are first put into eight bits, a few panels at a time.
const FEW: usize = 24;

/// `output[rows, outputs] = input[rows, inputs] · weightᵀ`, plus a number of `bias` for each output if there is one, with the input rounded row by
/// row, on the threads of the current pool.
///
/// # Panics
/// When the lengths do not fit.
pub fn matmul_int4(input: &[f32], weight: &Int4Weight, bias: Option<&[f32]>, output: &mut [f32]) {
    matmul_int4_on(int8::current(), input, weight, bias, output);
}

/// As [`matmul_int4`], by the instructions of `path`.
///
/// # Panics
/// When the lengths do not fit, or the path [has no instructions](has_int8) for eight bits here.
pub fn matmul_int4_on(
    path: Path,
    input: &[f32],
    weight: &Int4Weight,
    bias: Option<&[f32]>,
    output: &mut [f32],
) {
    assert!(has_int8(path), "this processor lacks {path:?} for eight bits");
    let (outputs, inputs) = (weight.outputs(), weight.inputs());
    let Some(count) = rows_to_multiply(input, (outputs, inputs), bias, output) else { return };
    let chunks = weight.chunks();
    if count <= FEW && path != Path::Portable {
        let rows = FewRows::quantize(input, inputs);
        Output::of(&rows.rows, bias, output, outputs, |output| few_rows(path, &rows, chunks, output));
    } else {
        let rows = Rows::quantize(input, inputs, Arrangement::of(path));
        Output::of(&rows, bias, output, outputs, |output| {
            share(chunks.count() / TOGETHER, rows.count * outputs * inputs, |pairs| {
                with_lines(|lines| {
                    let panels = pairs.start * TOGETHER..pairs.end * TOGETHER;
                    let length = chunks.unpack(panels.clone(), lines);
                    let output = output.starting_at(panels.start);
                    int8::multiply(path, &rows, Panels::new(lines, length), output, 0..pairs.len());
                });
            });
        });
    }
}

fn few_rows(path: Path, rows: &FewRows, chunks: Chunks, output: Output) {
    share(chunks.count() / TOGETHER, rows.rows.count * output.columns() * chunks.inputs(), |pairs| {
        let panels = pairs.start * TOGETHER..pairs.end * TOGETHER;
        match path {
            #[cfg(target_arch = "x86_64")]
            Path::Amx | Path::Avx512 => dots::multiply(rows, chunks, output, panels),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => bytes::multiply(rows, chunks, output, panels),
            _ => unreachable!("the portable path unpacks"),
        }
    });
}

/// Lends `work` lines of this thread, which are kept for the next caller. Their content is arbitrary.
fn with_lines<R>(work: impl FnOnce(&mut Vec<Line>) -> R) -> R {
    thread_local! {
        static LINES: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
    }
    let mut lines = LINES.take();
    let result = work(&mut lines);
    LINES.set(lines);
    result
}

/// Rows of activations with the sums of their steps over each group of inputs.
struct FewRows {
    rows: Rows,
    /// `[rows, groups]`, two groups for each line of a row.
    sums: Vec<i32>,
}

impl FewRows {
    fn quantize(input: &[f32], inputs: usize) -> Self {
        let rows = Rows::quantize(input, inputs, Arrangement::Rows);
        let groups =
            (0..rows.count).flat_map(|row| rows.row(row)).flat_map(|line| line.0.chunks(GROUP_INPUTS));
        let sums = groups.map(|group| group.iter().map(|step| i32::from(*step)).sum()).collect();
        Self { rows, sums }
    }

    /// The sums of a row.
    fn sums(&self, row: usize) -> &[i32] {
        let groups = self.rows.length * (DEPTH / GROUP_INPUTS);
        &self.sums[row * groups..][..groups]
    }
}
