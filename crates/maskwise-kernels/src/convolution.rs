//! Convolutions with stride 1 as products with the shifted copies of each image (im2col), forward and backward.

use crate::matmul::{Matrix, MatrixMut, Write, matmul};
use crate::work::with_scratch;

/// The sizes of a convolution with stride 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Images.
    pub batch: usize,
    /// Channels that go in.
    pub channels: usize,
    /// Height of what goes in.
    pub height: usize,
    /// Width of what goes in.
    pub width: usize,
    /// Channels that come out.
    pub output: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Zeros on each side.
    pub padding: usize,
}

impl Sizes {
    /// Height and width of the result; none where the kernel is larger than the padded image.
    pub fn result(&self) -> Option<(usize, usize)> {
        let side =
            |size: usize| (size + 2 * self.padding + 1).checked_sub(self.kernel).filter(|side| *side > 0);
        Some((side(self.height)?, side(self.width)?))
    }

    fn depth(&self) -> usize {
        self.channels * self.kernel * self.kernel
    }

    fn image(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Cells of one channel of the result, after checking the slices.
    fn check(&self, input: usize, weight: usize, result: usize) -> usize {
        let cells = self.result().map_or(0, |(height, width)| height * width);
        assert!(cells > 0 && self.image() > 0 && self.output > 0, "{self:?}");
        assert_eq!(input, self.batch * self.image(), "input of {self:?}");
        assert_eq!(weight, self.output * self.depth(), "weight of {self:?}");
        assert_eq!(result, self.batch * self.output * cells, "result of {self:?}");
        cells
    }

    /// Calls `action(place in the image, place in the copies, length)` for each run of values of one shifted copy.
    fn each_run(&self, mut action: impl FnMut(usize, usize, usize)) {
        let Some((rows, columns)) = self.result() else { return };
        for copy in 0..self.depth() {
            let (channel, down, across) =
                (copy / self.kernel / self.kernel, copy / self.kernel % self.kernel, copy % self.kernel);
            // The columns x of the result for which x + across − padding lies inside of the image.
            let first = self.padding.saturating_sub(across).min(columns);
            let end = (self.width + self.padding).saturating_sub(across).min(columns).max(first);
            for row in 0..rows {
                let Some(y) = (row + down).checked_sub(self.padding).filter(|y| *y < self.height) else {
                    continue;
                };
                if end > first {
                    let from = (channel * self.height + y) * self.width + first + across - self.padding;
                    action(from, (copy * rows + row) * columns + first, end - first);
                }
            }
        }
    }
}

/// `input` `[batch, channels, height, width]`, `weight` `[output, channels, kernel, kernel]`, `result` `[batch, output, ..]`.
///
/// # Panics
/// When the slices do not fit the sizes, or a size is zero.
pub fn forward(input: &[f32], weight: &[f32], sizes: &Sizes, result: &mut [f32]) {
    let cells = sizes.check(input.len(), weight.len(), result.len());
    let (depth, output) = (sizes.depth(), sizes.output);
    with_scratch(depth * cells, |copies| {
        let images = input.chunks_exact(sizes.image()).zip(result.chunks_exact_mut(output * cells));
        for (image, result) in images {
            copy(image, sizes, copies);
            let (weight, copies) = (Matrix::new(weight, output, depth), Matrix::new(copies, depth, cells));
            matmul(weight, copies, MatrixMut::new(result, output, cells), 1.0, Write::Replace);
        }
    });
}

/// The gradient of the input of [`forward`] for `gradient` of its result.
///
/// # Panics
/// As [`forward`].
pub fn backward_input(weight: &[f32], gradient: &[f32], sizes: &Sizes) -> Vec<f32> {
    let mut input = vec![0.0; sizes.batch * sizes.image()];
    let cells = sizes.check(input.len(), weight.len(), gradient.len());
    let (depth, output) = (sizes.depth(), sizes.output);
    with_scratch(depth * cells, |copies| {
        let images = input.chunks_exact_mut(sizes.image()).zip(gradient.chunks_exact(output * cells));
        for (image, gradient) in images {
            let (weight, gradient) =
                (Matrix::new(weight, output, depth), Matrix::new(gradient, output, cells));
            matmul(weight.t(), gradient, MatrixMut::new(copies, depth, cells), 1.0, Write::Replace);
            sizes.each_run(|from, to, length| {
                let target = image[from..from + length].iter_mut();
                target.zip(&copies[to..to + length]).for_each(|(sum, value)| *sum += value);
            });
        }
    });
    input
}

/// The gradient of the weight of [`forward`] for `gradient` of its result.
///
/// # Panics
/// As [`forward`].
pub fn backward_weight(input: &[f32], gradient: &[f32], sizes: &Sizes) -> Vec<f32> {
    let (depth, output) = (sizes.depth(), sizes.output);
    let mut weight = vec![0.0; output * depth];
    let cells = sizes.check(input.len(), weight.len(), gradient.len());
    with_scratch(depth * cells, |copies| {
        let images = input.chunks_exact(sizes.image()).zip(gradient.chunks_exact(output * cells));
        for (image, gradient) in images {
            copy(image, sizes, copies);
            let (gradient, copies) =
                (Matrix::new(gradient, output, cells), Matrix::new(copies, depth, cells));
            matmul(gradient, copies.t(), MatrixMut::new(&mut weight, output, depth), 1.0, Write::Add);
        }
    });
    weight
}

fn copy(image: &[f32], sizes: &Sizes, copies: &mut [f32]) {
    copies.fill(0.0);
    sizes.each_run(|from, to, length| copies[to..to + length].copy_from_slice(&image[from..from + length]));
}
