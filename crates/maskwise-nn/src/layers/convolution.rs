use crate::ops;
use crate::weights::{Loaded, Weights};
use candle_core::{Result, Tensor};

/// A convolution with stride 1, or with a stride equal to its kernel; `weight` `[out, in, kernel, kernel]`.
#[derive(Debug, Clone)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    padding: usize,
}

impl Conv2d {
    /// Loads `weight` of the shape that the source has, and `bias` if `has_bias`; `padding` zeros on each side.
    ///
    /// # Errors
    /// When the weight is missing or not four-dimensional.
    pub fn load(padding: usize, has_bias: bool, weights: &Weights) -> Loaded<Self> {
        let shape: [usize; 4] = weights.dims("weight")?;
        let bias = if has_bias { Some(weights.get(&[shape[0]], "bias")?) } else { None };
        Ok(Self { weight: weights.get(&shape, "weight")?, bias, padding })
    }

    /// Stride 1: `x` `[batch, in, height, width]` to `[batch, out, ..]`.
    ///
    /// # Errors
    /// When the channels differ.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let product = ops::conv2d(x, &self.weight, self.padding)?;
        match &self.bias {
            Some(bias) => product.broadcast_add(&bias.reshape((1, (), 1, 1))?),
            None => Ok(product),
        }
    }

    /// Stride equal to the kernel: `x` `[batch, in, height, width]` to `[batch, height/kernel, width/kernel, out]`,
    /// channels last.
    ///
    /// # Errors
    /// When the channels differ.
    pub fn forward_patches(&self, x: &Tensor) -> Result<Tensor> {
        ops::patch_embedding(x, &self.weight, self.bias.as_ref())
    }

    /// Output channels, input channels and kernel size.
    pub fn sizes(&self) -> (usize, usize, usize) {
        let dims = self.weight.dims();
        (dims[0], dims[1], dims[2])
    }
}

/// A transposed convolution with kernel 2 and stride 2; `weight` `[in, out, 2, 2]`, `bias` `[out]`.
#[derive(Debug, Clone)]
pub struct ConvTranspose2x2 {
    weight: Tensor,
    bias: Tensor,
}

impl ConvTranspose2x2 {
    /// Loads `weight` and `bias` of the widths that the source has.
    ///
    /// # Errors
    /// When the weight is missing or not four-dimensional; another kernel than 2 is reported by [`Weights::finish`].
    pub fn load(weights: &Weights) -> Loaded<Self> {
        let [input, output, _, _] = weights.dims("weight")?;
        Ok(Self {
            weight: weights.get(&[input, output, 2, 2], "weight")?,
            bias: weights.get(&[output], "bias")?,
        })
    }

    /// `x` `[batch, in, height, width]` to `[batch, out, 2·height, 2·width]`.
    ///
    /// # Errors
    /// When the channels differ.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::conv_transpose_2x2(x, &self.weight, &self.bias)
    }

    /// Channels last and cell by cell: `x` `[.., in]` to `[.., 4·out]`, the four pixels of each cell, upper ones first, left ones first.
    ///
    /// # Errors
    /// When the channels differ.
    pub fn forward_rows(&self, x: &Tensor) -> Result<Tensor> {
        ops::conv_transpose_2x2_rows(x, &self.weight, &self.bias)
    }

    /// Channels that come out.
    pub fn output(&self) -> usize {
        self.bias.elem_count()
    }
}
