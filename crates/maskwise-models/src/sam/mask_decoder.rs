use super::TwoWayTransformer;
use crate::error::{ModelError, Result};
use candle_core::{DType, Tensor};
use maskwise_nn::layers::{ConvTranspose2x2, LayerNorm2d, Linear};
use maskwise_nn::ops;
use maskwise_nn::weights::Weights;

type TensorResult = candle_core::Result<Tensor>;

/// What the mask decoder says of each prompt.
#[derive(Debug, Clone)]
pub struct MaskPrediction {
    /// Mask logits `[batch, masks, 4·grid, 4·grid]`: one mask, or three where several were asked for.
    pub logits: Tensor,
    /// Predicted IoU of each mask, `[batch, masks]`.
    pub iou: Tensor,
    /// The tokens after the transformer, `[batch, 1 + masks + prompt tokens, dim]`: IoU, mask tokens, prompts.
    pub tokens: Tensor,
    /// The image cells after the transformer, `[batch, grid², dim]`.
    pub image: Tensor,
}

/// SAM's mask decoder.
#[derive(Debug, Clone)]
pub struct MaskDecoder {
    iou_token: Tensor,
    mask_tokens: Tensor,
    transformer: TwoWayTransformer,
    upscale1: ConvTranspose2x2,
    upscale_norm: LayerNorm2d,
    upscale2: ConvTranspose2x2,
    output_hypernetworks_mlps: Vec<Mlp>,
    iou_prediction_head: Mlp,
}

impl MaskDecoder {
    /// Loads the decoder; `heads` is the one size that its tensors do not tell.
    ///
    /// # Errors
    /// When a tensor that decides the sizes is missing, or reading fails.
    pub fn load(heads: usize, weights: &Weights) -> Result<Self> {
        let [masks, dim] = weights.dims("mask_tokens.weight")?;
        if masks == 0 {
            let reason = format!("{}.mask_tokens.weight has no row", weights.prefix());
            return Err(ModelError::Sizes(reason));
        }
        let upscaling = weights.pp("output_upscaling");
        let [_, channels, _, _] = upscaling.dims("0.weight")?;
        let hypernetworks = weights.pp("output_hypernetworks_mlps");
        Ok(Self {
            iou_token: weights.get(&[1, dim], "iou_token.weight")?,
            mask_tokens: weights.get(&[masks, dim], "mask_tokens.weight")?,
            transformer: TwoWayTransformer::load(dim, heads, &weights.pp("transformer"))?,
            upscale1: ConvTranspose2x2::load(&upscaling.pp("0"))?,
            upscale_norm: LayerNorm2d::load(channels, 1e-6, &upscaling.pp("1"))?,
            upscale2: ConvTranspose2x2::load(&upscaling.pp("3"))?,
            output_hypernetworks_mlps: (0..masks)
                .map(|index| Mlp::load(&hypernetworks.pp(index)))
                .collect::<Result<_>>()?,
            iou_prediction_head: Mlp::load(&weights.pp("iou_prediction_head"))?,
        })
    }

    /// Decodes `batch` prompts on one image.
    ///
    /// `embedding` `[1, dim, grid, grid]`, `positions` `[1, dim, grid, grid]`, `sparse` `[batch, tokens, dim]`, `dense`
    /// `[batch or 1, dim, grid or 1, grid or 1]`. With `multimask` the masks 1.. are returned, else mask 0.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(
        &self,
        embedding: &Tensor,
        positions: &Tensor,
        sparse: &Tensor,
        dense: &Tensor,
        multimask: bool,
    ) -> Result<MaskPrediction> {
        let (batch, _, dim) = sparse.dims3()?;
        let (_, _, height, width) = embedding.dims4()?;
        let output_tokens = Tensor::cat(&[&self.iou_token, &self.mask_tokens], 0)?;
        let output_tokens = output_tokens.unsqueeze(0)?.broadcast_as((batch, output_tokens.dim(0)?, dim))?;
        let tokens = Tensor::cat(&[&output_tokens, sparse], 1)?;

        let image = embedding.broadcast_as((batch, dim, height, width))?.broadcast_add(dense)?;
        let cells = |map: &Tensor| map.flatten_from(2)?.transpose(1, 2)?.contiguous();
        let (tokens, image) = self.transformer.forward(&cells(&image)?, &cells(positions)?, &tokens)?;

        let all = self.output_hypernetworks_mlps.len();
        let wanted = if multimask { 1..all } else { 0..1 };
        let (start, count) = (wanted.start, wanted.len());
        let hyper = wanted
            .map(|index| self.output_hypernetworks_mlps[index].forward(&tokens.narrow(1, 1 + index, 1)?))
            .collect::<candle_core::Result<Vec<_>>>()?;
        let hyper = Tensor::cat(&hyper, 1)?;
        let logits = if image.dtype() == DType::F32 {
            self.masks_by_cell(&image, &hyper, (height, width))?
        } else {
            let upscaled = self.upscale(&image.transpose(1, 2)?.reshape((batch, dim, height, width))?)?;
            ops::matmul(&hyper, &upscaled.flatten_from(2)?)?
        };
        let iou = self.iou_prediction_head.forward(&tokens.narrow(1, 0, 1)?.squeeze(1)?)?;
        Ok(MaskPrediction {
            logits: logits.reshape((batch, count, 4 * height, 4 * width))?,
            iou: iou.narrow(1, start, count)?,
            tokens,
            image,
        })
    }

    /// The masks of `hyper` `[batch, masks, channels]` on image cells `[batch, grid², dim]`, in any shape of `[batch, masks, 16·grid²]` values.
    ///
    /// The same as products with [`MaskDecoder::upscale`], but channels stay last and pixels with their cell until only the masks' values
    /// are left to be put in their places.
    fn masks_by_cell(&self, image: &Tensor, hyper: &Tensor, grid: (usize, usize)) -> TensorResult {
        let (batch, cells, _) = image.dims3()?;
        let masks = hyper.dim(1)?;
        let x = self.upscale1.forward_rows(image)?.reshape((batch, 4 * cells, self.upscale1.output()))?;
        let x = ops::gelu_erf(&self.upscale_norm.forward_rows(&x)?)?;
        let x = ops::gelu_erf(&self.upscale2.forward_rows(&x)?)?;
        let x = x.reshape((batch, 16 * cells, self.upscale2.output()))?;
        // [batch·masks, y, x, dy, dx, dy', dx'] -> [batch·masks, y, dy, dy', x, dx, dx']
        let values = hyper.matmul(&x.transpose(1, 2)?)?;
        let values = values.reshape(&[batch * masks, grid.0, grid.1, 2, 2, 2, 2])?;
        values.permute([0, 1, 3, 5, 2, 4, 6])?.contiguous()
    }

    fn upscale(&self, image: &Tensor) -> TensorResult {
        let x = ops::gelu_erf(&self.upscale_norm.forward(&self.upscale1.forward(image)?)?)?;
        ops::gelu_erf(&self.upscale2.forward(&x)?)
    }
}

/// Linear layers with ReLU between them.
#[derive(Debug, Clone)]
struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    fn load(weights: &Weights) -> Result<Self> {
        let layers = weights.pp("layers");
        let layers = (0..layers.count_children().max(1)).map(|index| Linear::load_any(&layers.pp(index)));
        Ok(Self { layers: layers.collect::<std::result::Result<_, _>>()? })
    }

    fn forward(&self, x: &Tensor) -> TensorResult {
        let last = self.layers.len() - 1;
        let mut x = x.clone();
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x)?;
            if index < last {
                x = ops::relu(&x)?;
            }
        }
        Ok(x)
    }
}
